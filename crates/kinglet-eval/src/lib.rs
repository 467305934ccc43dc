//! How good are the detections? Matching, average precision, confusion, tables, COCO results and plots.
//!
//! Boxes are corners in pixels; metrics are fractions 0 to 1. Models and files are unknown to this crate.
#![forbid(unsafe_code)]

pub mod ap;
pub mod coco_json;
pub mod confusion;
pub mod error_kinds;
pub mod figure;
pub mod label_plots;
pub mod matching;
pub mod metrics;
mod panel;
pub mod plots;
pub mod sizes;
pub mod table;

pub use crate::coco_json::{CocoRecord, coco_category, coco_records};
pub use crate::confusion::ConfusionMatrix;
pub use crate::error_kinds::{ErrorAnalysis, ErrorKind, Errors};
pub use crate::figure::Figure;
pub use crate::matching::{IOU_THRESHOLDS, IgnoredBox, LabelBox, match_detections};
pub use crate::metrics::{ClassMetrics, Evaluator, Report};
pub use crate::sizes::{BySize, SizeMetrics};
pub use crate::table::report_table;
