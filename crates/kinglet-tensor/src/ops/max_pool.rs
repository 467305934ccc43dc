//! Maximum over a window.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::pooling::{PoolShape, max_pool_backward, max_pool_forward};

/// The maximum over `kernel` x `kernel` pixels; outside counts as minus infinity.
#[derive(Debug, Clone)]
pub struct MaxPool {
    /// Side of the window.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Border on each side, at most half the kernel.
    pub padding: usize,
}

impl MaxPool {
    fn geometry(&self, x: Shape) -> PoolShape {
        PoolShape { input: [x.n, x.h, x.w, x.c], kernel: self.kernel, stride: self.stride, padding: self.padding }
    }
}

impl Operation for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [x] = take_inputs::<1>(self.name(), inputs)?;
        if x.h + 2 * self.padding < self.kernel || x.w + 2 * self.padding < self.kernel {
            return Err(ShapeError {
                op: self.name(),
                message: format!("{x} is smaller than the window of {}", self.kernel),
            });
        }
        let out = |side: usize| (side + 2 * self.padding - self.kernel) / self.stride + 1;
        Ok(Shape { h: out(x.h), w: out(x.w), ..x })
    }

    fn keeps_input(&self, _position: usize) -> bool {
        false
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let mut argmax = cx.mode.records().then(|| vec![0; cx.shape.len()]);
        max_pool_forward(&self.geometry(cx.input_shapes[0]), cx.inputs[0].whole(), cx.output(), argmax.as_deref_mut());
        cx.notes.indices = argmax.unwrap_or_default();
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        if let Some(dx) = cx.input_grads[0].as_mut() {
            if !dx.accumulate {
                dx.values.fill(0.0);
            }
            max_pool_backward(&self.geometry(cx.input_shapes[0]), cx.output_grad, &cx.notes.indices, dx.values);
        }
    }
}
