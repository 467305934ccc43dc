//! Convolution, then optionally BatchNorm, activation and a residual, as one operation.
//!
//! In training the convolution accumulates the channel sums while it writes, one more pass normalises, activates and
//! adds the residual, and the backward pass recomputes pre-activation and output from the convolution's output.

use super::{BatchMoments, Norm, Operation};
use crate::rows::{Input, RowsContext};
use crate::session::{BackwardContext, ForwardContext, InputGrad, Mode, Notes};
use crate::{Activation, ParamId, Params, Shape, ShapeError};
use kinglet_kernels::conv::{
    ChannelStats, PackedConv, conv_backward_bias, conv_backward_input, conv_backward_weight, conv_forward,
    conv_forward_packed,
};
use kinglet_kernels::rows::Rows;
use kinglet_kernels::{ConvShape, activation, batchnorm, depthwise, elementwise, pointwise};
use std::ops::Range;

/// `y = activation(norm(conv(x) + bias)) + residual`; the residual is an optional second input of the output's shape.
#[derive(Debug, Clone)]
pub struct ConvUnit {
    /// Weight, `[c_out, c_in / groups, kernel_h, kernel_w]`.
    pub weight: ParamId,
    /// Bias of the convolution.
    pub bias: Option<ParamId>,
    /// BatchNorm after the convolution.
    pub norm: Option<Norm>,
    /// Activation after that.
    pub activation: Activation,
    /// Output channels.
    pub c_out: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Stride along height and width.
    pub stride: [usize; 2],
    /// Zeros on each side, along height and width.
    pub padding: [usize; 2],
    /// Distance between taps.
    pub dilation: usize,
    /// Channel groups.
    pub groups: usize,
}

impl ConvUnit {
    /// Weight and bias with the running statistics folded in, as inference computes with them.
    pub fn folded(&self, params: &Params) -> (Vec<f32>, Option<Vec<f32>>) {
        let weight = params.get(self.weight);
        let bias = self.bias.map(|b| params.get(b));
        let Some(norm) = &self.norm else { return (weight.to_vec(), bias.map(<[f32]>::to_vec)) };
        let (scale, mut shift) = norm.fold(params);
        if let Some(bias) = bias {
            shift.iter_mut().zip(bias).zip(&scale).for_each(|((t, b), s)| *t += b * s);
        }
        let fan_in = weight.len() / self.c_out;
        let mut folded = weight.to_vec();
        folded.chunks_mut(fan_in).zip(&scale).for_each(|(w, s)| w.iter_mut().for_each(|w| *w *= s));
        (folded, Some(shift))
    }

    /// The geometry for this input.
    pub fn geometry(&self, x: Shape) -> ConvShape {
        ConvShape::new(
            x.n,
            x.size(),
            x.c,
            self.c_out,
            self.kernel,
            self.stride,
            self.padding,
            [self.dilation; 2],
            self.groups,
        )
    }
}

