//! The compiled program against the training graph's evaluation and the reference outputs.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

mod programs;
