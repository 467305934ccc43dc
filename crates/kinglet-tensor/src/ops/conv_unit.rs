//! Convolution, then optionally BatchNorm, activation and a residual, as one operation.
//!
//! In training the convolution accumulates the channel sums while it writes, one more pass normalises, activates and
//! adds the residual, and the backward pass recomputes the pre-activation from the convolution's output.

use super::{Norm, Operation};
use crate::session::{BackwardContext, ForwardContext, Mode};
use crate::{Activation, ParamId, Shape, ShapeError};
use kinglet_kernels::conv::{
    ChannelStats, PackedConv, conv_backward_bias, conv_backward_input, conv_backward_weight, conv_forward,
    conv_forward_packed,
};
use kinglet_kernels::{ConvShape, activation, batchnorm, depthwise, elementwise};

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
    /// Stride along both axes.
    pub stride: usize,
    /// Zeros on each side, along height and width.
    pub padding: [usize; 2],
    /// Distance between taps.
    pub dilation: usize,
    /// Channel groups.
    pub groups: usize,
}

impl ConvUnit {
    /// The geometry for this input.
    pub fn geometry(&self, x: Shape) -> ConvShape {
        ConvShape::new(
            x.n,
            x.size(),
            x.c,
            self.c_out,
            self.kernel,
            [self.stride; 2],
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

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let s = self.geometry(cx.input_shapes[0]);
        let (x, residual) = (cx.inputs[0], cx.inputs.get(1).copied());
        let Mode::Train { momentum } = cx.mode else {
            self.evaluate(&s, x, residual, cx);
            return;
        };
        let weight = cx.params.get(self.weight);
        let bias = self.bias.map(|b| cx.params.get(b));
        if self.norm.is_none() && self.activation == Activation::Identity && residual.is_none() {
            conv_forward(&s, x, weight, bias, cx.output, None);
            return;
        }
        let mut z = cx.pool.take(cx.shape.len());
        let (scale, shift) = if let Some(norm) = &self.norm {
            let mut stats = ChannelStats::default();
            conv_forward(&s, x, weight, bias, &mut z, Some(&mut stats));
            let (scale, shift, moments) = norm.normalise(&stats, cx.shape.rows(), momentum, cx.params);
            cx.saved.moments = moments;
            (scale, shift)
        } else {
            conv_forward(&s, x, weight, bias, &mut z, None);
            (vec![1.0; self.c_out], vec![0.0; self.c_out])
        };
        batchnorm::forward(&z, self.c_out, &scale, &shift, self.activation, residual, cx.output);
        cx.saved.value = Some(z);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = self.geometry(cx.input_shapes[0]);
        let dy = &mut *cx.output_grad;
        if let Some(Some(dr)) = cx.input_grads.get_mut(1) {
            dr.add(dy);
        }
        if let Some(norm) = &self.norm {
            let z = cx.saved.value.as_ref().expect("forward in training mode keeps the convolution's output");
            let (gamma, beta) = (cx.params.get(norm.weight), cx.params.get(norm.bias));
            let (dgamma, dbeta) = cx.grads.pair(norm.weight, norm.bias);
            let (mean, inv_std) = (&cx.saved.moments.mean, &cx.saved.moments.inv_std);
            batchnorm::backward_in_place(z, dy, self.c_out, mean, inv_std, gamma, beta, self.activation, dgamma, dbeta);
        } else if let Some(z) = &cx.saved.value {
            activation::backward_in_place(self.activation, z, dy);
        }
        if let Some(bias) = self.bias.filter(|&b| cx.grads.wanted(b)) {
            conv_backward_bias(&s, dy, cx.grads.get_mut(bias));
        }
        if cx.grads.wanted(self.weight) {
            conv_backward_weight(&s, cx.inputs[0], dy, cx.grads.get_mut(self.weight));
        }
        if let Some(dx) = cx.input_grads[0].as_mut() {
            conv_backward_input(&s, cx.params.get(self.weight), dy, dx.values, dx.accumulate);
        }
    }
}

impl ConvUnit {
    /// Evaluation: the running statistics are folded into weight and bias.
    fn evaluate(&self, s: &ConvShape, x: &[f32], residual: Option<&[f32]>, cx: &mut ForwardContext<'_>) {
        let weight = cx.params.get(self.weight);
        let bias = self.bias.map(|b| cx.params.get(b));
        let (weight, bias) = match &self.norm {
            None => (weight.to_vec(), bias.map(<[f32]>::to_vec)),
            Some(norm) => {
                let (scale, mut shift) = norm.fold(cx.params);
                if let Some(bias) = bias {
                    shift.iter_mut().zip(bias).zip(&scale).for_each(|((t, b), s)| *t += b * s);
                }
                let fan_in = weight.len() / self.c_out;
                let folded = weight.chunks(fan_in).zip(&scale).flat_map(|(w, s)| w.iter().map(move |w| w * s));
                (folded.collect(), Some(shift))
            }
        };
        if s.is_depthwise() {
            depthwise::forward_act(s, x, &weight, bias.as_deref(), self.activation, cx.output);
        } else {
            conv_forward_packed(s, x, &PackedConv::new(s, &weight), bias.as_deref(), self.activation, cx.output);
        }
        if let Some(residual) = residual {
            elementwise::add_assign(cx.output, residual);
        }
    }
}
