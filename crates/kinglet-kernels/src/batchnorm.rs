//! Batch normalisation fused with the activation that follows it.
//!
//! Source: Ioffe and Szegedy 2015, arXiv:1502.03167. Oracle: `reference/batchnorm.rs`.
//! Shapes: `z`, `y`, `dy`, `dz` `[rows, c]` with `rows = n * h * w`; parameters `[c]`.
//!
//! Memory bounds these kernels, so each makes as few passes as the formula allows: one forward, two backward. Sums are
//! `f32` within a block of about 128 KiB (in two levels) and `f64` across blocks, in a fixed order.
//!
//! Few channels would waste lanes, so rows are taken `fold` at a time, as one row of `fold * c` channels with repeated
//! parameters; the last rows that do not fill a fold are taken one by one.

use crate::activation::{apply_simd, derivative_simd, specialise};
use crate::conv::ChannelStats;
use crate::elementwise::{CHUNK, load_n, store_n};
use crate::simd::{Isa, Simd, isa, stream_ahead};
use crate::threads::{SendPtr, parallel_for};
use crate::{Activation, dispatch};

/// How the rows are cut: `blocks` of `rows` folded rows of `width` channels, then `tail` rows of `c`.
#[derive(Debug, Clone, Copy)]
struct Split {
    c: usize,
    fold: usize,
    folded: usize,
    rows: usize,
    tail: usize,
}

/// Values of a folded row.
const LONG: usize = 128;

impl Split {
    fn new(len: usize, c: usize) -> Self {
        let lanes = match isa() {
            Isa::Avx512 => 16,
            Isa::Avx2 => 8,
            Isa::Neon | Isa::Scalar => 4,
        };
        let total = len / c;
        // The least fold that fills whole vectors, as often as makes a row long enough for its loops to run at speed;
        // wide rows lose little in their last vector.
        let least = (1..=lanes).find(|fold| (fold * c).is_multiple_of(lanes)).unwrap_or(1);
        let fold = if c < LONG { least * (LONG / (least * c)).max(1) } else { 1 };
        let width = fold * c;
        Self { c, fold, folded: total / fold, rows: (CHUNK / width).max(1), tail: total % fold }
    }

    fn width(&self) -> usize {
        self.fold * self.c
    }

    fn blocks(&self) -> usize {
        self.folded.div_ceil(self.rows)
    }

    /// `[c]` repeated to `[width]`.
    fn repeat(&self, parameter: &[f32]) -> Vec<f32> {
        parameter.repeat(self.fold)
    }

    /// Runs `f(task, first value, rows, width)` for every block and for the tail, which is the last task.
    fn run(&self, f: impl Fn(usize, usize, usize, usize) + Sync) {
        let blocks = self.blocks();
        parallel_for(blocks + usize::from(self.tail > 0), |task| {
            let start = task.min(blocks) * self.rows;
            if task < blocks {
                f(task, start * self.width(), self.rows.min(self.folded - start), self.width());
            } else {
                f(task, self.folded * self.width(), self.tail, self.c);
            }
        });
    }

    /// Like [`run`](Self::run), with two rows of `width` sums a task, which are then added up by channel.
    fn run_with_sums(&self, f: impl Fn(usize, usize, usize, [*mut f32; 2]) + Sync) -> [Vec<f64>; 2] {
        let width = self.width();
        let tasks = self.blocks() + 1;
        let mut partial = vec![0.0f32; tasks * 2 * width];
        let sums = SendPtr(partial.as_mut_ptr());
        self.run(|task, start, rows, columns| {
            // SAFETY: task < tasks, so both rows of sums lie inside `partial`.
            let first = unsafe { sums.get().add(task * 2 * width) };
            // SAFETY: as above.
            f(start, rows, columns, [first, unsafe { first.add(width) }]);
        });
        let mut total = [vec![0.0f64; self.c], vec![0.0f64; self.c]];
        for task in partial.chunks_exact(2 * width) {
            for (total, part) in total.iter_mut().zip(task.chunks_exact(width)) {
                for channels in part.chunks_exact(self.c) {
                    total.iter_mut().zip(channels).for_each(|(total, &part)| *total += f64::from(part));
                }
            }
        }
        total
    }
}

