//! Squares of pixels to channels, in row order: YOLOv5's Contract.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::rearrange;

/// `[n, h, w, c]` to `[n, h / gain, w / gain, gain^2 c]`, in the order of ONNX's `SpaceToDepth`. `SpaceToDepth` here is
/// Focus, which orders the four pixels by columns.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Side of a square.
    pub gain: usize,
}

impl Operation for Contract {
    fn name(&self) -> &'static str {
        "contract"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [x] = take_inputs::<1>(self.name(), inputs)?;
        if self.gain == 0 || !x.h.is_multiple_of(self.gain) || !x.w.is_multiple_of(self.gain) {
            return Err(ShapeError { op: self.name(), message: format!("{x} is not whole squares of {}", self.gain) });
        }
        Ok(Shape { h: x.h / self.gain, w: x.w / self.gain, c: x.c * self.gain * self.gain, ..x })
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let (s, x) = (cx.input_shapes[0], cx.inputs[0].whole());
        rearrange::contract(x, [s.n, s.h, s.w, s.c], self.gain, cx.output(), false);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = cx.shape;
        if let Some(dx) = cx.input_grads[0].as_mut() {
            rearrange::expand(cx.output_grad, [s.n, s.h, s.w, s.c], self.gain, dx.values, dx.accumulate);
        }
    }
}
