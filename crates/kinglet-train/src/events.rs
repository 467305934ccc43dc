//! What a training run tells while it goes on. The trainer prints nothing itself.

use crate::guard::Retreat;
use kinglet_data::{Batch, Dataset, Sample};
use kinglet_eval::metrics::Report;
use kinglet_nn::{Summary, Transfer};
use kinglet_vision::Detection;
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
    /// Images of a validation batch.
    pub val_batch: usize,
    /// Side of the images in training.
    pub img: usize,
    /// Anchors of each level, in pixels.
    pub anchors: &'a [Vec<[f32; 2]>],
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
    /// Shape of the first batch; of the last image where it was looked at in tiles: images, height, width.
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
    /// Numbers were not finite any more, and the run goes on from its last saved state.
    fn diverged(&mut self, _retreat: &Retreat) {}
    /// Weights were loaded.
    fn transferred(&mut self, _from: &std::path::Path, _transfer: &Transfer) {}
    /// Training begins.
    fn started(&mut self, _run: &Started<'_>) {}
    /// A batch as the model will see it: number of the epoch, number of the batch, pictures and targets.
    fn batch_made(&mut self, _epoch: usize, _index: usize, _batch: &Batch) {}
    /// A batch is done.
    fn batch(&mut self, _batch: &BatchDone) {}
    /// A validation batch is done: done, total.
    fn validating(&mut self, _done: usize, _total: usize) {}
    /// What the best weights, once all epochs are done, detect in a validation image; boxes in its pixels.
    fn detected(&mut self, _sample: &Sample, _detections: &[Detection]) {}
    /// A validation image with what was found in it, in pixels of the image; detections of very low scores, too.
    fn validated(&mut self, _sample: &Sample, _detections: &[Detection]) {}
    /// An epoch is done.
    fn epoch(&mut self, _epoch: &EpochDone) {}
}

/// Tells one observer, then another.
pub struct Both<'a>(pub &'a mut dyn Observer, pub &'a mut dyn Observer);

impl Observer for Both<'_> {
    fn scanning(&mut self, split: &str, done: usize, total: usize) {
        self.0.scanning(split, done, total);
        self.1.scanning(split, done, total);
    }

    fn scanned(&mut self, dataset: &Dataset) {
        self.0.scanned(dataset);
        self.1.scanned(dataset);
    }

    fn note(&mut self, message: &str) {
        self.0.note(message);
        self.1.note(message);
    }

    fn diverged(&mut self, retreat: &Retreat) {
        self.0.diverged(retreat);
        self.1.diverged(retreat);
    }

    fn transferred(&mut self, from: &std::path::Path, transfer: &Transfer) {
        self.0.transferred(from, transfer);
        self.1.transferred(from, transfer);
    }

    fn started(&mut self, run: &Started<'_>) {
        self.0.started(run);
        self.1.started(run);
    }

    fn batch_made(&mut self, epoch: usize, index: usize, batch: &Batch) {
        self.0.batch_made(epoch, index, batch);
        self.1.batch_made(epoch, index, batch);
    }

    fn batch(&mut self, batch: &BatchDone) {
        self.0.batch(batch);
        self.1.batch(batch);
    }

    fn validating(&mut self, done: usize, total: usize) {
        self.0.validating(done, total);
        self.1.validating(done, total);
    }

    fn detected(&mut self, sample: &Sample, detections: &[Detection]) {
        self.0.detected(sample, detections);
        self.1.detected(sample, detections);
    }

    fn validated(&mut self, sample: &Sample, detections: &[Detection]) {
        self.0.validated(sample, detections);
        self.1.validated(sample, detections);
    }

    fn epoch(&mut self, epoch: &EpochDone) {
        self.0.epoch(epoch);
        self.1.epoch(epoch);
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
