//! A dense or grouped convolution with bias, activation, residual, and optionally a gate on its input.
//!
//! `y = activation(conv(g(x)) + bias) + residual`, where `g(x) = gate_activation(x * gate)` by image and channel: the
//! second half of squeeze-and-excite, applied while a 1x1 convolution copies its tile.

use std::sync::Arc;

use super::{Place, check_apart};
use crate::conv::gemm::{Tile, gemm_tile, lanes, panel_count, row_chunk};
use crate::conv::plan::{Plan, Scratch, with_scratch};
use crate::conv::{PackedConv, forward_problem};
use crate::elementwise::{load_n, store_n};
use crate::simd::Simd;
use crate::threads::{SendPtr, imbalance, parallel_for};
use crate::{Activation, ConvShape, activation, dispatch};

/// Multiply-adds that are not worth waking another thread for.
pub(super) const SMALL: usize = 64 * 1024;
/// Tasks that a convolution is cut into where it has enough work.
pub(super) const TASKS: usize = 8;
/// Rows that a tile has at least, where there are so many.
const LEAST_ROWS: usize = 48;

/// A gate on the input: `[n, c_in]` factors in the arena, then an activation.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// Where the factors lie, image after image.
    pub at: usize,
    /// Applied to the product.
    pub activation: Activation,
}

/// A convolution for one shape and place.
#[derive(Debug)]
pub struct Dense {
    plans: Vec<Plan>,
    weights: Arc<PackedConv>,
    bias: Arc<[f32]>,
    activation: Activation,
    x: Place,
    y: Place,
    residual: Option<Place>,
    gate: Option<Gate>,
    /// Pixels of an input image, and input channels.
    pixels: usize,
    c_in: usize,
    /// Output columns of a group, and the same padded to whole vectors.
    n: usize,
    columns: usize,
    tiles: usize,
    splits: usize,
    row_chunk: usize,
    small: bool,
    /// Floats that the arena must have.
    end: usize,
}

/// `bias`, or zeros where there is none, group by group padded to whole vectors of the instruction set in use.
pub fn padded_bias(s: &ConvShape, bias: Option<&[f32]>) -> Arc<[f32]> {
    let n = s.c_out / s.groups;
    let columns = if s.is_depthwise() { 1 } else { n.next_multiple_of(lanes()) };
    let mut padded = vec![0.0; (columns * s.groups).next_multiple_of(lanes())];
    if let Some(bias) = bias {
        for (to, from) in padded.chunks_exact_mut(columns.max(1)).zip(bias.chunks_exact(n.max(1))) {
            to[..n].copy_from_slice(from);
        }
    }
    padded.into()
}

/// Rows of a tile, so that its inputs and outputs stay in the second-level cache, beside weights that may.
pub(super) fn row_target(k: usize, n: usize) -> usize {
    let floats = 64 * 1024 - (k * n / 2).min(24 * 1024);
    (floats / (k.min(288) + n).max(1)).clamp(LEAST_ROWS, 384) / 12 * 12
}

/// Rows of a tile out of `rows`, `most` or down to half of it, so that threads end together. Tiles of less than
/// [`LEAST_ROWS`] would read the weights too often.
fn even_rows(rows: usize, most: usize) -> usize {
    if rows < 2 * LEAST_ROWS {
        return most;
    }
    let most = most.min(rows);
    let cost = |tile: usize| imbalance(rows / tile, (rows % tile) as f64 / tile as f64);
    let tiles = (LEAST_ROWS.max(most / 2)..=most).rev().step_by(6);
    tiles.min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(most)
}