/// Rows of `c` channels that make up a block: sums taken by blocks are those of the whole.
pub(crate) fn block_rows(c: usize) -> usize {
    let split = Split::new(0, c);
    split.rows * split.fold
}

/// Values over which one chain of `f32` sums runs: 16 KiB, so that the second group of channels finds them in L1.
const CHAIN: usize = 4096;

/// Rows of one chain of sums.
#[inline(always)]
fn chain_rows(width: usize) -> usize {
    (CHAIN / width).max(1)
}

/// The sums of `z` and of `z^2` over the rows, for each channel.
///
/// # Panics
/// If `c` does not divide the length of `z`.
pub fn channel_stats(z: &[f32], c: usize) -> ChannelStats {
    check(z.len(), c, &[]);
    let split = Split::new(z.len(), c);
    let [sum, sum_sq] = split.run_with_sums(|start, rows, width, [sum, sum_sq]| {
        // SAFETY: `rows * width` values from `start` lie inside `z`; each task has its own `width` sums.
        unsafe { stats_rows(z.as_ptr().add(start), rows, width, sum, sum_sq) }
    });
    ChannelStats { sum, sum_sq }
}

/// The sums of `(z - mean)^2` over the rows, for each channel, in `f64`: slower than [`channel_stats`], and right where the
/// mean is so much larger than the deviation that the difference of two large sums is not.
///
/// # Panics
/// If `mean` is not as long as a row, or that does not divide the length of `z`.
pub fn squared_deviations(z: &[f32], mean: &[f64]) -> Vec<f64> {
    let c = mean.len();
    check(z.len(), c, &[]);
    let rows = (CHUNK / c).max(1);
    let tasks = z.len().div_ceil(rows * c);
    let mut partial = vec![0.0f64; tasks * c];
    let sums = SendPtr(partial.as_mut_ptr());
    parallel_for(tasks, |task| {
        // SAFETY: each task has its own `c` sums.
        let sums = unsafe { std::slice::from_raw_parts_mut(sums.get().add(task * c), c) };
        for row in z[task * rows * c..].chunks_exact(c).take(rows) {
            for ((sum, &z), mean) in sums.iter_mut().zip(row).zip(mean) {
                let deviation = f64::from(z) - mean;
                *sum += deviation * deviation;
            }
        }
    });
    let mut total = vec![0.0; c];
    for part in partial.chunks_exact(c) {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total
}

/// Vectors of channels that are summed together: four pairs of sums fit the registers of every instruction set.
const GROUP: usize = 4;

#[inline(always)]
unsafe fn stats_kernel<S: Simd>(z: *const f32, rows: usize, width: usize, sum: *mut f32, sum_sq: *mut f32) {
    let mut row = 0;
    while row < rows {
        let n = chain_rows(width).min(rows - row);
        let mut i = 0;
        while i < width {
            // SAFETY: channels from `i` up to `width` at most, rows below `rows`.
            unsafe {
                let from = z.add(row * width + i);
                if i + GROUP * S::LANES <= width {
                    stats_group::<S, GROUP>(from, n, width, S::LANES, sum.add(i), sum_sq.add(i));
                    i += GROUP * S::LANES;
                } else {
                    let k = (width - i).min(S::LANES);
                    stats_group::<S, 1>(from, n, width, k, sum.add(i), sum_sq.add(i));
                    i += k;
                }
            }
        }
        row += n;
    }
}
dispatch!(fn stats_rows(z: *const f32, rows: usize, width: usize, sum: *mut f32, sum_sq: *mut f32) = stats_kernel);

/// Adds the sums of `N` vectors of channels over `rows` rows; `k` lanes of each are used.
#[inline(always)]
unsafe fn stats_group<S: Simd, const N: usize>(
    z: *const f32,
    rows: usize,
    width: usize,
    k: usize,
    sum: *mut f32,
    sum_sq: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut s, mut q) = ([S::splat(0.0); N], [S::splat(0.0); N]);
        for r in 0..rows {
            for j in 0..N {
                let v = load_n::<S>(z.add(r * width + j * S::LANES), k);
                s[j] = S::add(s[j], v);
                q[j] = S::fma(v, v, q[j]);
            }
        }
        for j in 0..N {
            let (sum, sum_sq) = (sum.add(j * S::LANES), sum_sq.add(j * S::LANES));
            store_n::<S>(sum, S::add(load_n::<S>(sum, k), s[j]), k);
            store_n::<S>(sum_sq, S::add(load_n::<S>(sum_sq, k), q[j]), k);
        }
    }
}

