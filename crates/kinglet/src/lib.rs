//! Kinglet as a library: find objects in images, train models on your own, on ordinary machines.
//!
//! Weights come from `kinglet train`, from [training](#training) here, or from YOLOv5; boxes are in pixels of the image.
//!
//! ```
//! use kinglet::{Detector, Image};
//!
//! # let folder = tempfile::tempdir()?;
//! # let (weights, photo, drawn) = (folder.path().join("best.safetensors"), folder.path().join("photo.jpg"), folder.path().join("drawn.png"));
//! # let yaml = kinglet::nn::zoo::find("kinglet_small").unwrap();
//! # let mut model = kinglet::nn::Model::from_yaml(yaml, "kinglet_small.yaml", &kinglet::spec::ResolveOptions { nc: Some(1), image: [64, 64], ..Default::default() })?;
//! # model.params.initialise(0);
//! # let loaded = kinglet::train::checkpoint::LoadedModel { model, names: vec!["wren".into()], img: 64, options: None, torch: None };
//! # std::fs::write(&weights, loaded.to_bytes())?;
//! # Image::new(80, 60, [120; 3]).save(&photo)?;
//! let mut detector = Detector::load(&weights)?;
//! let mut image = Image::load(&photo)?;
//! let found = detector.detect(&image);
//! for detection in &found {
//!     let [left, top, right, bottom] = detection.xyxy;
//!     println!("{} {:.2}: {left:.0} {top:.0} {right:.0} {bottom:.0}", detector.name(detection), detection.score);
//! }
//! detector.draw(&mut image, &found);
//! image.save(&drawn)?;
//! # assert_eq!((detector.names(), detector.side(), Image::load(&drawn)?.width), (&["wren".to_owned()][..], 64, 80));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Training
//!
//! [`train::options::TrainOptions::new`] has the usual settings, [`train::trainer::Trainer`] runs them, and an
//! [`train::events::Observer`] hears what happens. The example `train_tiny` does all of it in under a minute.
//!
//! # Models
//!
//! A model file becomes a [`nn::Model`]; mistakes in it are told with their line.
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
//!
//! # Examples
//!
//! `cargo run --release -p kinglet --example NAME`: `detect_image` (boxes of one image), `stream_frames` (objects followed
//! through a video or before a camera), `train_tiny` (a training from nothing), `custom_block` (a block of one's own).

#![forbid(unsafe_code)]

mod detector;

pub use detector::Detector;
pub use kinglet_vision::{Detection, Image, NmsOptions};

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
