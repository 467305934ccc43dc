//! Dense 3x3 convolutions with fewer multiplications: a quarter at stride 1, 56 % at stride 2.
//!
//! Source: Lavin and Gray 2015, arXiv:1509.09308, section 4.3: F(4x4, 3x3). A tile of 6x6 inputs becomes 36 values a
//! channel, each of the 36 is a matrix product over channels, and these become 4x4 outputs. The error is some 1e-6 of the
//! largest value, for outputs and for gradients by the input; gradients by the weight are in `weight`.
//!
//! At stride 2 the pixels of a row that meet the outer taps and those that meet the middle one are apart. For four outputs the
//! former are a convolution of two taps, F(4, 2) at the points 0, 1, -1, 2 and infinity, and the latter are products as
//! they stand: nine inputs, nine points, of which the last four share the middle tap. In two dimensions that is 81 points
//! with 36 different weights instead of 144 products.
//!
//! Shapes: transformed input `[points, tiles, c_in]`, weights `[36]` packed `[c_in, c_out]`, products `[points, tiles,
//! c_out]`; points of the same weights lie side by side.

// Rows and columns of a tile change places between the two halves of a transform.
#![allow(clippy::needless_range_loop)]
// The points and their powers are exact in f32.
#![allow(clippy::cast_possible_truncation)]

mod pack;
mod weight;

use std::mem::MaybeUninit;

use super::forward_problem;
use super::gemm::{Tile, gemm_tile, lanes, panel_count};
use super::plan::{Plan, Scratch, with_floats, with_scratch};
use crate::elementwise::{load_n, store_n};
use crate::infer::finish::finish;
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_for};
use crate::{Activation, ConvShape, dispatch};

pub use pack::WinogradWeights;
pub(crate) use pack::{Kernels, Packed};
pub(crate) use weight::weight_gradient;

/// Different weights of the points of one dimension, and of a tile.
const KINDS: usize = 6;
const WEIGHTS: usize = KINDS * KINDS;
/// Channels from which stride 2 gains: the transforms cost more beside fewer multiplications saved.
const LEAST_WIDE: usize = 48;
/// Floats of transformed inputs and products that one task keeps in the second-level cache.
const CACHED: usize = 72 * 1024;
/// Floats of transformed weights that every task may read anew.
const SHARED: usize = 160 * 1024;
/// Floats of transformed inputs and products where all threads work on the same tiles.
const PHASED: usize = 2 << 20;

/// Inputs of a tile in one dimension at stride 1 and 2, and as many points.
const NARROW: usize = 6;
const WIDE: usize = 9;

/// Inputs, and points, of one dimension of a tile.
fn side(s: &ConvShape) -> usize {
    if s.stride == [1, 1] { NARROW } else { WIDE }
}

/// Points of a tile.
fn points(s: &ConvShape) -> usize {
    side(s) * side(s)
}

/// Where the points begin that share a weight, given by its kinds in the two dimensions, and how many they are.
fn group(side: usize, [y, x]: [usize; 2]) -> [usize; 2] {
    // Only the last kind has several points, and its points are the last ones.
    let last = KINDS - 1;
    let several = side - last;
    let many = |kind: usize| if kind == last { several } else { 1 };
    let before = if y == last { last * side + x * several } else { y * side + x };
    [before, many(y) * many(x)]
}

/// The place of a point among those of its tile.
#[inline(always)]
fn place<const N: usize>(y: usize, x: usize) -> usize {
    let last = KINDS - 1;
    let several = N - last;
    if y < last || N == NARROW {
        y * N + x
    } else if x < last {
        last * N + x * several + (y - last)
    } else {
        last * N + last * several + (y - last) * several + (x - last)
    }
}

/// G at stride 2: the outer taps to five points, and the middle tap.
const G_WIDE: [[f64; 3]; KINDS] = [
    [1.0 / 2.0, 0.0, 0.0],
    [-1.0 / 2.0, 0.0, -1.0 / 2.0],
    [-1.0 / 6.0, 0.0, 1.0 / 6.0],
    [1.0 / 6.0, 0.0, 1.0 / 3.0],
    [0.0, 0.0, 1.0],
    [0.0, 1.0, 0.0],
];

/// The points at stride 1: 0, A, -A, B, -B and infinity. Halves and quarters keep the rounding half as large as the 1
/// and 2 of the paper do.
const A: f64 = 0.75;
const B: f64 = 1.5;
const A2: f64 = A * A;
const B2: f64 = B * B;

