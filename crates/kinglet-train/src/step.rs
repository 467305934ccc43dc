//! One optimiser step: forward pass, loss, backward pass, then clipping, update and average.
//!
//! Source: YOLOv5's recipe (gradients clipped to norm 10, the average taken after each update). Shapes: images
//! `[n, h, w, 3]` of values in 0..=1; targets as [`crate::assign::Target`] has them. Knows no data sets and no schedules.

use crate::TrainError;
use crate::assign::Target;
use crate::ema::Ema;
use crate::hyp::Hyp;
use crate::loss::{Loss, LossOptions, LossParts};
use crate::optim::{MAX_GRAD_NORM, Optim, OptimKind, ParamGroup, clip_scale};
use crate::validate::levels;
use kinglet_nn::{Model, Recording};
use kinglet_tensor::{Gradients, Mode, ParamKind, Session};
use std::collections::HashMap;

/// A model in training, with everything that a step changes.
#[derive(Debug)]
pub struct TrainStep {
    pub(crate) model: Model,
    pub(crate) loss: Loss,
    pub(crate) optim: Optim,
    pub(crate) ema: Ema,
    grads: Gradients,
    /// Whether a batch has added to `grads` since the last update.
    pending: bool,
    /// Of the head's outputs in the last batch.
    output_grads: Vec<Vec<f32>>,
    session: Session,
    /// By batch, height and width.
    recordings: HashMap<[usize; 3], Recording>,
    mode: Mode,
}

/// An optimiser for the parameters of a model for which `learns` holds, `learns` in the order of the parameters.
pub fn optimiser(kind: OptimKind, model: &Model, momentum: f64, weight_decay: f64, learns: &[bool]) -> Optim {
    let sizes: Vec<usize> = model.params.iter().map(|(_, p)| if p.kind.learns() { p.len() } else { 0 }).collect();
    let groups: Vec<ParamGroup> = model.params.iter().map(|(_, p)| group(p.kind)).collect();
    let mut optim = Optim::new(kind, &sizes, &groups, momentum, weight_decay);
    learns.iter().enumerate().for_each(|(i, &learns)| optim.set_frozen(i, !learns));
    optim
}

fn group(kind: ParamKind) -> ParamGroup {
    match kind {
        ParamKind::Bias => ParamGroup::Bias,
        ParamKind::NormWeight => ParamGroup::Norm,
        ParamKind::Weight | ParamKind::Statistic => ParamGroup::Weight,
    }
}

impl TrainStep {
    /// Puts the parts together; parameters that `optim` has frozen get no gradient.
    pub fn new(model: Model, loss: Loss, optim: Optim, ema: Ema) -> Self {
        let grads = Gradients::new(&model.params, |id| !optim.is_frozen(id.index()));
        TrainStep {
            model,
            loss,
            optim,
            ema,
            grads,
            pending: false,
            output_grads: Vec::new(),
            session: Session::default(),
            recordings: HashMap::new(),
            mode: Mode::TRAIN,
        }
    }

    /// The same with another momentum of BatchNorm's running statistics.
    #[must_use]
    pub fn with_norm_momentum(self, momentum: f32) -> Self {
        TrainStep { mode: Mode::Train { momentum }, ..self }
    }

    /// A model that learns with plain SGD, YOLOv5's average and the loss of `hyp` for images of side `img`.
    pub fn with_sgd(model: Model, hyp: &Hyp, img: usize) -> Self {
        let learns: Vec<bool> = model.params.iter().map(|(_, p)| p.kind.learns()).collect();
        let optim = optimiser(OptimKind::Sgd, &model, hyp.momentum, hyp.weight_decay, &learns);
        let head = model.head();
        let loss = Loss::new(LossOptions::scaled(hyp, head.strides.len(), head.nc, img), head.nc, &head.strides);
        let ema = Ema::new(model.params.values().to_vec());
        Self::new(model, loss, optim, ema)
    }

    /// The model with the weights of the last update.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The averaged weights.
    pub fn ema(&self) -> &Ema {
        &self.ema
    }

    /// The gradients since the last update.
    pub fn gradients(&self) -> &Gradients {
        &self.grads
    }

    /// The memory and the clock of the passes.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The same, to change.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The graph for a batch of `n` images of height `h` and width `w`.
    ///
    /// # Errors
    /// A size that the model cannot take.
    pub fn recording(&mut self, [n, h, w]: [usize; 3]) -> Result<&Recording, TrainError> {
        if !self.recordings.contains_key(&[n, h, w]) {
            let recording = self.model.record(n, [h, w])?;
            self.recordings.insert([n, h, w], recording);
        }
        Ok(&self.recordings[&[n, h, w]])
    }

