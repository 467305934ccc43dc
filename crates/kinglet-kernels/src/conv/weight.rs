//! The gradient of the weights: `dW[co, k] = sum over rows m of dY[m, co] * A[m, k]`.
//!
//! Rows are the forward pass's: pointers plus segments. A task takes a range of tiles and a range of k, and adds products
//! of six rows (of `co`) by two vectors (of `k`) to its own partial sum, tile by tile. Evenly spaced rows of one segment are
//! multiplied where they lie: a copy of them would cost a tenth of the product, and more where there are few columns. Others
//! are copied into contiguous panels, as are rows that lie far apart and have many columns (`FAR`). Partial sums are added
//! to the gradient in the order of the tiles.

// Register tiles are indexed by row and vector alike; iterators would hide which accumulator is which.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::gemm::{Segment, lanes, panel_count, panel_width};
use super::plan::{Plan, Scratch, with_floats, with_scratch};
use super::{ConvShape, forward_problem};
use crate::dispatch;
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_chunks_mut, parallel_for};

/// Columns of `dY` packed side by side: a multiple of every row count of the micro-kernel.
const GROUP: usize = 12;
/// Tasks that a large problem is cut into.
const TASKS: usize = 16;
/// Multiply-adds that are not worth waking another thread for.
const SMALL: usize = 64 * 1024;

/// Rows of a tile: an L1-sized panel, and `dY` packed in 128 KiB.
pub(super) fn row_target(c_out: usize) -> usize {
    (32 * 1024 / c_out.max(1)).clamp(64, 240) / 12 * 12
}

/// How the sums for `n` columns of `dY` and `k` of inputs lie, and over how many rows they run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    n: usize,
    k: usize,
    /// `[k][n]` instead of `[n][k]`.
    transposed: bool,
    /// Floats of a row: whole vectors.
    ld: usize,
    /// Rows of a tile, at most.
    tile: usize,
    /// Rows of a tile that are summed up in registers, at most, where they are multiplied in place.
    sum: usize,
}

impl Layout {
    /// `[n][k]`.
    pub(super) fn new(n: usize, k: usize) -> Layout {
        let vectors = k / lanes();
        let one_panel =
            k.is_multiple_of(lanes()) && n.is_multiple_of(if vectors == 1 { GROUP } else { vectors.max(1) });
        let tile = row_target(n);
        let sum = if (1..=3).contains(&vectors) && one_panel { SHORT_SUM } else { usize::MAX };
        Layout { n, k, transposed: false, ld: k.next_multiple_of(lanes()), tile, sum }
    }

    /// Transposed where that wastes fewer lanes, or does as well and has more than one vector: a load then serves more
    /// products. It needs rows that can be multiplied in place. Each sum has the same terms in the same order either way.
    fn densest(self) -> Layout {
        let ld = self.n.next_multiple_of(lanes());
        let (here, there) = (self.n * self.ld, self.k * ld);
        let transposed = there < here || (there == here && self.k <= lanes());
        if transposed { Layout { transposed, ld, ..self } } else { self }
    }

    fn len(self) -> usize {
        self.ld * if self.transposed { self.k } else { self.n }
    }

    fn panels(self) -> usize {
        panel_count(self.ld / lanes())
    }

    /// Adds to the floats of `to` the sums of column `co` of `dY` and the columns of inputs from `first`.
    fn add<'a>(self, sums: &[f32], co: usize, first: usize, to: impl Iterator<Item = &'a mut f32>) {
        if self.transposed {
            to.zip(sums[first * self.ld + co..].iter().step_by(self.ld)).for_each(|(to, sum)| *to += *sum);
        } else {
            to.zip(&sums[co * self.ld + first..]).for_each(|(to, sum)| *to += *sum);
        }
    }
}

