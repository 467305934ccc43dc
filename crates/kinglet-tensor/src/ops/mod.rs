//! Operations: each file holds one, with its shape rule, arithmetic count, forward and backward pass.

mod activate;
mod add;
mod attention;
mod batch_norm;
mod concat;
mod contract;
mod conv_transpose;
mod conv_unit;
mod expand;
mod max_pool;
mod shuffle_channels;
mod slice_channels;
mod space_to_depth;
mod squeeze_excite;
mod upsample;
mod zero_pad;

pub use activate::Activate;
pub use add::Add;
pub use attention::Attention;
pub(crate) use batch_norm::BatchMoments;
pub use batch_norm::{BatchNorm, Norm};
pub use concat::Concat;
pub use contract::Contract;
pub use conv_transpose::{ConvTranspose, conv_transpose};
pub use conv_unit::ConvUnit;
pub use expand::Expand;
pub use max_pool::MaxPool;
pub use shuffle_channels::ShuffleChannels;
pub use slice_channels::SliceChannels;
pub use space_to_depth::SpaceToDepth;
pub use squeeze_excite::SqueezeExcite;
pub use upsample::Upsample;
pub use zero_pad::ZeroPad;

use crate::rows::RowsContext;
use crate::session::{BackwardContext, ForwardContext, Mode};
use crate::{ParamId, Shape, ShapeError};
use std::ops::Range;

/// What every operation can do.
pub trait Operation: std::fmt::Debug + Sync {
    /// The name in tables and messages.
    fn name(&self) -> &'static str;
    /// The output's shape, or why the inputs do not fit.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError>;
    /// Multiply-adds of convolutions and linear layers, as YOLOv5's summary counts them.
    fn macs(&self, _inputs: &[Shape], _output: Shape) -> u64 {
        0
    }
    /// The parameters that it reads.
    fn params(&self) -> Vec<ParamId> {
        vec![]
    }
    /// Whether the backward pass reads the values of the input at this position.
    fn keeps_input(&self, _position: usize) -> bool {
        true
    }
    /// Floats that the forward pass keeps for the backward pass, or works with.
    fn kept_len(&self, _inputs: &[Shape], _output: Shape, _mode: Mode) -> usize {
        0
    }
    /// Whether any rows of the output can be computed again for less than it costs to keep them.
    fn row_wise(&self) -> bool {
        false
    }
    /// The same of the output as a whole.
    fn recomputes(&self) -> bool {
        self.row_wise()
    }
    /// Whether computing the output again reads the input at this position.
    fn recompute_reads(&self, _position: usize) -> bool {
        true
    }
    /// Whether the input at this position may be computed by rows instead of lying in memory.
    fn takes_rows(&self, _position: usize, _inputs: &[Shape]) -> bool {
        false
    }
    /// Whether the backward pass leaves the gradient of the input at this position finished row by row, so that sums of
    /// it can be taken there.
    fn finishes_rows(&self, _position: usize, _inputs: &[Shape]) -> bool {
        false
    }
    /// How many sums over the output's gradient the backward pass needs before it starts: whoever finishes the gradient
    /// row by row takes them.
    fn gradient_sums(&self) -> usize {
        0
    }
    /// Adds those of some rows, given their gradient.
    fn add_gradient_sums(&self, _cx: &RowsContext<'_>, _range: Range<usize>, _gradient: &[f32], _sums: &mut [f64]) {
        unreachable!("only for operations that need such sums")
    }
    /// Computes rows of the output again: all of them where it is not row-wise.
    fn rows(&self, _cx: &RowsContext<'_>, _range: Range<usize>, _output: &mut [f32]) {
        unreachable!("only for operations that compute their outputs again")
    }
    /// Computes the output, or only what is kept where the output is computed by rows later.
    fn forward(&self, cx: &mut ForwardContext<'_>);
    /// Adds to the parameters' gradients and to the inputs'. The output's gradient may be overwritten.
    fn backward(&self, cx: &mut BackwardContext<'_>);
}

macro_rules! ops {
    ($($name:ident),* $(,)?) => {
        /// Any operation.
        #[derive(Debug, Clone)]
        #[allow(missing_docs)]
        pub enum Op { $($name($name)),* }

        impl Op {
            /// The operation behind the variant.
            pub fn run(&self) -> &dyn Operation {
                match self { $(Op::$name(op) => op),* }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op { Op::$name(op) }
        })*
    };
}
ops!(
    Activate,
    Add,
    Attention,
    BatchNorm,
    Concat,
    Contract,
    ConvTranspose,
    ConvUnit,
    Expand,
    MaxPool,
    ShuffleChannels,
    SliceChannels,
    SpaceToDepth,
    SqueezeExcite,
    Upsample,
    ZeroPad,
);

/// Fails unless there are exactly `N` inputs.
fn take_inputs<const N: usize>(op: &'static str, inputs: &[Shape]) -> Result<[Shape; N], ShapeError> {
    inputs.try_into().map_err(|_| ShapeError { op, message: format!("expected {N} inputs, got {}", inputs.len()) })
}