/// Runs the body with the first value and the lanes of each vector of a row: two whole ones at a time, so that they
/// overlap, and a partial one at the end. A closure would be compiled without the instruction set.
macro_rules! each_vector {
    ($S:ident, $width:expr, |$i:ident, $k:ident| $body:block) => {{
        let width = $width;
        let mut at = 0;
        while at + 2 * $S::LANES <= width {
            {
                let ($i, $k) = (at, $S::LANES);
                $body
            }
            {
                let ($i, $k) = (at + $S::LANES, $S::LANES);
                $body
            }
            at += 2 * $S::LANES;
        }
        while at + $S::LANES <= width {
            let ($i, $k) = (at, $S::LANES);
            $body
            at += $S::LANES;
        }
        if at < width {
            let ($i, $k) = (at, width - at);
            $body
        }
    }};
}

/// Asks for the line `ahead` floats after the `i`-th; zero asks for none. What lies past the end need not be anything.
#[inline(always)]
unsafe fn ask<S: Simd>(from: *const f32, i: usize, ahead: usize) {
    if ahead > 0 {
        // SAFETY: it reads nothing.
        unsafe { S::prefetch_second(from.wrapping_add(i + ahead)) };
    }
}

/// `y = activation(z * scale + shift)`, plus `residual` where there is one.
///
/// # Panics
/// If the lengths do not fit.
pub fn forward(
    z: &[f32],
    c: usize,
    scale: &[f32],
    shift: &[f32],
    activation: Activation,
    residual: Option<&[f32]>,
    y: &mut [f32],
) {
    check(z.len(), c, &[scale.len(), shift.len()]);
    assert_eq!(z.len(), y.len(), "batchnorm: z and y differ in length");
    assert!(residual.is_none_or(|r| r.len() == y.len()), "batchnorm: residual and y differ in length");
    let split = Split::new(z.len(), c);
    let (scale, shift) = (split.repeat(scale), split.repeat(shift));
    let (out, ahead) = (SendPtr(y.as_mut_ptr()), stream_ahead());
    split.run(|_, start, rows, width| {
        // SAFETY: `rows * width` values from `start` lie inside `z`, `y` and the residual; tasks do not overlap.
        unsafe {
            let residual = residual.map_or(std::ptr::null(), |r| r.as_ptr().add(start));
            let (z, y) = (z.as_ptr().add(start), out.get().add(start));
            forward_rows(activation, z, scale.as_ptr(), shift.as_ptr(), residual, y, [rows, width, ahead]);
        }
    });
}

