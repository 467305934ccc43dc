//! The gradient of the weights: `dW[co, k] = sum over rows m of dY[m, co] * A[m, k]`.
//!
//! Rows are the forward pass's: pointers plus segments. A task takes a range of tiles and a range of k, and adds products
//! of six rows (of `co`) by two vectors (of `k`) to its own partial sum, tile by tile. Evenly spaced rows of one segment are
//! multiplied where they lie: a copy of them would cost a tenth of the product, and more where there are few columns. Others
//! are copied into contiguous panels. Partial sums are added to the gradient in the order of the tiles.

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

/// How the rows are cut. Both numbers decide the order of the sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Rows of a tile, at most.
    tile: usize,
    /// Rows that are summed up in registers.
    sum: usize,
}

impl Cut {
    /// For `n` columns of `dY` and `k` of inputs.
    pub(super) fn new(n: usize, k: usize) -> Cut {
        let vectors = k / lanes();
        let one_panel = k.is_multiple_of(lanes()) && n.is_multiple_of(if vectors == 1 { GROUP } else { vectors });
        let tile = row_target(n);
        Cut { tile, sum: if (1..=3).contains(&vectors) && one_panel { SHORT_SUM } else { tile } }
    }
}

/// Panels that are packed in one sweep over the rows where these are the input's own: memory is read in order. Rows
/// of a padded copy are in the second-level cache already, and one panel at a time stays in the first.
const SWEEP: usize = 8;
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
    /// Runs of contiguous reduction indices, panel by panel.
    runs: &'a [Run],
    /// Length of the reduction.
    k: usize,
    c_out: usize,
    panels: Range<usize>,
    pack_a: *mut f32,
    pack_b: *mut f32,
    /// Partial sum, `[c_out][ld]`.
    sum: Sum,
    /// Distance between rows of the input and of `dy` where these can be read in place: it is the same for all rows, and
    /// a row is one run.
    in_place: Option<[usize; 2]>,
    /// Rows that are then summed up in registers.
    sum_rows: usize,
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
        let rows = p.a_off.len();
        let groups = p.c_out.div_ceil(GROUP);
        let vectors = p.k.div_ceil(S::LANES);
        if let Some([a_step, dy_step]) = p.in_place {
            let (a, dy) = (p.a.add(*p.a_off.get_unchecked(0)), p.dy.add(*p.y_off.get_unchecked(0)));
            let mut done = 0;
            while done < rows {
                let count = (rows - done).min(p.sum_rows);
                let (a, dy) = (a.add(done * a_step), dy.add(done * dy_step));
                for panel in p.panels.clone() {
                    let (width, column) = (panel_width(panel, vectors), 2 * panel * S::LANES);
                    let tail = (p.k - column).min(width * S::LANES) - (width - 1) * S::LANES;
                    for g in 0..groups {
                        let end = (p.c_out - g * GROUP).min(GROUP);
                        let c = p.sum.c.add(g * GROUP * p.sum.ld + column);
                        let sum = Sum { c, begins: p.sum.begins && done == 0, ..p.sum };
                        let from = [a.add(column), dy.add(g * GROUP)];
                        if tail < S::LANES {
                            group::<S, true>(width, end, count, from, [a_step, dy_step], tail, sum);
                        } else {
                            group::<S, false>(width, end, count, from, [a_step, dy_step], tail, sum);
                        }
                    }
                }
                done += count;
            }
            return;
        }
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
                    let end = (p.c_out - g * GROUP).min(GROUP);
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
    let full = p.c_out / GROUP;
    let exist = p.c_out % GROUP;
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
    let (lanes, cut) = (lanes(), Cut::new(n, k));
    let ld = k.next_multiple_of(lanes);
    let panels = panel_count(ld / lanes);
    let work = tiles * plan.max_rows() * k * n;
    // Ranges of k, so that a task's partial sum stays in the second-level cache.
    let mut ranges = (n * ld).div_ceil(64 * 1024).min(panels);
    let rows = (TASKS / ranges).min(tiles).min((2 << 20) / (n * ld)).max(1);
    if rows * ranges < 8 {
        ranges = 8usize.div_ceil(rows).min(panels).min((work / rows / SMALL).max(1));
    }
    let runs = runs(plan, lanes);
    with_floats(rows * n * ld, |partial| {
        let out = SendPtr(partial.as_mut_ptr());
        let task = |i: usize| {
            let (row, range) = (i / ranges, i % ranges);
            let panels = panels * range / ranges..panels * (range + 1) / ranges;
            // SAFETY: tasks write to different parts or columns of `partial`, which has `rows` parts.
            let c = unsafe { out.get().add(row * n * ld) };
            let first = tiles * row / rows;
            for tile in first..tiles * (row + 1) / rows {
                // SAFETY: as above.
                unsafe {
                    add_tile(plan, cut, tile, [x, dy], &runs, panels.clone(), Sum { c, ld, begins: tile == first })
                };
            }
        };
        if work < SMALL {
            (0..rows * ranges).for_each(task);
        } else {
            parallel_for(rows * ranges, task);
        }
        combine(plan, partial, rows, ld, dweight, kernel);
    });
}