impl Dense {
    /// Prepares the convolution of the map at `x` into `y`. `bias` comes from [`padded_bias`].
    ///
    /// # Panics
    /// If places, weights or gate do not fit the shape, or input and output overlap.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        s: &ConvShape,
        weights: Arc<PackedConv>,
        bias: Arc<[f32]>,
        activation: Activation,
        x: Place,
        y: Place,
        residual: Option<Place>,
        gate: Option<Gate>,
    ) -> Dense {
        assert_eq!(weights.key, PackedConv::key(s), "weights packed for another convolution");
        assert!(!s.is_depthwise() && x.c == s.c_in && y.c == s.c_out, "convolution: channels of {s:?}");
        assert!(gate.is_none() || s.is_pointwise(), "a gate needs a 1x1 convolution");
        let [x_rows, y_rows] = [s.input, s.output].map(|[h, w]| s.batch * h * w);
        check_apart("convolution", &x, x_rows, &y, y_rows);
        let n = s.c_out / s.groups;
        let columns = n.next_multiple_of(lanes());
        assert_eq!(bias.len(), columns * s.groups, "convolution: length of the padded bias");
        if let Some(r) = residual {
            assert!(r == y || r.apart(y_rows, &y, y_rows), "convolution: residual {r:?} and output {y:?} overlap");
            assert_eq!(r.c, y.c, "convolution: channels of the residual");
        }
        let plans: Vec<Plan> = (0..s.groups)
            .map(|g| {
                let mut p = forward_problem(s, g);
                (p.in_ld, p.out_ld) = (x.ld, y.ld);
                let k = p.c_in * s.kernel[0] * s.kernel[1];
                let most = row_target(k, n);
                Plan::new(p, if s.is_pointwise() { even_rows(y_rows, most) } else { most })
            })
            .collect();
        let first = &plans[0];
        let (tiles, k) = (first.tiles(), first.k);
        let work = tiles * first.max_rows() * k * n;
        let panels = panel_count(columns / lanes());
        // Of a gated input every task makes a copy.
        let wanted = if gate.is_some() { TASKS / 2 } else { TASKS };
        let splits = if tiles == 0 {
            1
        } else {
            wanted.div_ceil(tiles * s.groups).min(panels.max(1)).min((work / tiles / SMALL).max(1))
        };
        let mut end = x.end(x_rows).max(y.end(y_rows));
        end = residual.iter().fold(end, |end, r| end.max(r.end(y_rows)));
        end = gate.iter().fold(end, |end, g| end.max(g.at + s.batch * s.c_in));
        let row_chunk = row_chunk(k * columns);
        let small = work * s.groups < SMALL;
        let (pixels, c_in) = (s.input[0] * s.input[1], s.c_in);
        Dense {
            plans,
            weights,
            bias,
            activation,
            x,
            y,
            residual,
            gate,
            pixels,
            c_in,
            n,
            columns,
            tiles,
            splits,
            row_chunk,
            small,
            end,
        }
    }

    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short, or the instruction set changed since the weights were packed.
    pub fn run(&self, arena: &mut [f32]) {
        assert!(arena.len() >= self.end, "arena of {} floats instead of {}", arena.len(), self.end);
        assert_eq!(self.weights.lanes, lanes(), "weights packed for another instruction set");
        if self.n == 0 {
            return;
        }
        let base = SendPtr(arena.as_mut_ptr());
        let per_group = self.tiles * self.splits;
        let panels = panel_count(self.columns / lanes());
        let group_weights = self.weights.data.len() / self.plans.len();
        let task = |i: usize| {
            let (group, rest) = (i / per_group, i % per_group);
            let (tile, split) = (rest / self.splits, rest % self.splits);
            let plan = &self.plans[group];
            with_scratch(|s| {
                // SAFETY: the arena holds every place (`end`); tasks write different rows, columns or groups, and no
                // task writes what another reads: the places are apart, or a residual is read where it is replaced.
                unsafe {
                    let x = base.get().add(self.x.at).cast_const();
                    let a = match self.gate {
                        None => plan.load_from(tile, x, s),
                        Some(gate) => self.load_gated(plan, tile, x, base.get().add(gate.at), gate.activation, s),
                    };
                    let residual = match self.residual {
                        None => std::ptr::null(),
                        Some(r) => {
                            let Scratch { y_off, r_off, .. } = s;
                            r_off.clear();
                            r_off.extend(y_off.iter().map(|y| y / self.y.ld * r.ld + y % self.y.ld));
                            base.get().add(r.at).cast_const()
                        }
                    };
                    let t = Tile {
                        a,
                        a_off: &s.a_off,
                        y: base.get().add(self.y.at),
                        y_off: &s.y_off,
                        b: self.weights.data.as_ptr().add(group * group_weights),
                        k: plan.k,
                        n: self.n,
                        segments: &plan.segments,
                        blocks: &plan.blocks,
                        panels: panels * split / self.splits..panels * (split + 1) / self.splits,
                        row_chunk: self.row_chunk,
                        bias: self.bias.as_ptr().add(group * self.columns),
                        stats: std::ptr::null_mut(),
                        accumulate: false,
                        activation: self.activation,
                        residual,
                        r_off: &s.r_off,
                    };
                    gemm_tile(&t);
                }
            });
        };
        let tasks = per_group * self.plans.len();
        if self.small {
            (0..tasks).for_each(task);
        } else {
            parallel_for(tasks, task);
        }
    }

    /// The rows of a tile times their gate, as a copy.
    ///
    /// # Safety
    /// As [`Plan::load_from`]; the gate's values are readable.
    unsafe fn load_gated(
        &self,
        plan: &Plan,
        tile: usize,
        x: *const f32,
        gate: *const f32,
        activation: Activation,
        s: &mut Scratch,
    ) -> *const f32 {
        let c = self.c_in;
        // A 1x1 convolution is planned as one row of pixels.
        let first = tile * plan.size[2];
        let last = (first + plan.size[2]).min(plan.p.axes[1].count);
        s.a_off.clear();
        s.y_off.clear();
        s.strip.grow(plan.size[2] * c);
        s.a_off.extend((0..last - first).map(|row| row * c));
        s.y_off.extend((first..last).map(|pixel| pixel * self.y.ld));
        let mut at = first;
        while at < last {
            // Pixels of one image share a gate.
            let image = at / self.pixels;
            let rows = last.min((image + 1) * self.pixels) - at;
            // SAFETY: the caller's promise; the copy has room for the tile.
            unsafe {
                let to = s.strip.as_mut_ptr().add((at - first) * c);
                gate_rows(x.add(at * self.x.ld), self.x.ld, gate.add(image * c), rows, c, activation, to, c);
            }
            at += rows;
        }
        s.strip.as_ptr()
    }
}

/// `y = activation(x * gate)` for some rows.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn gate_kernel<S: Simd>(
    x: *const f32,
    x_ld: usize,
    gate: *const f32,
    rows: usize,
    c: usize,
    activation: Activation,
    y: *mut f32,
    y_ld: usize,
) {
    activation::specialise!(activation, a => {
        for row in 0..rows {
            let mut i = 0;
            while i < c {
                let k = (c - i).min(S::LANES);
                // SAFETY: the caller's promise: `rows` rows of `c` values.
                unsafe {
                    let v = S::mul(load_n::<S>(x.add(row * x_ld + i), k), load_n::<S>(gate.add(i), k));
                    store_n::<S>(y.add(row * y_ld + i), activation::apply_simd::<S>(a, v), k);
                }
                i += S::LANES;
            }
        }
    });
}
dispatch!(
    /// `y = activation(x * gate)` for `rows` rows of `c` values.
    pub(super) fn gate_rows(x: *const f32, x_ld: usize, gate: *const f32, rows: usize, c: usize,
        activation: Activation, y: *mut f32, y_ld: usize) = gate_kernel
);
