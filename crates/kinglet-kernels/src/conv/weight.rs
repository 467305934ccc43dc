//! The gradient of the weights: `dW[co, k] = sum over rows m of dY[m, co] * A[m, k]`.
//!
//! Rows are the forward pass's: pointers plus segments. A task takes a range of tiles and a range of k, copies what it
//! needs into contiguous panels tile by tile, and adds products of six rows (of `co`) by two vectors (of `k`) to its own
//! partial sum. Partial sums are added to the gradient in the order of the tiles.

use super::gemm::{lanes, panel_count, panel_width};
use super::plan::{Plan, Scratch, grow, with_floats, with_scratch};
use crate::dispatch;
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_for};

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

/// A task's work on one tile.
struct Part<'a> {
    a: *const f32,
    a_off: &'a [usize],
    dy: *const f32,
    y_off: &'a [usize],
    /// Offsets of all reduction indices.
    offsets: &'a [usize],
    c_out: usize,
    panels: std::ops::Range<usize>,
    pack_a: *mut f32,
    pack_b: *mut f32,
    /// Partial sum, `[c_out][ld]`.
    c: *mut f32,
    ld: usize,
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
        for g in 0..groups {
            let exist = (p.c_out - g * GROUP).min(GROUP);
            let mut to = p.pack_b.add(g * rows * GROUP);
            for &off in p.y_off {
                let from = p.dy.add(off + g * GROUP);
                if exist == GROUP {
                    to.cast::<[f32; GROUP]>().write_unaligned(from.cast::<[f32; GROUP]>().read_unaligned());
                } else {
                    for j in 0..GROUP {
                        *to.add(j) = if j < exist { *from.add(j) } else { 0.0 };
                    }
                }
                to = to.add(GROUP);
            }
        }
        let k = p.offsets.len();
        let vectors = k.div_ceil(S::LANES);
        for panel in p.panels.start..p.panels.end {
            let nv = panel_width(panel, vectors);
            let column = 2 * panel * S::LANES;
            let width = nv * S::LANES;
            let exist = width.min(k - column);
            pack_rows::<S>(p, column, width, exist);
            for g in 0..groups {
                let end = (p.c_out - g * GROUP).min(GROUP);
                let mut r = 0;
                while r < end {
                    let b = p.pack_b.add(g * rows * GROUP + r);
                    let c = p.c.add((g * GROUP + r) * p.ld + column);
                    let left = end - r;
                    r += match (nv, left) {
                        (2, 5..) => micro::<S, 6, 2>(rows, p.pack_a, b, c, p.ld, left),
                        (2, 3..) => micro::<S, 4, 2>(rows, p.pack_a, b, c, p.ld, left),
                        (2, _) => micro::<S, 2, 2>(rows, p.pack_a, b, c, p.ld, left),
                        (3, 3..) => micro::<S, 3, 3>(rows, p.pack_a, b, c, p.ld, left),
                        (3, _) => micro::<S, 2, 3>(rows, p.pack_a, b, c, p.ld, left),
                        (_, 7..) => micro::<S, 12, 1>(rows, p.pack_a, b, c, p.ld, left),
                        (_, 3..) => micro::<S, 6, 1>(rows, p.pack_a, b, c, p.ld, left),
                        (_, _) => micro::<S, 2, 1>(rows, p.pack_a, b, c, p.ld, left),
                    };
                }
            }
        }
    }
}

/// Copies reduction indices `column..column + exist` of every row into `pack_a`, `width` floats a row.
#[inline(always)]
unsafe fn pack_rows<S: Simd>(p: &Part<'_>, column: usize, width: usize, exist: usize) {
    // SAFETY: as for `part_kernel`.
    unsafe {
        let offsets = p.offsets.get_unchecked(column..column + exist);
        let contiguous = offsets[exist - 1] - offsets[0] == exist - 1;
        let mut to = p.pack_a;
        if contiguous {
            let full = exist / S::LANES * S::LANES;
            let first = p.a.add(offsets[0]);
            for &off in p.a_off {
                let from = first.add(off);
                let mut j = 0;
                while j < full {
                    S::store(to.add(j), S::load(from.add(j)));
                    j += S::LANES;
                }
                while j < width {
                    S::store(to.add(j), S::load_partial(from.add(j), exist - j));
                    j += S::LANES;
                }
                to = to.add(width);
            }
        } else {
            for &off in p.a_off {
                let from = p.a.add(off);
                for (j, &o) in offsets.iter().enumerate() {
                    *to.add(j) = *from.add(o);
                }
                for j in exist..width {
                    *to.add(j) = 0.0;
                }
                to = to.add(width);
            }
        }
    }
}

