//! Depthwise convolution: every channel has its own kernel.
//!
//! Shapes: `x` `[batch, h, w, c]`, `y` `[batch, oh, ow, c]`, weights `[c, 1, kh, kw]`; any kernel, stride, padding and
//! dilation. Oracle: `reference/conv.rs`.
//!
//! The forward pass and the gradient of the input are one kernel. Along each axis an output reads a *run* of inputs:
//! forward, output `o` reads input `o * stride - padding + k * dilation` with tap `k`; backward, `dx[i]` reads `dy[o]`
//! with every tap `k` for which `o * stride = i + padding - k * dilation`, and these too are evenly spaced. So each
//! gradient is gathered, none scattered. Outputs of one phase (all of them forward, every stride-th backward) move
//! through the input by a constant step; up to eight of them make a register tile along the width.
//!
//! Tasks are blocks of output rows, and move down them in strips whose inputs may be computed on the way: in training,
//! the normalised and activated output of the convolution before. Sums are `f32` within a task and `f64` across tasks, in a fixed order.

mod weight;

use crate::conv::{ChannelStats, with_floats};
use crate::elementwise::{load_n, store_n};
use crate::rows::{InputGradient, Rows, TaskSums, grown, with_scratch};
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_chunks_mut, parallel_for};
use crate::{Activation, AlignedVec, ConvShape, activation, dispatch};
use std::ops::Range;
use weight::{WeightPlan, weight_rows};

/// Most outputs of a register tile.
const TILE: usize = 8;

/// What one output reads along one axis: `count` inputs from `input` and as many taps from `tap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    input: usize,
    tap: usize,
    count: usize,
}

/// One axis of a gathering convolution.
#[derive(Debug)]
struct Axis {
    /// For each output.
    runs: Vec<Run>,
    /// From one input of a run to the next.
    input_step: isize,
    /// From one tap of a run to the next.
    tap_step: isize,
    /// From one output of a phase to the next.
    phase: usize,
    /// By how much such outputs move through the input.
    advance: usize,
}

impl Axis {
    /// The forward pass along `axis` (0: height, 1: width).
    fn forward(s: &ConvShape, axis: usize) -> Self {
        let (size, dilation) = (s.input[axis] as isize, s.dilation[axis] as isize);
        let runs = (0..s.output[axis])
            .map(|o| {
                let first = (o * s.stride[axis]) as isize - s.padding[axis] as isize;
                let at = |k: usize| first + k as isize * dilation;
                let inside = |k: &usize| (0..size).contains(&at(*k));
                let tap = (0..s.kernel[axis]).find(inside).unwrap_or(0);
                let count = (0..s.kernel[axis]).filter(inside).count();
                Run { input: if count == 0 { 0 } else { at(tap) as usize }, tap, count }
            })
            .collect();
        Self { runs, input_step: dilation, tap_step: 1, phase: 1, advance: s.stride[axis] }
    }

    /// The gradient of the input along `axis`: `dx` gathers from `dy`.
    fn backward(s: &ConvShape, axis: usize) -> Self {
        let (stride, dilation) = (s.stride[axis], s.dilation[axis]);
        let common = gcd(stride, dilation);
        let runs = (0..s.input[axis])
            .map(|i| {
                let source = |k: usize| {
                    let scaled = (i + s.padding[axis]).checked_sub(k * dilation)?;
                    let inside = scaled.is_multiple_of(stride) && scaled / stride < s.output[axis];
                    inside.then_some(scaled / stride)
                };
                let mut found = (0..s.kernel[axis]).filter_map(|k| Some((k, source(k)?)));
                match found.next() {
                    Some((tap, input)) => Run { input, tap, count: 1 + found.count() },
                    None => Run { input: 0, tap: 0, count: 0 },
                }
            })
            .collect();
        let input_step = -((dilation / common) as isize);
        Self { runs, input_step, tap_step: (stride / common) as isize, phase: stride, advance: 1 }
    }

    /// The inputs that outputs `range` read.
    fn reads(&self, range: Range<usize>) -> Range<usize> {
        let runs = || self.runs[range.clone()].iter().filter(|run| run.count > 0);
        let last = |run: &Run| run.input.wrapping_add_signed((run.count - 1) as isize * self.input_step);
        let ends = || runs().flat_map(|run| [run.input, last(run)]);
        match (ends().min(), ends().max()) {
            (Some(first), Some(last)) => first..last + 1,
            _ => 0..0,
        }
    }

