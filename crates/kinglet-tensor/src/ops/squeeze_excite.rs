//! Squeeze-and-excite: channels weighted by a gate computed from their means.
//!
//! Source: Hu et al. 2018, arXiv:1709.01507; with ReLU inside and a hard-sigmoid gate as in MobileNetV3 (Howard et al.
//! 2019, arXiv:1905.02244, section 5.2).
//! Shapes: x `[n, h, w, c]`; squeezed `[n, c]`, hidden `[n, r]`, gate `[n, c]`.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext};
use crate::{Activation, ParamId, Shape, ShapeError};
use kinglet_kernels::conv::{conv_backward_bias, conv_backward_input, conv_backward_weight, conv_forward};
use kinglet_kernels::{ConvShape, activation, elementwise, pooling};

/// `y = activation(x * hard_sigmoid(expand(relu(reduce(mean(x))))))`. The activation after the product serves blocks
/// that squeeze before they activate; it is the identity elsewhere.
#[derive(Debug, Clone)]
pub struct SqueezeExcite {
    /// Weight `[r, c]` (or `[r, c, 1, 1]`) and bias of the first linear layer.
    pub reduce: [ParamId; 2],
    /// Weight `[c, r]` and bias of the second.
    pub expand: [ParamId; 2],
    /// Width r of the hidden layer.
    pub hidden: usize,
    /// Applied to the scaled map.
    pub activation: Activation,
}

/// Places of the intermediate values in the saved buffer.
struct Parts {
    n: usize,
    c: usize,
    r: usize,
}

impl Parts {
    fn len(&self) -> usize {
        self.n * (3 * self.c + 2 * self.r)
    }

    /// squeezed, hidden before and after ReLU, gate before and after hard sigmoid
    fn split<'a>(&self, all: &'a mut [f32]) -> [&'a mut [f32]; 5] {
        let (squeezed, rest) = all.split_at_mut(self.n * self.c);
        let (pre_hidden, rest) = rest.split_at_mut(self.n * self.r);
        let (hidden, rest) = rest.split_at_mut(self.n * self.r);
        let (pre_gate, gate) = rest.split_at_mut(self.n * self.c);
        [squeezed, pre_hidden, hidden, pre_gate, gate]
    }
}

fn linear(n: usize, c_in: usize, c_out: usize) -> ConvShape {
    ConvShape::new(n, [1, 1], c_in, c_out, [1, 1], [1, 1], [0, 0], [1, 1], 1)
}

impl Operation for SqueezeExcite {
    fn name(&self) -> &'static str {
        "squeeze_excite"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        take_inputs::<1>(self.name(), inputs).map(|[x]| x)
    }

    fn macs(&self, inputs: &[Shape], _output: Shape) -> u64 {
        (2 * inputs[0].n * inputs[0].c * self.hidden) as u64
    }

    fn params(&self) -> Vec<ParamId> {
        [self.reduce, self.expand].concat()
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let s = cx.shape;
        let dims = [s.n, s.pixels(), s.c];
        let parts = Parts { n: s.n, c: s.c, r: self.hidden };
        let mut all = cx.pool.take(parts.len());
        let [squeezed, pre_hidden, hidden, pre_gate, gate] = parts.split(&mut all);
        let [w1, b1, w2, b2] =
            [self.reduce[0], self.reduce[1], self.expand[0], self.expand[1]].map(|id| cx.params.get(id));
        pooling::global_avg_pool(cx.inputs[0], dims, squeezed);
        conv_forward(&linear(s.n, s.c, self.hidden), squeezed, w1, Some(b1), pre_hidden, None);
        activation::forward(Activation::Relu, pre_hidden, hidden);
        conv_forward(&linear(s.n, self.hidden, s.c), hidden, w2, Some(b2), pre_gate, None);
        activation::forward(Activation::HardSigmoid, pre_gate, gate);
        elementwise::scale_channels(cx.inputs[0], gate, dims, self.activation, cx.output);
        if cx.mode.records() {
            cx.saved.value = Some(all);
        } else {
            cx.pool.give(all);
        }
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = cx.shape;
        let dims = [s.n, s.pixels(), s.c];
        let parts = Parts { n: s.n, c: s.c, r: self.hidden };
        let mut all = cx.saved.value.take().expect("forward in training mode keeps the gate");
        let [squeezed, pre_hidden, hidden, pre_gate, gate] = parts.split(&mut all);
        let mut dgate = vec![0.0; s.n * s.c];
        let mut dhidden = vec![0.0; s.n * self.hidden];
        let mut unused = None;
        let (dx, accumulate) = match cx.input_grads[0].as_mut() {
            Some(dx) => (&mut *dx.values, dx.accumulate),
            None => (&mut **unused.insert(cx.pool.take(s.len())), false),
        };
        elementwise::scale_channels_backward(
            cx.inputs[0],
            gate,
            cx.output_grad,
            dims,
            self.activation,
            dx,
            accumulate,
            &mut dgate,
        );
        activation::backward_in_place(Activation::HardSigmoid, pre_gate, &mut dgate);
        let (up, down) = (linear(s.n, self.hidden, s.c), linear(s.n, s.c, self.hidden));
        if cx.grads.wanted(self.expand[0]) {
            conv_backward_weight(&up, hidden, &dgate, cx.grads.get_mut(self.expand[0]));
        }
        if cx.grads.wanted(self.expand[1]) {
            conv_backward_bias(&up, &dgate, cx.grads.get_mut(self.expand[1]));
        }
        conv_backward_input(&up, cx.params.get(self.expand[0]), &dgate, &mut dhidden, false);
        activation::backward_in_place(Activation::Relu, pre_hidden, &mut dhidden);
        if cx.grads.wanted(self.reduce[0]) {
            conv_backward_weight(&down, squeezed, &dhidden, cx.grads.get_mut(self.reduce[0]));
        }
        if cx.grads.wanted(self.reduce[1]) {
            conv_backward_bias(&down, &dhidden, cx.grads.get_mut(self.reduce[1]));
        }
        conv_backward_input(&down, cx.params.get(self.reduce[0]), &dhidden, &mut dgate, false);
        pooling::global_avg_pool_backward(&dgate, dims, dx, true);
        cx.pool.give(all);
        if let Some(buffer) = unused {
            cx.pool.give(buffer);
        }
    }
}
