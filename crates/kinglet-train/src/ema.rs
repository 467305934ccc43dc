//! Exponential moving average of a model's parameters and BatchNorm statistics.
//!
//! Source: YOLOv5's recipe: the decay ramps up as `0.9999 (1 - exp(-t / 2000))` so that early averages follow the
//! model closely. The averaged model is the one validated and saved.

use kinglet_kernels::elementwise::ema_step;

/// Decay the ramp tends to.
pub const EMA_DECAY: f64 = 0.9999;

/// Updates after which the ramp has reached `1 - 1/e` of [`EMA_DECAY`].
pub const EMA_TAU: f64 = 2000.0;

/// How the average forgets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmaRule {
    /// Decay that the ramp tends to.
    pub decay: f64,
    /// Updates after which the ramp has reached 1 - 1/e of it.
    pub tau: f64,
}

impl EmaRule {
    /// YOLOv5's, made for runs of a hundred thousand steps.
    pub const YOLOV5: EmaRule = EmaRule { decay: EMA_DECAY, tau: EMA_TAU };

    /// Remembers about the last tenth of a run of `steps` steps, and never more than YOLOv5's rule.
    pub fn for_steps(steps: usize) -> EmaRule {
        let horizon = (steps as f64 / 10.0).clamp(1.0, 1.0 / (1.0 - EMA_DECAY));
        EmaRule { decay: 1.0 - 1.0 / horizon, tau: (horizon / 2.0).min(EMA_TAU) }
    }

    /// Decay used by update number `update` (the first is 1).
    pub fn at(&self, update: u64) -> f64 {
        self.decay * (1.0 - (-(update as f64) / self.tau).exp())
    }
}

/// The averaged values, one vector per parameter or buffer in the caller's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Ema {
    values: Vec<Vec<f32>>,
    updates: u64,
    rule: EmaRule,
}

impl Ema {
    /// Starts the average at the given values.
    pub fn new(values: Vec<Vec<f32>>) -> Self {
        Ema { values, updates: 0, rule: EmaRule::YOLOV5 }
    }

    /// Continues an average read from a checkpoint.
    pub fn restore(values: Vec<Vec<f32>>, updates: u64) -> Self {
        Ema { values, updates, rule: EmaRule::YOLOV5 }
    }

    /// The same average with another rule.
    #[must_use]
    pub fn with_rule(self, rule: EmaRule) -> Self {
        Ema { rule, ..self }
    }

    /// Averaged values in the order given at the start.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// Number of updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Moves the average towards the model's current values.
    ///
    /// # Panics
    /// Where `current` has other lengths than the average was started with.
    pub fn update<S: AsRef<[f32]>>(&mut self, current: &[S]) {
        assert_eq!(current.len(), self.values.len(), "an EMA update has as many tensors as the average");
        self.updates += 1;
        let decay = self.rule.at(self.updates);
        for (average, now) in self.values.iter_mut().zip(current) {
            assert_eq!(now.as_ref().len(), average.len(), "an EMA update has tensors of the average's lengths");
            ema_step(average, now.as_ref(), decay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_the_weighted_sum_of_what_it_saw() {
        let mut ema = Ema::new(vec![vec![1.0, -2.0]]);
        ema.update(&[[3.0f32, 4.0]]);
        // A decay of 0.0005: the first update nearly replaces the start. 3 - 2d and 4 - 6d.
        for (got, want) in ema.values()[0].iter().zip([2.999_000_35, 3.997_001_05]) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}");
        }
        assert_eq!(ema.updates(), 1);
    }

    #[test]
    fn a_constant_model_is_its_own_average() {
        let mut ema = Ema::restore(vec![vec![0.5; 3]], 5000);
        for _ in 0..10 {
            ema.update(&[vec![0.5f32; 3]]);
        }
        assert!(ema.values()[0].iter().all(|v| (v - 0.5).abs() < 1e-6));
        assert_eq!(ema.updates(), 5010);
    }
}