/// G at stride 1: three taps to six points.
const G_NARROW: [[f64; 3]; KINDS] = {
    let (a, b) = (1.0 / (2.0 * A2 * (A2 - B2)), 1.0 / (2.0 * B2 * (B2 - A2)));
    [
        [1.0 / (A2 * B2), 0.0, 0.0],
        [a, a * A, a * A2],
        [a, -a * A, a * A2],
        [b, b * B, b * B2],
        [b, -b * B, b * B2],
        [0.0, 0.0, 1.0],
    ]
};

/// The matrix product of `tiles` points.
fn product(s: &ConvShape, tiles: usize) -> ConvShape {
    ConvShape::new(1, [1, tiles], s.c_in, s.c_out, [1, 1], [1, 1], [0, 0], [1, 1], 1)
}

/// Where a convolution reads and writes, and what follows it.
pub(crate) struct Maps {
    pub x: *const f32,
    /// From one pixel of the input to the next.
    pub x_ld: usize,
    pub y: *mut f32,
    pub y_ld: usize,
    /// Added last, and the distance of its pixels; null for none.
    pub residual: *const f32,
    pub r_ld: usize,
    /// `[c_out]`, padded to whole vectors.
    pub bias: *const f32,
    pub activation: Activation,
    /// [`Winograd::work_len`] floats.
    pub work: *mut f32,
}

// SAFETY: `Winograd::run` writes different parts of these from different threads.
unsafe impl Sync for Maps {}

/// A 3x3 convolution of one shape.
#[derive(Debug)]
pub(crate) struct Winograd {
    s: ConvShape,
    /// The product over channels: its segments and blocks.
    plan: Plan,
    /// Tiles down and across, and of all images.
    grid: [usize; 2],
    tiles: usize,
    mode: Mode,
}

/// How tiles are shared out.
#[derive(Debug, Clone, Copy)]
enum Mode {
    /// A task takes some tiles through all three phases.
    Apart { tiles: usize },
    /// All tasks work on the same tiles, phase by phase.
    Together { tiles: usize },
}

/// Tiles down and across.
fn grid(s: &ConvShape) -> [usize; 2] {
    s.output.map(|side| side.div_ceil(4))
}

impl Mode {
    fn of(s: &ConvShape) -> Mode {
        let all = s.batch * grid(s).iter().product::<usize>();
        let per_tile = points(s) * (s.c_in + s.c_out);
        let apart = (CACHED / per_tile) / 6 * 6;
        if WEIGHTS * s.c_in * s.c_out <= SHARED && apart >= 6 && all >= 8 * apart {
            Mode::Apart { tiles: apart }
        } else {
            Mode::Together { tiles: (PHASED / per_tile).clamp(1, all.max(1)) }
        }
    }
}

impl Winograd {
    /// Whether this convolution can be done so, and gains by it.
    pub fn suits(s: &ConvShape) -> bool {
        let least = match s.stride {
            [1, 1] => 16,
            [2, 2] => LEAST_WIDE,
            _ => return false,
        };
        // Few tiles do not repay the weights, which are four times as large.
        let tiles = s.batch * grid(s).iter().product::<usize>();
        let geometry = s.kernel == [3, 3] && s.dilation == [1, 1] && s.groups == 1;
        geometry && s.c_in >= least && s.c_out >= least && tiles >= 8
    }

    /// Floats of the work space that it needs.
    pub fn work_len(s: &ConvShape) -> usize {
        match Mode::of(s) {
            Mode::Apart { .. } => 0,
            Mode::Together { tiles } => tiles * points(s) * (s.c_in + s.c_out),
        }
    }

    /// Prepares the convolution.
    pub fn new(s: &ConvShape) -> Winograd {
        debug_assert!(Winograd::suits(s), "{s:?}");
        let (product, grid) = (product(s, 1), grid(s));
        let plan = Plan::new(forward_problem(&product, 0), 48);
        Winograd { s: *s, plan, grid, tiles: s.batch * grid[0] * grid[1], mode: Mode::of(s) }
    }

