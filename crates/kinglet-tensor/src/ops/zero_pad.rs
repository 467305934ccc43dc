//! A border of zeros.

use super::{Operation, take_inputs};
use crate::rows::RowsContext;
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::elementwise::{Padding, zero_pad, zero_pad_backward};
use std::ops::Range;

/// Adds rows and columns of zeros.
#[derive(Debug, Clone)]
pub struct ZeroPad {
    /// Left, right, top, bottom, as PyTorch orders them.
    pub border: [usize; 4],
}

impl ZeroPad {
    fn padding(&self) -> Padding {
        let [left, right, top, bottom] = self.border;
        Padding { left, right, top, bottom }
    }
}

impl Operation for ZeroPad {
    fn name(&self) -> &'static str {
        "zero_pad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [x] = take_inputs::<1>(self.name(), inputs)?;
        let [left, right, top, bottom] = self.border;
        Ok(Shape { h: x.h + top + bottom, w: x.w + left + right, ..x })
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let s = cx.input_shapes[0];
        zero_pad(cx.inputs[0].whole(), [s.n, s.h, s.w, s.c], self.padding(), cx.output());
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn rows(&self, cx: &RowsContext<'_>, _range: Range<usize>, output: &mut [f32]) {
        let s = cx.input_shapes[0];
        zero_pad(cx.inputs[0].whole(), [s.n, s.h, s.w, s.c], self.padding(), output);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = cx.input_shapes[0];
        if let Some(dx) = cx.input_grads[0].as_mut() {
            zero_pad_backward(cx.output_grad, [s.n, s.h, s.w, s.c], self.padding(), dx.values, dx.accumulate);
        }
    }
}