/// Adds the product of `MR` columns of `dY` and `NV` vectors of inputs to `c`. Returns the columns done.
#[inline(always)]
unsafe fn micro<S: Simd, const MR: usize, const NV: usize>(
    rows: usize,
    mut a: *const f32,
    mut b: *const f32,
    c: *mut f32,
    ld: usize,
    left: usize,
) -> usize {
    // SAFETY: as for `part_kernel`; packed groups hold GROUP columns, so `b + MR` stays inside one.
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; MR];
        for _ in 0..rows {
            let mut w = [S::splat(0.0); NV];
            for v in 0..NV {
                w[v] = S::load(a.add(v * S::LANES));
            }
            for r in 0..MR {
                let x = S::splat(*b.add(r));
                for v in 0..NV {
                    acc[r][v] = S::fma(x, w[v], acc[r][v]);
                }
            }
            a = a.add(NV * S::LANES);
            b = b.add(GROUP);
        }
        let done = left.min(MR);
        for r in 0..MR {
            if r < done {
                for v in 0..NV {
                    let p = c.add(r * ld + v * S::LANES);
                    S::store(p, S::add(S::load(p), acc[r][v]));
                }
            }
        }
        done
    }
}

/// Adds the gradient of one group's weights to `dweight` (the group's part, `[c_out][c_in][kernel]`).
///
/// `kernel` is its height and width. `dy_base` offsets of the plan's outputs index `dy`.
pub(super) fn weight_gradient(plan: &Plan, x: &[f32], dy: &[f32], dweight: &mut [f32], kernel: [usize; 2]) {
    let p = &plan.p;
    let (n, k, tiles) = (p.c_out, plan.k, plan.tiles());
    if k == 0 || tiles == 0 {
        return;
    }
    let lanes = lanes();
    let ld = k.next_multiple_of(lanes);
    let panels = panel_count(ld / lanes);
    let work = tiles * plan.max_rows() * k * n;
    // Ranges of k, so that a task's partial sum stays in the second-level cache.
    let mut ranges = (n * ld).div_ceil(64 * 1024).min(panels);
    let rows = (TASKS / ranges).min(tiles).min((2 << 20) / (n * ld)).max(1);
    if rows * ranges < 8 {
        ranges = 8usize.div_ceil(rows).min(panels).min((work / rows / SMALL).max(1));
    }
    let offsets = plan.offsets();
    with_floats(rows * n * ld, |partial| {
        let out = SendPtr(partial.as_mut_ptr());
        let task = |i: usize| {
            let (row, range) = (i / ranges, i % ranges);
            let panels = panels * range / ranges..panels * (range + 1) / ranges;
            let last = panels.end - 1;
            let columns = 2 * panels.start * lanes..(2 * last + panel_width(last, ld / lanes)) * lanes;
            // SAFETY: tasks write to different parts or columns of `partial`, which has `rows` parts.
            let c = unsafe { out.get().add(row * n * ld) };
            for r in 0..n {
                // SAFETY: as above.
                unsafe { std::slice::from_raw_parts_mut(c.add(r * ld + columns.start), columns.len()).fill(0.0) };
            }
            with_scratch(|s| {
                for tile in tiles * row / rows..tiles * (row + 1) / rows {
                    let a = plan.load(tile, x, s);
                    let Scratch { a_off, y_off, pack_a, pack_b, .. } = s;
                    grow(pack_a, a_off.len() * 3 * lanes);
                    grow(pack_b, a_off.len() * n.next_multiple_of(GROUP));
                    let work = Part {
                        a,
                        a_off,
                        dy: dy.as_ptr(),
                        y_off,
                        offsets: &offsets,
                        c_out: n,
                        panels: panels.clone(),
                        pack_a: pack_a.as_mut_ptr(),
                        pack_b: pack_b.as_mut_ptr(),
                        c,
                        ld,
                    };
                    // SAFETY: `load` gives rows inside the input or its copy; the buffers were grown above.
                    unsafe { part(&work) };
                }
            });
        };
        if work < SMALL {
            (0..rows * ranges).for_each(task);
        } else {
            parallel_for(rows * ranges, task);
        }
        combine(plan, partial, rows, ld, dweight, kernel);
    });
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
