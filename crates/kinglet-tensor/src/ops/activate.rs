//! A non-linearity on its own.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext};
use crate::{Activation, Shape, ShapeError};
use kinglet_kernels::activation;

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
        activation::forward(self.0, cx.inputs[0], cx.output);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        if let Some(dx) = cx.input_grads[0].as_mut() {
            activation::backward(self.0, cx.inputs[0], cx.output_grad, dx.values, dx.accumulate);
        }
    }
}
