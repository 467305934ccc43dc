//! Two-dimensional convolutions and their gradients, NHWC `f32`.
//!
//! Every dense convolution is a matrix product whose left side is read from the input through row pointers (`plan`), with
//! packed weights (`pack`) and one micro-kernel (`gemm`). A 1x1 convolution reads the input as it lies; a kernel with
//! padding reads a zero-padded copy of its tile. The gradient of the input is the same product with transposed weights,
//! one phase for every remainder of the input's coordinates by the stride, so that no zero is multiplied. The gradient
//! of the weights is in `weight`. 3x3 convolutions of large maps are done with fewer products (`winograd`). Depthwise convolutions are in [`crate::depthwise`]; other grouped ones run group by group.
//!
//! Weights are in PyTorch's order, `[c_out, c_in / groups, kernel_h, kernel_w]`.

pub(crate) mod gemm;
pub(crate) mod pack;
pub(crate) mod plan;
mod run;
mod weight;
pub(crate) mod winograd;

use crate::rows::{InputGradient, Rows};
use crate::threads::{SendPtr, parallel_for};
use crate::{Activation, AlignedVec, batchnorm, depthwise};
use pack::{WeightStrides, pack, packed_len};
pub(crate) use plan::with_floats;
use plan::{Axis, Plan, Problem};
use run::{Epilogue, Job, row_target, run};
pub(crate) use weight::ProductSums;
use winograd::Kernels;

/// The geometry of a two-dimensional convolution, NHWC.
///
/// Weights are in PyTorch's order, `[c_out, c_in / groups, kernel_h, kernel_w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images in the batch.
    pub batch: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Input channels.
    pub c_in: usize,
    /// Output height and width.
    pub output: [usize; 2],
    /// Output channels.
    pub c_out: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Stride along height and width.
    pub stride: [usize; 2],
    /// Zero padding above and left (also below and right).
    pub padding: [usize; 2],
    /// Dilation along height and width.
    pub dilation: [usize; 2],
    /// Groups; `c_in` and `c_out` are multiples of it.
    pub groups: usize,
}

impl ConvShape {
    /// The geometry with its output size computed: `(input + 2 padding - dilation (kernel - 1) - 1) / stride + 1`,
    /// zero where the kernel does not fit.
    ///
    /// # Panics
    /// If a kernel, stride, dilation or group count is zero, or `groups` does not divide the channels.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        batch: usize,
        input: [usize; 2],
        c_in: usize,
        c_out: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
        groups: usize,
    ) -> ConvShape {
        let positive = [kernel, stride, dilation].iter().flatten().all(|&v| v > 0) && groups > 0;
        assert!(
            positive,
            "kernel {kernel:?}, stride {stride:?}, dilation {dilation:?}, groups {groups}: must be positive"
        );
        assert!(
            c_in.is_multiple_of(groups) && c_out.is_multiple_of(groups),
            "{groups} groups must divide {c_in} input and {c_out} output channels"
        );
        let output = std::array::from_fn(|i| {
            let span = dilation[i] * (kernel[i] - 1) + 1;
            (input[i] + 2 * padding[i]).checked_sub(span).map_or(0, |room| room / stride[i] + 1)
        });
        ConvShape { batch, input, c_in, output, c_out, kernel, stride, padding, dilation, groups }
    }

    /// Whether this is a matrix product: 1x1, stride 1, no padding, one group.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.groups == 1
    }

    /// Whether every channel is convolved on its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.c_in && self.groups == self.c_out
    }

    /// Multiply-adds of the forward pass.
    pub fn macs(&self) -> u64 {
        (self.output_len() * (self.c_in / self.groups) * self.kernel[0] * self.kernel[1]) as u64
    }

    /// Floats of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.input[0] * self.input[1] * self.c_in
    }

    /// Floats of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.output[0] * self.output[1] * self.c_out
    }

    /// Floats of the weights.
    pub fn weight_len(&self) -> usize {
        self.c_out * (self.c_in / self.groups) * self.kernel[0] * self.kernel[1]
    }

    fn check(&self, x: usize, weight: usize, y: usize) {
        assert_eq!(x, self.input_len(), "input length of {self:?}");
        assert_eq!(weight, self.weight_len(), "weight length of {self:?}");
        assert_eq!(y, self.output_len(), "output length of {self:?}");
    }

    /// Channels of one group.
    fn group_channels(&self) -> [usize; 2] {
        [self.c_in / self.groups, self.c_out / self.groups]
    }
}

