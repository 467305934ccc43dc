//! Depthwise convolution, optionally with the dense convolution before it, and with the projecting 1x1 convolution or
//! the channel sums after it.
//!
//! A task makes some output rows of some channels. It first fills a strip, the input rows that these need with zeros
//! around them: copied from the map, or computed by the convolution before. Then the depthwise kernel runs over the
//! strip, which is in the second-level cache and has no edges to care for. The expanded map, the largest of an inverted
//! residual, is never written to memory. With a projection a task goes through all channels, chunk by chunk, and adds the
//! products of a few rows at a time while these are in the first-level cache: then none of the wide maps is written.

use std::ops::Range;
use std::sync::Arc;

use super::dense::{SMALL, TASKS};
use super::finish::finish;
use super::{Place, check_apart};
use crate::conv::gemm::{Block, Segment, Tile, gemm_tile, lanes, panel_count, row_chunk};
use crate::conv::plan::{Plan, Scratch, with_floats, with_scratch};
use crate::conv::{PackedConv, forward_problem};
use crate::depthwise::opaque;
use crate::elementwise::{load_n, store_n};
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_for};
use crate::{Activation, AlignedVec, ConvShape, dispatch};

/// Floats of a strip that is computed: 336 KiB of the second-level cache.
const COMPUTED: usize = 84 * 1024;
/// Floats of a strip that is copied: 192 KiB. Shorter ones would stay in the first-level cache, but copy more rows twice.
const COPIED: usize = 48 * 1024;
/// Products for one value of the dense convolution before that may be done again where strips overlap: a first
/// convolution of three channels.
const CHEAP: usize = 64;
/// Weights of a projection that every task may read again, and floats of a map that is better not written before it: 16
/// KiB and 4 MiB.
const LIGHT: usize = 4 * 1024;
const HEAVY: usize = 1 << 20;
/// Floats of the rows that a projection reads at a time: half of the first-level cache.
const WAITING: usize = 4 * 1024;

/// Weights of a depthwise convolution, tap by tap, with its bias, for the instruction set in use.
#[derive(Debug, Clone)]
pub struct Taps {
    /// `[kh * kw, ld]`, then the bias, `[ld]`: zeros from `c` on.
    values: Arc<AlignedVec>,
    taps: usize,
    c: usize,
    /// `c` padded to whole vectors.
    ld: usize,
    /// Of these vectors.
    lanes: usize,
}

impl Taps {
    /// From `[c, 1, kh, kw]`; no bias counts as zeros.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, c: usize) -> Taps {
        assert!(weight.len().is_multiple_of(c.max(1)) && bias.is_none_or(|b| b.len() == c), "depthwise: weights");
        let taps = weight.len() / c.max(1);
        let lanes = lanes();
        let ld = c.next_multiple_of(lanes);
        let mut values = AlignedVec::zeros((taps + 1) * ld);
        for (ch, kernel) in weight.chunks_exact(taps.max(1)).enumerate() {
            kernel.iter().enumerate().for_each(|(tap, &w)| values[tap * ld + ch] = w);
        }
        if let Some(bias) = bias {
            values[taps * ld..][..c].copy_from_slice(bias);
        }
        Taps { values: values.into(), taps, c, ld, lanes }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * self.values.len()
    }
}

/// The dense convolution before a depthwise one.
#[derive(Debug, Clone)]
pub struct Expand {
    /// Its geometry.
    pub shape: ConvShape,
    /// Its weights.
    pub weights: Arc<PackedConv>,
    /// From [`super::padded_bias`].
    pub bias: Arc<[f32]>,
    /// Before the depthwise convolution.
    pub activation: Activation,
}

/// The 1x1 convolution after a depthwise one, into the map at `y`.
#[derive(Debug, Clone)]
pub struct Project {
    /// Weights for `[c, y.c]`.
    pub weights: Arc<PackedConv>,
    /// From [`super::padded_bias`].
    pub bias: Arc<[f32]>,
    /// At its end.
    pub activation: Activation,
    /// Added after that.
    pub residual: Option<Place>,
}

