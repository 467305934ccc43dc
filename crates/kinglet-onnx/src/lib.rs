//! Models as ONNX files, for other engines.
//!
//! [`export()`] records a model for one input shape, folds every BatchNorm into its convolution, and writes the operations
//! as ONNX nodes of NCHW tensors. `wire` and `proto` hold the few messages of the format; `lower` turns operations into
//! nodes; `head` decodes boxes inside the graph, as YOLOv5's exports do.
//!
//! Source: the ONNX specification (onnx.ai), operator sets 12 to 17.

#![forbid(unsafe_code)]

mod attention;
mod export;
mod head;
mod lower;
mod metadata;
pub mod proto;
pub mod wire;

pub use export::{ExportError, ExportOptions, MAX_OPSET, MIN_OPSET, export, export_model};
