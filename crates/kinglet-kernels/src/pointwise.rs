//! 1x1 convolutions of training, in chunks of rows that stay in the cache.
//!
//! A 1x1 convolution is a matrix product over rows (pixels), so what comes before and after it can be computed chunk by
//! chunk: the normalised, activated input from the output of the convolution before, and the gradient of this
//! convolution's output from that of its activation. Neither is then written to memory and read back, which on these
//! shapes costs about as much as the arithmetic.
//!
//! Shapes: `x` `[rows, c_in]`, `z`, `dz` `[rows, c_out]`, weight `[c_out, c_in]`. Chunks are cut by size alone, and what
//! they add up to is added in their order.

use crate::ConvShape;
use crate::conv::{ChannelStats, PackedRows, ProductSums, with_floats};
use crate::rows::{InputGradient, Rows, TaskSums, grown, with_scratch};
use crate::threads::{SendPtr, parallel_for};
use std::ops::Range;

/// Rows and channels of a 1x1 convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pixels of all images.
    pub rows: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
}

/// Floats of a chunk's input and output: 256 KiB.
const CHUNK: usize = 64 * 1024;
/// Fewer rows would not be worth a pass over the weights and their gradient: measured on a light detector, 256 rows cost
/// 5 % of a training step more.
const LEAST_ROWS: usize = 1008;
/// Chunks come in multiples of this number: 2 and 4 threads then have equal shares.
const EVEN: usize = 4;
/// Tasks that the gradient is cut into, each with a sum of its own for the weights.
const TASKS: usize = 16;

impl Size {
    fn chunk(self) -> usize {
        let most = (CHUNK / (self.c_in + self.c_out).max(1)).max(LEAST_ROWS);
        // As many chunks of one size as threads can share evenly.
        let chunks = if self.rows > LEAST_ROWS / 4 { self.rows.div_ceil(most).next_multiple_of(EVEN) } else { 1 };
        self.rows.div_ceil(chunks).next_multiple_of(12)
    }

    fn conv(self, rows: usize) -> ConvShape {
        ConvShape::new(1, [1, rows], self.c_in, self.c_out, [1, 1], [1, 1], [0, 0], [1, 1], 1)
    }

    /// The chunk `i` of `chunk` rows.
    fn range(self, chunk: usize, i: usize) -> Range<usize> {
        i * chunk..((i + 1) * chunk).min(self.rows)
    }
}

/// `z = x * weight^T + bias`. With `stats`, also the sums of every channel of `z`, which replace what it held.
///
/// # Panics
/// If a length does not fit.
pub fn forward(
    s: Size,
    x: Rows<'_>,
    weight: &[f32],
    bias: Option<&[f32]>,
    z: &mut [f32],
    stats: Option<&mut ChannelStats>,
) {
    assert_eq!(z.len(), s.rows * s.c_out, "pointwise: length of z");
    if let Rows::Whole(x) = x {
        return crate::conv::conv_forward(&s.conv(s.rows), x, weight, bias, z, stats);
    }
    let chunk = s.chunk();
    let chunks = s.rows.div_ceil(chunk);
    let mut partial = vec![0.0f64; if stats.is_some() { chunks * 2 * s.c_out } else { 0 }];
    let (out, sums, wanted) = (SendPtr(z.as_mut_ptr()), SendPtr(partial.as_mut_ptr()), stats.is_some());
    with_floats(PackedRows::len(&s.conv(chunk)), |floats| {
        let packed = PackedRows::new(&s.conv(chunk), weight, false, floats);
        parallel_for(chunks, |i| {
            with_scratch(|[x_rows, ..]| {
                let range = s.range(chunk, i);
                let len = range.len() * s.c_out;
                // SAFETY: chunks of rows do not overlap, and the length was checked above.
                let z = unsafe { std::slice::from_raw_parts_mut(out.get().add(range.start * s.c_out), len) };
                let conv = s.conv(range.len());
                let x = x.get(range, s.c_in, x_rows);
                let stats = wanted.then(|| {
                    // SAFETY: every chunk has its own sums.
                    let to = unsafe { std::slice::from_raw_parts_mut(sums.get().add(i * 2 * s.c_out), 2 * s.c_out) };
                    to.split_at_mut(s.c_out)
                });
                packed.multiply(&conv, x, bias, z, stats);
            });
        });
    });
    if let Some(stats) = stats {
        stats.reset(s.c_out);
        for part in partial.chunks_exact(2 * s.c_out) {
            let totals = stats.sum.iter_mut().chain(&mut stats.sum_sq);
            totals.zip(part).for_each(|(total, part)| *total += part);
        }
    }
}