#[inline(always)]
unsafe fn forward_kernel<S: Simd>(
    activation: Activation,
    z: *const f32,
    scale: *const f32,
    shift: *const f32,
    residual: *const f32,
    y: *mut f32,
    [rows, width, ahead]: [usize; 3],
) {
    // SAFETY: every access is to channels below `width` of the `rows` rows.
    unsafe {
        specialise!(activation, a => for r in 0..rows {
            let (z, y) = (z.add(r * width), y.add(r * width));
            if residual.is_null() {
                each_vector!(S, width, |i, k| {
                    ask::<S>(z, i, ahead);
                    let v = S::fma(load_n::<S>(z.add(i), k), load_n::<S>(scale.add(i), k), load_n::<S>(shift.add(i), k));
                    store_n::<S>(y.add(i), apply_simd::<S>(a, v), k);
                });
            } else {
                let residual = residual.add(r * width);
                each_vector!(S, width, |i, k| {
                    ask::<S>(z, i, ahead);
                    let v = S::fma(load_n::<S>(z.add(i), k), load_n::<S>(scale.add(i), k), load_n::<S>(shift.add(i), k));
                    store_n::<S>(y.add(i), S::add(apply_simd::<S>(a, v), load_n::<S>(residual.add(i), k)), k);
                });
            }
        });
    }
}
dispatch!(fn forward_rows(activation: Activation, z: *const f32, scale: *const f32, shift: *const f32,
    residual: *const f32, y: *mut f32, size: [usize; 3]) = forward_kernel);

/// The statistics of a batch by channel, and what they make of the parameters.
#[derive(Debug, Clone, Copy)]
pub struct Moments<'a> {
    /// Mean.
    pub mean: &'a [f32],
    /// `1 / sqrt(variance + eps)`.
    pub inv_std: &'a [f32],
    /// `gamma * inv_std`.
    pub scale: &'a [f32],
    /// `beta - mean * scale`.
    pub shift: &'a [f32],
}

/// Adds to `totals` `[2, c]` what the gradient needs of some rows: the sums of `g * (z - mean)` and of `g`, with
/// `g = dy * activation'(z * scale + shift)`.
///
/// # Panics
/// If the lengths do not fit.
pub fn add_gradient_sums(z: &[f32], dy: &[f32], m: Moments<'_>, activation: Activation, totals: &mut [f64]) {
    let c = m.mean.len();
    check(z.len(), c, &[m.scale.len(), m.shift.len(), totals.len() / 2]);
    assert_eq!(z.len(), dy.len(), "batchnorm: z and dy differ in length");
    let split = Split::new(z.len(), c);
    let parameters = [m.scale, m.shift, m.mean].map(|p| split.repeat(p));
    let ahead = stream_ahead();
    let sums = split.run_with_sums(|start, rows, width, sums| {
        // SAFETY: `rows * width` values from `start` lie inside `z` and `dy`; each task has its own `width` sums.
        unsafe {
            let parameters = [0, 1, 2].map(|i| parameters[i].as_ptr());
            sum_rows(activation, z.as_ptr().add(start), dy.as_ptr().add(start), [rows, width, ahead], parameters, sums);
        }
    });
    totals.iter_mut().zip(sums.iter().flatten()).for_each(|(total, sum)| *total += sum);
}

/// The gradient of training-mode batch normalisation and activation, once its sums over the batch are known.
///
/// With `xhat = (z - mean) * inv_std` and `g = dy * activation'(gamma * xhat + beta)`: `dbeta = sum g`,
/// `dgamma = sum g * xhat`, `dz = gamma * inv_std * (g - dbeta / rows - xhat * dgamma / rows)`.
#[derive(Debug, Clone)]
pub struct Gradient {
    activation: Activation,
    /// Scale and shift of the forward pass, then slope and offset: `dz = scale * g + slope * z + offset`, the formula
    /// above gathered by powers of z.
    parameters: [Vec<f32>; 4],
}

