//! Integration tests of the evaluation.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]
mod golden_ap;
mod pictures;
mod reports;
