//! Nearest-neighbour enlargement by a whole factor.

use super::{Operation, take_inputs};
use crate::rows::RowsContext;
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::elementwise::{upsample_nearest, upsample_nearest_backward};
use std::ops::Range;

/// Repeats each pixel `scale` times along both axes.
#[derive(Debug, Clone)]
pub struct Upsample {
    /// The factor.
    pub scale: usize,
}

impl Operation for Upsample {
    fn name(&self) -> &'static str {
        "upsample"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [x] = take_inputs::<1>(self.name(), inputs)?;
        Ok(Shape { h: x.h * self.scale, w: x.w * self.scale, ..x })
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let s = cx.input_shapes[0];
        upsample_nearest(cx.inputs[0].whole(), [s.n, s.h, s.w, s.c], self.scale, cx.output());
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn rows(&self, cx: &RowsContext<'_>, _range: Range<usize>, output: &mut [f32]) {
        let s = cx.input_shapes[0];
        upsample_nearest(cx.inputs[0].whole(), [s.n, s.h, s.w, s.c], self.scale, output);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = cx.input_shapes[0];
        if let Some(dx) = cx.input_grads[0].as_mut() {
            upsample_nearest_backward(cx.output_grad, [s.n, s.h, s.w, s.c], self.scale, dx.values, dx.accumulate);
        }
    }
}