impl Gradient {
    /// From the sums of [`add_gradient_sums`] over all `rows` rows; adds to `dgamma` and `dbeta`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    #[allow(clippy::cast_possible_truncation)]
    pub fn new(
        sums: &[f64],
        rows: usize,
        m: Moments<'_>,
        activation: Activation,
        [dgamma, dbeta]: [&mut [f32]; 2],
    ) -> Self {
        let c = m.mean.len();
        let lengths = [sums.len() / 2, m.inv_std.len(), m.scale.len(), m.shift.len(), dgamma.len(), dbeta.len()];
        check(sums.len(), c, &lengths);
        let (sum_gz, sum_g) = sums.split_at(c);
        let (rows, wide) = (rows as f64, |v: &[f32], ch: usize| f64::from(v[ch]));
        // Of channel `ch`: the gradient of gamma, and the two coefficients.
        let sum_gx = |ch: usize| sum_gz[ch] * wide(m.inv_std, ch);
        let slope = |ch: usize| -wide(m.scale, ch) * sum_gx(ch) / rows * wide(m.inv_std, ch);
        let offset = |ch: usize| {
            let centre = wide(m.mean, ch) * wide(m.inv_std, ch) * sum_gx(ch) / rows;
            wide(m.scale, ch) * (centre - sum_g[ch] / rows)
        };
        for ch in 0..c {
            dgamma[ch] += sum_gx(ch) as f32;
            dbeta[ch] += sum_g[ch] as f32;
        }
        let slope = (0..c).map(|ch| slope(ch) as f32).collect();
        let offset = (0..c).map(|ch| offset(ch) as f32).collect();
        Self { activation, parameters: [m.scale.to_vec(), m.shift.to_vec(), slope, offset] }
    }

    /// Computes `dz` from `z` and `dy`: of all rows, or of the same rows of each.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn rows(&self, z: &[f32], dy: &[f32], dz: &mut [f32]) {
        assert!(dy.len() == z.len() && dz.len() == z.len(), "batchnorm: z, dy and dz differ in length");
        self.write(z, SendPtr(dy.as_ptr().cast_mut()), SendPtr(dz.as_mut_ptr()));
    }

    /// The same over `dy`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn rows_in_place(&self, z: &[f32], dy: &mut [f32]) {
        assert_eq!(z.len(), dy.len(), "batchnorm: z and dy differ in length");
        let dy = SendPtr(dy.as_mut_ptr());
        self.write(z, dy, dy);
    }

    /// `dy` may be `dz`: each value is read before it is written. Both are as long as `z`.
    fn write(&self, z: &[f32], dy: SendPtr<f32>, dz: SendPtr<f32>) {
        let c = self.parameters[0].len();
        check(z.len(), c, &[]);
        let split = Split::new(z.len(), c);
        let parameters = [0, 1, 2, 3].map(|i| split.repeat(&self.parameters[i]));
        let ahead = stream_ahead();
        split.run(|_, start, rows, width| {
            // SAFETY: `rows * width` values from `start` lie inside `z`, `dy` and `dz`; tasks do not overlap.
            unsafe {
                let p = [0, 1, 2, 3].map(|i| parameters[i].as_ptr());
                let (z, dy, dz) = (z.as_ptr().add(start), dy.get().add(start), dz.get().add(start));
                dz_rows(self.activation, z, dy, dz, [rows, width, ahead], p);
            }
        });
    }
}

#[inline(always)]
unsafe fn sum_kernel<S: Simd>(
    activation: Activation,
    z: *const f32,
    dy: *const f32,
    [rows, width, ahead]: [usize; 3],
    parameters: [*const f32; 3],
    sums: [*mut f32; 2],
) {
    specialise!(activation, a => {
        let mut row = 0;
        while row < rows {
            let n = chain_rows(width).min(rows - row);
            let mut i = 0;
            while i < width {
                // SAFETY: channels from `i` up to `width` at most, rows below `rows`.
                unsafe {
                    let at = row * width + i;
                    let [p0, p1, p2] = parameters;
                    let p = [p0.add(i), p1.add(i), p2.add(i)];
                    let s = [sums[0].add(i), sums[1].add(i)];
                    if i + GROUP * S::LANES <= width {
                        sum_group::<S, GROUP>(a, z.add(at), dy.add(at), [n, width, ahead], S::LANES, p, s);
                        i += GROUP * S::LANES;
                    } else {
                        let k = (width - i).min(S::LANES);
                        sum_group::<S, 1>(a, z.add(at), dy.add(at), [n, width, ahead], k, p, s);
                        i += k;
                    }
                }
            }
            row += n;
        }
    });
}
dispatch!(fn sum_rows(activation: Activation, z: *const f32, dy: *const f32, size: [usize; 3],
    parameters: [*const f32; 3], sums: [*mut f32; 2]) = sum_kernel);

