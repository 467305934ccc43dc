//! A depthwise convolution whose input is widened by a 1x1 convolution, BatchNorm and activation: the widened map, the
//! largest of an inverted residual, is never in memory, in neither pass.
//!
//! Forward, strips of it are computed where the depthwise convolution reads them, with the normalisation folded into the
//! weights. That takes the batch's moments beforehand. The map is linear in its input `x` (few channels), so they follow
//! from the sums of `x` and of `x * x^T`.
//!
//! Backward, BatchNorm's gradient of the map is `scale * g + slope * z + offset`, with `g` the gradient after the
//! activation's derivative, `z = W x`, and three coefficients a channel that only the sums over the whole batch give. What
//! comes of it is linear as well, so one pass over strips of `g` collects `sum g`, `sum g * x^T` and `(scale * g) W`, and
//! the rest is added afterwards from quantities of the width of `x`:
//!
//! * `dW = scale * sum g x^T + slope * W (sum x x^T) + offset * (sum x)^T`
//! * `dx = (scale * g) W + x (W^T slope W) + offset W`
//!
//! Shapes: `x` `[rows, c_in]`, `W` `[c, c_in]`; `s` is the depthwise convolution, of `c` channels, whose input has `rows`
//! pixels. Oracle: the two convolutions one after the other.

use super::weight::{WeightPlan, weight_rows};
use super::{Cut, add_weight_gradient, backward_gather, check, each_strip, forward, gather_rows, input_line};
use crate::activation::{derivative_simd, specialise};
use crate::batchnorm::{Gradient, Moments, squared_deviations};
use crate::conv::{ChannelStats, PackedConv, ProductSums, conv_forward_packed};
use crate::elementwise::{load_n, store_n};
use crate::rows::{InputGradient, Rows, grown, with_scratch};
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_for};
use crate::{Activation, ConvShape, dispatch};
use std::ops::Range;

/// The 1x1 convolution (without bias), BatchNorm and activation before the depthwise convolution.
#[derive(Debug, Clone, Copy)]
pub struct Expansion<'a> {
    /// Channels of `x`.
    pub c_in: usize,
    /// `[c, c_in]`.
    pub weight: &'a [f32],
    /// Of the batch, by channel of the widened map.
    pub moments: Moments<'a>,
    /// See [`takes`].
    pub activation: Activation,
}

/// Most channels of `x`: beyond, computing the map again costs more than keeping it.
const MOST_INPUTS: usize = 32;

/// Whether a depthwise convolution and what comes before it are of the kind that this file computes faster: few input
/// channels, an activation whose derivative its value tells, and strips that hold the lines whose gradient goes with them.
pub fn takes(s: &ConvShape, c_in: usize, activation: Activation) -> bool {
    let is_told = match activation {
        Activation::Identity | Activation::Relu | Activation::Relu6 => true,
        Activation::LeakyRelu(slope) => slope > 0.0,
        _ => false,
    };
    let holds = |i: usize| s.padding[i] + 1 >= s.stride[i] && s.kernel[i] >= s.padding[i] + s.stride[i];
    is_told && s.is_depthwise() && c_in <= MOST_INPUTS && s.dilation == [1, 1] && holds(0) && holds(1)
}

/// Rows that are multiplied at a time.
const CHUNK: usize = 1024;
/// Tasks that the last pass over the gradient is cut into, each with sums of its own.
const TASKS: usize = 16;

fn chunk(rows: usize, i: usize) -> Range<usize> {
    i * CHUNK..((i + 1) * CHUNK).min(rows)
}

fn product(rows: usize, c_in: usize, c_out: usize) -> ConvShape {
    ConvShape::new(1, [1, rows], c_in, c_out, [1, 1], [1, 1], [0, 0], [1, 1], 1)
}

/// The sums of `x` and of `x * x^T` over a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputProducts {
    rows: usize,
    /// `[c_in]`.
    sum: Vec<f64>,
    /// `[c_in, c_in]`.
    products: Vec<f64>,
}