/// A depthwise convolution for one shape and place.
#[derive(Debug)]
pub struct Depthwise {
    s: ConvShape,
    taps: Taps,
    activation: Activation,
    x: Place,
    y: Place,
    expand: Option<(Expand, Plan)>,
    project: Option<Project>,
    /// Where each task's channel sums go, `[images, parts, c]`.
    sums: Option<usize>,
    cut: Cut,
    small: bool,
    /// Floats that the arena must have.
    end: usize,
}

/// How the work is cut into tasks.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Output rows of a task, and how many such parts an image has.
    rows: usize,
    parts: usize,
    /// Channels of a task but the last, and how many such chunks there are.
    chunk: usize,
    chunks: usize,
}

/// Input positions along `axis` that `n` outputs read.
fn span(s: &ConvShape, axis: usize, n: usize) -> usize {
    (n - 1) * s.stride[axis] + s.dilation[axis] * (s.kernel[axis] - 1) + 1
}

impl Cut {
    /// For the convolution `s` whose input is computed or copied, and whose output may wait for a projection.
    fn new(s: &ConvShape, computed: bool, projected: bool) -> Cut {
        let [oh, ow] = s.output;
        let width = 2 * lanes();
        let panels = panel_count(s.c_in.div_ceil(lanes()));
        let mut best = (f64::INFINITY, Cut { rows: 1, parts: oh.max(1), chunk: width, chunks: panels });
        if oh == 0 || ow == 0 {
            return best.1;
        }
        let limit = if computed { COMPUTED } else { COPIED };
        for per_chunk in 1..=panels {
            let chunks = panels / per_chunk; // the last takes what remains
            let most = s.c_in - (chunks - 1) * per_chunk * width;
            for rows in 1..=oh {
                let floats = span(s, 0, rows) * span(s, 1, ow) * most.min(s.c_in);
                if floats > limit && (rows > 1 || per_chunk > 1) {
                    break;
                }
                let parts = oh.div_ceil(rows);
                let filled: usize = (0..parts).map(|p| span(s, 0, rows.min(oh - p * rows))).sum();
                let again = filled as f64 / span(s, 0, oh) as f64;
                let tasks = (s.batch * parts * if projected { 1 } else { chunks }) as f64;
                // Rows filled again, an idle thread at the end, starting tasks, reading the input once a chunk, and
                // with a single part reading rows that other threads wrote.
                let cost = if computed { again } else { 0.8 + 0.2 * again };
                let cost = cost * (1.0 + 0.7 / tasks) + 5e-4 * tasks + 0.01 * chunks as f64;
                let cost = if parts == 1 { cost + 0.03 } else { cost };
                if cost < best.0 {
                    best = (cost, Cut { rows, parts, chunk: per_chunk * width, chunks });
                }
            }
        }
        best.1
    }
}

impl Depthwise {
    /// Whether the dense convolution `before` can be part of a depthwise one that alone reads its output, and should.
    pub fn takes_expand(before: &ConvShape) -> bool {
        let products = before.c_in * before.kernel[0] * before.kernel[1];
        before.groups == 1 && (before.is_pointwise() || products <= CHEAP)
    }

    /// Whether the convolution `after` of the output of `s` can be part of it, and should: where the maps between are
    /// larger than the weights, and there are tasks enough without cutting the channels.
    pub fn takes_project(s: &ConvShape, computed: bool, after: &ConvShape) -> bool {
        let pays = after.is_pointwise() && after.c_in * after.c_out <= LIGHT && s.output_len() / s.batch >= HEAVY;
        pays && s.batch * Cut::new(s, computed, true).parts >= TASKS
    }

