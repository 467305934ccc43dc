//! Transposed convolution: what a convolution's backward pass does to its gradient.
//!
//! Source: Zeiler et al. 2010, "Deconvolutional networks"; padding and output padding as PyTorch defines them.
//! Shapes: x `[n, h, w, c_in]`, weight `[c_in, c_out / groups, kernel, kernel]`; a side of the output is
//! `(h - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1`.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext};
use crate::{ParamId, Shape, ShapeError};
use kinglet_kernels::ConvShape;
use kinglet_kernels::conv::{conv_backward_bias, conv_backward_input, conv_backward_weight, conv_forward};
use kinglet_kernels::elementwise::add_assign;

/// The transposed convolution of its input, plus a bias.
#[derive(Debug, Clone)]
pub struct ConvTranspose {
    /// Weight, `[c_in, c_out / groups, kernel, kernel]`.
    pub weight: ParamId,
    /// Bias, `[c_out]`.
    pub bias: Option<ParamId>,
    /// Output channels.
    pub c_out: usize,
    /// Kernel side.
    pub kernel: usize,
    /// Pixels of the output from one of the input to the next.
    pub stride: usize,
    /// Rows and columns cut off each side of the output.
    pub padding: usize,
    /// Rows below and columns on the right that are kept beyond that: less than the stride.
    pub output_padding: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Channel groups.
    pub groups: usize,
}

impl ConvTranspose {
    /// A side of the output, where there is one.
    fn side(&self, input: usize) -> Option<usize> {
        let whole = (input.checked_sub(1)?) * self.stride + self.dilation * (self.kernel - 1) + self.output_padding + 1;
        whole.checked_sub(2 * self.padding).filter(|&side| side > 0)
    }

    /// The convolution from the output `y` back to the input `x`.
    pub fn geometry(&self, x: Shape, y: Shape) -> ConvShape {
        let [kernel, stride, padding, dilation] =
            [self.kernel, self.stride, self.padding, self.dilation].map(|v| [v, v]);
        ConvShape::new(x.n, y.size(), self.c_out, x.c, kernel, stride, padding, dilation, self.groups)
    }
}

/// `y = transposed convolution of x + bias`, given the convolution from `y` to `x`.
pub fn conv_transpose(s: &ConvShape, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    match bias {
        None => conv_backward_input(s, weight, x, y, false),
        Some(bias) => {
            y.chunks_exact_mut(bias.len()).for_each(|pixel| pixel.copy_from_slice(bias));
            conv_backward_input(s, weight, x, y, true);
        }
    }
}

impl Operation for ConvTranspose {
    fn name(&self) -> &'static str {
        "conv_transpose"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [x] = take_inputs::<1>(self.name(), inputs)?;
        let error = |message| Err(ShapeError { op: "conv_transpose", message });
        if self.output_padding >= self.stride {
            return error(format!("output padding {} is not below the stride {}", self.output_padding, self.stride));
        }
        if !x.c.is_multiple_of(self.groups) || !self.c_out.is_multiple_of(self.groups) {
            return error(format!("{} and {} channels in {} groups", x.c, self.c_out, self.groups));
        }
        match (self.side(x.h), self.side(x.w)) {
            (Some(h), Some(w)) => Ok(Shape { h, w, c: self.c_out, ..x }),
            _ => error(format!("padding {} leaves nothing of {x}", self.padding)),
        }
    }

    /// Each value of the input meets the whole kernel, also where the output's border is cut off.
    fn macs(&self, inputs: &[Shape], _output: Shape) -> u64 {
        (inputs[0].len() * (self.c_out / self.groups) * self.kernel * self.kernel) as u64
    }

    fn params(&self) -> Vec<ParamId> {
        std::iter::once(self.weight).chain(self.bias).collect()
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let s = self.geometry(cx.input_shapes[0], cx.shape);
        let (weight, bias) = (cx.params.get(self.weight), self.bias.map(|b| cx.params.get(b)));
        let y = cx.output.as_deref_mut().expect("the output is in memory");
        conv_transpose(&s, cx.inputs[0].whole(), weight, bias, y);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = self.geometry(cx.input_shapes[0], cx.shape);
        let (x, dy) = (cx.inputs[0].whole(), &*cx.output_grad);
        if cx.grads.wanted(self.weight) {
            conv_backward_weight(&s, dy, x, cx.grads.get_mut(self.weight));
        }
        if let Some(bias) = self.bias.filter(|&b| cx.grads.wanted(b)) {
            // Sums over the pixels of `dy`, as for a convolution whose output it is.
            let pixels = ConvShape::new(1, [cx.shape.rows(), 1], 1, self.c_out, [1, 1], [1, 1], [0, 0], [1, 1], 1);
            conv_backward_bias(&pixels, dy, cx.grads.get_mut(bias));
        }
        let Some(dx) = cx.input_grads[0].as_mut() else { return };
        let weight = cx.params.get(self.weight);
        if dx.accumulate {
            let mut part = vec![0.0; dx.values.len()];
            conv_forward(&s, dy, weight, None, &mut part, None);
            add_assign(dx.values, &part);
        } else {
            conv_forward(&s, dy, weight, None, dx.values, None);
        }
    }
}