/// Panels that are packed in one sweep over the rows where these are the input's own: memory is read in order. Rows
/// of a padded copy are in the second-level cache already, and one panel at a time stays in the first.
const SWEEP: usize = 8;
/// Floats of an input's row, and columns of `dY`, from which on rows are copied even so. A panel of such rows lies in many pages
/// and in few sets of the cache, and is read for every few columns, while the copies are 3 % of the product's instructions.
/// With them it takes 2 to 20 % less time on an Intel Xeon (AVX-512).
const FAR: [usize; 2] = [256, 96];
/// Rows of a sum where one whole panel has all columns of the product.
const SHORT_SUM: usize = 64;

/// Where products are added: rows `ld` floats apart.
#[derive(Clone, Copy)]
struct Sum {
    c: *mut f32,
    ld: usize,
    /// What is there does not count.
    begins: bool,
}

/// A task's work on one tile.
struct Part<'a> {
    a: *const f32,
    a_off: &'a [usize],
    dy: *const f32,
    y_off: &'a [usize],
    layout: Layout,
    panels: Range<usize>,
    /// The reduction: segments, and runs of contiguous indices, panel by panel.
    segments: &'a [Segment],
    runs: &'a [Run],
    pack_a: *mut f32,
    pack_b: *mut f32,
    /// Partial sum.
    sum: Sum,
    /// Distance between rows of the input and of `dy`, where these are multiplied in place.
    in_place: Option<[usize; 2]>,
    /// Panels packed together.
    sweep: usize,
}

/// Part of a panel that is contiguous in the input.
#[derive(Debug, Clone, Copy)]
struct Run {
    panel: usize,
    /// First column in the panel, and columns.
    column: usize,
    len: usize,
    /// Offset from a row's pointer.
    offset: usize,
}

/// The runs of all panels.
fn runs(plan: &Plan, lanes: usize) -> Vec<Run> {
    let vectors = plan.k.div_ceil(lanes);
    let mut runs = Vec::new();
    let (mut panel, mut column) = (0, 0);
    for s in &plan.segments {
        let mut s = *s;
        while s.len > 0 {
            let width = panel_width(panel, vectors) * lanes;
            let len = s.len.min(width - column);
            match runs.last_mut() {
                Some(Run { panel: p, column: c, len: l, offset })
                    if *p == panel && *offset + *l == s.offset && *c + *l == column =>
                {
                    *l += len;
                }
                _ => runs.push(Run { panel, column, len, offset: s.offset }),
            }
            s = Segment { offset: s.offset + len, len: s.len - len };
            column += len;
            if column == width {
                (panel, column) = (panel + 1, 0);
            }
        }
    }
    runs
}

