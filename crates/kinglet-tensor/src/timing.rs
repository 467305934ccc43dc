//! How long each operation takes.

use std::collections::HashMap;
use std::time::Duration;

/// A part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The forward pass.
    Forward,
    /// Values computed again for the backward pass.
    Recompute,
    /// The backward pass.
    Backward,
}

impl Pass {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Recompute => "recompute",
            Pass::Backward => "backward",
        }
    }
}

/// The time that one operation took in one part of the steps measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpTiming {
    /// Position in [`Graph::nodes`](crate::Graph::nodes).
    pub node: usize,
    /// The layer of the model.
    pub layer: usize,
    /// The operation's name.
    pub op: &'static str,
    /// The part of the step.
    pub pass: Pass,
    /// Multiply-adds, of all runs measured: a convolution's backward pass has twice those of its forward pass.
    pub macs: u64,
    /// Time of all runs measured.
    pub time: Duration,
}

/// The times measured so far.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    pub on: bool,
    timings: Vec<OpTiming>,
    index: HashMap<(usize, Pass), usize>,
}

impl Stopwatch {
    pub fn add(&mut self, timing: OpTiming) {
        let next = self.timings.len();
        let at = *self.index.entry((timing.node, timing.pass)).or_insert(next);
        if at == next {
            self.timings.push(timing);
        } else {
            let sum = &mut self.timings[at];
            sum.macs += timing.macs;
            sum.time += timing.time;
        }
    }

    pub fn timings(&self) -> &[OpTiming] {
        &self.timings
    }

    pub fn clear(&mut self) {
        self.timings.clear();
        self.index.clear();
    }
}