    /// Prepares the convolution `s` of the map at `x` into the one at `y`. With `expand`, the input of `s` is the output
    /// of that convolution of the map at `x`; with `project`, the map at `y` is that convolution's output.
    ///
    /// # Panics
    /// If places or weights do not fit the shape, or input and output overlap.
    pub fn new(
        s: &ConvShape,
        taps: Taps,
        activation: Activation,
        x: Place,
        y: Place,
        expand: Option<Expand>,
        project: Option<Project>,
    ) -> Depthwise {
        assert!(s.is_depthwise() || (s.c_in == 1 && s.c_out == 1), "depthwise: {s:?}");
        assert_eq!(taps.taps, s.kernel[0] * s.kernel[1], "depthwise: weights of {s:?}");
        let source = expand.as_ref().map_or(s, |e| &e.shape);
        let [x_rows, y_rows] = [source.input, s.output].map(|[h, w]| s.batch * h * w);
        let channels = taps.c == s.c_in && x.c == source.c_in && (project.is_some() || y.c == s.c_in);
        assert!(channels, "depthwise: channels of {s:?}");
        check_apart("depthwise", &x, x_rows, &y, y_rows);
        let mut work = y_rows * s.c_in * s.kernel[0] * s.kernel[1];
        let mut end = x.end(x_rows).max(y.end(y_rows));
        let cut = Cut::new(s, expand.is_some(), project.is_some());
        let expand = expand.map(|e| {
            let fits = e.shape.batch == s.batch && e.shape.output == s.input && e.shape.c_out == s.c_in;
            assert!(fits && e.shape.groups == 1, "depthwise: {:?} before {s:?}", e.shape);
            assert_eq!(e.weights.key, PackedConv::key(&e.shape), "weights packed for another expansion");
            assert_eq!(e.bias.len(), s.c_in.next_multiple_of(lanes()), "depthwise: length of the padded bias");
            work += usize::try_from(e.shape.macs()).expect("of maps in memory");
            let mut problem = forward_problem(&e.shape, 0);
            problem.in_ld = x.ld;
            let size = [1, span(s, 0, cut.rows), s.input[1]].map(|n| n.max(1));
            (e, Plan::with_size(problem, size))
        });
        if let Some(p) = &project {
            let shape = ConvShape::new(s.batch, s.output, s.c_in, y.c, [1, 1], [1, 1], [0, 0], [1, 1], 1);
            assert_eq!(p.weights.key, PackedConv::key(&shape), "weights packed for another projection");
            assert_eq!(
                p.bias.len(),
                y.c.next_multiple_of(lanes()),
                "depthwise: length of the projection's padded bias"
            );
            if let Some(r) = p.residual {
                assert!(r.c == y.c && r.apart(y_rows, &y, y_rows), "depthwise: residual {r:?} and output {y:?}");
                end = end.max(r.end(y_rows));
            }
            work += usize::try_from(shape.macs()).expect("of maps in memory");
        }
        Depthwise { s: *s, taps, activation, x, y, expand, project, sums: None, cut, small: work < SMALL, end }
    }

    /// Parts of each image whose channel sums are kept apart, for a convolution with (`computed`) or without another
    /// before it.
    pub fn parts(s: &ConvShape, computed: bool) -> usize {
        Cut::new(s, computed, false).parts
    }