/// Adds the sums of `g * (z - mean)` and `g` of `N` vectors of channels; `k` lanes of each are used.
#[inline(always)]
unsafe fn sum_group<S: Simd, const N: usize>(
    activation: Activation,
    z: *const f32,
    dy: *const f32,
    [rows, width, ahead]: [usize; 3],
    k: usize,
    [scale, shift, mean]: [*const f32; 3],
    [sum_gz, sum_g]: [*mut f32; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut gz, mut g) = ([S::splat(0.0); N], [S::splat(0.0); N]);
        for r in 0..rows {
            for j in 0..N {
                let i = j * S::LANES;
                // Those of the next chain, which are then in this order too.
                ask::<S>(z, r * width + i, if ahead > 0 { CHAIN } else { 0 });
                let v = load_n::<S>(z.add(r * width + i), k);
                let u = S::fma(v, load_n::<S>(scale.add(i), k), load_n::<S>(shift.add(i), k));
                let d = S::mul(load_n::<S>(dy.add(r * width + i), k), derivative_simd::<S>(activation, u));
                g[j] = S::add(g[j], d);
                gz[j] = S::fma(d, S::sub(v, load_n::<S>(mean.add(i), k)), gz[j]);
            }
        }
        for j in 0..N {
            let (sum_gz, sum_g) = (sum_gz.add(j * S::LANES), sum_g.add(j * S::LANES));
            store_n::<S>(sum_gz, S::add(load_n::<S>(sum_gz, k), gz[j]), k);
            store_n::<S>(sum_g, S::add(load_n::<S>(sum_g, k), g[j]), k);
        }
    }
}

#[inline(always)]
unsafe fn dz_kernel<S: Simd>(
    activation: Activation,
    z: *const f32,
    dy: *const f32,
    dz: *mut f32,
    [rows, width, ahead]: [usize; 3],
    [scale, shift, slope, offset]: [*const f32; 4],
) {
    // SAFETY: every access is to channels below `width` of the `rows` rows.
    unsafe {
        specialise!(activation, a => for r in 0..rows {
            let (z, dy, dz) = (z.add(r * width), dy.add(r * width), dz.add(r * width));
            each_vector!(S, width, |i, k| {
                ask::<S>(z, i, ahead);
                ask::<S>(dy, i, ahead);
                let (v, scale) = (load_n::<S>(z.add(i), k), load_n::<S>(scale.add(i), k));
                let u = S::fma(v, scale, load_n::<S>(shift.add(i), k));
                let g = S::mul(load_n::<S>(dy.add(i), k), derivative_simd::<S>(a, u));
                let line = S::fma(v, load_n::<S>(slope.add(i), k), load_n::<S>(offset.add(i), k));
                store_n::<S>(dz.add(i), S::fma(g, scale, line), k);
            });
        });
    }
}
dispatch!(fn dz_rows(activation: Activation, z: *const f32, dy: *const f32, dz: *mut f32, size: [usize; 3],
    parameters: [*const f32; 4]) = dz_kernel);

