//! The forward micro-kernel: a row tile of outputs as a matrix product, with bias, statistics and activation.
//!
//! `Y[m, n] = sum over k of A[m, k] * B[k, n]`. Rows of A are pointers into the input (or a padded copy of it) plus a few
//! contiguous segments, so no patch matrix is built. B is packed in panels of one, two or three vectors of columns
//! (see `pack`); twelve accumulators stay in registers, or 24 of two panels where there are 32 wide registers.

// Register tiles are indexed by row and vector alike; iterators would hide which accumulator is which.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use crate::Activation;
use crate::dispatch;
use crate::infer::finish::finish;
use crate::simd::Simd;

/// A contiguous part of the reduction: `len` floats at `offset` from a row's pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub offset: usize,
    pub len: usize,
}

/// A part of the reduction whose packed weights stay in the first-level cache.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub segments: Range<usize>,
    /// Index of its first reduction row.
    pub k0: usize,
}

/// One task's work: some rows times some panels.
pub(crate) struct Tile<'a> {
    pub a: *const f32,
    pub a_off: &'a [usize],
    pub y: *mut f32,
    pub y_off: &'a [usize],
    /// Packed weights of all panels.
    pub b: *const f32,
    /// Length of the whole reduction.
    pub k: usize,
    /// Output columns.
    pub n: usize,
    pub segments: &'a [Segment],
    pub blocks: &'a [Block],
    pub panels: Range<usize>,
    /// Rows that run through all panels before the next rows start.
    pub row_chunk: usize,
    /// Bias padded to whole vectors, or null.
    pub bias: *const f32,
    /// Sums and then sums of squares, each padded to whole vectors and zeroed, or null.
    pub stats: *mut f32,
    pub accumulate: bool,
    pub activation: Activation,
    /// Added after the activation: this array at `r_off` of each row, or null.
    pub residual: *const f32,
    pub r_off: &'a [usize],
}

/// Rows that pass through all columns before the next ones, for so many floats of packed weights: those that fit the
/// first-level cache are passed for every few rows, so that outputs are written in one sweep.
pub(crate) fn row_chunk(weights: usize) -> usize {
    if weights <= 4096 { 24 } else { usize::MAX / 2 }
}

/// How many panels `vectors` vectors of columns make: pairs, with a last one of three where the number is odd.
pub(crate) fn panel_count(vectors: usize) -> usize {
    (vectors / 2).max(1)
}

/// The width in vectors of panel `i`, which starts at vector `2 * i`.
#[inline(always)]
pub(crate) fn panel_width(i: usize, vectors: usize) -> usize {
    if i + 1 == panel_count(vectors) { vectors - 2 * i } else { 2 }
}

dispatch!(
    /// The lanes of the vectors in use.
    fn lanes_in_use() -> usize = lanes_kernel
);

#[inline(always)]
unsafe fn lanes_kernel<S: Simd>() -> usize {
    S::LANES
}

/// The lanes of the vectors in use.
pub(crate) fn lanes() -> usize {
    // SAFETY: the kernel touches no memory.
    unsafe { lanes_in_use() }
}

dispatch!(
    /// Computes a tile.
    ///
    /// # Safety
    /// Every row plus segment of `a`, every row of `y`, and the packed buffers must be valid as the fields say.
    pub(crate) fn gemm_tile(t: &Tile<'_>) = gemm_tile_kernel
);

/// What a micro-kernel call works on.
struct Micro<'a> {
    a: *const f32,
    a_off: *const usize,
    y: *mut f32,
    y_off: *const usize,
    rows: usize,
    b: *const f32,
    segments: &'a [Segment],
    /// Columns that exist in the last vector.
    tail: usize,
    bias: *const f32,
    stats: *mut f32,
    /// Distance from sums to sums of squares.
    stats_ld: usize,
    load: bool,
    activation: Activation,
    residual: *const f32,
    r_off: *const usize,
}

