//! Integration tests of the training crate.

mod golden;
mod loss_golden;
mod loss_gradient;
mod numbers;
mod optimisers;
mod steps;
