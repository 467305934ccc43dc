//! A non-linearity on its own.

use super::{Operation, take_inputs};
use crate::rows::RowsContext;
use crate::session::{BackwardContext, ForwardContext};
use crate::{Activation, Shape, ShapeError};
use kinglet_kernels::activation;
use std::ops::Range;

/// `y = activation(x)`.
#[derive(Debug, Clone)]
pub struct Activate(pub Activation);

impl Operation for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        take_inputs::<1>(self.name(), inputs).map(|[x]| x)
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let x = cx.inputs[0].whole();
        if let Some(output) = cx.output.as_deref_mut() {
            activation::forward(self.0, x, output);
        }
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn rows(&self, cx: &RowsContext<'_>, range: Range<usize>, output: &mut [f32]) {
        cx.inputs[0].copy_rows(range, cx.shape.c, output);
        activation::forward_in_place(self.0, output);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        if let Some(dx) = cx.input_grads[0].as_mut() {
            activation::backward(self.0, cx.inputs[0].whole(), cx.output_grad, dx.values, dx.accumulate);
        }
    }
}
