//! Integration tests of the evaluation.
mod golden_ap;
mod pictures;
mod reports;
