//! Integration tests of the training crate.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

mod golden;
mod hyperparameters;
mod loss_golden;
mod loss_gradient;
mod numbers;
mod optimisers;
mod steps;