    /// Computes the output.
    ///
    /// # Safety
    /// The maps are as large as the shape says, apart from each other (a residual may be the output), and not in use.
    ///
    /// # Panics
    /// If the instruction set changed since the weights were packed.
    pub unsafe fn run(&self, weights: Packed<'_>, maps: &Maps) {
        assert_eq!(weights.lanes, lanes(), "weights packed for another instruction set");
        let (c_in, c_out, points) = (self.s.c_in, self.s.c_out, points(&self.s));
        match self.mode {
            Mode::Apart { tiles } => parallel_for(self.tiles.div_ceil(tiles), |task| {
                let first = task * tiles;
                let count = tiles.min(self.tiles - first);
                with_scratch(|s| {
                    s.strip.grow(count * points * c_in);
                    s.pack_b.grow(count * points * c_out);
                    let (v, m) = (s.strip.as_mut_ptr(), s.pack_b.as_mut_ptr());
                    // SAFETY: the buffers hold `count` tiles; the caller's promise; tasks write different tiles.
                    unsafe {
                        self.load(maps.x, maps.x_ld, first, 0..count, count, v);
                        for kind in 0..WEIGHTS {
                            self.multiply(weights, kind, 0..self.panels(), count, v, m, s);
                        }
                        self.store(maps, first, 0..count, count, m);
                    }
                });
            }),
            Mode::Together { tiles } => {
                let panels = self.panels();
                // Few points a thread would leave one idle at the end.
                let splits = if panels >= 8 { 2 } else { 1 };
                for first in (0..self.tiles).step_by(tiles) {
                    let count = tiles.min(self.tiles - first);
                    // Tiles that one task transforms.
                    let some = (4096 / c_in.max(c_out)).clamp(1, count.div_ceil(4));
                    let part = move |task: usize| task * some..(task * some + some).min(count);
                    // SAFETY: the work space holds `count` tiles; within a phase tasks write different tiles, points or
                    // columns, and read what an earlier phase wrote.
                    unsafe {
                        let v = SendPtr(maps.work);
                        let m = SendPtr(maps.work.add(count * points * c_in));
                        let tasks = count.div_ceil(some);
                        parallel_for(tasks, |i| self.load(maps.x, maps.x_ld, first, part(i), count, v.get()));
                        parallel_for(WEIGHTS * splits, |i| {
                            // The last kinds have the most points: first, so that no thread is left with them.
                            let (kind, split) = (WEIGHTS - 1 - i / splits, i % splits);
                            let range = panels * split / splits..panels * (split + 1) / splits;
                            with_scratch(|s| self.multiply(weights, kind, range, count, v.get(), m.get(), s));
                        });
                        parallel_for(tasks, |i| self.store(maps, first, part(i), count, m.get()));
                    }
                }
            }
        }
    }

    fn panels(&self) -> usize {
        panel_count(self.s.c_out.div_ceil(lanes()))
    }

    /// Image, row and column of a tile.
    fn tile(&self, tile: usize) -> [usize; 3] {
        let [down, across] = self.grid;
        [tile / (down * across), tile / across % down, tile % across]
    }

    /// Transforms the inputs of tiles `first + range` to `v`, which holds `count` tiles.
    ///
    /// # Safety
    /// As [`Self::run`], and `v` is long enough; no one else touches these tiles of `v`.
    unsafe fn load(
        &self,
        x: *const f32,
        x_ld: usize,
        first: usize,
        range: std::ops::Range<usize>,
        count: usize,
        v: *mut f32,
    ) {
        let s = &self.s;
        let [h, w] = s.input;
        for t in range {
            let [image, row, column] = self.tile(first + t);
            let top = (4 * s.stride[0] * row) as isize - s.padding[0] as isize;
            let left = (4 * s.stride[1] * column) as isize - s.padding[1] as isize;
            let side = side(s) as isize;
            let inside = |start: isize, size: usize| {
                let from = (-start).clamp(0, side);
                [from as usize, (size as isize - start).clamp(from, side) as usize]
            };
            let (rows, columns) = (inside(top, h), inside(left, w));
            // SAFETY: rows and columns lie in the map.
            unsafe {
                let y_at = (top + rows[0] as isize) as usize;
                let x_at = (left + columns[0] as isize) as usize;
                let from = if rows[0] == rows[1] || columns[0] == columns[1] {
                    std::ptr::null()
                } else {
                    x.add(((image * h + y_at) * w + x_at) * x_ld)
                };
                let to = v.add(t * s.c_in);
                transform_input(&Inputs {
                    side: side as usize,
                    x: from,
                    x_step: [w * x_ld, x_ld],
                    rows,
                    columns,
                    c: s.c_in,
                    v: to,
                    step: count * s.c_in,
                });
            }
        }
    }