dispatch!(
    fn part(p: &Part<'_>) = part_kernel
);

#[inline(always)]
unsafe fn part_kernel<S: Simd>(p: &Part<'_>) {
    // SAFETY: the caller's promise: rows, pack buffers and the partial sum are valid and large enough.
    unsafe {
        let Layout { n, k, .. } = p.layout;
        let rows = p.a_off.len();
        if let Some(steps) = p.in_place {
            return multiply_in_place::<S>(p, rows, steps);
        }
        let groups = n.div_ceil(GROUP);
        let vectors = k.div_ceil(S::LANES);
        pack_dy(p, rows, groups);
        let mut first = p.panels.start;
        while first < p.panels.end {
            let end = (first + p.sweep).min(p.panels.end);
            // Panels lie this far apart: three vectors wide, and room for a vector store past the end.
            let apart = (rows + 1) * 3 * S::LANES;
            pack_rows::<S>(p, first..end, apart, vectors);
            for panel in first..end {
                let width = panel_width(panel, vectors);
                let a = p.pack_a.add((panel - first) * apart).cast_const();
                for g in 0..groups {
                    let end = (n - g * GROUP).min(GROUP);
                    let b = p.pack_b.add(g * rows * GROUP).cast_const();
                    let c = p.sum.c.add(g * GROUP * p.sum.ld + 2 * panel * S::LANES);
                    let sum = Sum { c, ..p.sum };
                    group::<S, false>(width, end, rows, [a, b], [width * S::LANES, GROUP], S::LANES, sum);
                }
            }
            first = end;
        }
    }
}

/// Multiplies rows where they lie: vectors of the columns along which the sums lie, each by the other columns.
#[inline(always)]
unsafe fn multiply_in_place<S: Simd>(p: &Part<'_>, rows: usize, [x_step, dy_step]: [usize; 2]) {
    // SAFETY: as for `part_kernel`; no column past the last is read.
    unsafe {
        let Layout { n, k, transposed, ld, sum, .. } = p.layout;
        let (x, dy) = (p.a.add(*p.a_off.get_unchecked(0)), p.dy.add(*p.y_off.get_unchecked(0)));
        let columns_of_dy = [Segment { offset: 0, len: n }];
        let (wide, a, a_step, segments, b, b_step) = if transposed {
            (n, dy, dy_step, p.segments, x, x_step)
        } else {
            (k, x, x_step, &columns_of_dy[..], dy, dy_step)
        };
        let vectors = wide.div_ceil(S::LANES);
        let mut done = 0;
        while done < rows {
            let count = (rows - done).min(sum);
            for panel in p.panels.clone() {
                let (width, column) = (panel_width(panel, vectors), 2 * panel * S::LANES);
                let tail = (wide - column).min(width * S::LANES) - (width - 1) * S::LANES;
                let a = a.add(done * a_step + column);
                let mut c = p.sum.c.add(column);
                for s in segments {
                    let b = b.add(done * b_step + s.offset);
                    for first in (0..s.len).step_by(GROUP) {
                        let end = (s.len - first).min(GROUP);
                        let sum = Sum { c, begins: p.sum.begins && done == 0, ..p.sum };
                        let (from, steps) = ([a, b.add(first)], [a_step, b_step]);
                        if tail < S::LANES {
                            group::<S, true>(width, end, count, from, steps, tail, sum);
                        } else {
                            group::<S, false>(width, end, count, from, steps, tail, sum);
                        }
                        c = c.add(end * ld);
                    }
                }
            }
            done += count;
        }
    }
}

/// One panel times the `end` columns of a group. With `TAIL`, the last vector of the panel's rows has `tail` lanes.
#[inline(always)]
unsafe fn group<S: Simd, const TAIL: bool>(
    width: usize,
    end: usize,
    rows: usize,
    [a, b]: [*const f32; 2],
    step: [usize; 2],
    tail: usize,
    sum: Sum,
) {
    let mut r = 0;
    while r < end {
        // SAFETY: as for `part_kernel`; no micro-kernel takes more columns than are left.
        unsafe {
            let from = [a, b.add(r)];
            let to = Sum { c: sum.c.add(r * sum.ld), ..sum };
            r += match (width, end - r) {
                (2, 4..6 | 8) => micro::<S, 4, 2, TAIL>(rows, from, step, tail, to),
                (2, 6..) => micro::<S, 6, 2, TAIL>(rows, from, step, tail, to),
                (2, 2..) => micro::<S, 2, 2, TAIL>(rows, from, step, tail, to),
                (2, _) => micro::<S, 1, 2, TAIL>(rows, from, step, tail, to),
                (3, 3..) => micro::<S, 3, 3, TAIL>(rows, from, step, tail, to),
                (3, 2) => micro::<S, 2, 3, TAIL>(rows, from, step, tail, to),
                (3, _) => micro::<S, 1, 3, TAIL>(rows, from, step, tail, to),
                (_, 12..) => micro::<S, 12, 1, TAIL>(rows, from, step, tail, to),
                (_, 9..) => micro::<S, 9, 1, TAIL>(rows, from, step, tail, to),
                (_, 6..) => micro::<S, 6, 1, TAIL>(rows, from, step, tail, to),
                (_, 4..) => micro::<S, 4, 1, TAIL>(rows, from, step, tail, to),
                (_, 2..) => micro::<S, 2, 1, TAIL>(rows, from, step, tail, to),
                (_, _) => micro::<S, 1, 1, TAIL>(rows, from, step, tail, to),
            };
        }
    }
}

/// Copies `dY` into groups of columns, zero past the last column.
#[inline(always)]
unsafe fn pack_dy(p: &Part<'_>, rows: usize, groups: usize) {
    let full = p.layout.n / GROUP;
    let exist = p.layout.n % GROUP;
    for (m, &off) in p.y_off.iter().enumerate() {
        // SAFETY: as for `part_kernel`.
        unsafe {
            let mut from = p.dy.add(off);
            let mut to = p.pack_b.add(m * GROUP);
            for _ in 0..full {
                to.cast::<[f32; GROUP]>().write_unaligned(from.cast::<[f32; GROUP]>().read_unaligned());
                from = from.add(GROUP);
                to = to.add(rows * GROUP);
            }
            if full < groups {
                for j in 0..GROUP {
                    *to.add(j) = if j < exist { *from.add(j) } else { 0.0 };
                }
            }
        }
    }
}

/// Copies the panels' reduction indices of every row. Columns past the last hold anything: so do those of the sum.
#[inline(always)]
unsafe fn pack_rows<S: Simd>(p: &Part<'_>, panels: Range<usize>, apart: usize, vectors: usize) {
    let from = p.runs.partition_point(|r| r.panel < panels.start);
    let to = p.runs.partition_point(|r| r.panel < panels.end);
    if to - from == 1 {
        // The usual case, without the loop over runs.
        let run = p.runs[from];
        let width = panel_width(run.panel, vectors) * S::LANES;
        let full = run.len / S::LANES * S::LANES;
        let mut dst = p.pack_a;
        for &off in p.a_off {
            // SAFETY: as for `part_kernel`.
            unsafe {
                let src = p.a.add(off + run.offset);
                let mut j = 0;
                while j < full {
                    S::store(dst.add(j), S::load(src.add(j)));
                    j += S::LANES;
                }
                if j < run.len {
                    S::store(dst.add(j), S::load_partial(src.add(j), run.len - j));
                }
                dst = dst.add(width);
            }
        }
        return;
    }
    for (m, &off) in p.a_off.iter().enumerate() {
        // SAFETY: as for `part_kernel`. A store past a run's end is overwritten by the next run or row of the panel, or
        // lands in the room after the panel.
        unsafe {
            for run in p.runs.get_unchecked(from..to) {
                let width = panel_width(run.panel, vectors) * S::LANES;
                let src = p.a.add(off + run.offset);
                let dst = p.pack_a.add((run.panel - panels.start) * apart + m * width + run.column);
                let mut j = 0;
                while j + S::LANES <= run.len {
                    S::store(dst.add(j), S::load(src.add(j)));
                    j += S::LANES;
                }
                if j < run.len {
                    S::store(dst.add(j), S::load_partial(src.add(j), run.len - j));
                }
            }
        }
    }
}

/// Adds the product of `MR` columns of `dY` and `NV` vectors of inputs to `sum`. Returns the columns done.
#[inline(always)]
unsafe fn micro<S: Simd, const MR: usize, const NV: usize, const TAIL: bool>(
    rows: usize,
    [mut a, mut b]: [*const f32; 2],
    [a_step, b_step]: [usize; 2],
    tail: usize,
    sum: Sum,
) -> usize {
    // SAFETY: as for `part_kernel`.
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; MR];
        for _ in 0..rows {
            let mut w = [S::splat(0.0); NV];
            for v in 0..NV {
                let from = a.add(v * S::LANES);
                w[v] = if TAIL && v + 1 == NV { S::load_partial(from, tail) } else { S::load(from) };
            }
            for r in 0..MR {
                let x = S::splat(*b.add(r));
                for v in 0..NV {
                    acc[r][v] = S::fma(x, w[v], acc[r][v]);
                }
            }
            a = a.wrapping_add(a_step);
            b = b.wrapping_add(b_step);
        }
        for r in 0..MR {
            for v in 0..NV {
                let p = sum.c.add(r * sum.ld + v * S::LANES);
                S::store(p, if sum.begins { acc[r][v] } else { S::add(S::load(p), acc[r][v]) });
            }
        }
        MR
    }
}

