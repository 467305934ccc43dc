//! Channels dealt out between groups.
//!
//! Source: Zhang et al. 2018, arXiv:1707.01083 (ShuffleNet), section 3.1.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::rearrange::shuffle_channels;

/// Channel i of group g of the input becomes channel g of group i: the channels as a matrix `[groups, c / groups]`,
/// transposed.
#[derive(Debug, Clone)]
pub struct ShuffleChannels {
    /// Groups of the input.
    pub groups: usize,
}

impl Operation for ShuffleChannels {
    fn name(&self) -> &'static str {
        "shuffle_channels"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [x] = take_inputs::<1>(self.name(), inputs)?;
        if self.groups == 0 || !x.c.is_multiple_of(self.groups) {
            return Err(ShapeError { op: self.name(), message: format!("{} channels in {} groups", x.c, self.groups) });
        }
        Ok(x)
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let (x, c) = (cx.inputs[0].whole(), cx.shape.c);
        shuffle_channels(x, c, self.groups, cx.output(), false);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let c = cx.shape.c;
        if let Some(dx) = cx.input_grads[0].as_mut() {
            shuffle_channels(cx.output_grad, c, c / self.groups, dx.values, dx.accumulate);
        }
    }
}
