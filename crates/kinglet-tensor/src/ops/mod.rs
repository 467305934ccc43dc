//! Operations: each file holds one, with its shape rule, arithmetic count, forward and backward pass.

mod activate;
mod batch_norm;
mod concat;
mod conv_unit;
mod max_pool;
mod space_to_depth;
mod squeeze_excite;
mod upsample;
mod zero_pad;

pub use activate::Activate;
pub(crate) use batch_norm::BatchMoments;
pub use batch_norm::{BatchNorm, Norm};
pub use concat::Concat;
pub use conv_unit::ConvUnit;
pub use max_pool::MaxPool;
pub use space_to_depth::SpaceToDepth;
pub use squeeze_excite::SqueezeExcite;
pub use upsample::Upsample;
pub use zero_pad::ZeroPad;

use crate::session::{BackwardContext, ForwardContext};
use crate::{ParamId, Shape, ShapeError};

/// What every operation can do.
pub trait Operation {
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
    /// Computes the output.
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
ops!(Activate, BatchNorm, Concat, ConvUnit, MaxPool, SpaceToDepth, SqueezeExcite, Upsample, ZeroPad);

/// Fails unless there are exactly `N` inputs.
fn take_inputs<const N: usize>(op: &'static str, inputs: &[Shape]) -> Result<[Shape; N], ShapeError> {
    inputs.try_into().map_err(|_| ShapeError { op, message: format!("expected {N} inputs, got {}", inputs.len()) })
}
