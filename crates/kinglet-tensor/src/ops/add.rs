//! The sum of two maps.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::elementwise;

/// `y = a + b`. A convolution adds its residual itself: this is for sums of other values.
#[derive(Debug, Clone)]
pub struct Add;

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [a, b] = take_inputs::<2>(self.name(), inputs)?;
        if a != b {
            return Err(ShapeError { op: self.name(), message: format!("{a} and {b} differ") });
        }
        Ok(a)
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let [a, b] = [0, 1].map(|i| cx.inputs[i].whole());
        cx.output().copy_from_slice(a);
        elementwise::add_assign(cx.output(), b);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        for dx in cx.input_grads.iter_mut().flatten() {
            dx.add(cx.output_grad);
        }
    }
}