/// Checks that `c` channels divide `len` and that the parameters have `c` values.
fn check(len: usize, c: usize, parameters: &[usize]) {
    assert!(c > 0 && len.is_multiple_of(c), "batchnorm: {len} values are not whole rows of {c} channels");
    assert!(parameters.iter().all(|&p| p == c), "batchnorm: parameters of {parameters:?} values for {c} channels");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::tests::ALL;
    use crate::elementwise::tests::{close, each_isa, random, same_bits};
    use crate::reference::batchnorm as reference;

    const EPS: f64 = 1e-3;

    fn wide(v: &[f32]) -> Vec<f64> {
        v.iter().map(|&v| f64::from(v)).collect()
    }

    fn narrow(v: &[f64]) -> Vec<f32> {
        v.iter().map(|&v| v as f32).collect()
    }

    #[test]
    fn deviations_are_exact_beside_a_large_mean_on_any_number_of_threads() {
        // 70,000 rows of two channels: -1 and 1 in turn around 1000, and always 5.
        let z: Vec<f32> = (0..70_000).flat_map(|row| [[999.0, 5.0], [1001.0, 5.0]][row % 2]).collect();
        assert_eq!(squared_deviations(&z, &[1000.0, 5.0]), [70_000.0, 0.0]);
        assert_eq!(squared_deviations(&z, &[1000.0, 4.5]), [70_000.0, 17_500.0]);
        same_bits(|| squared_deviations(&random(9, 70_000), &[0.25, 0.5]).iter().map(|&v| v as f32).collect());
    }

    #[test]
    fn every_kernel_agrees_with_the_reference_on_every_instruction_set() {
        each_isa(|| {
            for (turn, c) in [1, 3, 5, 7, 8, 13, 16, 24, 40, 72, 127].into_iter().enumerate() {
                for rows in [1, 2, 7, 61, 1300] {
                    // Among many values some would land on another side of a kink than in f64.
                    let smooth = [Activation::Silu, Activation::Sigmoid, Activation::Identity];
                    let a = if rows > 100 { smooth[turn % 3] } else { ALL[(turn + rows) % ALL.len()] };
                    let name = format!("{rows} rows of {c}, {a:?}");
                    let z: Vec<f32> = random(turn as u64, rows * c).iter().map(|v| v + 0.7).collect();
                    let (dy, residual) = (random(1, z.len()), random(2, z.len()));
                    let gamma: Vec<f32> = random(3, c).iter().map(|v| v + 3.0).collect();
                    let beta = random(4, c);

                    let stats = channel_stats(&z, c);
                    let (mean, variance) = reference::moments(&wide(&z), c);
                    let n = rows as f64;
                    for ch in 0..c {
                        let m = stats.sum[ch] / n;
                        assert!((m - mean[ch]).abs() < 1e-5, "{name}: mean");
                        assert!((stats.sum_sq[ch] / n - m * m - variance[ch]).abs() < 1e-5, "{name}: variance");
                    }

                    let inv_std: Vec<f64> = variance.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
                    let scale: Vec<f32> = (0..c).map(|ch| (f64::from(gamma[ch]) * inv_std[ch]) as f32).collect();
                    let shift: Vec<f32> = (0..c).map(|ch| beta[ch] - mean[ch] as f32 * scale[ch]).collect();
                    let want = reference::forward(&z, &scale, &shift, a);
                    let mut y = vec![f32::NAN; z.len()];
                    forward(&z, c, &scale, &shift, a, None, &mut y);
                    // With one row the scale is 1 / sqrt(eps), and z * scale + shift cancels.
                    let tolerance = if rows < 7 { 2e-4 } else { 2e-5 };
                    close(&y, &want, tolerance, &name);
                    forward(&z, c, &scale, &shift, a, Some(&residual), &mut y);
                    let want: Vec<f32> = want.iter().zip(&residual).map(|(a, b)| a + b).collect();
                    close(&y, &want, tolerance, &name);

                    if rows < 7 {
                        continue; // xhat of one or two rows amplifies rounding beyond any useful tolerance
                    }
                    let (dz, dgamma, dbeta) =
                        reference::backward_training(&wide(&z), &wide(&dy), &wide(&gamma), &wide(&beta), EPS, a);
                    let (mean, inv_std) = (narrow(&mean), narrow(&inv_std));
                    let (mut got, mut g1, mut g2) = (vec![f32::NAN; z.len()], vec![1.0; c], vec![2.0; c]);
                    let m = Moments { mean: &mean, inv_std: &inv_std, scale: &scale, shift: &shift };
                    // In two parts, as their rows come.
                    let (half, mut sums) = (rows / 2 * c, vec![0.0; 2 * c]);
                    add_gradient_sums(&z[..half], &dy[..half], m, a, &mut sums);
                    add_gradient_sums(&z[half..], &dy[half..], m, a, &mut sums);
                    Gradient::new(&sums, rows, m, a, [&mut g1, &mut g2]).rows(&z, &dy, &mut got);
                    close(&got, &narrow(&dz), 1e-4, &name);
                    close(&g1, &dgamma.iter().map(|v| (v + 1.0) as f32).collect::<Vec<_>>(), 3e-4, &name);
                    close(&g2, &dbeta.iter().map(|v| (v + 2.0) as f32).collect::<Vec<_>>(), 3e-4, &name);
                    let (mut same, mut h1, mut h2) = (dy.clone(), vec![1.0; c], vec![2.0; c]);
                    Gradient::new(&sums, rows, m, a, [&mut h1, &mut h2]).rows_in_place(&z, &mut same);
                    assert!(same == got && h1 == g1 && h2 == g2, "{name}: in place");
                }
            }
        });
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        for c in [12, 64] {
            let z = random(1, 4000 * c);
            let (dy, one, beta) = (random(2, z.len()), vec![1.0; c], random(3, c));
            same_bits(|| {
                let (mut dz, mut g1, mut g2) = (dy.clone(), vec![0.0; c], vec![0.0; c]);
                let m = Moments { mean: &beta, inv_std: &one, scale: &one, shift: &beta };
                let mut sums = vec![0.0; 2 * c];
                add_gradient_sums(&z, &dy, m, Activation::Silu, &mut sums);
                Gradient::new(&sums, z.len() / c, m, Activation::Silu, [&mut g1, &mut g2]).rows_in_place(&z, &mut dz);
                let stats = channel_stats(&z, c);
                let sums = stats.sum.into_iter().chain(stats.sum_sq).map(|v| v as f32);
                dz.into_iter().chain(g1).chain(g2).chain(sums).collect()
            });
        }
    }

    #[test]
    fn reference_gradients_agree_with_finite_differences() {
        let (rows, c) = (6, 3);
        let z = wide(&random(5, rows * c));
        let (dy, gamma, beta) = (wide(&random(6, rows * c)), wide(&random(7, c)), wide(&random(8, c)));
        for a in [Activation::Identity, Activation::HardSwish, Activation::Silu] {
            let loss = |z: &[f64], gamma: &[f64], beta: &[f64]| -> f64 {
                reference::forward_training(z, gamma, beta, EPS, a).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
            };
            let (dz, dgamma, dbeta) = reference::backward_training(&z, &dy, &gamma, &beta, EPS, a);
            let check = |v: &[f64], gradient: &[f64], f: &dyn Fn(&[f64]) -> f64| {
                for i in 0..v.len() {
                    let (mut up, mut down) = (v.to_vec(), v.to_vec());
                    up[i] += 1e-6;
                    down[i] -= 1e-6;
                    let difference = (f(&up) - f(&down)) / 2e-6;
                    assert!((difference - gradient[i]).abs() < 1e-6, "{a:?} {i}: {difference} {}", gradient[i]);
                }
            };
            check(&z, &dz, &|z| loss(z, &gamma, &beta));
            check(&gamma, &dgamma, &|gamma| loss(&z, gamma, &beta));
            check(&beta, &dbeta, &|beta| loss(&z, &gamma, beta));
        }
    }
}
