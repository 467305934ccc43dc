//! Two-by-two pixels to channels, as YOLOv5's Focus orders them.

use super::{Operation, take_inputs};
use crate::rows::RowsContext;
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::elementwise::{space_to_depth, space_to_depth_backward};
use std::ops::Range;

/// `[n, h, w, c]` to `[n, h / 2, w / 2, 4 c]`: (even row, even column), (odd, even), (even, odd), (odd, odd).
#[derive(Debug, Clone)]
pub struct SpaceToDepth;

impl Operation for SpaceToDepth {
    fn name(&self) -> &'static str {
        "space_to_depth"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [x] = take_inputs::<1>(self.name(), inputs)?;
        if x.h % 2 != 0 || x.w % 2 != 0 {
            return Err(ShapeError { op: self.name(), message: format!("{x} has an odd side") });
        }
        Ok(Shape { n: x.n, h: x.h / 2, w: x.w / 2, c: x.c * 4 })
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let s = cx.input_shapes[0];
        space_to_depth(cx.inputs[0].whole(), [s.n, s.h, s.w, s.c], cx.output());
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn rows(&self, cx: &RowsContext<'_>, _range: Range<usize>, output: &mut [f32]) {
        let s = cx.input_shapes[0];
        space_to_depth(cx.inputs[0].whole(), [s.n, s.h, s.w, s.c], output);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = cx.input_shapes[0];
        if let Some(dx) = cx.input_grads[0].as_mut() {
            space_to_depth_backward(cx.output_grad, [s.n, s.h, s.w, s.c], dx.values, dx.accumulate);
        }
    }
}
