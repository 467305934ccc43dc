//! Model files to checked graphs: arguments, depth and width rules, shapes, strides, located errors with hints.
//!
//! Source: the row format `[from, number, module, args]` and its rules are YOLOv5's; the blocks themselves are given
//! by the caller as a registry of [`BlockKind`]s, so this crate knows no tensors, no weights and no file system.
//! Shapes: feature maps of one image, channels x height x width.   Units: anchors in pixels of the network's input.
//! Nothing in a model file is evaluated: values come from a closed set (see [`Value`]).
#![forbid(unsafe_code)]

mod anchors;
mod block;
mod cursor;
mod diagnostic;
mod edit;
mod error;
mod graph;
mod layout;
mod levels;
mod model_file;
mod nearest;
mod page;
mod resolve;
mod rounding;
mod value;
mod yaml;

pub use block::{Activation, BlockKind, Context, Repeats, Shape, Width, find_block, one_input};
pub use cursor::ArgCursor;
pub use diagnostic::{Diagnostic, Location, Severity};
pub use edit::{Edit, edit};
pub use error::{SpecError, SpecErrorKind};
pub use graph::{GraphSpec, LayerSpec, Source};
pub use nearest::nearest_names;
pub use resolve::{ResolveOptions, other_activation, resolve};
pub use rounding::{repeats_after_depth, round_channels_mobilenet, round_up_to, scaled_channels};
pub use value::Value;

/// Limits on what a model file may ask for; beyond them reading stops with an error.
pub mod limits {
    /// Bytes of text.
    pub const TEXT_BYTES: usize = 1 << 20;
    /// Rows in backbone and head together.
    pub const LAYERS: usize = 2000;
    /// Layers after stacked repeats are counted one by one.
    pub const STACKED_LAYERS: usize = 20_000;
    /// Channels of any feature map.
    pub const CHANNELS: usize = 65_536;
    /// Weights of one convolution.
    pub const WEIGHTS: usize = 1 << 31;
    /// Height or width of any feature map.
    pub const SIDE: usize = 65_536;
    /// Repeat count of a row, before and after the depth multiple.
    pub const REPEATS: usize = 1000;
    /// Classes.
    pub const CLASSES: usize = 16_384;
    /// Anchors of one level.
    pub const ANCHORS: usize = 64;
    /// Lists within lists.
    pub const NESTING: usize = 16;
    /// Inputs of one row, or arguments of one row.
    pub const LIST: usize = 256;
    /// depth_multiple and width_multiple.
    pub const MULTIPLE: f64 = 100.0;
}