/// Adds the gradient of one group's weights to `dweight` (the group's part, `[c_out][c_in][kernel]`).
///
/// `kernel` is its height and width.
pub(super) fn weight_gradient(plan: &Plan, x: &[f32], dy: &[f32], dweight: &mut [f32], kernel: [usize; 2]) {
    let p = &plan.p;
    let (n, k, tiles) = (p.c_out, plan.k, plan.tiles());
    if k == 0 || n == 0 || tiles == 0 {
        return;
    }
    let plain = Layout::new(n, k);
    let work = tiles * plan.max_rows() * k * n;
    // Ranges of k, so that a task's partial sum stays in the second-level cache.
    let mut ranges = plain.len().div_ceil(64 * 1024).min(plain.panels());
    let rows = (TASKS / ranges).min(tiles).min((2 << 20) / plain.len()).max(1);
    if rows * ranges < 8 {
        ranges = 8usize.div_ceil(rows).min(plain.panels()).min((work / rows / SMALL).max(1));
    }
    let layout = if plan.even().is_some() { plain.densest() } else { plain };
    let (len, panels, ranges) = (layout.len(), layout.panels(), ranges.min(layout.panels()));
    let runs = runs(plan, lanes());
    with_floats(rows * len, |partial| {
        let out = SendPtr(partial.as_mut_ptr());
        let task = |i: usize| {
            let (row, range) = (i / ranges, i % ranges);
            let panels = panels * range / ranges..panels * (range + 1) / ranges;
            // SAFETY: tasks write to different parts or columns of `partial`, which has `rows` parts.
            let c = unsafe { out.get().add(row * len) };
            let first = tiles * row / rows;
            for tile in first..tiles * (row + 1) / rows {
                // SAFETY: as above.
                unsafe { add_tile(plan, layout, tile, [x, dy], &runs, panels.clone(), c, tile == first) };
            }
        };
        if work < SMALL {
            (0..rows * ranges).for_each(task);
        } else {
            parallel_for(rows * ranges, task);
        }
        combine(plan, layout, partial, dweight, kernel);
    });
}

