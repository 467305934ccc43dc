//! Tensors of one layout (NHWC `f32`), the graph of operations that a model records, and the session that runs it
//! forwards and backwards.
//!
//! A model *records* its forward pass once per input shape: each call on a [`Graph`] checks shapes and appends a node.
//! A [`Session`] then executes the nodes in order, keeping what the backward pass needs, and walks them in reverse for
//! the gradients. The same recording gives the arithmetic count, and is what an exporter or a compiler reads.

mod arena;
mod graph;
pub mod ops;
mod params;
mod plan;
mod rows;
mod session;
mod shape;
mod timing;

pub use graph::{Graph, Node, ShapeError, Var};
pub use kinglet_kernels::Activation;
pub use params::{Init, Param, ParamId, ParamKind, Params};
pub use session::{BATCH_NORM_MOMENTUM, Gradients, Mode, Session};
pub use shape::Shape;
pub use timing::{OpTiming, Pass};