/// Adds to the columns of some panels of a partial sum what one tile contributes, or begins the sum with it.
///
/// # Safety
/// The sum has `c_out` rows, nobody else uses these columns, and `dy` is the output's.
unsafe fn add_tile(
    plan: &Plan,
    cut: Cut,
    tile: usize,
    [x, dy]: [&[f32]; 2],
    runs: &[Run],
    panels: Range<usize>,
    sum: Sum,
) {
    let (n, lanes) = (plan.p.c_out, lanes());
    with_scratch(|s| {
        let a = plan.load(tile, x, s);
        let Scratch { a_off, y_off, pack_a, pack_b, .. } = s;
        let in_place = plan.in_place();
        if in_place.is_none() {
            pack_a.grow((a_off.len() + 1) * 3 * lanes * SWEEP);
            pack_b.grow(a_off.len() * n.next_multiple_of(GROUP));
        }
        let work = Part {
            a,
            a_off,
            dy: dy.as_ptr(),
            y_off,
            runs,
            k: plan.k,
            c_out: n,
            panels,
            pack_a: pack_a.as_mut_ptr(),
            pack_b: pack_b.as_mut_ptr(),
            sum,
            in_place,
            sum_rows: cut.sum,
            sweep: if plan.direct { SWEEP } else { 1 },
        };
        // SAFETY: `load` gives rows inside the input or its copy; the buffers were grown above.
        unsafe { part(&work) };
    });
}

/// Adds the rows' `dz^T * x` to `c`, the sums of a 1x1 convolution of shape `s`, or begins the sums with it.
///
/// # Safety
/// `c` has `c_out` rows of `ld` floats, whole vectors that hold `c_in`, and nobody else uses them.
///
/// # Panics
/// If a slice has another length than the shape says.
pub(super) unsafe fn add_product(s: &ConvShape, cut: Cut, [x, dz]: [&[f32]; 2], c: *mut f32, ld: usize, begins: bool) {
    assert_eq!((x.len(), dz.len()), (s.input_len(), s.output_len()), "lengths of {s:?}");
    let plan = Plan::new(forward_problem(s, 0), cut.tile);
    let runs = runs(&plan, lanes());
    for tile in 0..plan.tiles() {
        let sum = Sum { c, ld, begins: begins && tile == 0 };
        // SAFETY: the caller's promise.
        unsafe { add_tile(&plan, cut, tile, [x, dz], &runs, 0..panel_count(ld / lanes()), sum) };
    }
}

/// Sums of `dz^T * x` over rows that come chunk by chunk, with a part for every task: `[n][k]`, or transposed where that
/// wastes fewer lanes. Either way each sum is that of the same products in the same order.
pub(crate) struct ProductSums<'a> {
    partial: &'a mut [f32],
    layout: Layout,
    out: SendPtr<f32>,
}

/// How the sums for `n` columns of `dz` and `k` of `x` lie.
#[derive(Debug, Clone, Copy)]
struct Layout {
    n: usize,
    k: usize,
    /// `[k][n]`, a row of `n` padded to whole vectors.
    transposed: bool,
    ld: usize,
}