impl Micro<'_> {
    /// Block `block` of panel `panel`, before its rows are known.
    ///
    /// # Safety
    /// Both exist, and the tile's fields are as they say.
    #[inline(always)]
    unsafe fn new<'a, S: Simd>(t: &Tile<'a>, block: usize, panel: usize) -> Micro<'a> {
        let vectors = t.n.div_ceil(S::LANES);
        let (first, last) = (block == 0, block + 1 == t.blocks.len());
        let width = panel_width(panel, vectors);
        let column = 2 * panel * S::LANES;
        let end = column + width * S::LANES;
        // SAFETY: the caller's promise; null pointers stay null.
        unsafe {
            let block = t.blocks.get_unchecked(block);
            Micro {
                a: t.a,
                a_off: std::ptr::null(),
                y: t.y.add(column),
                y_off: std::ptr::null(),
                rows: 0,
                b: t.b.add(column * t.k + block.k0 * width * S::LANES),
                segments: t.segments.get_unchecked(block.segments.start..block.segments.end),
                tail: if end > t.n { S::LANES - (end - t.n) } else { S::LANES },
                bias: if first && !t.bias.is_null() { t.bias.add(column) } else { std::ptr::null() },
                stats: if last && !t.stats.is_null() { t.stats.add(column) } else { std::ptr::null_mut() },
                stats_ld: vectors * S::LANES,
                load: !first || t.accumulate,
                activation: if last { t.activation } else { Activation::Identity },
                residual: if last && !t.residual.is_null() { t.residual.add(column) } else { std::ptr::null() },
                r_off: std::ptr::null(),
            }
        }
    }

    /// Goes to row `row` of the tile.
    #[inline(always)]
    unsafe fn at(&mut self, t: &Tile<'_>, row: usize) {
        // SAFETY: the row exists.
        unsafe {
            self.a_off = t.a_off.as_ptr().add(row);
            self.y_off = t.y_off.as_ptr().add(row);
            if !self.residual.is_null() {
                self.r_off = t.r_off.as_ptr().add(row);
            }
        }
    }
}

#[inline(always)]
unsafe fn gemm_tile_kernel<S: Simd>(t: &Tile<'_>) {
    // SAFETY: the caller's promise on the tile's fields; indices below stay inside them.
    unsafe {
        let vectors = t.n.div_ceil(S::LANES);
        let rows = t.a_off.len();
        let mut chunk = 0;
        while chunk < rows {
            let chunk_end = (chunk + t.row_chunk).min(rows);
            for block in 0..t.blocks.len() {
                let mut panel = t.panels.start;
                while panel < t.panels.end {
                    // Two panels at once where 24 sums have registers: fewer loads a product.
                    let two = S::LANES == 16 && panel + 1 < t.panels.end && panel_width(panel + 1, vectors) == 2;
                    let mut done = chunk;
                    if two {
                        let (mut left, mut right) =
                            (Micro::new::<S>(t, block, panel), Micro::new::<S>(t, block, panel + 1));
                        while done + 5 <= chunk_end {
                            left.at(t, done);
                            right.at(t, done);
                            done += micro_two::<S, 6, 2>(&mut left, &mut right, chunk_end - done);
                        }
                    }
                    let last = panel + usize::from(two);
                    for panel in panel..=last {
                        let width = panel_width(panel, vectors);
                        let mut m = Micro::new::<S>(t, block, panel);
                        let mut row = done;
                        while row < chunk_end {
                            let left = chunk_end - row;
                            m.at(t, row);
                            let step = match (width, left) {
                                (2, 5..) => micro::<S, 6, 2>(&mut m, left),
                                (2, 3..) => micro::<S, 4, 2>(&mut m, left),
                                (2, 2) => micro::<S, 2, 2>(&mut m, left),
                                (2, _) => micro::<S, 1, 2>(&mut m, left),
                                (3, 3..) => micro::<S, 3, 3>(&mut m, left),
                                (3, 2) => micro::<S, 2, 3>(&mut m, left),
                                (3, _) => micro::<S, 1, 3>(&mut m, left),
                                (_, 7..) => micro::<S, 12, 1>(&mut m, left),
                                (_, 3..) => micro::<S, 6, 1>(&mut m, left),
                                (_, _) => micro::<S, 2, 1>(&mut m, left),
                            };
                            row += step;
                        }
                    }
                    panel = last + 1;
                }
            }
            chunk = chunk_end;
        }
    }
}

/// `MR` rows times `NV` vectors. Rows past `left` repeat the last one and are not stored. Returns the rows done.
#[inline(always)]
unsafe fn micro<S: Simd, const MR: usize, const NV: usize>(m: &mut Micro<'_>, left: usize) -> usize {
    // SAFETY: the caller's promise on the fields; rows at and past `left` are never addressed.
    unsafe {
        let mut acc = begin::<S, MR, NV>(m, left);
        let base = bases::<MR>(m);
        let mut b = m.b;
        for s in m.segments {
            let p = base.map(|p| p.add(s.offset));
            for k in 0..s.len {
                let mut w = [S::splat(0.0); NV];
                for v in 0..NV {
                    w[v] = S::load(b.add(v * S::LANES));
                }
                for r in 0..MR {
                    let x = S::splat(*p[r].add(k));
                    for v in 0..NV {
                        acc[r][v] = S::fma(x, w[v], acc[r][v]);
                    }
                }
                b = b.add(NV * S::LANES);
            }
        }
        end::<S, MR, NV>(m, acc);
        m.rows
    }
}