    /// Also writes the channel sums of the output, `[images, parts, c]`, to the arena from `at`.
    ///
    /// # Panics
    /// If they overlap input or output, or there is a projection.
    pub fn with_sums(mut self, at: usize) -> Depthwise {
        assert!(self.project.is_none(), "depthwise: sums of an output that a projection reads at once");
        let sums = Place { at, ld: self.s.c_in, c: self.s.c_in };
        let rows = self.s.batch * self.cut.parts;
        let input = self.expand.as_ref().map_or(self.s.input, |(e, _)| e.shape.input);
        let [x_rows, y_rows] = [input, self.s.output].map(|[h, w]| self.s.batch * h * w);
        let apart = sums.apart(rows, &self.x, x_rows) && sums.apart(rows, &self.y, y_rows);
        assert!(apart, "depthwise: sums overlap a map");
        self.end = self.end.max(sums.end(rows));
        self.sums = Some(at);
        self
    }

    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short, or the instruction set changed since the weights were packed.
    pub fn run(&self, arena: &mut [f32]) {
        assert!(arena.len() >= self.end, "arena of {} floats instead of {}", arena.len(), self.end);
        // The kernel loads whole vectors of the taps.
        let packed = [self.expand.as_ref().map(|(e, _)| &e.weights), self.project.as_ref().map(|p| &p.weights)];
        let packed = packed.into_iter().flatten().map(|w| w.lanes);
        for found in packed.chain([self.taps.lanes]) {
            assert_eq!(found, lanes(), "weights packed for another instruction set");
        }
        if self.s.output_len() == 0 {
            return;
        }
        let base = SendPtr(arena.as_mut_ptr());
        let Cut { parts, chunks, .. } = self.cut;
        // With a projection a task needs all channels.
        let (together, splits) = if self.project.is_some() { (chunks, 1) } else { (1, chunks) };
        let task = |i: usize| {
            let (image, rest) = (i / (parts * splits), i % (parts * splits));
            // From the last chunk on, which may be the longest.
            let first = (splits - 1 - rest % splits) * together;
            // SAFETY: the arena holds every place (`end`); tasks write different rows or channels.
            with_scratch(|s| unsafe { self.part(base.get(), image, rest / splits, first..first + together, s) });
        };
        let tasks = self.s.batch * parts * splits;
        if self.small {
            (0..tasks).for_each(task);
        } else {
            parallel_for(tasks, task);
        }
    }

    /// One task: some rows of an image, and `chunks` of the channels.
    ///
    /// # Safety
    /// The arena is long enough, and no one else writes these rows and channels.
    unsafe fn part(&self, arena: *mut f32, image: usize, part: usize, chunks: Range<usize>, scratch: &mut Scratch) {
        let (s, cut, y) = (&self.s, &self.cut, &self.y);
        let [oh, ow] = s.output;
        let first = part * cut.rows;
        let rows = cut.rows.min(oh - first);
        for chunk in chunks {
            let c0 = chunk * cut.chunk;
            let c = if chunk + 1 == cut.chunks { s.c_in - c0 } else { cut.chunk };
            let pixel = c.next_multiple_of(lanes());
            let line = span(s, 1, ow) * pixel;
            // Rows at a time; with a projection they wait for it in a buffer.
            let step = if self.project.is_some() { (WAITING / (ow * pixel)).clamp(1, rows) } else { rows };
            let waiting = if self.project.is_some() { step * ow * pixel } else { 0 };
            let strip = span(s, 0, rows) * line;
            // SAFETY: the caller's promise.
            with_floats(strip + waiting, |floats| unsafe {
                let (strip, waiting) = floats.split_at_mut(strip);
                self.fill(arena, image, first..first + rows, c0..c0 + c, scratch, strip);
                let sums = match self.sums {
                    None => std::ptr::null_mut(),
                    Some(at) => {
                        let sums = arena.add(at + (image * cut.parts + part) * s.c_in + c0);
                        sums.write_bytes(0, c);
                        sums
                    }
                };
                for row in (0..rows).step_by(step) {
                    let rows = step.min(rows - row);
                    let first = (image * oh + first + row) * ow;
                    let (to, ld) = match &self.project {
                        None => (arena.add(y.at + first * y.ld + c0), y.ld),
                        Some(_) => (waiting.as_mut_ptr(), pixel),
                    };
                    strip_rows(&Strip {
                        strip: strip.as_ptr().add(row * s.stride[0] * line),
                        line,
                        pixel,
                        c,
                        y: to,
                        y_ld: ld,
                        rows,
                        columns: ow,
                        taps: self.taps.values.as_ptr().add(c0),
                        taps_ld: self.taps.ld,
                        bias: self.taps.values.as_ptr().add(self.taps.taps * self.taps.ld + c0),
                        kernel: s.kernel,
                        stride: s.stride,
                        dilation: s.dilation,
                        activation: self.activation,
                        sums,
                    });
                    if let Some(p) = &self.project {
                        self.project(p, arena, to, ld, first..first + rows * ow, c0..c0 + c, scratch);
                    }
                }
            });
        }
    }