impl Layout {
    fn new(n: usize, k: usize) -> Layout {
        let padded = |len: usize| len.next_multiple_of(lanes());
        let [rows, columns] = [n * padded(k), k * padded(n)];
        // A vector of one register is multiplied with less work for each load where it is two.
        let transposed = columns < rows || (columns == rows && k <= lanes());
        Layout { n, k, transposed, ld: padded(if transposed { n } else { k }) }
    }

    fn len(self) -> usize {
        self.ld * if self.transposed { self.k } else { self.n }
    }
}

impl<'a> ProductSums<'a> {
    /// Floats of a part for `n` columns of `dz` and `k` of `x`.
    pub fn part_len(n: usize, k: usize) -> usize {
        Layout::new(n, k).len()
    }

    /// Sums in these floats, one part after the other; what they hold does not count.
    pub fn new(partial: &'a mut [f32], n: usize, k: usize) -> Self {
        let out = SendPtr(partial.as_mut_ptr());
        ProductSums { partial, layout: Layout::new(n, k), out }
    }

    /// Adds the rows `dz` and `x` of one chunk to the part of `task`; its first chunk begins the part.
    ///
    /// # Safety
    /// No other thread adds to the same part.
    ///
    /// # Panics
    /// If `dz` and `x` have other numbers of rows, or there is no such part.
    pub unsafe fn add(&self, task: usize, x: &[f32], dz: &[f32], begins: bool) {
        let Layout { n, k, transposed, ld } = self.layout;
        let len = self.layout.len();
        assert!((task + 1) * len <= self.partial.len(), "there are sums for task {task}");
        // The transposed sums are those of the other product, `x^T * dz`.
        let (c_in, c_out, factors) = if transposed { (n, k, [dz, x]) } else { (k, n, [x, dz]) };
        let shape = ConvShape::new(1, [1, x.len() / k], c_in, c_out, [1, 1], [1, 1], [0, 0], [1, 1], 1);
        // SAFETY: the caller's promise, and the part lies in the floats.
        unsafe { add_product(&shape, Cut::new(n, k), factors, self.out.get().add(task * len), ld, begins) };
    }

    /// Adds all parts to the gradient `[n][k]`, in the order of the tasks.
    pub fn finish(self, dweight: &mut [f32]) {
        let (partial, Layout { k, transposed, ld, .. }) = (&*self.partial, self.layout);
        parallel_chunks_mut(dweight, k, |co, row| {
            for part in partial.chunks_exact(self.layout.len()) {
                if transposed {
                    row.iter_mut().zip(part[co..].iter().step_by(ld)).for_each(|(d, v)| *d += *v);
                } else {
                    row.iter_mut().zip(&part[co * ld..]).for_each(|(d, v)| *d += *v);
                }
            }
        });
    }
}

/// Adds the `rows` partial sums to the gradient, in order.
fn combine(plan: &Plan, partial: &[f32], rows: usize, ld: usize, dweight: &mut [f32], kernel: [usize; 2]) {
    let p = &plan.p;
    let n = p.c_out;
    let area = kernel[0] * kernel[1];
    let out = SendPtr(dweight.as_mut_ptr());
    let column = |co: usize| {
        // SAFETY: every task has its own output channel; the caller checked the length.
        let dw = unsafe { std::slice::from_raw_parts_mut(out.get().add(co * p.c_in * area), p.c_in * area) };
        for row in 0..rows {
            let part = &partial[(row * n + co) * ld..];
            let mut at = 0;
            for &(_, ky) in &p.axes[0].taps {
                for &(_, kx) in &p.axes[1].taps {
                    let to = dw[ky * kernel[1] + kx..].iter_mut().step_by(area);
                    to.zip(&part[at..at + p.c_in]).for_each(|(d, v)| *d += *v);
                    at += p.c_in;
                }
            }
        }
    };
    if rows * n * plan.k < 16 * 1024 {
        (0..n).for_each(column);
    } else {
        parallel_for(n, column);
    }
}
