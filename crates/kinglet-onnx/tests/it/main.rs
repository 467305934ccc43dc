//! Exports held against ONNX Runtime, rten, reference numbers and Kinglet's own engine.

#![allow(clippy::unwrap_used)]

mod golden;
mod options;
mod same_as_engine;