    /// The matrix product of the points of one kind, and some columns.
    ///
    /// # Safety
    /// As [`Self::load`].
    #[allow(clippy::too_many_arguments)]
    unsafe fn multiply(
        &self,
        weights: Packed<'_>,
        kind: usize,
        panels: std::ops::Range<usize>,
        count: usize,
        v: *const f32,
        m: *mut f32,
        s: &mut Scratch,
    ) {
        let (k, n) = (self.s.c_in, self.s.c_out);
        let [first, points] = group(side(&self.s), [kind / KINDS, kind % KINDS]);
        s.a_off.clear();
        s.a_off.extend((0..points * count).map(|t| t * k));
        s.y_off.clear();
        s.y_off.extend((0..points * count).map(|t| t * n));
        // SAFETY: the caller's promise.
        unsafe {
            let t = Tile {
                a: v.add(first * count * k),
                a_off: &s.a_off,
                y: m.add(first * count * n),
                y_off: &s.y_off,
                b: weights.kind(kind).as_ptr(),
                k,
                n,
                segments: &self.plan.segments,
                blocks: &self.plan.blocks,
                panels,
                row_chunk: usize::MAX / 2,
                bias: std::ptr::null(),
                stats: std::ptr::null_mut(),
                accumulate: false,
                activation: Activation::Identity,
                residual: std::ptr::null(),
                r_off: &[],
            };
            gemm_tile(&t);
        }
    }

    /// Transforms the products of tiles `first + range` to outputs.
    ///
    /// # Safety
    /// As [`Self::load`].
    unsafe fn store(&self, maps: &Maps, first: usize, range: std::ops::Range<usize>, count: usize, m: *const f32) {
        let s = &self.s;
        let [h, w] = s.output;
        for t in range {
            let [image, row, column] = self.tile(first + t);
            let size = [(h - 4 * row).min(4), (w - 4 * column).min(4)];
            let pixel = (image * h + 4 * row) * w + 4 * column;
            // SAFETY: `size` keeps the outputs inside the map.
            unsafe {
                let out = Outputs {
                    side: side(s),
                    m: m.add(t * s.c_out),
                    step: count * s.c_out,
                    y: maps.y.add(pixel * maps.y_ld),
                    y_step: [w * maps.y_ld, maps.y_ld],
                    size,
                    c: s.c_out,
                    bias: maps.bias,
                    activation: maps.activation,
                    residual: if maps.residual.is_null() {
                        maps.residual
                    } else {
                        maps.residual.add(pixel * maps.r_ld)
                    },
                    r_step: [w * maps.r_ld, maps.r_ld],
                };
                transform_output(&out);
            }
        }
    }
}

/// Fewest tiles that repay transforming the weights for one use.
const LEAST_TILES: usize = 64;

/// Whether training gains by computing this convolution so.
pub(crate) fn pays(s: &ConvShape) -> bool {
    Winograd::suits(s) && s.batch * grid(s).iter().product::<usize>() >= LEAST_TILES
}

/// `y = conv(x) + bias`, or `y += conv(x) + bias` with `accumulate`, with weights that were not transformed before.
pub(crate) fn forward(
    s: &ConvShape,
    x: &[f32],
    kernels: Kernels<'_>,
    bias: Option<&[f32]>,
    y: &mut [f32],
    accumulate: bool,
) {
    s.check(x.len(), s.weight_len(), y.len());
    let mut padded = vec![0.0; s.c_out.next_multiple_of(lanes())];
    if let Some(bias) = bias {
        padded[..s.c_out].copy_from_slice(bias);
    }
    let y = y.as_mut_ptr();
    with_floats(Packed::len(s) + Winograd::work_len(s), |floats| {
        let (weights, work) = floats.split_at_mut(Packed::len(s));
        let weights = Packed::new(s, kernels, weights);
        let maps = Maps {
            x: x.as_ptr(),
            x_ld: s.c_in,
            y,
            y_ld: s.c_out,
            residual: if accumulate { y.cast_const() } else { std::ptr::null() },
            r_ld: s.c_out,
            bias: padded.as_ptr(),
            activation: Activation::Identity,
            work: work.as_mut_ptr(),
        };
        // SAFETY: the lengths are those of the shape, and `y` is borrowed for this call.
        unsafe { Winograd::new(s).run(weights, &maps) };
    });
}

