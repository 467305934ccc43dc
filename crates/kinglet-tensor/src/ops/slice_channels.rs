//! Some of a map's channels.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::elementwise::copy_channels_from;
use kinglet_kernels::rearrange::slice_channels_backward;

/// Channels `first..first + count`.
#[derive(Debug, Clone)]
pub struct SliceChannels {
    /// The first channel taken.
    pub first: usize,
    /// How many are taken.
    pub count: usize,
}

impl Operation for SliceChannels {
    fn name(&self) -> &'static str {
        "slice_channels"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [x] = take_inputs::<1>(self.name(), inputs)?;
        if self.count == 0 || self.first + self.count > x.c {
            let message = format!("{} channels from {} of {}", self.count, self.first, x.c);
            return Err(ShapeError { op: self.name(), message });
        }
        Ok(Shape { c: self.count, ..x })
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let (x, c) = (cx.inputs[0].whole(), cx.input_shapes[0].c);
        copy_channels_from(x, c, self.first, cx.output(), self.count, false);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let c = cx.input_shapes[0].c;
        if let Some(dx) = cx.input_grads[0].as_mut() {
            slice_channels_backward(cx.output_grad, self.count, self.first, dx.values, c, dx.accumulate);
        }
    }
}