/// Sums over batch, height and width of every output channel, for batch normalisation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelStats {
    /// Sum of the values.
    pub sum: Vec<f64>,
    /// Sum of the squares.
    pub sum_sq: Vec<f64>,
}

impl ChannelStats {
    /// Zeros for `channels` channels.
    pub fn new(channels: usize) -> ChannelStats {
        ChannelStats { sum: vec![0.0; channels], sum_sq: vec![0.0; channels] }
    }

    /// Zeros for `channels` channels, in place.
    pub fn reset(&mut self, channels: usize) {
        for v in [&mut self.sum, &mut self.sum_sq] {
            v.clear();
            v.resize(channels, 0.0);
        }
    }
}

/// The forward pass of `group` as a problem.
pub(crate) fn forward_problem(s: &ConvShape, group: usize) -> Problem {
    let [c_in, c_out] = s.group_channels();
    let axes = std::array::from_fn(|i| Axis {
        count: s.output[i],
        start: 0,
        step: 1,
        stride: s.stride[i],
        taps: (0..s.kernel[i]).map(|k| ((k * s.dilation[i]) as isize - s.padding[i] as isize, k)).collect(),
        in_len: s.input[i],
        out_len: s.output[i],
    });
    Problem {
        batch: s.batch,
        axes,
        in_ld: s.c_in,
        in_c0: group * c_in,
        c_in,
        out_ld: s.c_out,
        out_c0: group * c_out,
        c_out,
    }
}

/// One phase of the gradient of the input of `group`: the input coordinates with remainder `phase` by the stride.
fn input_gradient_problem(s: &ConvShape, group: usize, phase: [usize; 2]) -> Problem {
    let [c_in, c_out] = s.group_channels();
    let axes = std::array::from_fn(|i| {
        // Input coordinate start + step * j takes output coordinate j + tap where this divides by the stride.
        let mut taps: Vec<(isize, usize)> = (0..s.kernel[i])
            .filter_map(|k| {
                let at = (phase[i] + s.padding[i]) as isize - (k * s.dilation[i]) as isize;
                let stride = s.stride[i] as isize;
                (at.rem_euclid(stride) == 0).then(|| (at.div_euclid(stride), k))
            })
            .collect();
        taps.sort_unstable();
        Axis {
            count: s.input[i].saturating_sub(phase[i]).div_ceil(s.stride[i]),
            start: phase[i],
            step: s.stride[i],
            stride: 1,
            taps,
            in_len: s.output[i],
            out_len: s.input[i],
        }
    });
    Problem {
        batch: s.batch,
        axes,
        in_ld: s.c_out,
        in_c0: group * c_out,
        c_in: c_out,
        out_ld: s.c_in,
        out_c0: group * c_in,
        c_out: c_in,
    }
}

/// `y = conv(x) + bias`. With `stats`, also the sums of every channel of `y`, which replace what it held.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn conv_forward(
    s: &ConvShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    mut stats: Option<&mut ChannelStats>,
) {
    s.check(x.len(), weight.len(), y.len());
    assert!(bias.is_none_or(|b| b.len() == s.c_out), "bias length of {s:?}");
    if s.is_depthwise() {
        return depthwise::forward(s, Rows::Whole(x), weight, bias, y, stats);
    }
    if winograd::pays(s) {
        winograd::forward(s, x, Kernels::new(s, weight), bias, y, false);
        if let Some(stats) = stats {
            *stats = batchnorm::channel_stats(y, s.c_out);
        }
        return;
    }
    if let Some(stats) = &mut stats {
        stats.reset(s.c_out);
    }
    let group_weights = s.weight_len() / s.groups;
    for g in 0..s.groups {
        let p = forward_problem(s, g);
        let lanes = gemm::lanes();
        let weight = &weight[g * group_weights..(g + 1) * group_weights];
        with_floats(packed_len(&p, lanes), |packed| {
            pack(&p, weight, forward_strides(s), lanes, packed);
            let stats = stats.as_deref_mut().map(|t| {
                let range = p.out_c0..p.out_c0 + p.c_out;
                (&mut t.sum[range.clone()], &mut t.sum_sq[range])
            });
            forward_group(p, packed, x, bias, Activation::Identity, y, stats);
        });
    }
}

fn forward_strides(s: &ConvShape) -> WeightStrides {
    let area = s.kernel[0] * s.kernel[1];
    WeightStrides { column: s.group_channels()[0] * area, channel: area, kernel: s.kernel }
}