impl Operation for ConvUnit {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let error = |message| Err(ShapeError { op: "conv", message });
        let (x, residual) = match *inputs {
            [x] => (x, None),
            [x, r] => (x, Some(r)),
            _ => return error(format!("expected one or two inputs, got {}", inputs.len())),
        };
        if !x.c.is_multiple_of(self.groups) || !self.c_out.is_multiple_of(self.groups) {
            return error(format!("{} and {} channels in {} groups", x.c, self.c_out, self.groups));
        }
        for axis in 0..2 {
            if x.size()[axis] + 2 * self.padding[axis] < self.dilation * (self.kernel[axis] - 1) + 1 {
                return error(format!("{x} is smaller than the kernel {:?}", self.kernel));
            }
        }
        let [h, w] = self.geometry(x).output;
        let y = Shape::new(x.n, h, w, self.c_out);
        match residual {
            Some(r) if r != y => error(format!("residual {r} is added to {y}")),
            _ => Ok(y),
        }
    }

    fn macs(&self, inputs: &[Shape], output: Shape) -> u64 {
        output.len() as u64 * (inputs[0].c / self.groups * self.kernel[0] * self.kernel[1]) as u64
    }

    fn params(&self) -> Vec<ParamId> {
        let norm = self.norm.iter().flat_map(|n| [n.weight, n.bias]);
        std::iter::once(self.weight).chain(self.bias).chain(norm).collect()
    }

    fn keeps_input(&self, position: usize) -> bool {
        position == 0
    }

    fn kept_len(&self, _inputs: &[Shape], output: Shape, mode: Mode) -> usize {
        if mode.records() && self.keeps_product() { output.len() } else { 0 }
    }

    fn row_wise(&self) -> bool {
        self.keeps_product()
    }

    fn recompute_reads(&self, position: usize) -> bool {
        position == 1
    }

    fn takes_rows(&self, position: usize, inputs: &[Shape]) -> bool {
        position == 0 && (self.is_pointwise() || self.geometry(inputs[0]).is_depthwise())
    }

    fn finishes_rows(&self, position: usize, inputs: &[Shape]) -> bool {
        self.takes_rows(position, inputs)
    }

    fn gradient_sums(&self) -> usize {
        if self.norm.is_some() { 2 * self.c_out } else { 0 }
    }

    fn add_gradient_sums(&self, cx: &RowsContext<'_>, range: Range<usize>, gradient: &[f32], sums: &mut [f64]) {
        let z = &cx.kept[range.start * self.c_out..range.end * self.c_out];
        batchnorm::add_gradient_sums(z, gradient, cx.notes.moments.by_channel(), self.activation, sums);
    }

    fn rows(&self, cx: &RowsContext<'_>, range: Range<usize>, output: &mut [f32]) {
        let range = range.start * self.c_out..range.end * self.c_out;
        let residual = cx.inputs.get(1).map(|r| &r.whole()[range.clone()]);
        self.finish(&cx.kept[range], cx.notes, residual, output);
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let s = self.geometry(cx.input_shapes[0]);
        let Mode::Train { momentum } = cx.mode else {
            return self.evaluate(&s, cx);
        };
        let weight = cx.params.get(self.weight);
        let bias = self.bias.map(|b| cx.params.get(b));
        let x = &cx.inputs[0];
        if !self.keeps_product() {
            let y = cx.output.as_deref_mut().expect("an output that cannot be had again is in memory");
            self.convolve(&s, x, weight, bias, y, None);
            if let Some(residual) = cx.inputs.get(1) {
                elementwise::add_assign(y, residual.whole());
            }
            return;
        }
        let z = &mut *cx.kept;
        let mut stats = self.norm.is_some().then(ChannelStats::default);
        self.convolve(&s, x, weight, bias, z, stats.as_mut());
        if let (Some(norm), Some(stats)) = (&self.norm, stats) {
            cx.notes.moments = norm.normalise(z, &stats, momentum, cx.params);
        }
        if let Some(y) = cx.output.as_deref_mut() {
            self.finish(z, cx.notes, cx.inputs.get(1).map(|r| r.whole()), y);
        }
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = self.geometry(cx.input_shapes[0]);
        let dy = &mut *cx.output_grad;
        if let Some(Some(dr)) = cx.input_grads.get_mut(1) {
            dr.add(dy);
        }
        let bias = self.bias.filter(|&b| cx.grads.wanted(b));
        let by_rows = self.takes_rows(0, cx.input_shapes);
        let mut gradient = None;
        if let Some(norm) = &self.norm {
            let moments = cx.notes.moments.by_channel();
            let sums = cx.sums.take().unwrap_or_else(|| {
                let mut sums = vec![0.0; self.gradient_sums()];
                batchnorm::add_gradient_sums(cx.kept, dy, moments, self.activation, &mut sums);
                sums
            });
            let affine = cx.grads.pair(norm.weight, norm.bias).into();
            let norm = batchnorm::Gradient::new(&sums, cx.shape.rows(), moments, self.activation, affine);
            if by_rows && bias.is_none() {
                gradient = Some(norm);
            } else {
                norm.rows_in_place(cx.kept, dy);
            }
        } else if self.keeps_product() {
            activation::backward_in_place(self.activation, cx.kept, dy);
        }
        if let Some(bias) = bias {
            conv_backward_bias(&s, dy, cx.grads.get_mut(bias));
        }
        let weight = cx.params.get(self.weight);
        let dweight = cx.grads.wanted(self.weight).then(|| cx.grads.get_mut(self.weight));
        let dx = cx.input_grads[0].as_mut();
        if dweight.is_none() && dx.is_none() {
            return;
        }
        if !by_rows {
            if let Some(dweight) = dweight {
                conv_backward_weight(&s, cx.inputs[0].whole(), dy, dweight);
            }
            if let Some(dx) = dx {
                conv_backward_input(&s, weight, dy, dx.values, dx.accumulate);
            }
            return;
        }
        let (z, dy, c) = (&*cx.kept, &*dy, self.c_out);
        cx.inputs[0].with_rows(|x| {
            InputGrad::with(dx, |dx| {
                let dz_rows = |range: Range<usize>, dz: &mut [f32]| {
                    let range = range.start * c..range.end * c;
                    if let Some(gradient) = &gradient {
                        gradient.rows(&z[range.clone()], &dy[range], dz);
                    }
                };
                let dz = if gradient.is_some() { Rows::Computed(&dz_rows) } else { Rows::Whole(dy) };
                if s.is_depthwise() {
                    return depthwise::backward(&s, x, weight, dz, dweight, dx);
                }
                pointwise::backward(self.size(&s), x, dz, weight, dweight, dx);
            });
        });
    }
}

