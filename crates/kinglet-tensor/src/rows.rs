//! Inputs that lie in memory or are computed by rows.
//!
//! In training the output of most operations is not stored: whoever reads it computes the rows that it is at from what
//! the operation keeps. A row is one pixel with all its channels.

use crate::Shape;
use crate::ops::Operation;
use crate::session::Notes;
use kinglet_kernels::rows::Rows;
use std::ops::Range;

/// An input of an operation.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// In memory.
    Whole(&'a [f32]),
    /// Computed by rows.
    Rows(RowsContext<'a>),
    /// Not read by this pass.
    Absent,
}

/// What an operation sees when rows of its output are computed again.
#[derive(Debug)]
pub struct RowsContext<'a> {
    pub(crate) op: &'a dyn Operation,
    /// The forward inputs; absent where `Operation::recompute_reads` says no.
    pub(crate) inputs: Vec<Input<'a>>,
    pub(crate) input_shapes: Vec<Shape>,
    pub(crate) shape: Shape,
    pub(crate) kept: &'a [f32],
    pub(crate) notes: &'a Notes,
}

impl<'a> Input<'a> {
    /// All values.
    pub fn whole(&self) -> &'a [f32] {
        match self {
            Input::Whole(values) => values,
            _ => panic!("the plan has the inputs in memory that an operation does not take by rows"),
        }
    }

    /// Computes or copies rows `range`, of `c` channels.
    pub fn copy_rows(&self, range: Range<usize>, c: usize, output: &mut [f32]) {
        match self {
            Input::Whole(values) => output.copy_from_slice(&values[range.start * c..range.end * c]),
            Input::Rows(cx) => cx.op.rows(cx, range, output),
            Input::Absent => panic!("the plan has every input that an operation reads"),
        }
    }

    /// Runs `f` with this input as a kernel takes it.
    pub fn with_rows<R>(&self, f: impl FnOnce(Rows<'_>) -> R) -> R {
        match self {
            Input::Whole(values) => f(Rows::Whole(values)),
            Input::Rows(cx) => f(Rows::Computed(&|range, output| cx.op.rows(cx, range, output))),
            Input::Absent => f(Rows::Whole(&[])),
        }
    }
}
