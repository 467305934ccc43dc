//! Data sets for light detectors: YOLO folders in, augmented batches out.
//!
//! `data_yaml` finds the images, `scan` checks every image and label (one bad box costs that box only), `augment` and
//! `loader` make batches, `autoanchor` and `weights` derive numbers from the labels, `synthetic` draws a demo set.
//! This crate knows neither models nor losses, and prints nothing.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod augment;
pub mod autoanchor;
mod cache;
pub mod data_yaml;
pub mod error;
pub mod labels;
pub mod loader;
pub mod rng;
pub mod scan;
pub mod synthetic;
pub mod weights;

pub use augment::AugmentParams;
pub use data_yaml::{DataYaml, Split};
pub use error::DataError;
pub use labels::{Finding, FindingKind, Label, Severity};
pub use loader::{Batch, Loader, LoaderOptions, SampleInfo, Target};
pub use rng::Rng;
pub use scan::{Dataset, NoProgress, Progress, Sample, ScanOptions, ScanSummary};