/// Adds to the columns of some panels of the sums at `c` what one tile contributes, or begins the sums with it.
///
/// # Safety
/// The sums lie as `layout` says, nobody else uses these columns, and `dy` is the output's. A transposed layout needs a plan
/// with even rows.
#[allow(clippy::too_many_arguments)]
unsafe fn add_tile(
    plan: &Plan,
    layout: Layout,
    tile: usize,
    [x, dy]: [&[f32]; 2],
    runs: &[Run],
    panels: Range<usize>,
    c: *mut f32,
    begins: bool,
) {
    let far = plan.k >= FAR[0] && layout.n >= FAR[1];
    let in_place = plan.even().filter(|_| layout.transposed || (plan.one_run() && !far));
    with_scratch(|s| {
        let a = plan.load(tile, x, s);
        let Scratch { a_off, y_off, pack_a, pack_b, .. } = s;
        if in_place.is_none() {
            pack_a.grow((a_off.len() + 1) * 3 * lanes() * SWEEP);
            pack_b.grow(a_off.len() * layout.n.next_multiple_of(GROUP));
        }
        let work = Part {
            a,
            a_off,
            dy: dy.as_ptr(),
            y_off,
            layout,
            panels,
            segments: &plan.segments,
            runs,
            pack_a: pack_a.as_mut_ptr(),
            pack_b: pack_b.as_mut_ptr(),
            sum: Sum { c, ld: layout.ld, begins },
            in_place,
            sweep: if plan.direct { SWEEP } else { 1 },
        };
        // SAFETY: `load` gives rows inside the input or its copy; the buffers were grown above.
        unsafe { part(&work) };
    });
}