/// The gradients: `dweight += dz^T * x`, and `dx` = (or `+=`) `dz * weight`.
///
/// # Panics
/// If a length does not fit.
pub fn backward(
    s: Size,
    x: Rows<'_>,
    dz: Rows<'_>,
    weight: &[f32],
    dweight: Option<&mut [f32]>,
    dx: Option<InputGradient<'_>>,
) {
    assert!(dweight.as_ref().is_none_or(|d| d.len() == weight.len()), "pointwise: length of the weight's gradient");
    assert!(dx.as_ref().is_none_or(|d| d.values.len() == s.rows * s.c_in), "pointwise: length of dx");
    let chunk = s.chunk();
    let chunks = s.rows.div_ceil(chunk);
    let tasks = chunks.min(TASKS);
    // The gradient of the input is the product with the transposed weights.
    let back = Size { rows: s.rows, c_in: s.c_out, c_out: s.c_in };
    let packed_len = if dx.is_some() { PackedRows::len(&back.conv(chunk)) } else { 0 };
    let partial_len = if dweight.is_some() { tasks * ProductSums::part_len(s.c_out, s.c_in) } else { 0 };
    let (wants_dx, accumulate) = (dx.is_some(), dx.as_ref().is_some_and(|d| d.accumulate));
    let (values, row_sums) = dx.map_or((Default::default(), None), |d| (d.values, d.sums));
    let (out, row_sums) = (SendPtr(values.as_mut_ptr()), TaskSums::new(row_sums, tasks));
    with_floats(packed_len + partial_len, |floats| {
        let (floats, partial) = floats.split_at_mut(packed_len);
        let packed = wants_dx.then(|| PackedRows::new(&back.conv(chunk), weight, true, floats));
        let products = dweight.is_some().then(|| ProductSums::new(partial, s.c_out, s.c_in));
        parallel_for(tasks, |task| {
            with_scratch(|[x_rows, dz_rows, dx_rows]| {
                let first = chunks * task / tasks;
                for i in first..chunks * (task + 1) / tasks {
                    let range = s.range(chunk, i);
                    let dz = dz.get(range.clone(), s.c_out, dz_rows);
                    if let Some(products) = &products {
                        let x = x.get(range.clone(), s.c_in, x_rows);
                        // SAFETY: every task has its own part.
                        unsafe { products.add(task, &s.conv(range.len()), x, dz, i == first) };
                    }
                    let Some(packed) = &packed else { continue };
                    let len_dx = range.len() * s.c_in;
                    // SAFETY: chunks of rows do not overlap; the length was checked above.
                    let dx = unsafe { std::slice::from_raw_parts_mut(out.get().add(range.start * s.c_in), len_dx) };
                    let conv = back.conv(range.len());
                    if accumulate {
                        let part = grown(dx_rows, len_dx);
                        packed.multiply(&conv, dz, None, part, None);
                        dx.iter_mut().zip(part).for_each(|(dx, part)| *dx += *part);
                    } else {
                        packed.multiply(&conv, dz, None, dx, None);
                    }
                    // SAFETY: every task has its own sums.
                    unsafe { row_sums.add(task, range, dx) };
                }
            });
        });
        if let (Some(products), Some(dweight)) = (products, dweight) {
            products.finish(dweight);
        }
    });
    row_sums.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::{conv_backward_input, conv_backward_weight, conv_forward};
    use crate::elementwise::tests::{close, each_isa, random, same_bits};
    use crate::rows::RowSums;

    // The last is of rows that the gradient of the weights copies, since they lie far apart.
    const SIZES: [[usize; 3]; 7] =
        [[1, 3, 2], [300, 5, 7], [5000, 16, 64], [2000, 72, 24], [700, 200, 130], [257, 1, 1], [500, 260, 97]];

    #[test]
    fn chunks_agree_with_the_convolution_of_the_whole() {
        each_isa(|| {
            for [rows, c_in, c_out] in SIZES {
                let s = Size { rows, c_in, c_out };
                let name = format!("{s:?}");
                let (x, w, dz) = (random(1, rows * c_in), random(2, c_in * c_out), random(3, rows * c_out));
                let (bias, start) = (random(4, c_out), random(5, rows * c_in));
                let x_rows = |r: Range<usize>, out: &mut [f32]| out.copy_from_slice(&x[r.start * c_in..r.end * c_in]);
                let dz_rows =
                    |r: Range<usize>, out: &mut [f32]| out.copy_from_slice(&dz[r.start * c_out..r.end * c_out]);
                let conv = s.conv(rows);

                let (mut want, mut got) = (vec![0.0; rows * c_out], vec![f32::NAN; rows * c_out]);
                let (mut want_stats, mut stats) = (ChannelStats::default(), ChannelStats::default());
                conv_forward(&conv, &x, &w, Some(&bias), &mut want, Some(&mut want_stats));
                forward(s, Rows::Computed(&x_rows), &w, Some(&bias), &mut got, Some(&mut stats));
                close(&got, &want, 1e-5, &name);
                for (got, want) in
                    stats.sum.iter().zip(&want_stats.sum).chain(stats.sum_sq.iter().zip(&want_stats.sum_sq))
                {
                    assert!((got - want).abs() < 1e-4 * (1.0 + want_stats.sum_sq[0]), "{name}: {got} {want}");
                }

                let mut want_dw = vec![0.5; w.len()];
                conv_backward_weight(&conv, &x, &dz, &mut want_dw);
                for accumulate in [false, true] {
                    let (mut want_dx, mut dx, mut dw) = (start.clone(), start.clone(), vec![0.5; w.len()]);
                    conv_backward_input(&conv, &w, &dz, &mut want_dx, accumulate);
                    for dz in [Rows::Whole(&dz), Rows::Computed(&dz_rows)] {
                        dx.clone_from(&start);
                        dw.fill(0.5);
                        let mut totals = vec![0.0; c_in];
                        let add = |range: Range<usize>, dx: &[f32], sums: &mut [f64]| {
                            assert_eq!(dx.len(), range.len() * c_in, "{name}");
                            let rows = dx.chunks_exact(c_in);
                            rows.for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v)));
                        };
                        let sums = Some(RowSums { add: &add, totals: &mut totals });
                        let to = InputGradient { values: &mut dx, accumulate, sums };
                        backward(s, Rows::Computed(&x_rows), dz, &w, Some(&mut dw), Some(to));
                        for (ch, total) in totals.into_iter().enumerate() {
                            let want: f64 = dx.iter().skip(ch).step_by(c_in).map(|&v| f64::from(v)).sum();
                            assert!((total - want).abs() < 1e-9 * dx.len() as f64, "{name}: {total} {want}");
                        }
                        close(&dx, &want_dx, 1e-5, &name);
                        close(&dw, &want_dw, 2e-4, &name);
                    }
                }
            }
        });
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let s = Size { rows: 6000, c_in: 24, c_out: 40 };
        let (x, w, dz) = (random(1, s.rows * 24), random(2, 960), random(3, s.rows * 40));
        let x_rows = |r: Range<usize>, out: &mut [f32]| out.copy_from_slice(&x[r.start * 24..r.end * 24]);
        same_bits(|| {
            let (mut z, mut dx, mut dw) = (vec![0.0; s.rows * 40], vec![0.0; s.rows * 24], vec![0.0; 960]);
            let mut stats = ChannelStats::default();
            forward(s, Rows::Computed(&x_rows), &w, None, &mut z, Some(&mut stats));
            let to = InputGradient { values: &mut dx, accumulate: false, sums: None };
            backward(s, Rows::Computed(&x_rows), Rows::Whole(&dz), &w, Some(&mut dw), Some(to));
            let sums = stats.sum.into_iter().chain(stats.sum_sq).map(|v| v as f32);
            z.into_iter().chain(dx).chain(dw).chain(sums).collect()
        });
    }
}
