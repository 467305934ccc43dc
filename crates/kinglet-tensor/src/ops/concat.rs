//! Concatenation along the channels.

use super::Operation;
use crate::rows::{Input, RowsContext};
use crate::session::{BackwardContext, ForwardContext};
use crate::{Shape, ShapeError};
use kinglet_kernels::elementwise::{copy_channels_from, copy_channels_into};
use kinglet_kernels::threads::parallel_chunks_mut;
use std::ops::Range;

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

    fn takes_rows(&self, _position: usize, _inputs: &[Shape]) -> bool {
        true
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn rows(&self, cx: &RowsContext<'_>, range: Range<usize>, output: &mut [f32]) {
        join(&cx.inputs, &cx.input_shapes, range, output, cx.shape);
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        if let Some(output) = cx.output.as_deref_mut() {
            join(&cx.inputs, cx.input_shapes, 0..cx.shape.rows(), output, cx.shape);
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

/// Floats of a task.
const CHUNK: usize = 64 * 1024;
/// Floats that are computed before they are put into place: they and their inputs stay in the first-level cache.
const STEP: usize = 2 * 1024;

fn join(inputs: &[Input<'_>], shapes: &[Shape], range: Range<usize>, output: &mut [f32], to: Shape) {
    let mut offset = 0;
    for (x, shape) in inputs.iter().zip(shapes) {
        match x {
            Input::Whole(x) => {
                copy_channels_into(&x[range.start * shape.c..range.end * shape.c], shape.c, output, to.c, offset);
            }
            _ => {
                let (rows, step) = ((CHUNK / shape.c).max(1), (STEP / shape.c).max(1));
                parallel_chunks_mut(output, rows * to.c, |i, part| {
                    let mut buffer = vec![0.0; step * shape.c];
                    let mut first = range.start + i * rows;
                    for part in part.chunks_mut(step * to.c) {
                        let len = part.len() / to.c;
                        let x_rows = &mut buffer[..len * shape.c];
                        x.copy_rows(first..first + len, shape.c, x_rows);
                        copy_channels_into(x_rows, shape.c, part, to.c, offset);
                        first += len;
                    }
                });
            }
        }
        offset += shape.c;
    }
}