    /// Adds to `pixels` of the output the products of some channels, `ld` floats apart from `a` on.
    ///
    /// # Safety
    /// The arena is long enough, and no one else writes these pixels.
    #[allow(clippy::too_many_arguments)]
    unsafe fn project(
        &self,
        p: &Project,
        arena: *mut f32,
        a: *const f32,
        ld: usize,
        pixels: Range<usize>,
        channels: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let (y, k) = (&self.y, self.s.c_in);
        let (first, last) = (channels.start == 0, channels.end == k);
        let Scratch { a_off, y_off, r_off, .. } = scratch;
        let offsets = |to: &mut Vec<usize>, pixels: Range<usize>, ld: usize| {
            to.clear();
            to.extend(pixels.map(|pixel| pixel * ld));
        };
        offsets(a_off, 0..pixels.len(), ld);
        offsets(y_off, pixels.clone(), y.ld);
        let residual = p.residual.filter(|_| last);
        if let Some(r) = residual {
            offsets(r_off, pixels, r.ld);
        }
        let columns = y.c.next_multiple_of(lanes());
        // SAFETY: the caller's promise.
        unsafe {
            gemm_tile(&Tile {
                a,
                a_off,
                y: arena.add(y.at),
                y_off,
                b: p.weights.data.as_ptr(),
                k,
                n: y.c,
                segments: &[Segment { offset: 0, len: channels.len() }],
                blocks: &[Block { segments: 0..1, k0: channels.start }],
                panels: 0..panel_count(columns / lanes()),
                row_chunk: row_chunk(channels.len() * columns),
                bias: if first { p.bias.as_ptr() } else { std::ptr::null() },
                stats: std::ptr::null_mut(),
                accumulate: !first,
                activation: if last { p.activation } else { Activation::Identity },
                residual: residual.map_or(std::ptr::null(), |r| arena.add(r.at).cast_const()),
                r_off,
            });
        }
    }

