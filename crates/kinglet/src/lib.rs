//! Kinglet as a library: the crates behind the `kinglet` command, under one name.
//!
//! ```
//! use kinglet::nn::{Model, Summary};
//! use kinglet::spec::ResolveOptions;
//!
//! let yaml = "
//! nc: 2
//! depth_multiple: 1.0
//! width_multiple: 1.0
//! anchors: [[10, 13, 16, 30, 33, 23]]
//! backbone:
//!   - [-1, 1, Conv, [16, 3, 2]]
//!   - [-1, 1, MobileNetv3, [24, 64, 3, 2, 0, 0]]
//!   - [-1, 1, MobileNetv3, [40, 72, 5, 2, 1, 0]]
//! head:
//!   - [[2], 1, Detect, [nc, anchors]]
//! ";
//! let options = ResolveOptions { image: [64, 64], ..Default::default() };
//! let model = Model::from_yaml(yaml, "tiny.yaml", &options)?;
//! assert_eq!(Summary::new(&model).strides, [8]);
//! # Ok::<(), kinglet::spec::SpecError>(())
//! ```

#![forbid(unsafe_code)]

pub use kinglet_data as data;
pub use kinglet_eval as eval;
pub use kinglet_kernels as kernels;
pub use kinglet_nn as nn;
pub use kinglet_onnx as onnx;
pub use kinglet_runtime as runtime;
pub use kinglet_spec as spec;
pub use kinglet_tensor as tensor;
pub use kinglet_train as train;
pub use kinglet_video as video;
pub use kinglet_vision as vision;