/// The convolution that gives the gradient by the input from that of the output, where it can be done so.
pub(crate) fn transposed(s: &ConvShape) -> Option<ConvShape> {
    if s.stride != [1, 1] || s.kernel != [3, 3] || s.padding.iter().any(|&p| p > 2) {
        return None;
    }
    let padding = s.padding.map(|p| 2 - p);
    let t = ConvShape::new(s.batch, s.output, s.c_out, s.c_in, [3, 3], [1, 1], padding, s.dilation, s.groups);
    pays(&t).then_some(t)
}

/// One dimension of the input's transform, B^T.
#[inline(always)]
unsafe fn to_points<S: Simd, const N: usize>(d: [S::V; N]) -> [S::V; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut points = d;
        if N == WIDE {
            // Every second input from the first on meets the outer taps.
            let (two, minus_two) = (S::splat(2.0), S::splat(-2.0));
            let a = S::sub(d[6], d[2]);
            points[0] = S::fma(two, S::sub(d[0], d[4]), a);
            points[1] = S::fma(minus_two, d[2], S::sub(d[6], d[4]));
            points[2] = S::fma(two, d[2], S::fma(S::splat(-3.0), d[4], d[6]));
            points[3] = a;
            points[4] = S::fma(minus_two, a, S::sub(d[8], d[4]));
            for i in 0..4 {
                points[5 + i] = d[2 * i + 1];
            }
            return points;
        }
        let [a, b, a2, b2] = [A, B, -A2, -B2].map(|v| S::splat(v as f32));
        let (product, sum) = (S::splat((A2 * B2) as f32), S::splat(-(A2 + B2) as f32));
        let (p, q) = (S::fma(b2, d[2], d[4]), S::mul(a, S::fma(b2, d[1], d[3])));
        let (e, f) = (S::fma(a2, d[2], d[4]), S::mul(b, S::fma(a2, d[1], d[3])));
        points[0] = S::fma(product, d[0], S::fma(sum, d[2], d[4]));
        points[1] = S::add(p, q);
        points[2] = S::sub(p, q);
        points[3] = S::add(e, f);
        points[4] = S::sub(e, f);
        points[5] = S::fma(product, d[1], S::fma(sum, d[3], d[5]));
        points
    }
}

/// One dimension of the output's transform, A^T.
#[inline(always)]
unsafe fn from_points<S: Simd, const N: usize>(m: [S::V; N]) -> [S::V; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        if N == WIDE {
            let (a, b) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
            return [
                S::add(S::add(m[0], m[5]), S::add(a, m[3])),
                S::fma(S::splat(2.0), m[3], S::add(b, m[6])),
                S::fma(S::splat(4.0), m[3], S::add(a, m[7])),
                S::fma(S::splat(8.0), m[3], S::add(S::add(m[4], m[8]), b)),
            ];
        }
        let (a, b) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (e, f) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(a, e)),
            S::fma(S::splat(B as f32), f, S::mul(S::splat(A as f32), b)),
            S::fma(S::splat(B2 as f32), e, S::mul(S::splat(A2 as f32), a)),
            S::fma(S::splat((B * B2) as f32), f, S::fma(S::splat((A * A2) as f32), b, m[5])),
        ]
    }
}

/// A tile between the two halves of its transform. It is not zeroed before it is written: a profile had that at a quarter of
/// the input's transform.
struct Half<V, const ROWS: usize, const COLUMNS: usize>(MaybeUninit<[[V; COLUMNS]; ROWS]>);

impl<V, const ROWS: usize, const COLUMNS: usize> Half<V, ROWS, COLUMNS> {
    #[inline(always)]
    fn new() -> Self {
        Half(MaybeUninit::uninit())
    }

    /// # Safety
    /// `x` is a column.
    #[inline(always)]
    unsafe fn set_column(&mut self, x: usize, values: [V; ROWS]) {
        for (y, v) in values.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.0.as_mut_ptr().cast::<V>().add(y * COLUMNS + x).write(v) };
        }
    }

    /// # Safety
    /// `y` is a row, and all columns were set.
    #[inline(always)]
    unsafe fn row(&self, y: usize) -> [V; COLUMNS] {
        // SAFETY: the caller's promise.
        unsafe { self.0.as_ptr().cast::<[V; COLUMNS]>().add(y).read() }
    }
}