    /// Adds the gradients of a batch and returns its loss.
    ///
    /// # Errors
    /// A size that the model cannot take; a target that does not belong to the batch.
    pub fn forward_backward(
        &mut self,
        images: &[f32],
        size: [usize; 3],
        targets: &[Target],
    ) -> Result<LossParts, TrainError> {
        self.recording(size)?;
        let recording = &self.recordings[&size];
        self.session.forward(&recording.graph, &mut self.model.params, images, self.mode);
        let raw: Vec<&[f32]> = recording.graph.outputs().iter().map(|&v| self.session.value(v)).collect();
        let shapes = recording.head_shapes();
        self.output_grads.resize_with(shapes.len(), Vec::new);
        self.output_grads.iter_mut().zip(&shapes).for_each(|(grad, shape)| grad.resize(shape.len(), 0.0));
        let levels = levels(&self.model.head(), &shapes);
        let parts = self.loss.compute(&raw, size[0], &levels, targets, Some(&mut self.output_grads), 1.0)?;
        let output_grads: Vec<&[f32]> = self.output_grads.iter().map(Vec::as_slice).collect();
        self.session.backward(&recording.graph, &self.model.params, &mut self.grads, &output_grads);
        self.pending = true;
        Ok(parts)
    }

    /// Clips, updates, averages and clears. `lrs`: of biases, weights and normalisation weights. Returns the norm of the
    /// gradient before clipping; where that is not finite, nothing is changed.
    pub fn update(&mut self, lrs: [f64; 3], momentum: f64) -> f64 {
        let grads: Vec<&[f32]> = self.grads.values().iter().map(Vec::as_slice).collect();
        let learning: Vec<&[f32]> =
            grads.iter().enumerate().filter(|(i, _)| !self.optim.is_frozen(*i)).map(|(_, g)| *g).collect();
        let (norm, scale) = clip_scale(&learning, MAX_GRAD_NORM);
        if !norm.is_finite() {
            return norm;
        }
        let mut params: Vec<&mut [f32]> = self.model.params.values_mut().iter_mut().map(Vec::as_mut_slice).collect();
        self.optim.step(&mut params, &grads, lrs, momentum, scale);
        self.ema.update(self.model.params.values());
        self.grads.clear();
        self.pending = false;
        norm
    }

    /// Makes a gradient wrong.
    #[cfg(test)]
    pub(crate) fn poison_gradient(&mut self, id: kinglet_tensor::ParamId, value: f32) {
        self.grads.values_mut()[id.index()][0] = value;
    }

    /// The gradients of batches that no update has used yet, by the parameters' names; none right after an update.
    pub(crate) fn pending_gradients(&self) -> impl Iterator<Item = (&str, &[f32])> {
        let pending = self.pending;
        let all = self.model.params.iter().map(|(id, p)| (p.name.as_str(), self.grads.get(id)));
        all.filter(move |(_, values)| pending && !values.is_empty())
    }

    /// Takes back what [`Self::pending_gradients`] gave; `find` returns the values of a name.
    pub(crate) fn restore_gradients<'a>(&mut self, find: impl Fn(&str) -> Option<&'a [f32]>) {
        self.grads.clear();
        self.pending = false;
        for ((_, p), to) in self.model.params.iter().zip(self.grads.values_mut()) {
            if let Some(from) = find(&p.name).filter(|from| from.len() == to.len()) {
                to.copy_from_slice(from);
                self.pending = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_spec::ResolveOptions;

    const MODEL: &str = "nc: 2\ndepth_multiple: 1\nwidth_multiple: 1\nanchors: [[10, 13, 16, 30, 33, 23]]\n\
        backbone: [[-1, 1, Conv, [8, 3, 2]]]\nhead: [[[0], 1, Detect, [nc, anchors]]]\n";

    fn step() -> TrainStep {
        let mut model =
            Model::from_yaml(MODEL, "m.yaml", &ResolveOptions { nc: Some(2), ..Default::default() }).unwrap();
        model.params.initialise(3);
        TrainStep::with_sgd(model, &Hyp::default(), 32)
    }

    #[test]
    fn pending_gradients_survive_a_restart_and_end_with_the_update() {
        let images: Vec<f32> = (0..32 * 32 * 3).map(|i| (i % 7) as f32 / 7.0).collect();
        let targets = [Target { image: 0, class: 1, cxcywh: [0.5, 0.5, 0.4, 0.5] }];
        let mut first = step();
        assert_eq!(first.pending_gradients().count(), 0);
        first.forward_backward(&images, [1, 32, 32], &targets).unwrap();
        let saved: HashMap<String, Vec<f32>> =
            first.pending_gradients().map(|(name, values)| (name.to_owned(), values.to_vec())).collect();
        assert!(saved.values().flatten().any(|&v| v != 0.0));
        let mut second = TrainStep::with_sgd(first.model.clone(), &Hyp::default(), 32);
        second.restore_gradients(|name| saved.get(name).map(Vec::as_slice));
        for step in [&mut first, &mut second] {
            assert!(step.update([0.01; 3], 0.9) > 0.0);
            assert_eq!(step.pending_gradients().count(), 0);
        }
        assert_eq!(first.model.params.values(), second.model.params.values());
    }
}
