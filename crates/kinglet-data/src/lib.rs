//! Data sets for light detectors: labelled images in any usual format in, augmented batches out.
//!
//! `formats` recognises what a data set is, `listing` finds its images, `scan` checks every image and label (one bad box costs
//! that box only), `augment` and `loader` make batches, `autoanchor` and `weights` derive numbers from the labels, `synthetic` draws a demo set.
//! This crate knows neither models nor losses, and prints nothing.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod augment;
pub mod autoanchor;
mod cache;
pub mod check;
pub mod convert;
pub mod error;
pub mod finding;
pub mod fix;
pub mod formats;
pub mod labels;
mod listing;
pub mod loader;
pub mod pixel_box;
pub mod rng;
pub mod scan;
pub mod source;
pub mod stats;
pub mod synthetic;
pub mod weights;

pub use augment::AugmentParams;
pub use error::DataError;
pub use finding::{Finding, FindingKind, Severity};
pub use formats::Format;
pub use labels::{Ignored, IgnoredRegion, Label};
pub use loader::{Batch, Loader, LoaderOptions, SampleInfo, Target, available_memory};
pub use rng::Rng;
pub use scan::{Dataset, NoProgress, Progress, Sample, ScanOptions, ScanSummary};
pub use source::{Source, Split};