/// A tile's inputs, of which `rows` and `columns` exist, and where its points go.
struct Inputs {
    side: usize,
    /// The first that exists.
    x: *const f32,
    /// From one row, and one pixel, to the next.
    x_step: [usize; 2],
    rows: [usize; 2],
    columns: [usize; 2],
    c: usize,
    v: *mut f32,
    /// From one point to the next.
    step: usize,
}

#[inline(always)]
unsafe fn input_tile<S: Simd, const N: usize>(p: &Inputs) {
    let [row_step, pixel] = p.x_step;
    let whole = p.rows == [0, N] && p.columns == [0, N];
    let mut i = 0;
    while i < p.c {
        let k = (p.c - i).min(S::LANES);
        // SAFETY: the caller's promise: the tile's rows and columns from `x`, its points `step` apart at `v`.
        unsafe {
            let zero = S::splat(0.0);
            let mut half = Half::<S::V, N, N>::new();
            for x in 0..N {
                let mut d = [zero; N];
                if whole && k == S::LANES {
                    let p = p.x.add(x * pixel + i);
                    for (y, d) in d.iter_mut().enumerate() {
                        *d = S::load(p.add(y * row_step));
                    }
                } else if x >= p.columns[0] && x < p.columns[1] {
                    for y in p.rows[0]..p.rows[1] {
                        let p = p.x.add((y - p.rows[0]) * row_step + (x - p.columns[0]) * pixel + i);
                        d[y] = load_n::<S>(p, k);
                    }
                }
                half.set_column(x, to_points::<S, N>(d));
            }
            for y in 0..N {
                let points = to_points::<S, N>(half.row(y));
                for (x, v) in points.iter().enumerate() {
                    store_n::<S>(p.v.add(place::<N>(y, x) * p.step + i), *v, k);
                }
            }
        }
        i += S::LANES;
    }
}

#[inline(always)]
unsafe fn input_kernel<S: Simd>(p: &Inputs) {
    // SAFETY: the caller's promise.
    unsafe { if p.side == NARROW { input_tile::<S, NARROW>(p) } else { input_tile::<S, WIDE>(p) } }
}
dispatch!(
    /// Transforms a tile of inputs.
    fn transform_input(p: &Inputs) = input_kernel
);

/// A tile's products and where its outputs go.
struct Outputs {
    side: usize,
    m: *const f32,
    /// From one point to the next.
    step: usize,
    y: *mut f32,
    /// From one row, and one pixel, to the next.
    y_step: [usize; 2],
    size: [usize; 2],
    c: usize,
    bias: *const f32,
    activation: Activation,
    residual: *const f32,
    r_step: [usize; 2],
}

#[inline(always)]
unsafe fn output_tile<S: Simd, const N: usize>(p: &Outputs) {
    let mut i = 0;
    while i < p.c {
        let k = (p.c - i).min(S::LANES);
        // SAFETY: the caller's promise.
        unsafe {
            let zero = S::splat(0.0);
            let mut half = Half::<S::V, 4, N>::new();
            for x in 0..N {
                let mut m = [zero; N];
                for (y, m) in m.iter_mut().enumerate() {
                    *m = load_n::<S>(p.m.add(place::<N>(y, x) * p.step + i), k);
                }
                half.set_column(x, from_points::<S, N>(m));
            }
            let bias = load_n::<S>(p.bias.add(i), k);
            for y in 0..p.size[0] {
                let mut outputs = [from_points::<S, N>(half.row(y))];
                for v in &mut outputs[0] {
                    *v = S::add(*v, bias);
                }
                finish::<S, 4, 1>(p.activation, &mut outputs);
                for (x, v) in outputs[0].iter().enumerate() {
                    if x < p.size[1] {
                        let mut v = *v;
                        if !p.residual.is_null() {
                            let r = p.residual.add(y * p.r_step[0] + x * p.r_step[1] + i);
                            v = S::add(v, load_n::<S>(r, k));
                        }
                        store_n::<S>(p.y.add(y * p.y_step[0] + x * p.y_step[1] + i), v, k);
                    }
                }
            }
        }
        i += S::LANES;
    }
}

#[inline(always)]
unsafe fn output_kernel<S: Simd>(p: &Outputs) {
    // SAFETY: the caller's promise.
    unsafe { if p.side == NARROW { output_tile::<S, NARROW>(p) } else { output_tile::<S, WIDE>(p) } }
}
dispatch!(
    /// Transforms a tile's products to outputs with bias, activation and residual.
    fn transform_output(p: &Outputs) = output_kernel
);