impl InputProducts {
    /// Of `rows` rows of `c` channels.
    pub fn new(x: Rows<'_>, rows: usize, c: usize) -> Self {
        let chunks = rows.div_ceil(CHUNK);
        let products = ProductSums::new(chunks, c, c);
        let mut sums = vec![0.0f32; chunks * c];
        let out = SendPtr(sums.as_mut_ptr());
        parallel_for(chunks, |i| {
            with_scratch(|[buffer, ..]| {
                let range = chunk(rows, i);
                let x = x.get(range.clone(), c, buffer);
                // SAFETY: every chunk has its own part and its own sums; `x` has `range.len()` rows.
                unsafe {
                    products.add(i, &product(range.len(), c, c), x, x);
                    sum_rows(x.as_ptr(), range.len(), c, out.get().add(i * c));
                }
            });
        });
        let mut sum = vec![0.0; c];
        for part in sums.chunks_exact(c) {
            sum.iter_mut().zip(part).for_each(|(sum, &part)| *sum += f64::from(part));
        }
        InputProducts { rows, sum, products: products.finish_wide() }
    }

    /// The sums of every channel of `x * weight^T` and of its square.
    pub fn stats(&self, weight: &[f32]) -> ChannelStats {
        let c = self.sum.len();
        let wide = weight.iter().map(|&w| f64::from(w)).collect::<Vec<_>>();
        let sum = wide.chunks_exact(c).map(|w| dot(w, &self.sum)).collect();
        let sum_sq = wide.chunks_exact(c).map(|w| dot(w, &self.times(w))).collect();
        ChannelStats { sum, sum_sq }
    }

    /// For each channel of `x * weight^T`, the mean square that it would have if all its terms added up: what the sums'
    /// rounding is relative to.
    pub fn scales(&self, weight: &[f32]) -> Vec<f64> {
        let c = self.sum.len();
        let deviation = |i: usize| (self.products[i * c + i] / self.rows as f64).sqrt();
        let most = |w: &[f32]| w.iter().enumerate().map(|(i, &w)| f64::from(w.abs()) * deviation(i)).sum::<f64>();
        weight.chunks_exact(c).map(|w| most(w).powi(2)).collect()
    }