    /// Fills the strip that output rows `rows` of `channels` read, zeros around the map included.
    ///
    /// # Safety
    /// The arena is long enough; the strip has room.
    unsafe fn fill(
        &self,
        arena: *mut f32,
        image: usize,
        rows: Range<usize>,
        channels: Range<usize>,
        scratch: &mut Scratch,
        strip: &mut [f32],
    ) {
        let s = &self.s;
        let [ih, iw] = s.input;
        let (c0, c) = (channels.start, channels.len());
        let (height, width) = (span(s, 0, rows.len()), span(s, 1, s.output[1]));
        // The strip's rows and columns that lie in the input.
        let inside = |start: isize, len: usize, size: usize| {
            let from = (-start).clamp(0, len as isize);
            let to = (size as isize - start).clamp(from, len as isize);
            (from as usize, to as usize)
        };
        let top = (rows.start * s.stride[0]) as isize - s.padding[0] as isize;
        let left = -(s.padding[1] as isize);
        let (y0, y1) = inside(top, height, ih);
        let (x0, x1) = inside(left, width, iw);
        // Pixels of whole vectors, so that none straddles two cache lines.
        let pixel = c.next_multiple_of(lanes());
        let line = width * pixel;
        let strip = &mut strip[..height * line];
        strip[..y0 * line].fill(0.0);
        strip[y1 * line..].fill(0.0);
        if x0 > 0 || x1 < width {
            for row in strip[y0 * line..y1 * line].chunks_exact_mut(line) {
                row[..x0 * pixel].fill(0.0);
                row[x1 * pixel..].fill(0.0);
            }
        }
        let inner =
            |start: isize, from: usize, to: usize| (start + from as isize) as usize..(start + to as isize) as usize;
        let (inner_rows, inner_columns) = (inner(top, y0, y1), inner(left, x0, x1));
        if inner_rows.is_empty() || inner_columns.is_empty() {
            return;
        }
        // SAFETY: rows and columns lie in the map and in the strip; the caller's promise.
        unsafe {
            let x = arena.add(self.x.at).cast_const();
            if let Some((e, plan)) = &self.expand {
                let a = plan.load_part([image..image + 1, inner_rows, inner_columns], x, scratch);
                let Scratch { a_off, y_off, .. } = scratch;
                y_off.clear();
                for row in y0..y1 {
                    y_off.extend((x0..x1).map(|x| row * line + x * pixel));
                }
                let t = Tile {
                    a,
                    a_off,
                    y: strip.as_mut_ptr(),
                    y_off,
                    b: e.weights.data.as_ptr().add(c0 * plan.k),
                    k: plan.k,
                    n: pixel,
                    segments: &plan.segments,
                    blocks: &plan.blocks,
                    panels: 0..panel_count(pixel / lanes()),
                    row_chunk: if plan.k * pixel <= 4096 { 24 } else { 96 },
                    bias: e.bias.as_ptr().add(c0),
                    stats: std::ptr::null_mut(),
                    accumulate: false,
                    activation: e.activation,
                    residual: std::ptr::null(),
                    r_off: &[],
                };
                gemm_tile(&t);
                return;
            }
            for (row, y) in (y0..y1).zip(inner_rows) {
                let mut from = x.add(((image * ih + y) * iw + inner_columns.start) * self.x.ld + c0);
                let mut to = strip.as_mut_ptr().add(row * line + x0 * pixel);
                if self.x.ld == pixel && c == pixel {
                    std::ptr::copy_nonoverlapping(from, to, (x1 - x0) * c);
                    continue;
                }
                for _ in x0..x1 {
                    std::ptr::copy_nonoverlapping(from, to, c);
                    (from, to) = (from.wrapping_add(self.x.ld), to.wrapping_add(pixel));
                }
            }
        }
    }
}

/// A strip and where its outputs go.
struct Strip {
    strip: *const f32,
    /// Floats of a row of the strip, and of a pixel: whole vectors.
    line: usize,
    pixel: usize,
    c: usize,
    y: *mut f32,
    y_ld: usize,
    /// Outputs.
    rows: usize,
    columns: usize,
    taps: *const f32,
    taps_ld: usize,
    bias: *const f32,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    activation: Activation,
    /// `c` sums, or null.
    sums: *mut f32,
}

dispatch!(
    /// The depthwise convolution of a strip.
    fn strip_rows(p: &Strip) = strip_kernel
);

#[inline(always)]
unsafe fn strip_kernel<S: Simd>(p: &Strip) {
    let plain = p.dilation == [1, 1] && p.kernel[0] == p.kernel[1];
    // SAFETY: the caller's promise.
    unsafe {
        match (p.kernel[1], p.stride[1]) {
            (3, 1) if plain => lines::<S, 3, 1>(p),
            (3, 2) if plain => lines::<S, 3, 2>(p),
            (5, 1) if plain => lines::<S, 5, 1>(p),
            (5, 2) if plain => lines::<S, 5, 2>(p),
            _ => lines::<S, 0, 1>(p),
        }
    }
}