/// Adds the rows' `dz^T * x` to the sums at `c`, for a 1x1 convolution of shape `s`, or begins the sums with it.
///
/// # Safety
/// The sums lie as `layout`, made for the channels of `s`, says, and nobody else uses them.
///
/// # Panics
/// If a slice has another length than the shape says.
pub(super) unsafe fn add_product(s: &ConvShape, layout: Layout, [x, dz]: [&[f32]; 2], c: *mut f32, begins: bool) {
    assert_eq!((x.len(), dz.len()), (s.input_len(), s.output_len()), "lengths of {s:?}");
    let plan = Plan::new(forward_problem(s, 0), layout.tile);
    let runs = runs(&plan, lanes());
    for tile in 0..plan.tiles() {
        // SAFETY: the caller's promise; rows of a 1x1 convolution are even.
        unsafe { add_tile(&plan, layout, tile, [x, dz], &runs, 0..layout.panels(), c, begins && tile == 0) };
    }
}

/// Sums of `dz^T * x` over rows that come chunk by chunk, with a part for every task.
pub(crate) struct ProductSums<'a> {
    partial: &'a mut [f32],
    layout: Layout,
    out: SendPtr<f32>,
}

impl<'a> ProductSums<'a> {
    /// Floats of a part for `n` columns of `dz` and `k` of `x`.
    pub fn part_len(n: usize, k: usize) -> usize {
        Layout::new(n, k).densest().len()
    }

    /// Sums in these floats, one part after the other; what they hold does not count.
    pub fn new(partial: &'a mut [f32], n: usize, k: usize) -> Self {
        let out = SendPtr(partial.as_mut_ptr());
        ProductSums { partial, layout: Layout::new(n, k).densest(), out }
    }

    /// Adds the rows of one chunk, a 1x1 convolution of shape `s`, to the part of `task`; its first chunk begins the part.
    ///
    /// # Safety
    /// No other thread adds to the same part.
    pub unsafe fn add(&self, task: usize, s: &ConvShape, x: &[f32], dz: &[f32], begins: bool) {
        let (layout, len) = (self.layout, self.layout.len());
        assert!(
            (task + 1) * len <= self.partial.len() && [s.c_out, s.c_in] == [layout.n, layout.k],
            "{s:?} fits the sums"
        );
        // SAFETY: the caller's promise, and the part lies in the floats.
        unsafe { add_product(s, layout, [x, dz], self.out.get().add(task * len), begins) };
    }

    /// Adds all parts to the gradient `[n][k]`, in the order of the tasks.
    pub fn finish(self, dweight: &mut [f32]) {
        let (partial, layout) = (&*self.partial, self.layout);
        parallel_chunks_mut(dweight, layout.k, |co, row| {
            partial.chunks_exact(layout.len()).for_each(|part| layout.add(part, co, 0, row.iter_mut()));
        });
    }
}

/// Adds the partial sums to the gradient, in order.
fn combine(plan: &Plan, layout: Layout, partial: &[f32], dweight: &mut [f32], kernel: [usize; 2]) {
    let p = &plan.p;
    let area = kernel[0] * kernel[1];
    let out = SendPtr(dweight.as_mut_ptr());
    let column = |co: usize| {
        // SAFETY: every task has its own output channel; the caller checked the length.
        let dw = unsafe { std::slice::from_raw_parts_mut(out.get().add(co * p.c_in * area), p.c_in * area) };
        for part in partial.chunks_exact(layout.len()) {
            let mut at = 0;
            for &(_, ky) in &p.axes[0].taps {
                for &(_, kx) in &p.axes[1].taps {
                    layout.add(part, co, at, dw[ky * kernel[1] + kx..].iter_mut().step_by(area).take(p.c_in));
                    at += p.c_in;
                }
            }
        }
    };
    if partial.len() < 16 * 1024 {
        (0..p.c_out).for_each(column);
    } else {
        parallel_for(p.c_out, column);
    }
}
