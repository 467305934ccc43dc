//! Channels to squares of pixels: YOLOv5's Expand.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::rearrange;

/// `[n, h, w, c]` to `[n, gain h, gain w, c / gain^2]`: the opposite of `Contract`.
#[derive(Debug, Clone)]
pub struct Expand {
    /// Side of a square.
    pub gain: usize,
}

impl Operation for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [x] = take_inputs::<1>(self.name(), inputs)?;
        let square = self.gain * self.gain;
        if square == 0 || !x.c.is_multiple_of(square) {
            let message = format!("{} channels are not whole squares of {}", x.c, self.gain);
            return Err(ShapeError { op: self.name(), message });
        }
        Ok(Shape { h: x.h * self.gain, w: x.w * self.gain, c: x.c / square, ..x })
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let (s, x) = (cx.input_shapes[0], cx.inputs[0].whole());
        rearrange::expand(x, [s.n, s.h, s.w, s.c], self.gain, cx.output(), false);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = cx.shape;
        if let Some(dx) = cx.input_grads[0].as_mut() {
            rearrange::contract(cx.output_grad, [s.n, s.h, s.w, s.c], self.gain, dx.values, dx.accumulate);
        }
    }
}
