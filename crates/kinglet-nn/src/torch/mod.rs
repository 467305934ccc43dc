//! PyTorch checkpoints, read without Python and without running anything in them.
//!
//! A checkpoint of YOLOv5 is a pickle: a program for a small stack machine that builds Python objects, and may call any
//! function on the way. `machine` follows that program and builds the values of `pickle` instead; `global` is the closed
//! list of what may be imported; `container` finds the numbers; `checkpoint` knows how YOLOv5 lays out its models.
//!
//! Tensors come out under PyTorch's names and in PyTorch's order, widened to `f32`.

mod checkpoint;
mod container;
mod error;
mod global;
mod machine;
mod model_yaml;
mod pickle;
mod zip;

pub(crate) use checkpoint::read;
pub(crate) use container::recognises;
pub use error::TorchError;

/// What a PyTorch file says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TorchInfo {
    /// How the file is built, in words.
    pub container: String,
    /// What the tensors were taken from: `ema`, `model`, `state dict`, ...
    pub part: String,
    /// The types that the numbers have in the file.
    pub dtypes: Vec<&'static str>,
    /// Names of the tensors in the file's order, which is that of the model's operations.
    pub order: Vec<String>,
    /// What the file holds and nothing here needs.
    pub left_out: Vec<String>,
    /// The last epoch, as the file says it: -1 once the run has finished.
    pub epoch: Option<i64>,
    /// The model that the tensors belong to; absent for a bare state dict.
    pub model: Option<TorchModel>,
}

/// A model in a PyTorch file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TorchModel {
    /// Its Python class.
    pub class: String,
    /// The model file's text.
    pub yaml: String,
    /// The model file's name.
    pub file: String,
    /// Class names.
    pub names: Vec<String>,
    /// Anchors in pixels, by level.
    pub anchors: Vec<Vec<[f32; 2]>>,
    /// Input pixels a cell, by level.
    pub strides: Vec<f32>,
    /// Image side of the training, where the file tells.
    pub img: Option<usize>,
}
