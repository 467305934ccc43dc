//! One model at work: its programs, by input shape, and the memory that they share.

use crate::weights::Weights;
use crate::{Program, RawLevels, StepTiming};
use kinglet_kernels::AlignedVec;
use kinglet_nn::{Model, SizeError, least_logit};
use std::collections::HashMap;

/// A model with what is compiled of it.
#[derive(Debug)]
pub(crate) struct Network {
    pub model: Model,
    weights: Weights,
    programs: HashMap<[usize; 3], Program>,
    /// Memory of whichever program runs.
    arena: AlignedVec,
}

impl Network {
    /// Nothing is compiled yet.
    pub fn new(model: Model) -> Self {
        Network { model, weights: Weights::default(), programs: HashMap::new(), arena: AlignedVec::default() }
    }

    /// Replaces the parameters' values, in the model's order.
    pub fn set_values(&mut self, values: &[Vec<f32>]) {
        self.model.params.values_mut().iter_mut().zip(values).for_each(|(to, from)| to.copy_from_slice(from));
        self.weights = Weights::default();
        self.programs.clear();
    }

    /// Bytes of the folded weights and of the arena.
    pub fn memory_bytes(&self) -> usize {
        self.weights.bytes() + 4 * self.arena.len()
    }

    /// Makes sure that there is a program for this shape, and memory for it; gives its input to write to.
    pub fn prepare(&mut self, [n, h, w]: [usize; 3]) -> Result<&mut [f32], SizeError> {
        if !self.programs.contains_key(&[n, h, w]) {
            let recording = self.model.record(n, [h, w])?;
            let program = Program::new(&recording.graph, &self.model.params, &mut self.weights, self.model.spec.nc);
            self.programs.insert([n, h, w], program);
        }
        let program = &self.programs[&[n, h, w]];
        let len = program.arena_len();
        if self.arena.len() < len {
            // The old memory first, so that both are never held.
            self.arena = AlignedVec::default();
            self.arena = AlignedVec::zeros(len);
        }
        Ok(program.input(&mut self.arena))
    }

    /// Runs the program on what its input holds. Class scores count only where the objectness exceeds `conf`.
    pub fn run(&mut self, size: [usize; 3], conf: f32) -> RawLevels<'_> {
        let program = &self.programs[&size];
        program.run(&mut self.arena, least_logit(conf));
        RawLevels { levels: program.outputs(&self.arena), shapes: program.output_shapes() }
    }

    /// The time of every step.
    pub fn profile(&mut self, images: &[f32], size: [usize; 3], conf: f32) -> Result<Vec<StepTiming>, SizeError> {
        self.prepare(size)?.copy_from_slice(images);
        Ok(self.programs[&size].profile(&mut self.arena, least_logit(conf)))
    }
}
