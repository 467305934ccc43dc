//! Training: target assignment, loss, optimisers, schedules, averages and the rule that ends a run.

#![forbid(unsafe_code)]

pub mod assign;
pub mod auto_batch;
pub mod checkpoint;
pub mod early_stopping;
pub mod ema;
mod error;
pub mod events;
pub mod evolve;
pub mod guard;
pub mod hyp;
pub mod loss;
pub mod multi_scale;
pub mod optim;
pub mod options;
pub mod schedule;
pub mod step;
pub mod trainer;
pub mod validate;

pub use error::TrainError;