fn forward_group(
    p: Problem,
    packed: &[f32],
    x: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
    stats: Option<(&mut [f64], &mut [f64])>,
) {
    let bias = bias.map(|b| &b[p.out_c0..p.out_c0 + p.c_out]);
    let target = row_target(&p);
    let plan = Plan::new(p, target);
    let jobs = [Job { plan: &plan, packed }];
    run(&jobs, x, y, Epilogue { bias, accumulate: false, activation }, stats);
}

/// `dx = dL/dx`, or `dx += dL/dx` with `accumulate`.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn conv_backward_input(s: &ConvShape, weight: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    s.check(dx.len(), weight.len(), dy.len());
    if s.is_depthwise() {
        let dx = InputGradient { values: dx, accumulate, sums: None };
        return depthwise::backward(s, Rows::Whole(&[]), weight, Rows::Whole(dy), None, Some(dx));
    }
    if let Some(t) = winograd::transposed(s) {
        return winograd::forward(&t, dy, Kernels::transposed(s, weight), None, dx, accumulate);
    }
    let group_weights = s.weight_len() / s.groups;
    let area = s.kernel[0] * s.kernel[1];
    let strides = WeightStrides { column: area, channel: s.group_channels()[0] * area, kernel: s.kernel };
    let lanes = gemm::lanes();
    for g in 0..s.groups {
        let weight = &weight[g * group_weights..(g + 1) * group_weights];
        let problems: Vec<Problem> = (0..s.stride[0])
            .flat_map(|py| (0..s.stride[1]).map(move |px| [py, px]))
            .map(|phase| input_gradient_problem(s, g, phase))
            .collect();
        let lens: Vec<usize> = problems.iter().map(|p| packed_len(p, lanes)).collect();
        with_floats(lens.iter().sum(), |mut packed| {
            let mut parts = Vec::with_capacity(problems.len());
            for (p, len) in problems.iter().zip(lens) {
                let (part, rest) = packed.split_at_mut(len);
                pack(p, weight, strides, lanes, part);
                parts.push(&*part);
                packed = rest;
            }
            let plans: Vec<Plan> = problems.into_iter().map(|p| Plan::new(p.clone(), row_target(&p))).collect();
            let jobs: Vec<Job<'_>> = plans.iter().zip(parts).map(|(plan, packed)| Job { plan, packed }).collect();
            run(&jobs, dy, dx, Epilogue { bias: None, accumulate, activation: Activation::Identity }, None);
        });
    }
}

/// `dweight += dL/dweight`.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn conv_backward_weight(s: &ConvShape, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    s.check(x.len(), dweight.len(), dy.len());
    if s.is_depthwise() {
        return depthwise::backward(s, Rows::Whole(x), &[], Rows::Whole(dy), Some(dweight), None);
    }
    if winograd::pays(s) {
        return winograd::weight_gradient(s, x, dy, dweight);
    }
    let group_weights = s.weight_len() / s.groups;
    for g in 0..s.groups {
        let p = forward_problem(s, g);
        let target = weight::row_target(p.c_out);
        let dweight = &mut dweight[g * group_weights..(g + 1) * group_weights];
        weight::weight_gradient(&Plan::new(p, target), x, dy, dweight, s.kernel);
    }
}

/// `dbias += dL/dbias`: the sum of `dy` over batch, height and width.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn conv_backward_bias(s: &ConvShape, dy: &[f32], dbias: &mut [f32]) {
    assert_eq!(dy.len(), s.output_len(), "output length of {s:?}");
    assert_eq!(dbias.len(), s.c_out, "bias length of {s:?}");
    if dy.is_empty() {
        return;
    }
    // Pixels summed in one go; the parts are then added in order.
    const PIXELS: usize = 256;
    let parts = dy.len().div_ceil(PIXELS * s.c_out);
    let mut sums = vec![0.0f32; parts * s.c_out];
    let out = SendPtr(sums.as_mut_ptr());
    parallel_for(parts.div_ceil(16), |task| {
        for part in task * 16..(task * 16 + 16).min(parts) {
            // SAFETY: every part has its own `c_out` sums.
            let sum = unsafe { std::slice::from_raw_parts_mut(out.get().add(part * s.c_out), s.c_out) };
            let end = ((part + 1) * PIXELS * s.c_out).min(dy.len());
            for pixel in dy[part * PIXELS * s.c_out..end].chunks_exact(s.c_out) {
                sum.iter_mut().zip(pixel).for_each(|(a, b)| *a += *b);
            }
        }
    });
    let mut total = vec![0.0f64; s.c_out];
    for sum in sums.chunks_exact(s.c_out) {
        total.iter_mut().zip(sum).for_each(|(a, b)| *a += f64::from(*b));
    }
    #[allow(clippy::cast_possible_truncation)]
    dbias.iter_mut().zip(total).for_each(|(d, t)| *d += t as f32);
}

