//! Blocks, models and their weights.
//!
//! A block is one file in `blocks/`: its arguments, its shape rule, and the operations that it records. Parameters are
//! declared while recording, by PyTorch's names, so that nothing about a block is written twice.

#![forbid(unsafe_code)]

mod block;
pub mod blocks;
mod decode;
mod model;
mod recorder;
mod structure;
mod summary;
mod torch;
mod weights;
mod widen;
pub mod zoo;

pub use block::{Block, Entry};
pub use blocks::REGISTRY;
pub use decode::{Head, least_logit};
pub use model::{IMAGE_SIDES, Model, Recording, SizeError, edit, resolve};
pub use recorder::{Conv, Recorder};
pub use summary::{LayerSummary, Summary};
pub use torch::{TorchError, TorchInfo, TorchModel};
pub use weights::{Transfer, WeightsError, WeightsFile};