/// [`micro`] for the same rows of two panels.
#[inline(always)]
unsafe fn micro_two<S: Simd, const MR: usize, const NV: usize>(
    m: &mut Micro<'_>,
    m2: &mut Micro<'_>,
    left: usize,
) -> usize {
    // SAFETY: as in `micro`; the panels have the same segments.
    unsafe {
        // Two arrays: one of all sums would be too long to stay in registers.
        let (mut acc, mut acc2) = (begin::<S, MR, NV>(m, left), begin::<S, MR, NV>(m2, left));
        let base = bases::<MR>(m);
        let (mut b, mut b2) = (m.b, m2.b);
        for s in m.segments {
            let p = base.map(|p| p.add(s.offset));
            for k in 0..s.len {
                let (mut w, mut w2) = ([S::splat(0.0); NV], [S::splat(0.0); NV]);
                for v in 0..NV {
                    w[v] = S::load(b.add(v * S::LANES));
                    w2[v] = S::load(b2.add(v * S::LANES));
                }
                for r in 0..MR {
                    let x = S::splat(*p[r].add(k));
                    for v in 0..NV {
                        acc[r][v] = S::fma(x, w[v], acc[r][v]);
                        acc2[r][v] = S::fma(x, w2[v], acc2[r][v]);
                    }
                }
                b = b.add(NV * S::LANES);
                b2 = b2.add(NV * S::LANES);
            }
        }
        end::<S, MR, NV>(m, acc);
        end::<S, MR, NV>(m2, acc2);
        m.rows
    }
}

/// Where the rows of A begin; rows past the last repeat it.
#[inline(always)]
unsafe fn bases<const MR: usize>(m: &Micro<'_>) -> [*const f32; MR] {
    let mut base = [m.a; MR];
    for r in 0..MR {
        // SAFETY: this row exists.
        base[r] = unsafe { m.a.add(*m.a_off.add(r.min(m.rows - 1))) };
    }
    base
}

/// Counts the rows and gives what the sums begin with.
#[inline(always)]
unsafe fn begin<S: Simd, const MR: usize, const NV: usize>(m: &mut Micro<'_>, left: usize) -> [[S::V; NV]; MR] {
    // SAFETY: as in `micro`.
    unsafe {
        m.rows = left.min(MR);
        // Outputs to come: where little is summed up, a tile takes less time than a line takes from memory.
        if left >= 3 * MR {
            for r in 0..MR {
                let y = m.y.add(*m.y_off.add(2 * MR + r));
                for v in 0..NV {
                    S::prefetch(y.add(v * S::LANES));
                }
            }
        }
        let mut acc = [[S::splat(0.0); NV]; MR];
        if m.load {
            for r in 0..MR {
                if r < m.rows {
                    let y = m.y.add(*m.y_off.add(r));
                    for v in 0..NV - 1 {
                        acc[r][v] = S::load(y.add(v * S::LANES));
                    }
                    let p = y.add((NV - 1) * S::LANES);
                    acc[r][NV - 1] = if m.tail == S::LANES { S::load(p) } else { S::load_partial(p, m.tail) };
                }
            }
        } else if !m.bias.is_null() {
            for v in 0..NV {
                let bias = S::load(m.bias.add(v * S::LANES));
                for row in &mut acc {
                    row[v] = bias;
                }
            }
        }
        acc
    }
}

/// Statistics, activation and residual of a register tile, and its way to memory.
#[inline(always)]
unsafe fn end<S: Simd, const MR: usize, const NV: usize>(m: &Micro<'_>, mut acc: [[S::V; NV]; MR]) {
    // SAFETY: as in `micro`.
    unsafe {
        if !m.stats.is_null() {
            for v in 0..NV {
                let p = m.stats.add(v * S::LANES);
                let q = p.add(m.stats_ld);
                let (mut sum, mut square) = (S::load(p), S::load(q));
                for r in 0..MR {
                    if r < m.rows {
                        sum = S::add(sum, acc[r][v]);
                        square = S::fma(acc[r][v], acc[r][v], square);
                    }
                }
                S::store(p, sum);
                S::store(q, square);
            }
        }
        finish::<S, NV, MR>(m.activation, &mut acc);
        if !m.residual.is_null() {
            for r in 0..MR {
                if r < m.rows {
                    let x = m.residual.add(*m.r_off.add(r));
                    for v in 0..NV - 1 {
                        acc[r][v] = S::add(acc[r][v], S::load(x.add(v * S::LANES)));
                    }
                    let p = x.add((NV - 1) * S::LANES);
                    let last = if m.tail == S::LANES { S::load(p) } else { S::load_partial(p, m.tail) };
                    acc[r][NV - 1] = S::add(acc[r][NV - 1], last);
                }
            }
        }
        for r in 0..MR {
            if r < m.rows {
                let y = m.y.add(*m.y_off.add(r));
                for v in 0..NV - 1 {
                    S::store(y.add(v * S::LANES), acc[r][v]);
                }
                let p = y.add((NV - 1) * S::LANES);
                if m.tail == S::LANES {
                    S::store(p, acc[r][NV - 1]);
                } else {
                    S::store_partial(p, acc[r][NV - 1], m.tail);
                }
            }
        }
    }
}