/// The weights of a 1x1 convolution, `[c_out, c_in]` or transposed, packed into floats that the caller has.
pub(crate) struct PackedRows<'a>(&'a [f32]);

impl<'a> PackedRows<'a> {
    /// Floats that the weights of `s` take.
    pub fn len(s: &ConvShape) -> usize {
        packed_len(&forward_problem(s, 0), gemm::lanes())
    }

    /// Packs `weight` for the instruction set in use.
    pub fn new(s: &ConvShape, weight: &[f32], transposed: bool, floats: &'a mut [f32]) -> PackedRows<'a> {
        debug_assert!(s.is_pointwise(), "{s:?}");
        assert_eq!(weight.len(), s.weight_len(), "weight length of {s:?}");
        let strides = if transposed {
            WeightStrides { column: 1, channel: s.c_out, kernel: s.kernel }
        } else {
            forward_strides(s)
        };
        pack(&forward_problem(s, 0), weight, strides, gemm::lanes(), floats);
        PackedRows(floats)
    }

    /// `y = x * weight^T + bias` for some rows; their channel sums replace what `stats` held.
    pub fn multiply(
        &self,
        s: &ConvShape,
        x: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
        stats: Option<(&mut [f64], &mut [f64])>,
    ) {
        s.check(x.len(), s.weight_len(), y.len());
        assert_eq!(self.0.len(), PackedRows::len(s), "weights packed for another convolution than {s:?}");
        forward_group(forward_problem(s, 0), self.0, x, bias, Activation::Identity, y, stats);
    }
}

/// Weights packed once, for inference.
#[derive(Debug, Clone)]
pub struct PackedConv {
    /// The shape's fields that the weights depend on, with the instruction set's lanes.
    pub(crate) key: ([usize; 2], [usize; 2], usize),
    pub(crate) lanes: usize,
    /// Packed group by group; as given for a depthwise convolution.
    pub(crate) data: AlignedVec,
}

impl PackedConv {
    /// Packs `weight` for the instruction set in use. Batch and image size of `s` do not matter.
    ///
    /// # Panics
    /// If `weight` has another length than the shape says.
    pub fn new(s: &ConvShape, weight: &[f32]) -> PackedConv {
        if s.is_depthwise() {
            assert_eq!(weight.len(), s.weight_len(), "weight length of {s:?}");
            return PackedConv { key: PackedConv::key(s), lanes: gemm::lanes(), data: weight.into() };
        }
        assert_eq!(weight.len(), s.weight_len(), "weight length of {s:?}");
        let (key, lanes) = (PackedConv::key(s), gemm::lanes());
        let len = packed_len(&forward_problem(s, 0), lanes);
        let mut data = AlignedVec::zeros(len * s.groups);
        let group_weights = s.weight_len() / s.groups;
        for g in 0..s.groups {
            let weight = &weight[g * group_weights..(g + 1) * group_weights];
            pack(&forward_problem(s, g), weight, forward_strides(s), lanes, &mut data[g * len..(g + 1) * len]);
        }
        PackedConv { key, lanes, data }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * self.data.len()
    }

    pub(crate) fn key(s: &ConvShape) -> ([usize; 2], [usize; 2], usize) {
        (s.kernel, [s.c_in, s.c_out], s.groups)
    }
}

/// `y = activation(conv(x) + bias)` with packed weights.
///
/// # Panics
/// If a slice has another length than the shape says, or the weights were packed for another kernel, channel count or
/// instruction set.
pub fn conv_forward_packed(
    s: &ConvShape,
    x: &[f32],
    w: &PackedConv,
    bias: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    s.check(x.len(), s.weight_len(), y.len());
    assert!(bias.is_none_or(|b| b.len() == s.c_out), "bias length of {s:?}");
    assert_eq!(w.key, PackedConv::key(s), "weights packed for another kernel, [c_in, c_out] or groups");
    assert_eq!(w.lanes, gemm::lanes(), "weights packed for another instruction set");
    if s.is_depthwise() {
        return depthwise::forward_act(s, x, &w.data, bias, activation, y);
    }
    let len = w.data.len() / s.groups;
    for g in 0..s.groups {
        let packed = &w.data[g * len..(g + 1) * len];
        forward_group(forward_problem(s, g), packed, x, bias, activation, y, None);
    }
}