impl ConvUnit {
    /// Whether training keeps the convolution's own output: the output itself can then be had again.
    fn keeps_product(&self) -> bool {
        self.norm.is_some() || self.activation != Activation::Identity
    }

    /// Whether it is a matrix product over rows.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.groups == 1
    }

    /// As the matrix product that a pointwise convolution is.
    fn size(&self, s: &ConvShape) -> pointwise::Size {
        pointwise::Size { rows: s.batch * s.output[0] * s.output[1], c_in: s.c_in, c_out: s.c_out }
    }

    /// The convolution itself, in training.
    fn convolve(
        &self,
        s: &ConvShape,
        x: &Input<'_>,
        weight: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
        stats: Option<&mut ChannelStats>,
    ) {
        if self.is_pointwise() {
            x.with_rows(|x| pointwise::forward(self.size(s), x, weight, bias, y, stats));
        } else if s.is_depthwise() {
            x.with_rows(|x| depthwise::forward(s, x, weight, bias, y, stats));
        } else {
            conv_forward(s, x.whole(), weight, bias, y, stats);
        }
    }

    /// What follows the convolution in training.
    fn finish(&self, z: &[f32], notes: &Notes, residual: Option<&[f32]>, y: &mut [f32]) {
        if self.norm.is_some() {
            let BatchMoments { scale, shift, .. } = &notes.moments;
            batchnorm::forward(z, self.c_out, scale, shift, self.activation, residual, y);
            return;
        }
        activation::forward(self.activation, z, y);
        if let Some(residual) = residual {
            elementwise::add_assign(y, residual);
        }
    }

    /// Evaluation: the running statistics are folded into weight and bias.
    fn evaluate(&self, s: &ConvShape, cx: &mut ForwardContext<'_>) {
        let (x, residual) = (cx.inputs[0].whole(), cx.inputs.get(1).map(|r| r.whole()));
        let (weight, bias) = self.folded(cx.params);
        if s.is_depthwise() {
            depthwise::forward_act(s, x, &weight, bias.as_deref(), self.activation, cx.output());
        } else {
            conv_forward_packed(s, x, &PackedConv::new(s, &weight), bias.as_deref(), self.activation, cx.output());
        }
        if let Some(residual) = residual {
            elementwise::add_assign(cx.output(), residual);
        }
    }
}
