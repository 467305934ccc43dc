//! What a training run tells while it goes on. The trainer prints nothing itself.

use crate::guard::Divergence;
use kinglet_data::Dataset;
use kinglet_eval::metrics::Report;
use kinglet_nn::{Summary, Transfer};
use std::path::PathBuf;
use std::time::Duration;

/// A run before its first epoch.
#[derive(Debug)]
pub struct Started<'a> {
    /// The model table.
    pub summary: &'a Summary,
    /// The training images.
    pub train: &'a Dataset,
    /// The validation images.
    pub val: Option<&'a Dataset>,
    /// First epoch, from 0.
    pub epoch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Batches an epoch.
    pub batches: usize,
    /// Threads of the engine.
    pub threads: usize,
    /// Instruction set of the engine.
    pub isa: &'static str,
}

/// After each batch.
#[derive(Debug, Clone)]
pub struct BatchDone {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Batch, from 0.
    pub batch: usize,
    /// Batches an epoch.
    pub batches: usize,
    /// Running means of box, objectness and class loss over the epoch.
    pub losses: [f64; 3],
    /// Boxes in the batch.
    pub instances: usize,
    /// Image side of the batch.
    pub size: usize,
    /// Images a second over the epoch so far.
    pub images_per_second: f64,
    /// Share of the epoch's time spent waiting for data.
    pub waiting: f64,
    /// Bytes that the engine holds.
    pub memory: usize,
}

/// After each epoch.
#[derive(Debug, Clone)]
pub struct EpochDone {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Mean training losses: box, objectness, class.
    pub train_losses: [f64; 3],
    /// Validation, where there was one.
    pub validation: Option<Validation>,
    /// Learning rates of biases, weights and normalisation weights.
    pub lrs: [f64; 3],
    /// Whether these are the best weights so far.
    pub is_best: bool,
    /// Time of the epoch, validation included.
    pub elapsed: Duration,
}

/// The result of a validation.
#[derive(Debug, Clone)]
pub struct Validation {
    /// The metrics.
    pub report: Report,
    /// Mean validation losses: box, objectness, class.
    pub losses: [f64; 3],
    /// Milliseconds an image: pre-process, inference, NMS.
    pub speed_ms: [f64; 3],
    /// Shape of the last full batch: images, height, width.
    pub shape: [usize; 3],
}

/// The end of a run.
#[derive(Debug)]
pub struct Finished {
    /// Epochs trained in this process.
    pub epochs: usize,
    /// Time of them.
    pub elapsed: Duration,
    /// Share of the time over training batches that was spent waiting for data.
    pub waiting: f64,
    /// The last weights.
    pub last: PathBuf,
    /// The best weights.
    pub best: PathBuf,
    /// The best epoch, from 0.
    pub best_epoch: usize,
    /// Validation of the best weights, where there is a validation set.
    pub validation: Option<Validation>,
    /// Whether the run ended early because nothing improved.
    pub stopped_early: bool,
    /// Whether the user interrupted it; `last` then resumes.
    pub interrupted: bool,
}

/// Hears a run. Every method has an empty default.
pub trait Observer {
    /// Labels of a split are being scanned: done, total.
    fn scanning(&mut self, _split: &str, _done: usize, _total: usize) {}
    /// A data set was scanned.
    fn scanned(&mut self, _dataset: &Dataset) {}
    /// Something that the user should know.
    fn note(&mut self, _message: &str) {}
    /// Numbers were not finite any more; the run goes on from its last saved state, after `epochs_done` epochs, with the
    /// learning rate `lr` in place of `lr0`.
    fn diverged(&mut self, _divergence: &Divergence, _epochs_done: usize, _lr: f64) {}
    /// Weights were loaded.
    fn transferred(&mut self, _from: &std::path::Path, _transfer: &Transfer) {}
    /// Training begins.
    fn started(&mut self, _run: &Started<'_>) {}
    /// A batch is done.
    fn batch(&mut self, _batch: &BatchDone) {}
    /// A validation batch is done: done, total.
    fn validating(&mut self, _done: usize, _total: usize) {}
    /// An epoch is done.
    fn epoch(&mut self, _epoch: &EpochDone) {}
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
