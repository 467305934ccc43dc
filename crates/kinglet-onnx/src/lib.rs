//! Models as ONNX files, for other engines.
//!
//! [`export()`] records a model for one input shape, folds every BatchNorm into its convolution, and writes the operations
//! as ONNX nodes of NCHW tensors. `wire` and `proto` hold the few messages of the format; `lower` turns operations into
//! nodes; `head` decodes boxes inside the graph, as YOLOv5's exports do; `letterbox` and `suppress` are what may stand
//! before and after it. [`verify`] runs a written file in another engine and compares.
//!
//! Source: the ONNX specification (onnx.ai), operator sets 12 to 17.

#![forbid(unsafe_code)]

mod attention;
mod export;
mod head;
mod letterbox;
mod lower;
mod metadata;
pub mod proto;
mod suppress;
pub mod verify;
pub mod wire;

pub use export::{
    ExportError, ExportOptions, INPUT, Input, MAX_OPSET, MIN_OPSET, OUTPUT, Output, export, export_model,
};
pub use suppress::Suppression;
