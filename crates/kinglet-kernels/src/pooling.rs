//! Max pooling and global average pooling.
//!
//! Shapes: `x` `[n, h, w, c]`, `y` `[n, oh, ow, c]`. Padding counts as minus infinity. Among equal values the first in
//! row-major order wins, as in PyTorch; a NaN never wins (in PyTorch it does). Oracle: `reference/pooling.rs`.

use crate::elementwise::{for_each_block_mut, load_n, rows_per_chunk, store_n};
use crate::rows::{InputGradient, TaskSums};
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_for};
use crate::{batchnorm, dispatch};

/// The geometry of a max pooling with a square window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolShape {
    /// `[n, h, w, c]` of the input.
    pub input: [usize; 4],
    /// Side of the window.
    pub kernel: usize,
    /// Stride along both axes.
    pub stride: usize,
    /// Padding on every side, at most half the kernel.
    pub padding: usize,
}

impl PoolShape {
    /// `[n, oh, ow, c]` of the output, rounded down.
    ///
    /// # Panics
    /// If the window does not fit into the padded input.
    pub fn output(&self) -> [usize; 4] {
        let [n, h, w, c] = self.input;
        let side = |size: usize| {
            let padded = size + 2 * self.padding;
            assert!(padded >= self.kernel, "max pooling: window of {} over {padded}", self.kernel);
            (padded - self.kernel) / self.stride + 1
        };
        [n, side(h), side(w), c]
    }

    /// Window positions inside the input for output `o` of an axis of `size`: input start, window start, count.
    pub(crate) fn window(&self, o: usize, size: usize) -> (usize, usize, usize) {
        let start = o * self.stride;
        let skip = self.padding.saturating_sub(start);
        let input = start + skip - self.padding;
        let end = (start + self.kernel).saturating_sub(self.padding).min(size);
        (input, skip, end.saturating_sub(input))
    }

    fn check(&self, y: usize) {
        assert!(self.kernel > 0 && self.kernel <= 16 && self.stride > 0, "max pooling: {self:?}");
        assert!(2 * self.padding <= self.kernel, "max pooling: padding over half the window in {self:?}");
        assert_eq!(self.output().iter().product::<usize>(), y, "max pooling: length of the result");
    }
}

