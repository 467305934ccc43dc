//! Training: target assignment, loss, optimisers, schedules, averages and the rule that ends a run.

#![forbid(unsafe_code)]

pub mod assign;
pub mod early_stopping;
pub mod ema;
pub mod hyp;
pub mod loss;
pub mod optim;
pub mod schedule;