/// All rows. `K` is the kernel's side with stride `A`, or 0 for any.
#[inline(always)]
unsafe fn lines<S: Simd, const K: usize, const A: usize>(p: &Strip) {
    let advance = if K == 0 { p.stride[1] } else { A };
    for row in 0..p.rows {
        let mut x = 0;
        while x < p.columns {
            // SAFETY: the tile's inputs lie in the strip, its outputs in the row.
            unsafe {
                let from = p.strip.add(row * p.stride[0] * p.line + x * advance * p.pixel);
                let to = p.y.add((row * p.columns + x) * p.y_ld);
                x += match p.columns - x {
                    8.. if K > 0 => tile::<S, K, A, 8>(p, from, to),
                    4.. => tile::<S, K, A, 4>(p, from, to),
                    2.. => tile::<S, K, A, 2>(p, from, to),
                    _ => tile::<S, K, A, 1>(p, from, to),
                };
            }
        }
    }
}

/// `T` outputs of all channels. Returns `T`.
#[inline(always)]
unsafe fn tile<S: Simd, const K: usize, const A: usize, const T: usize>(
    p: &Strip,
    from: *const f32,
    to: *mut f32,
) -> usize {
    for i in (0..p.c).step_by(S::LANES) {
        // SAFETY: the caller's promise.
        unsafe { vector::<S, K, A, T>(p, from.add(i), to.add(i), i, S::LANES.min(p.c - i)) };
    }
    T
}

#[inline(always)]
unsafe fn vector<S: Simd, const K: usize, const A: usize, const T: usize>(
    p: &Strip,
    from: *const f32,
    to: *mut f32,
    i: usize,
    k: usize,
) {
    // SAFETY: the caller's promise: `k` channels from `i` of every output; strip and taps have whole vectors.
    unsafe {
        let mut acc = [[S::load(p.bias.add(i))]; T];
        let mut tap = p.taps.add(i);
        let mut row = from;
        for _ in 0..p.kernel[0] {
            if K == 0 {
                for j in 0..p.kernel[1] {
                    let w = S::load(tap.add(j * p.taps_ld));
                    let at = row.add(j * p.dilation[1] * p.pixel);
                    for (t, acc) in acc.iter_mut().enumerate() {
                        acc[0] = S::fma(S::load(at.add(t * p.stride[1] * p.pixel)), w, acc[0]);
                    }
                }
            } else {
                let mut w = [S::splat(0.0); K];
                for (j, w) in w.iter_mut().enumerate() {
                    *w = S::load(tap.add(j * p.taps_ld));
                }
                let mut at = row;
                // Every column is loaded once and serves all outputs that read it. Written out, because LLVM leaves the
                // longest of these loops rolled.
                macro_rules! columns {
                    ($($n:literal)*) => {$(
                        if $n < (T - 1) * A + K {
                            if $n > 0 {
                                at = opaque(at.add(p.pixel));
                            }
                            let v = S::load(at);
                            for (j, &w) in w.iter().enumerate() {
                                if j <= $n && ($n - j) % A == 0 && ($n - j) / A < T {
                                    let t = ($n - j) / A;
                                    acc[t][0] = S::fma(v, w, acc[t][0]);
                                }
                            }
                        }
                    )*};
                }
                const { assert!((T - 1) * A + K <= 19) };
                columns!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
            }
            // The steps after the last row may leave the buffers; they are never read through.
            tap = tap.wrapping_add(p.kernel[1] * p.taps_ld);
            row = row.wrapping_add(p.dilation[0] * p.line);
        }
        finish::<S, 1, T>(p.activation, &mut acc);
        if !p.sums.is_null() {
            let sum = p.sums.add(i);
            let mut s = load_n::<S>(sum, k);
            for v in &acc {
                s = S::add(s, v[0]);
            }
            store_n::<S>(sum, s, k);
        }
        let mut to = to;
        for (t, v) in acc.iter().enumerate() {
            if t > 0 {
                to = to.add(p.y_ld);
            }
            store_n::<S>(to, v[0], k);
        }
    }
}