/// Max pooling. `argmax` receives, for each output, the place of the maximum inside its window
/// (`row * kernel + column`), which [`max_pool_backward`] needs.
///
/// # Panics
/// If the window is larger than 16 or the lengths do not fit.
pub fn max_pool_forward(s: &PoolShape, x: &[f32], y: &mut [f32], argmax: Option<&mut [u8]>) {
    s.check(y.len());
    let ([_, h, w, c], [n, oh, ow, _]) = (s.input, s.output());
    assert_eq!(x.len(), n * h * w * c, "max pooling: length of x");
    assert!(argmax.as_ref().is_none_or(|a| a.len() == y.len()), "max pooling: length of argmax");
    let out = SendPtr(y.as_mut_ptr());
    let places = SendPtr(argmax.map_or(std::ptr::null_mut(), <[u8]>::as_mut_ptr));
    parallel_for(n * oh, |line| {
        let start = line * ow * c;
        // SAFETY: one line of `y` and of `argmax`; the lengths were checked above.
        unsafe {
            let places = if places.get().is_null() { places.get() } else { places.get().add(start) };
            pool_line(s, x.as_ptr().add(line / oh * h * w * c), line % oh, out.get().add(start), places);
        }
    });
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // places are below 256
unsafe fn pool_kernel<S: Simd>(s: &PoolShape, x: *const f32, row: usize, y: *mut f32, places: *mut u8) {
    let ([_, h, w, c], ow) = (s.input, s.output()[2]);
    let (top, skip_rows, rows) = s.window(row, h);
    for column in 0..ow {
        let (left, skip, columns) = s.window(column, w);
        let mut i = 0;
        while i < c {
            let k = (c - i).min(S::LANES);
            // SAFETY: windows are cut to the input; `k` channels from `i`.
            unsafe {
                let from = x.add((top * w + left) * c + i);
                let to = column * c + i;
                let mut best = S::splat(f32::NEG_INFINITY);
                if places.is_null() {
                    for r in 0..rows {
                        for q in 0..columns {
                            best = larger::<S>(load_n::<S>(from.add((r * w + q) * c), k), best);
                        }
                    }
                } else {
                    let mut place = S::splat((skip_rows * s.kernel + skip) as f32);
                    for r in 0..rows {
                        for q in 0..columns {
                            let v = load_n::<S>(from.add((r * w + q) * c), k);
                            let here = S::splat(((skip_rows + r) * s.kernel + skip + q) as f32);
                            place = S::select_gt(v, best, here, place);
                            best = larger::<S>(v, best);
                        }
                    }
                    let mut lanes = [0.0f32; 16];
                    S::store(lanes.as_mut_ptr(), place);
                    for (lane, &place) in lanes.iter().enumerate().take(k) {
                        *places.add(to + lane) = place as u8;
                    }
                }
                store_n::<S>(y.add(to), best, k);
            }
            i += k;
        }
    }
}
dispatch!(fn pool_line(s: &PoolShape, x: *const f32, row: usize, y: *mut f32, places: *mut u8) = pool_kernel);

/// `v` where it is greater than `best`, otherwise `best`.
#[inline(always)]
unsafe fn larger<S: Simd>(v: S::V, best: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { S::select_gt(v, best, v, best) }
}

/// Channels of a task of [`max_pool_backward`].
const CHANNELS: usize = 64;

/// The gradient of max pooling: adds `dy` to `dx` where each maximum came from.
///
/// # Panics
/// If the lengths do not fit.
pub fn max_pool_backward(s: &PoolShape, dy: &[f32], argmax: &[u8], dx: &mut [f32]) {
    s.check(dy.len());
    let ([_, h, w, c], [n, oh, ow, _]) = (s.input, s.output());
    assert_eq!(argmax.len(), dy.len(), "max pooling: length of argmax");
    assert_eq!(dx.len(), n * h * w * c, "max pooling: length of dx");
    let groups = c.div_ceil(CHANNELS);
    let out = SendPtr(dx.as_mut_ptr());
    parallel_for(n * groups, |task| {
        let (image, first) = (task / groups, task % groups * CHANNELS);
        let last = c.min(first + CHANNELS);
        for row in 0..oh {
            for column in 0..ow {
                let at = ((image * oh + row) * ow + column) * c;
                for ch in first..last {
                    let place = usize::from(argmax[at + ch]);
                    let from_row = (row * s.stride + place / s.kernel).wrapping_sub(s.padding);
                    let from_column = (column * s.stride + place % s.kernel).wrapping_sub(s.padding);
                    assert!(from_row < h && from_column < w, "max pooling: argmax outside the input");
                    let to = ((image * h + from_row) * w + from_column) * c + ch;
                    // SAFETY: `to` was just checked to lie inside this image, and each task has its own channels.
                    unsafe { *out.get().add(to) += dy[at + ch] };
                }
            }
        }
    });
}

/// Rows that one chain of `f32` sums runs over.
const CHAIN: usize = 64;

/// The mean of `x` `[n, hw, c]` over `hw`, into `y` `[n, c]`.
///
/// # Panics
/// If the lengths do not fit.
#[allow(clippy::cast_possible_truncation)]
pub fn global_avg_pool(x: &[f32], [n, hw, c]: [usize; 3], y: &mut [f32]) {
    assert_eq!(x.len(), n * hw * c, "global average pooling: length of x");
    assert_eq!(y.len(), n * c, "global average pooling: length of y");
    if x.is_empty() {
        y.fill(0.0);
        return;
    }
    let rows = rows_per_chunk(c).min(hw);
    let blocks = hw.div_ceil(rows);
    let mut partial = vec![0.0f32; n * blocks * c];
    for_each_block_mut(&mut partial, c, |start, sums| {
        let (image, block) = (start / c / blocks, start / c % blocks);
        let first = image * hw + block * rows;
        let last = (first + rows).min((image + 1) * hw);
        let mut chain = vec![0.0f32; c];
        for part in x[first * c..last * c].chunks(CHAIN * c) {
            chain.fill(0.0);
            for row in part.chunks_exact(c) {
                chain.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            sums.iter_mut().zip(&chain).for_each(|(sum, part)| *sum += part);
        }
    });
    for (image, y) in y.chunks_exact_mut(c).enumerate() {
        for (ch, y) in y.iter_mut().enumerate() {
            let parts = partial[image * blocks * c + ch..(image + 1) * blocks * c].iter().step_by(c);
            *y = (parts.map(|&part| f64::from(part)).sum::<f64>() / hw as f64) as f32;
        }
    }
}

/// The gradient of [`global_avg_pool`]: `dx = ` or `+= dy / hw` in every row.
///
/// # Panics
/// If the lengths do not fit.
pub fn global_avg_pool_backward(dy: &[f32], [n, hw, c]: [usize; 3], dx: InputGradient<'_>) {
    let InputGradient { values: dx, accumulate, sums } = dx;
    assert_eq!(dx.len(), n * hw * c, "global average pooling: length of dx");
    assert_eq!(dy.len(), n * c, "global average pooling: length of dy");
    if dx.is_empty() {
        return;
    }
    let share = 1.0 / hw as f32;
    let rows = batchnorm::block_rows(c);
    let sums = TaskSums::new(sums, (n * hw).div_ceil(rows));
    for_each_block_mut(dx, rows * c, |start, dx| {
        let first = start / c;
        for (row, dx) in dx.chunks_exact_mut(c).enumerate() {
            let dy = &dy[(first + row) / hw * c..][..c];
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx = if accumulate { *dx + dy * share } else { dy * share };
            }
        }
        // SAFETY: every block has its own sums.
        unsafe { sums.add(first / rows, first..first + dx.len() / c, dx) };
    });
    sums.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::tests::{close, each_isa, random, same_bits};
    use crate::reference::pooling as reference;
    use crate::rows::RowSums;
    use std::ops::Range;

    fn shapes() -> Vec<PoolShape> {
        let mut list = Vec::new();
        let channels = [1, 3, 5, 7, 8, 13, 16, 72, 127];
        for (turn, kernel) in [2, 3, 5, 9, 13].into_iter().cycle().take(45).enumerate() {
            for stride in [1, 2] {
                let [h, w] = [[1, 1], [4, 7], [19, 6], [13, 13]][turn % 4];
                let padding = if h.min(w) < kernel { kernel / 2 } else { [0, kernel / 2][turn % 2] };
                let shape = PoolShape { input: [2, h, w, channels[turn % 9]], kernel, stride, padding };
                if h.min(w) + 2 * padding >= kernel {
                    list.push(shape);
                }
            }
        }
        list
    }

    #[test]
    fn max_pooling_agrees_with_the_reference_on_every_instruction_set() {
        each_isa(|| {
            for s in shapes() {
                let name = format!("{s:?}");
                let len = s.input.iter().product();
                // Few distinct values, so that equal maxima occur.
                let x: Vec<f32> = random(9, len).iter().map(|v| (v * 2.0).round_ties_even()).collect();
                let (want, index) = reference::max_pool(&s, &x);
                let (mut y, mut argmax) = (vec![f32::NAN; want.len()], vec![0; want.len()]);
                max_pool_forward(&s, &x, &mut y, None);
                assert_eq!(y, want, "{name}");
                y.fill(f32::NAN);
                max_pool_forward(&s, &x, &mut y, Some(&mut argmax));
                assert_eq!(y, want, "{name}");
                let dy = random(10, y.len());
                let mut dx = vec![0.0; len];
                max_pool_backward(&s, &dy, &argmax, &mut dx);
                assert_eq!(dx, reference::max_pool_backward(&dy, &index, len), "{name}");
            }
        });
    }

    #[test]
    fn max_pooling_does_not_depend_on_the_number_of_threads() {
        let s = PoolShape { input: [2, 20, 20, 80], kernel: 5, stride: 1, padding: 2 };
        let x = random(1, 2 * 400 * 80);
        same_bits(|| {
            let (mut y, mut argmax, mut dx) = (x.clone(), vec![0; x.len()], vec![0.0; x.len()]);
            max_pool_forward(&s, &x, &mut y, Some(&mut argmax));
            max_pool_backward(&s, &x, &argmax, &mut dx);
            y.into_iter().chain(dx).collect()
        });
    }

    #[test]
    fn reference_max_pool_gradient_agrees_with_finite_differences() {
        let s = PoolShape { input: [1, 5, 4, 2], kernel: 3, stride: 2, padding: 1 };
        let x: Vec<f64> = random(3, 40).iter().map(|&v| f64::from(v)).collect();
        let (y, index) = reference::max_pool(&s, &x);
        let dy: Vec<f64> = random(4, y.len()).iter().map(|&v| f64::from(v)).collect();
        let loss = |x: &[f64]| reference::max_pool(&s, x).0.iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
        let dx = reference::max_pool_backward(&dy, &index, x.len());
        for i in 0..x.len() {
            let (mut up, mut down) = (x.clone(), x.clone());
            up[i] += 1e-6;
            down[i] -= 1e-6;
            assert!(((loss(&up) - loss(&down)) / 2e-6 - dx[i]).abs() < 1e-6);
        }
    }

    #[test]
    fn global_average_agrees_with_the_reference() {
        for [n, hw, c] in [[1, 1, 1], [2, 7, 3], [3, 64, 8], [2, 5000, 13], [1, 49, 127]] {
            let x = random(1, n * hw * c);
            let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
            let want: Vec<f32> = reference::global_avg_pool(&wide, [n, hw, c]).iter().map(|&v| v as f32).collect();
            let mut y = vec![f32::NAN; n * c];
            global_avg_pool(&x, [n, hw, c], &mut y);
            close(&y, &want, 1e-5, "mean");
            let share = |i: usize| y[i / (hw * c) * c + i % c] / hw as f32;
            let mut dx = vec![f32::NAN; x.len()];
            for (accumulate, times) in [(false, 1.0), (true, 2.0)] {
                let mut totals = vec![0.0; c];
                let add = |range: Range<usize>, rows: &[f32], sums: &mut [f64]| {
                    assert_eq!(rows.len(), range.len() * c);
                    let rows = rows.chunks_exact(c);
                    rows.for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v)));
                };
                let sums = Some(RowSums { add: &add, totals: &mut totals });
                global_avg_pool_backward(&y, [n, hw, c], InputGradient { values: &mut dx, accumulate, sums });
                close(&dx, &(0..x.len()).map(|i| times * share(i)).collect::<Vec<_>>(), 1e-6, "gradient");
                for (ch, total) in totals.into_iter().enumerate() {
                    let want: f64 = dx.iter().skip(ch).step_by(c).map(|&v| f64::from(v)).sum();
                    assert!((total - want).abs() < 1e-9, "{total} instead of {want}");
                }
            }
        }
    }
}
