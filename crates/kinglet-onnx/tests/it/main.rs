//! Exports held against ONNX Runtime, reference numbers and Kinglet's own engine.

#![allow(clippy::unwrap_used)]

mod golden;
mod interpreter;
mod options;
mod same_as_engine;
