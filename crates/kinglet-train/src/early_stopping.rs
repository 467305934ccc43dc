//! Fitness of an epoch and the rule that ends a run when it no longer improves.
//!
//! Source: YOLOv5's recipe. An epoch counts as better only where its fitness is strictly larger, so that a run that
//! stays at zero stops too.

/// One number for model selection: 0.1 mAP50 + 0.9 mAP50-95.
pub fn fitness(map50: f64, map50_95: f64) -> f64 {
    0.1 * map50 + 0.9 * map50_95
}

/// Ends a run after `patience` epochs without a better fitness.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    patience: usize,
    best_fitness: f64,
    best_epoch: usize,
}

/// What an epoch's fitness means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// This epoch is the best so far.
    pub is_best: bool,
    /// The run should end.
    pub stop: bool,
}

impl EarlyStopping {
    /// A fresh rule; `patience` 0 never stops.
    pub fn new(patience: usize) -> Self {
        EarlyStopping { patience, best_fitness: -1.0, best_epoch: 0 }
    }

    /// Continues a run read from a checkpoint.
    pub fn restore(patience: usize, best_fitness: f64, best_epoch: usize) -> Self {
        EarlyStopping { patience, best_fitness, best_epoch }
    }

    /// Best fitness so far; -1 before the first epoch.
    pub fn best_fitness(&self) -> f64 {
        self.best_fitness
    }

    /// Epoch of the best fitness.
    pub fn best_epoch(&self) -> usize {
        self.best_epoch
    }

    /// Takes in the fitness of `epoch`. A fitness that is not a number is never the best.
    pub fn update(&mut self, epoch: usize, fitness: f64) -> Verdict {
        let is_best = fitness > self.best_fitness;
        if is_best {
            self.best_fitness = fitness;
            self.best_epoch = epoch;
        }
        let waited = epoch.saturating_sub(self.best_epoch);
        Verdict { is_best, stop: self.patience > 0 && waited >= self.patience }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitness_weighs_map50_by_a_tenth() {
        assert!((fitness(0.5, 0.3) - 0.32).abs() < 1e-12);
    }

    #[test]
    fn a_plateau_stops_after_the_patience() {
        let mut rule = EarlyStopping::new(3);
        let stops: Vec<bool> = [0.0, 0.0, 0.0, 0.0].iter().enumerate().map(|(e, &f)| rule.update(e, f).stop).collect();
        assert_eq!(stops, [false, false, false, true]);
        assert_eq!((rule.best_epoch(), rule.best_fitness()), (0, 0.0));
    }

    #[test]
    fn an_improvement_starts_the_wait_again() {
        let mut rule = EarlyStopping::new(2);
        assert!(rule.update(0, 0.1).is_best);
        assert!(!rule.update(1, 0.1).is_best);
        assert_eq!(rule.update(2, 0.2), Verdict { is_best: true, stop: false });
        assert!(!rule.update(3, 0.15).stop);
        assert!(rule.update(4, f64::NAN).stop);
    }

    #[test]
    fn patience_zero_never_stops() {
        let mut rule = EarlyStopping::new(0);
        assert!((0..1000).all(|epoch| !rule.update(epoch, 0.0).stop));
    }
}
