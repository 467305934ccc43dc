//! Concatenation along the channels.

use super::Operation;
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::elementwise::{copy_channels_from, copy_channels_into};

/// Joins the channels of its inputs in order.
#[derive(Debug, Clone)]
pub struct Concat;

impl Operation for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let Some(&first) = inputs.first() else {
            return Err(ShapeError { op: self.name(), message: "no inputs".into() });
        };
        if let Some(other) = inputs.iter().find(|s| (s.n, s.size()) != (first.n, first.size())) {
            return Err(ShapeError {
                op: self.name(),
                message: format!("{first} and {other} differ outside the channels"),
            });
        }
        Ok(Shape { c: inputs.iter().map(|s| s.c).sum(), ..first })
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let mut offset = 0;
        for (x, shape) in cx.inputs.iter().zip(cx.input_shapes) {
            copy_channels_into(x, shape.c, cx.output, cx.shape.c, offset);
            offset += shape.c;
        }
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let mut offset = 0;
        for (dx, shape) in cx.input_grads.iter_mut().zip(cx.input_shapes) {
            if let Some(dx) = dx {
                copy_channels_from(cx.output_grad, cx.shape.c, offset, dx.values, shape.c, dx.accumulate);
            }
            offset += shape.c;
        }
    }
}