    /// `w (sum x x^T)`.
    fn times(&self, w: &[f64]) -> Vec<f64> {
        let c = self.sum.len();
        (0..c).map(|i| dot(w, &self.products[i * c..(i + 1) * c])).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The sums of `(z - mean)^2` for each channel of `z = x * weight^T`, taken one by one: slow, and right where
/// [`InputProducts`] are not.
pub fn deviations(x: Rows<'_>, rows: usize, c_in: usize, weight: &[f32], mean: &[f64]) -> Vec<f64> {
    let (c, chunks) = (mean.len(), rows.div_ceil(CHUNK));
    let packed = PackedConv::new(&product(CHUNK, c_in, c), weight);
    let mut parts = vec![0.0f64; chunks * c];
    let out = SendPtr(parts.as_mut_ptr());
    parallel_for(chunks, |i| {
        with_scratch(|[x_rows, z_rows, _]| {
            let range = chunk(rows, i);
            let (x, z) = (x.get(range.clone(), c_in, x_rows), grown(z_rows, range.len() * c));
            conv_forward_packed(&product(range.len(), c_in, c), x, &packed, None, Activation::Identity, z);
            // SAFETY: every chunk has its own sums.
            unsafe { std::slice::from_raw_parts_mut(out.get().add(i * c), c) }
                .copy_from_slice(&squared_deviations(z, mean));
        });
    });
    let mut total = vec![0.0; c];
    for part in parts.chunks_exact(c) {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total
}

impl Expansion<'_> {
    /// Computes rows of the widened map from those of `x`.
    fn rows<'a>(&'a self, x: Rows<'a>) -> impl Fn(Range<usize>, &mut [f32]) + Sync + 'a {
        let (c_in, c) = (self.c_in, self.moments.scale.len());
        let packed = PackedConv::new(&product(CHUNK, c_in, c), &self.scaled());
        move |range, out| {
            with_scratch(|[x_rows, ..]| {
                let conv = product(range.len(), c_in, c);
                let x = x.get(range, c_in, x_rows);
                conv_forward_packed(&conv, x, &packed, Some(self.moments.shift), self.activation, out);
            });
        }
    }

    /// `scale * W`.
    fn scaled(&self) -> Vec<f32> {
        let rows = self.weight.chunks_exact(self.c_in).zip(self.moments.scale);
        rows.flat_map(|(w, scale)| w.iter().map(move |w| w * scale)).collect()
    }

    /// `y = conv(activation(norm(x * W^T)), taps)`. `stats` receives the sums of `y` and of its square.
    ///
    /// # Panics
    /// If the shape is not depthwise or the lengths do not fit.
    pub fn forward(&self, s: &ConvShape, x: Rows<'_>, taps: &[f32], y: &mut [f32], stats: &mut ChannelStats) {
        self.check(s);
        let rows = self.rows(x);
        forward(s, Rows::Computed(&rows), taps, None, y, Some(stats));
    }

    /// The gradients for that of `y`. `inputs` are the sums of the forward pass.
    ///
    /// # Panics
    /// As [`Self::forward`], or if [`takes`] does not hold.
    pub fn backward(
        &self,
        s: &ConvShape,
        x: Rows<'_>,
        inputs: &InputProducts,
        taps: &[f32],
        dy: &[f32],
        to: Targets<'_>,
    ) {
        self.check(s);
        assert!(takes(s, self.c_in, self.activation), "expanded: {s:?} after {self:?}");
        assert_eq!(dy.len(), s.output_len(), "expanded: length of dy");
        let (c, c_in, rows) = (s.c_in, self.c_in, inputs.rows);
        let mut dx = to.dx;
        assert!(dx.as_ref().is_none_or(|dx| dx.values.len() == rows * c_in), "expanded: length of dx");
        let gathered = self.gather(s, x, taps, dy, to.dtaps, dx.as_mut());
        // z = W x, so the sums of g * (z - mean) follow from those of g * x^T.
        let sum_gz = |ch: usize| {
            let w = self.weight[ch * c_in..].iter().map(|&w| f64::from(w));
            let products = &gathered.products[ch * c_in..(ch + 1) * c_in];
            let mean = f64::from(self.moments.mean[ch]);
            w.zip(products).map(|(w, p)| w * p).sum::<f64>() - mean * gathered.sum[ch]
        };
        let sums: Vec<f64> = (0..c).map(sum_gz).chain(gathered.sum.iter().copied()).collect();
        let gradient = Gradient::new(&sums, rows, self.moments, self.activation, to.affine);
        let line = Line::new(self, gradient.line());
        if let Some(dweight) = to.dweight {
            self.add_weight_gradient(inputs, &gathered.products, &line, dweight);
        }
        if let Some(dx) = dx {
            self.add_line(x, rows, &line, dx);
        }
    }

    /// The pass over the strips: the gradient of the taps, the sums of `g` and of `g * x^T`, and `dx` as far as it is known.
    fn gather(
        &self,
        s: &ConvShape,
        x: Rows<'_>,
        taps: &[f32],
        dy: &[f32],
        dtaps: Option<&mut [f32]>,
        dx: Option<&mut InputGradient<'_>>,
    ) -> Gathered {
        let ([height, width], [size_h, size_w], c, c_in) = (s.output, s.input, s.c_in, self.c_in);
        let wide = self.rows(x);
        let cut = Cut::new(s, Rows::Computed(&wide));
        let (tasks, tap_count) = (cut.tasks(s), s.kernel[0] * s.kernel[1]);
        let plan = dtaps.is_some().then(|| WeightPlan::new(s));
        let gather = backward_gather(s, taps, false);
        let back = dx.is_some().then(|| PackedConv::new(&product(CHUNK, c, c_in), &transposed(&self.scaled(), c_in)));
        let products = ProductSums::new(tasks, c, c_in);
        let mut tap_sums = vec![0.0f32; if plan.is_some() { tasks * tap_count * c } else { 0 }];
        let mut g_sums = vec![0.0f64; tasks * c];
        let (values, accumulate) = dx.map_or((Default::default(), false), |dx| (&mut *dx.values, dx.accumulate));
        let (out, tap_out) = (SendPtr(values.as_mut_ptr()), SendPtr(tap_sums.as_mut_ptr()));
        let g_out = SendPtr(g_sums.as_mut_ptr());
        each_strip(s, Some(Rows::Computed(&wide)), &super::Axis::forward(s, 0), cut, |task, image, here, y| {
            with_scratch(|[g_rows, x_rows, part]| {
                let (start, end) = (input_line(s, here.start), input_line(s, here.end));
                let pixels = (image * size_h + start) * size_w..(image * size_h + end) * size_w;
                let n = pixels.len();
                let (g, sums) = grown(g_rows, (n + 1) * c).split_at_mut(n * c);
                sums.fill(0.0);
                // SAFETY: each task has its own sums, and its own lines of `dx`; the lengths were checked by the caller.
                // The strip holds the lines from `start` to `end`, because `takes` holds.
                unsafe {
                    let dy = dy.as_ptr().add(image * height * width * c);
                    if let Some(plan) = &plan {
                        weight_rows(plan, y, dy, here.start, here.len(), tap_out.get().add(task * tap_count * c));
                    }
                    let first = g.as_mut_ptr().wrapping_sub(start * size_w * c);
                    gather_rows(&gather, dy, first, start, end - start, std::ptr::null_mut());
                    let y = y.wrapping_add(start * size_w * c);
                    derive(self.activation, y, g.as_mut_ptr(), n, c, sums.as_mut_ptr());
                    let total = std::slice::from_raw_parts_mut(g_out.get().add(task * c), c);
                    total.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(*sum));
                    let x = x.get(pixels.clone(), c_in, x_rows);
                    products.add(task, &product(n, c_in, c), x, g);
                    let Some(back) = &back else { return };
                    let dx = std::slice::from_raw_parts_mut(out.get().add(pixels.start * c_in), n * c_in);
                    let conv = product(n, c, c_in);
                    if accumulate {
                        let part = grown(part, n * c_in);
                        conv_forward_packed(&conv, g, back, None, Activation::Identity, part);
                        dx.iter_mut().zip(part).for_each(|(dx, part)| *dx += *part);
                    } else {
                        conv_forward_packed(&conv, g, back, None, Activation::Identity, dx);
                    }
                }
            });
        });
        if let Some(dtaps) = dtaps {
            add_weight_gradient(&tap_sums, c, dtaps);
        }
        let mut sum = vec![0.0; c];
        for part in g_sums.chunks_exact(c) {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        Gathered { sum, products: products.finish_wide() }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn add_weight_gradient(&self, inputs: &InputProducts, products: &[f64], line: &Line, dweight: &mut [f32]) {
        let c_in = self.c_in;
        for (ch, row) in dweight.chunks_exact_mut(c_in).enumerate() {
            let w: Vec<f64> = self.weight[ch * c_in..(ch + 1) * c_in].iter().map(|&w| f64::from(w)).collect();
            let z_x = inputs.times(&w);
            let scale = f64::from(self.moments.scale[ch]);
            let products = &products[ch * c_in..];
            for (i, d) in row.iter_mut().enumerate() {
                *d += (scale * products[i] + line.slope[ch] * z_x[i] + line.offset[ch] * inputs.sum[i]) as f32;
            }
        }
    }

    /// `dx += x (W^T slope W) + offset W`, and the sums that are to be taken of it.
    #[allow(clippy::cast_possible_truncation)]
    fn add_line(&self, x: Rows<'_>, rows: usize, line: &Line, dx: InputGradient<'_>) {
        let c_in = self.c_in;
        let matrix: Vec<f32> = line.matrix.iter().map(|&v| v as f32).collect();
        let constant: Vec<f32> = line.constant.iter().map(|&v| v as f32).collect();
        // Symmetric, so that its transpose is itself.
        let packed = PackedConv::new(&product(CHUNK, c_in, c_in), &matrix);
        let chunks = rows.div_ceil(CHUNK);
        let tasks = chunks.min(TASKS);
        let (add, len) = dx.sums.as_ref().map_or((None, 0), |sums| (Some(sums.add), sums.totals.len()));
        let mut parts = vec![0.0f64; tasks * len];
        let (out, parts_out) = (SendPtr(dx.values.as_mut_ptr()), SendPtr(parts.as_mut_ptr()));
        parallel_for(tasks, |task| {
            with_scratch(|[x_rows, part, _]| {
                for i in chunks * task / tasks..chunks * (task + 1) / tasks {
                    let range = chunk(rows, i);
                    let (x, part) = (x.get(range.clone(), c_in, x_rows), grown(part, range.len() * c_in));
                    let conv = product(range.len(), c_in, c_in);
                    conv_forward_packed(&conv, x, &packed, Some(&constant), Activation::Identity, part);
                    // SAFETY: chunks of rows do not overlap; the length was checked by the caller.
                    let dx = unsafe { std::slice::from_raw_parts_mut(out.get().add(range.start * c_in), part.len()) };
                    dx.iter_mut().zip(part).for_each(|(dx, part)| *dx += *part);
                    if let Some(add) = add {
                        // SAFETY: every task has its own sums.
                        add(range, dx, unsafe { std::slice::from_raw_parts_mut(parts_out.get().add(task * len), len) });
                    }
                }
            });
        });
        if let Some(sums) = dx.sums {
            sums.finish(&parts);
        }
    }

    fn check(&self, s: &ConvShape) {
        check(s);
        let lengths = [self.moments.scale.len(), self.moments.shift.len(), self.moments.mean.len()];
        assert_eq!(lengths, [s.c_in; 3], "expanded: length of the moments");
        assert_eq!(self.weight.len(), s.c_in * self.c_in, "expanded: length of the weight");
    }
}

/// Where the gradients go; each is added to, but for `dx` where it says otherwise.
#[derive(Debug)]
pub struct Targets<'a> {
    /// Of the depthwise convolution's weights.
    pub dtaps: Option<&'a mut [f32]>,
    /// Of the 1x1 convolution's weights.
    pub dweight: Option<&'a mut [f32]>,
    /// Of the BatchNorm's scale and shift.
    pub affine: [&'a mut [f32]; 2],
    /// Of `x`.
    pub dx: Option<InputGradient<'a>>,
}

/// Sums over the whole batch: of `g`, and `[c, c_in]` of `g * x^T`.
struct Gathered {
    sum: Vec<f64>,
    products: Vec<f64>,
}

/// The part of the gradient of `z` that is linear in it, and what it makes of `x`.
struct Line {
    slope: Vec<f64>,
    offset: Vec<f64>,
    /// `W^T slope W`, `[c_in, c_in]`.
    matrix: Vec<f64>,
    /// `offset W`.
    constant: Vec<f64>,
}

impl Line {
    fn new(e: &Expansion<'_>, [slope, offset]: [&[f32]; 2]) -> Self {
        let c_in = e.c_in;
        let (mut matrix, mut constant) = (vec![0.0; c_in * c_in], vec![0.0; c_in]);
        let [slope, offset] = [slope, offset].map(|v| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        for (w, (slope, offset)) in e.weight.chunks_exact(c_in).zip(slope.iter().zip(&offset)) {
            for i in 0..c_in {
                constant[i] += offset * f64::from(w[i]);
                for k in 0..c_in {
                    matrix[i * c_in + k] += slope * f64::from(w[i]) * f64::from(w[k]);
                }
            }
        }
        Line { slope, offset, matrix, constant }
    }
}

/// `[c, c_in]` to `[c_in, c]`.
fn transposed(weight: &[f32], c_in: usize) -> Vec<f32> {
    (0..c_in).flat_map(|i| weight.iter().skip(i).step_by(c_in).copied()).collect()
}

/// Rows over which one chain of `f32` sums runs.
const CHAIN: usize = 64;

#[inline(always)]
unsafe fn derive_kernel<S: Simd>(
    activation: Activation,
    y: *const f32,
    g: *mut f32,
    rows: usize,
    c: usize,
    sums: *mut f32,
) {
    specialise!(activation, a => {
        for first in (0..rows).step_by(CHAIN) {
            let last = (first + CHAIN).min(rows);
            let mut i = 0;
            while i < c {
                let k = (c - i).min(S::LANES);
                // SAFETY: channels below `c` of the rows; the caller's promise.
                unsafe {
                    let mut sum = S::splat(0.0);
                    for row in first..last {
                        let (y, g) = (y.add(row * c + i), g.add(row * c + i));
                        let v = S::mul(load_n::<S>(g, k), derivative_simd::<S>(a, load_n::<S>(y, k)));
                        store_n::<S>(g, v, k);
                        sum = S::add(sum, v);
                    }
                    store_n::<S>(sums.add(i), S::add(load_n::<S>(sums.add(i), k), sum), k);
                }
                i += k;
            }
        }
    });
}
dispatch!(
    /// `g *= activation'`, which `y`, the activation's value, tells; adds to the sums of `g`.
    fn derive(activation: Activation, y: *const f32, g: *mut f32, rows: usize, c: usize,
    sums: *mut f32) = derive_kernel);

#[inline(always)]
unsafe fn sum_kernel<S: Simd>(x: *const f32, rows: usize, c: usize, sums: *mut f32) {
    let mut i = 0;
    while i < c {
        let k = (c - i).min(S::LANES);
        // SAFETY: channels below `c` of the rows; the caller's promise.
        unsafe {
            let mut sum = S::splat(0.0);
            for row in 0..rows {
                sum = S::add(sum, load_n::<S>(x.add(row * c + i), k));
            }
            store_n::<S>(sums.add(i), sum, k);
        }
        i += k;
    }
}
dispatch!(fn sum_rows(x: *const f32, rows: usize, c: usize, sums: *mut f32) = sum_kernel);