    /// Groups the outputs into segments of at most `limit` that read alike, in the order of their first output.
    fn segments(&self, limit: usize) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for start in 0..self.phase.min(self.runs.len()) {
            let mut open: Option<Segment> = None;
            for i in (start..self.runs.len()).step_by(self.phase) {
                let run = self.runs[i];
                match &mut open {
                    Some(s)
                        if s.len < limit
                            && s.run.tap == run.tap
                            && s.run.count == run.count
                            && (run.count == 0 || s.run.input + s.len * self.advance == run.input) =>
                    {
                        s.len += 1
                    }
                    _ => segments.extend(open.replace(Segment { output: i, run, len: 1 })),
                }
            }
            segments.extend(open);
        }
        segments.sort_by_key(|s| s.output);
        segments
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Outputs `output`, `output + phase`, ..., `len` of them, of which the first reads `run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    output: usize,
    run: Run,
    len: usize,
}

/// How the outputs of a gathering convolution start and end.
#[derive(Debug, Clone, Copy)]
struct Epilogue<'a> {
    bias: Option<&'a [f32]>,
    /// Start from what the output holds.
    accumulate: bool,
    activation: Activation,
}

/// A gathering convolution, ready to run by blocks of output rows.
struct Gather<'a> {
    c: usize,
    /// Height and width of the source.
    size: [usize; 2],
    rows: Axis,
    columns: Axis,
    segments: Vec<Segment>,
    /// `[kh * kw, c]`.
    taps: Vec<f32>,
    kernel_width: usize,
    epilogue: Epilogue<'a>,
}

impl<'a> Gather<'a> {
    #[allow(clippy::too_many_arguments)]
    fn new(s: &ConvShape, size: [usize; 2], rows: Axis, columns: Axis, weight: &[f32], epilogue: Epilogue<'a>) -> Self {
        let segments = columns.segments(TILE);
        let (taps, kernel_width) = (taps_first(weight, s.c_in), s.kernel[1]);
        Self { c: s.c_in, size, rows, columns, segments, taps, kernel_width, epilogue }
    }
}

/// Adds up `[tasks, 2, c]` partial sums in the order of the tasks.
fn sum_tasks(partial: &[f32], c: usize) -> [Vec<f64>; 2] {
    let mut total = [vec![0.0f64; c], vec![0.0f64; c]];
    for task in partial.chunks_exact(2 * c) {
        for (total, part) in total.iter_mut().zip(task.chunks_exact(c)) {
            total.iter_mut().zip(part).for_each(|(total, &part)| *total += f64::from(part));
        }
    }
    total
}

/// Values of the lines of one step of a task, 256 KiB: they stay in the second-level cache.
const STRIP: usize = 64 * 1024;
/// Steps of a task whose lines are computed in one go: the more, the fewer are moved from one strip to the next. With one
/// alone a training step took 1 to 2 % more; three gained nothing further.
const STEPS: usize = 2;
/// Tasks that inputs computed by rows are cut into: lines that two of them read are computed twice.
const TASKS: usize = 32;

/// Output rows of a task, and how many of them it works on at a time.
fn cut(s: &ConvShape, x: Rows<'_>) -> [usize; 2] {
    let [height, width] = s.output;
    let rows = match x {
        // At least eight tasks where there are as many rows.
        Rows::Whole(_) => (STRIP / (width * s.c_in).max(1)).min((s.batch * height).div_ceil(8)),
        Rows::Computed(_) => (s.batch * height).div_ceil(TASKS),
    };
    let rows = rows.clamp(1, height.max(1));
    let step = match x {
        Rows::Whole(_) => rows,
        Rows::Computed(_) => {
            let lines = STRIP / (s.input[1] * s.c_in).max(1);
            (lines.saturating_sub(s.dilation[0] * (s.kernel[0] - 1)) / s.stride[0]).clamp(1, rows)
        }
    };
    [rows, step]
}

/// The lines of one image that a task is at, each of which it computes once as it moves down.
struct Strip<'a> {
    x: Rows<'a>,
    /// The image's first row (pixel) in `x`.
    first: usize,
    /// Pixels of a line, and channels.
    width: usize,
    c: usize,
    have: Range<usize>,
}

impl<'a> Strip<'a> {
    fn new(x: Rows<'a>, [height, width]: [usize; 2], c: usize, image: usize) -> Self {
        Strip { x, first: image * height * width, width, c, have: 0..0 }
    }

    /// Where line 0 of the image would lie, of which only lines `want` may be read.
    fn lines(&mut self, want: Range<usize>, buffer: &mut AlignedVec) -> *const f32 {
        let (line, pixels) = (self.width * self.c, |lines: &Range<usize>| {
            self.first + lines.start * self.width..self.first + lines.end * self.width
        });
        match self.x {
            Rows::Whole(all) => all[self.first * self.c..].as_ptr(),
            Rows::Computed(compute) => {
                let kept = self.have.start.max(want.start)..self.have.end.min(want.end);
                let mut missing = want.clone();
                if kept.start == want.start && !kept.is_empty() {
                    let from = kept.start - self.have.start;
                    buffer.copy_within(from * line..(from + kept.len()) * line, 0);
                    missing.start = kept.end;
                }
                let all = grown(buffer, want.len() * line);
                if !missing.is_empty() {
                    compute(pixels(&missing), &mut all[(missing.start - want.start) * line..]);
                }
                self.have = want.clone();
                all.as_ptr().wrapping_sub(want.start * line)
            }
        }
    }
}

/// Runs every task on its lines; with `stats`, returns the channel sums of the output and of its square.
fn run(s: &ConvShape, g: &Gather<'_>, x: Rows<'_>, y: &mut [f32], stats: bool) -> [Vec<f64>; 2] {
    let ([height, width], c) = (s.output, s.c_in);
    check_rows(x, s.input_len());
    assert_eq!(y.len(), s.output_len(), "depthwise: length of y");
    let [rows, step] = cut(s, x);
    let blocks = height.div_ceil(rows);
    let mut partial = vec![0.0f32; if stats { s.batch * blocks * 2 * c } else { 0 }];
    let (out, sums) = (SendPtr(y.as_mut_ptr()), SendPtr(partial.as_mut_ptr()));
    parallel_for(s.batch * blocks, |task| {
        let (image, first) = (task / blocks, task % blocks * rows);
        let last = (first + rows).min(height);
        let mut strip = Strip::new(x, s.input, c, image);
        with_scratch(|[buffer, ..]| {
            for at in (first..last).step_by(STEPS * step) {
                let here = at..(at + STEPS * step).min(last);
                let source = strip.lines(g.rows.reads(here.clone()), buffer);
                // SAFETY: each task writes its own rows of `y` and its own sums; the lengths were checked above.
                unsafe {
                    let sums = if stats { sums.get().add(task * 2 * c) } else { std::ptr::null_mut() };
                    gather_rows(g, source, out.get().add(image * height * width * c), here.start, here.len(), sums);
                }
            }
        });
    });
    sum_tasks(&partial, c)
}

fn check_rows(rows: Rows<'_>, len: usize) {
    if let Rows::Whole(rows) = rows {
        assert_eq!(rows.len(), len, "depthwise: length of x or dy");
    }
}

/// `[c, kh * kw]` to `[kh * kw, c]`.
fn taps_first(weight: &[f32], c: usize) -> Vec<f32> {
    let taps = weight.len() / c;
    let mut out = vec![0.0; weight.len()];
    for (ch, kernel) in weight.chunks_exact(taps.max(1)).enumerate() {
        kernel.iter().enumerate().for_each(|(tap, &w)| out[tap * c + ch] = w);
    }
    out
}

fn check(s: &ConvShape) {
    assert!(s.groups == s.c_in && s.c_out == s.c_in, "depthwise: {s:?} has a kernel over several channels");
}

/// `y = conv(x, weight) + bias`. `stats` receives the sums of `y` and of its square over batch and space.
///
/// # Panics
/// If the shape is not depthwise or the lengths do not fit.
pub fn forward(
    s: &ConvShape,
    x: Rows<'_>,
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    stats: Option<&mut ChannelStats>,
) {
    let epilogue = Epilogue { bias, accumulate: false, activation: Activation::Identity };
    let [sum, sum_sq] = run(s, &forward_gather(s, weight, epilogue), x, y, stats.is_some());
    if let Some(stats) = stats {
        *stats = ChannelStats { sum, sum_sq };
    }
}

/// `y = activation(conv(x, weight) + bias)`.
///
/// # Panics
/// If the shape is not depthwise or the lengths do not fit.
pub fn forward_act(
    s: &ConvShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    let epilogue = Epilogue { bias, accumulate: false, activation };
    run(s, &forward_gather(s, weight, epilogue), Rows::Whole(x), y, false);
}

fn forward_gather<'a>(s: &ConvShape, weight: &[f32], epilogue: Epilogue<'a>) -> Gather<'a> {
    check(s);
    assert_eq!(weight.len(), s.weight_len(), "depthwise: length of the weight");
    assert!(epilogue.bias.is_none_or(|b| b.len() == s.c_in), "depthwise: length of the bias");
    Gather::new(s, s.input, Axis::forward(s, 0), Axis::forward(s, 1), weight, epilogue)
}

/// The gradients: `dweight +=` that of the weights, and `dx = ` or `+= conv_transposed(dy, weight)`.
///
/// `weight` is read for `dx`, `x` for `dweight`.
///
/// # Panics
/// If the shape is not depthwise or the lengths do not fit.
#[allow(clippy::cast_possible_truncation)]
pub fn backward(
    s: &ConvShape,
    x: Rows<'_>,
    weight: &[f32],
    dy: Rows<'_>,
    dweight: Option<&mut [f32]>,
    dx: Option<InputGradient<'_>>,
) {
    check(s);
    assert!(dx.is_none() || weight.len() == s.weight_len(), "depthwise: length of the weight");
    check_rows(dy, s.output_len());
    assert!(dweight.as_ref().is_none_or(|d| d.len() == s.weight_len()), "depthwise: length of the weight's gradient");
    assert!(dx.as_ref().is_none_or(|d| d.values.len() == s.input_len()), "depthwise: length of dx");
    if s.output_len() == 0 {
        return dx.into_iter().filter(|dx| !dx.accumulate).for_each(|dx| dx.values.fill(0.0));
    }
    let (height, c, taps) = (s.output[0], s.c_in, s.kernel[0] * s.kernel[1]);
    let plan = dweight.is_some().then(|| WeightPlan::new(s));
    if plan.is_some() {
        check_rows(x, s.input_len());
    }
    let gather = dx.as_ref().map(|dx| {
        let epilogue = Epilogue { bias: None, accumulate: dx.accumulate, activation: Activation::Identity };
        Gather::new(s, s.output, Axis::backward(s, 0), Axis::backward(s, 1), weight, epilogue)
    });
    let reads = Axis::forward(s, 0);
    let [rows, step] = cut(s, x);
    let blocks = height.div_ceil(rows);
    let tasks = s.batch * blocks;
    let partial_len = if plan.is_some() { taps * c } else { 0 };
    let (values, row_sums) = dx.map_or((Default::default(), None), |dx| (dx.values, dx.sums));
    let (out, row_sums) = (SendPtr(values.as_mut_ptr()), TaskSums::new(row_sums, tasks));
    // Lines of `dx` that go with the output rows before `row`.
    let lines = |row: usize| if row == height { s.input[0] } else { (row * s.stride[0]).min(s.input[0]) };
    with_floats(tasks * partial_len, |partial| {
        let partial_out = SendPtr(partial.as_mut_ptr());
        parallel_for(tasks, |task| {
            let (image, first) = (task / blocks, task % blocks * rows);
            let last = (first + rows).min(height);
            let mut strip = Strip::new(x, s.input, c, image);
            let mut dy_strip = Strip::new(dy, s.output, c, image);
            // SAFETY: each task has its own sums.
            let partial =
                unsafe { std::slice::from_raw_parts_mut(partial_out.get().add(task * partial_len), partial_len) };
            partial.fill(0.0);
            with_scratch(|[buffer, dy_buffer, _]| {
                for at in (first..last).step_by(STEPS * step) {
                    let here = at..(at + STEPS * step).min(last);
                    // The gradient of the weights reads these rows of `dy`, that of the input some around them too.
                    let around = |gather: &Gather<'_>| gather.rows.reads(lines(here.start)..lines(here.end));
                    let wanted = match gather.as_ref().map(around) {
                        Some(around) if !around.is_empty() => here.start.min(around.start)..here.end.max(around.end),
                        _ => here.clone(),
                    };
                    let dy = dy_strip.lines(wanted, dy_buffer);
                    let x =
                        if plan.is_some() { strip.lines(reads.reads(here.clone()), buffer) } else { std::ptr::null() };
                    for row in here.clone().step_by(step) {
                        let end_row = (row + step).min(here.end);
                        // SAFETY: each task has its own lines of `dx` and its own sums; the lengths were checked above.
                        unsafe {
                            if let Some(plan) = &plan {
                                weight_rows(plan, x, dy, row, end_row - row, partial.as_mut_ptr());
                            }
                            let Some(gather) = &gather else { continue };
                            let ([size_h, size_w], start, end) = (s.input, lines(row), lines(end_row));
                            let dx = out.get().add(image * size_h * size_w * c);
                            gather_rows(gather, dy, dx, start, end - start, std::ptr::null_mut());
                            let pixels = (image * size_h + start) * size_w..(image * size_h + end) * size_w;
                            let dx = std::slice::from_raw_parts(dx.add(start * size_w * c), pixels.len() * c);
                            row_sums.add(task, pixels, dx);
                        }
                    }
                }
            });
        });
        if let Some(dweight) = dweight {
            add_taps(partial, c, taps, dweight);
        }
    });
    row_sums.finish();
}

/// Adds `[tasks, taps, c]` partial sums to `[c, taps]` gradients, in the order of the tasks.
#[allow(clippy::cast_possible_truncation)]
fn add_taps(partial: &[f32], c: usize, taps: usize, dweight: &mut [f32]) {
    /// Channels that are summed together.
    const SOME: usize = 16;
    parallel_chunks_mut(dweight, SOME * taps, |block, kernels| {
        let (first, count) = (block * SOME, kernels.len() / taps);
        for tap in 0..taps {
            let mut sums = [0.0f64; SOME];
            for task in partial.chunks_exact(taps * c) {
                let part = &task[tap * c + first..][..count];
                sums.iter_mut().zip(part).for_each(|(sum, &part)| *sum += f64::from(part));
            }
            kernels.iter_mut().skip(tap).step_by(taps).zip(sums).for_each(|(out, sum)| *out += sum as f32);
        }
    });
}

/// What the kernels of one tile need, in floats.
#[derive(Clone, Copy)]
struct Steps {
    c: usize,
    /// From one row of the run to the next, in the source and in the taps.
    row: isize,
    tap_row: isize,
    /// The same along the width.
    column: isize,
    tap_column: isize,
    /// From one output of the tile to the next, in the source and in the result.
    advance: usize,
    output: usize,
    /// Rows and columns of the run.
    count: [usize; 2],
}

#[inline(always)]
unsafe fn gather_kernel<S: Simd>(
    g: &Gather<'_>,
    source: *const f32,
    out: *mut f32,
    first: usize,
    rows: usize,
    sums: *mut f32,
) {
    let c = g.c;
    let (source_line, out_line) = (g.size[1] * c, g.columns.runs.len() * c);
    for row in first..first + rows {
        let down = g.rows.runs[row];
        for segment in &g.segments {
            let across = segment.run;
            let steps = Steps {
                c,
                row: g.rows.input_step * source_line as isize,
                tap_row: g.rows.tap_step * (g.kernel_width * c) as isize,
                column: g.columns.input_step * c as isize,
                tap_column: g.columns.tap_step * c as isize,
                advance: g.columns.advance * c,
                output: g.columns.phase * c,
                count: [down.count, across.count],
            };
            // SAFETY: runs and segments stay inside the source, the taps and the result by their construction.
            unsafe {
                let x = source.wrapping_add(down.input * source_line + across.input * c);
                let w = g.taps.as_ptr().add((down.tap * g.kernel_width + across.tap) * c);
                let y = out.add(row * out_line + segment.output * c);
                let dense = steps.column.unsigned_abs() == c;
                match (across.count, g.columns.advance) {
                    (1, 1) if dense => segment_kernel::<S, 1, 1>(g, steps, x, w, y, segment.len, sums),
                    (2, 1) if dense => segment_kernel::<S, 2, 1>(g, steps, x, w, y, segment.len, sums),
                    (3, 1) if dense => segment_kernel::<S, 3, 1>(g, steps, x, w, y, segment.len, sums),
                    (5, 1) if dense => segment_kernel::<S, 5, 1>(g, steps, x, w, y, segment.len, sums),
                    (3, 2) if dense => segment_kernel::<S, 3, 2>(g, steps, x, w, y, segment.len, sums),
                    (5, 2) if dense => segment_kernel::<S, 5, 2>(g, steps, x, w, y, segment.len, sums),
                    _ => any_segment_kernel::<S>(g, steps, x, w, y, segment.len, sums),
                }
                if g.epilogue.activation != Activation::Identity {
                    // While the segment is in L1. It is contiguous, because only the forward pass has an activation.
                    debug_assert_eq!(g.columns.phase, 1);
                    activation::forward_kernel::<S>(g.epilogue.activation, y, y, segment.len * c);
                }
            }
        }
    }
}
dispatch!(fn gather_rows(g: &Gather<'_>, source: *const f32, out: *mut f32, first: usize, rows: usize,
    sums: *mut f32) = gather_kernel);

/// Cuts a segment whose outputs read `N` adjacent columns into tiles of 8, 4 and 1.
#[inline(always)]
unsafe fn segment_kernel<S: Simd, const N: usize, const ADVANCE: usize>(
    g: &Gather<'_>,
    mut s: Steps,
    mut x: *const f32,
    mut w: *const f32,
    y: *mut f32,
    len: usize,
    sums: *mut f32,
) {
    if s.column < 0 {
        // From the other end, so that columns ascend.
        let last = N as isize - 1;
        x = x.wrapping_offset(last * s.column);
        w = w.wrapping_offset(last * s.tap_column);
        (s.column, s.tap_column) = (-s.column, -s.tap_column);
    }
    let mut done = 0;
    while done < len {
        // SAFETY: the tile lies inside the segment.
        unsafe {
            let (x, y) = (x.add(done * s.advance), y.add(done * s.output));
            done += match len - done {
                TILE.. => tile_kernel::<S, N, ADVANCE, TILE>(g, s, x, w, y, sums),
                4.. => tile_kernel::<S, N, ADVANCE, 4>(g, s, x, w, y, sums),
                _ => tile_kernel::<S, N, ADVANCE, 1>(g, s, x, w, y, sums),
            };
        }
    }
}

/// Cuts a segment with any run into tiles of 4 and 1.
#[inline(always)]
unsafe fn any_segment_kernel<S: Simd>(
    g: &Gather<'_>,
    s: Steps,
    x: *const f32,
    w: *const f32,
    y: *mut f32,
    len: usize,
    sums: *mut f32,
) {
    let mut done = 0;
    while done < len {
        // SAFETY: the tile lies inside the segment.
        unsafe {
            let (x, y) = (x.add(done * s.advance), y.add(done * s.output));
            done += match len - done {
                4.. => tile_kernel::<S, 0, 1, 4>(g, s, x, w, y, sums),
                _ => tile_kernel::<S, 0, 1, 1>(g, s, x, w, y, sums),
            };
        }
    }
}

/// `T` outputs of every channel, `ADVANCE` columns apart; each reads `N` adjacent columns, or any run where `N` is 0.
/// Returns `T`.
#[inline(always)]
unsafe fn tile_kernel<S: Simd, const N: usize, const ADVANCE: usize, const T: usize>(
    g: &Gather<'_>,
    s: Steps,
    x: *const f32,
    w: *const f32,
    y: *mut f32,
    sums: *mut f32,
) -> usize {
    let mut i = 0;
    // SAFETY: channels `i..i + LANES`, then the `c - i` that remain, of the places that the caller answers for.
    unsafe {
        while i + S::LANES <= s.c {
            vector_kernel::<S, N, ADVANCE, T>(g, s, x, w, y, sums, i, S::LANES);
            i += S::LANES;
        }
        if i < s.c {
            // The rolled form: the last vector is too rare to compile the other once more.
            vector_kernel::<S, 0, 1, T>(g, s, x, w, y, sums, i, s.c - i);
        }
    }
    T
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn vector_kernel<S: Simd, const N: usize, const ADVANCE: usize, const T: usize>(
    g: &Gather<'_>,
    s: Steps,
    x: *const f32,
    w: *const f32,
    y: *mut f32,
    sums: *mut f32,
    i: usize,
    k: usize,
) {
    // SAFETY: the caller's promise: `k` channels from `i` of every place.
    unsafe {
        // The outputs of the next tile, which are lines of as many pixels: no stream that the processor would foresee.
        for t in T..2 * T {
            S::prefetch(y.wrapping_add(t * s.output + i));
        }
        let mut acc = [S::splat(0.0); T];
        if let Some(bias) = g.epilogue.bias {
            acc = [load_n::<S>(bias.as_ptr().add(i), k); T];
        } else if g.epilogue.accumulate {
            for (t, acc) in acc.iter_mut().enumerate() {
                *acc = load_n::<S>(y.add(t * s.output + i), k);
            }
        }
        let (mut x_row, mut w_row) = (x.add(i), w.add(i));
        for _ in 0..s.count[0] {
            if N == 0 {
                for j in 0..s.count[1] as isize {
                    let tap = load_n::<S>(w_row.offset(j * s.tap_column), k);
                    let from = x_row.offset(j * s.column);
                    for (t, acc) in acc.iter_mut().enumerate() {
                        *acc = S::fma(load_n::<S>(from.add(t * s.advance), k), tap, *acc);
                    }
                }
            } else {
                let mut taps = [S::splat(0.0); N];
                let mut tap_at = opaque(w_row);
                for (j, tap) in taps.iter_mut().enumerate() {
                    if j > 0 {
                        tap_at = tap_at.offset(s.tap_column);
                    }
                    *tap = load_n::<S>(tap_at, k);
                }
                // Every column is loaded once and serves all outputs that read it.
                let mut from = x_row;
                // Written out, because LLVM leaves the longest of these loops rolled.
                macro_rules! columns {
                    ($($p:literal)*) => {$(
                        if $p < (T - 1) * ADVANCE + N {
                            if $p > 0 {
                                from = from.add(s.c);
                            }
                            from = opaque(from);
                            let v = load_n::<S>(from, k);
                            for (j, &tap) in taps.iter().enumerate() {
                                if j <= $p && ($p - j) % ADVANCE == 0 && ($p - j) / ADVANCE < T {
                                    let t = ($p - j) / ADVANCE;
                                    acc[t] = S::fma(v, tap, acc[t]);
                                }
                            }
                        }
                    )*};
                }
                const { assert!((T - 1) * ADVANCE + N <= 19) };
                columns!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
            }
            // The step after the last row may leave the buffer; it is never read through.
            x_row = x_row.wrapping_offset(s.row);
            w_row = w_row.wrapping_offset(s.tap_row);
        }
        if !sums.is_null() {
            let (sum, sum_sq) = (sums.add(i), sums.add(s.c + i));
            let (mut s1, mut s2) = (load_n::<S>(sum, k), load_n::<S>(sum_sq, k));
            for &v in &acc {
                s1 = S::add(s1, v);
                s2 = S::fma(v, v, s2);
            }
            store_n::<S>(sum, s1, k);
            store_n::<S>(sum_sq, s2, k);
        }
        let mut to = y.add(i);
        for (t, &v) in acc.iter().enumerate() {
            if t > 0 {
                to = opaque(to.cast_const()).cast_mut().add(s.output);
            }
            store_n::<S>(to, v, k);
        }
    }
}

/// The pointer itself, without its history: otherwise LLVM turns each of a tile's addresses into an induction variable
/// of its own and spills them, which costs a load for every load.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)] // the pointer is moved, never read through
pub(crate) fn opaque(p: *const f32) -> *const f32 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut p = p;
        // SAFETY: no instruction at all.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) p, options(pure, nomem, nostack, preserves_flags)) };
        p
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    p
}

#[cfg(test)]
mod tests;
