//! Learning-rate schedule, warm-up and gradient accumulation.
//!
//! Source: YOLOv5's training recipe. Units: epochs and iterations counted from 0; one iteration is one batch.
//! The arrays of three learning rates are in the order biases, weights, normalisation weights.

/// Batch size for which `weight_decay` and `lr0` are meant; smaller batches are accumulated up to it.
pub const NOMINAL_BATCH: usize = 64;

/// The fewest iterations a warm-up lasts in YOLOv5, however small the data set.
pub const MIN_WARMUP_ITERATIONS: usize = 100;

/// Shape of the learning-rate curve over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schedule {
    /// Straight line from 1 to `lrf`.
    #[default]
    Linear,
    /// Half a cosine from 1 to `lrf`.
    Cosine,
}

impl Schedule {
    /// Factor on `lr0` in `epoch` of `epochs`; it would reach `lrf` at `epoch == epochs`.
    pub fn factor(self, epoch: usize, epochs: usize, lrf: f64) -> f64 {
        let progress = epoch as f64 / epochs.max(1) as f64;
        match self {
            Schedule::Linear => (1.0 - progress) * (1.0 - lrf) + lrf,
            Schedule::Cosine => (1.0 - (progress * std::f64::consts::PI).cos()) / 2.0 * (lrf - 1.0) + 1.0,
        }
    }
}

/// Batches accumulated before an optimiser step once the warm-up is over.
pub fn accumulate(batch: usize, nominal: usize) -> usize {
    ((nominal as f64 / batch.max(1) as f64).round_ties_even() as usize).max(1)
}

/// Weight decay rescaled to the images an optimiser step really sees.
pub fn scaled_weight_decay(weight_decay: f64, batch: usize, nominal: usize) -> f64 {
    weight_decay * (batch * accumulate(batch, nominal)) as f64 / NOMINAL_BATCH as f64
}

/// What an iteration trains with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Learning rates of biases, weights and normalisation weights.
    pub lrs: [f64; 3],
    /// Momentum (SGD).
    pub momentum: f64,
    /// Batches to accumulate before an optimiser step.
    pub accumulate: usize,
}

/// Linear warm-up of learning rates, momentum and accumulation over the first iterations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmup {
    /// Length in iterations.
    pub iterations: usize,
    /// Learning rate after the warm-up at factor 1.
    pub lr0: f64,
    /// Learning rate of the biases at iteration 0; other groups start from 0.
    pub bias_lr: f64,
    /// Momentum at iteration 0.
    pub start_momentum: f64,
    /// Momentum after the warm-up.
    pub momentum: f64,
    /// Images in a batch.
    pub batch: usize,
    /// Images that an optimiser step should see.
    pub nominal: usize,
}

impl Warmup {
    /// Plans the warm-up of a run with `batches` batches per epoch of `batch` images each, `least` iterations at least.
    pub fn new(hyp: &crate::hyp::Hyp, batches: usize, batch: usize, nominal: usize, least: usize) -> Self {
        let iterations = (hyp.warmup_epochs * batches as f64).round_ties_even().max(0.0) as usize;
        Warmup {
            iterations: iterations.max(least),
            lr0: hyp.lr0,
            bias_lr: hyp.warmup_bias_lr,
            start_momentum: hyp.warmup_momentum,
            momentum: hyp.momentum,
            batch,
            nominal,
        }
    }

    /// Rates of `iteration` (counted over the whole run), in an epoch whose schedule factor is `factor`.
    pub fn at(&self, iteration: usize, factor: f64) -> Rates {
        let lr = self.lr0 * factor;
        if iteration > self.iterations || self.iterations == 0 {
            return Rates { lrs: [lr; 3], momentum: self.momentum, accumulate: accumulate(self.batch, self.nominal) };
        }
        let done = iteration as f64 / self.iterations.max(1) as f64;
        let between = |from: f64, to: f64| from + (to - from) * done;
        let nominal = self.nominal as f64 / self.batch.max(1) as f64;
        Rates {
            lrs: [between(self.bias_lr, lr), between(0.0, lr), between(0.0, lr)],
            momentum: between(self.start_momentum, self.momentum),
            accumulate: (between(1.0, nominal).round_ties_even() as usize).max(1),
        }
    }
}
