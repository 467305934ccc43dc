//! What a run does when its numbers are no longer finite: it finds the place, goes back to the last saved state, and goes on
//! with half the learning rate.

use crate::step::TrainStep;
use kinglet_nn::Model;
use kinglet_tensor::{Mode, Session};
use std::fmt;

/// So often a run halves its learning rate; after that it gives up.
pub const MAX_HALVINGS: u32 = 3;

/// What is not finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Symptom {
    /// The loss of a batch.
    Loss(f64),
    /// The gradient of an optimiser step.
    Gradient,
    /// The weights after an epoch.
    Weights,
}

/// Numbers that are no longer finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Batch, from 1.
    pub batch: usize,
    /// What is not finite.
    pub symptom: Symptom,
    /// Where it appears first, in words.
    pub place: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.symptom {
            Symptom::Loss(value) => format!("the loss is {value}"),
            Symptom::Gradient => "the gradient is not finite".to_owned(),
            Symptom::Weights => "the weights are not finite".to_owned(),
        };
        write!(f, "epoch {}, batch {}: {what}, first in {}", self.epoch, self.batch, self.place)
    }
}

/// What a run does about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Retreat {
    /// What has happened.
    pub divergence: Divergence,
    /// Epochs that the state has done to which the run goes back.
    pub epochs_done: usize,
    /// The learning rate from there on, in place of `lr0`.
    pub lr: f64,
}

impl fmt::Display for Retreat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; the run goes on from ", self.divergence)?;
        match self.epochs_done {
            0 => f.write_str("the start")?,
            n => write!(f, "the end of epoch {n}")?,
        }
        write!(f, " with the learning rate {}", self.lr)
    }
}

/// From here on a weight counts as infinite. The state that a run goes back to must bear another batch, and its statistics
/// grow with the squares.
const LARGEST_WEIGHT: f32 = 1e12;

fn is_broken(values: &[f32]) -> bool {
    values.iter().any(|v| !v.is_finite())
}

/// `layer 4 (C3)`.
fn layer(model: &Model, index: usize) -> String {
    format!("layer {index} ({})", model.spec.layers.get(index).map_or("?", |l| l.block))
}

/// A parameter and its layer.
fn parameter(model: &Model, name: &str) -> String {
    match model.layer_of(name) {
        Some(index) => format!("{}, `{name}`", layer(model, index)),
        None => format!("`{name}`"),
    }
}

/// The first of these values, in the model's order, that are not finite or, of a weight, as good as infinite.
pub(crate) fn broken_values(model: &Model, values: &[Vec<f32>]) -> Option<String> {
    let mut all = model.params.iter().zip(values);
    let too_large = |values: &[f32]| values.iter().any(|v| v.abs() > LARGEST_WEIGHT);
    all.find(|((_, p), values)| is_broken(values) || p.kind.learns() && too_large(values))
        .map(|((_, p), _)| parameter(model, &p.name))
}

/// Where a loss that is not finite comes from: a weight, the output of a layer, or the loss itself. Runs the batch once
/// more, keeping every value.
pub(crate) fn place_of_loss(step: &mut TrainStep, images: &[f32], size: [usize; 3]) -> String {
    let learnt = step.model.params.iter().zip(step.model.params.values()).filter(|((_, p), _)| p.kind.learns());
    for ((_, p), values) in learnt {
        if is_broken(values) {
            return format!("the weights of {}", parameter(&step.model, &p.name));
        }
    }
    // Such a size has just been trained on, so there is a recording.
    let Ok(recording) = step.recording(size).cloned() else { return "the loss".to_owned() };
    let mut session = Session::keeping_values();
    session.forward(&recording.graph, &mut step.model.params.clone(), images, Mode::TRAIN);
    let broken = recording.layers.iter().position(|&value| is_broken(session.value(value)));
    match broken {
        // The head's last convolutions belong to its layer, whose output is one of its levels.
        Some(index) => format!("the output of {}", layer(&step.model, index)),
        None => match recording.graph.outputs().iter().any(|&value| is_broken(session.value(value))) {
            true => format!("the output of {}", layer(&step.model, recording.layers.len() - 1)),
            false => "the loss itself, whose inputs are finite".to_owned(),
        },
    }
}

/// Where a gradient that is not finite appears first: the backward pass begins with the last layer.
pub(crate) fn place_of_gradient(step: &TrainStep) -> String {
    let params: Vec<_> = step.model.params.iter().collect();
    let broken = params.iter().rev().find(|(id, _)| is_broken(step.gradients().get(*id)));
    match broken {
        Some((_, p)) => format!("the gradient of {}", parameter(&step.model, &p.name)),
        None => "its norm, which is too large for a number".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hyp::Hyp;
    use kinglet_data::Target;
    use kinglet_spec::ResolveOptions;

    const SIZE: [usize; 3] = [1, 64, 64];

    fn step() -> TrainStep {
        let yaml = include_str!("../../../zoo/models/kinglet_small.yaml");
        let options = ResolveOptions { nc: Some(2), ..Default::default() };
        let mut model = Model::from_yaml(yaml, "kinglet_small.yaml", &options).unwrap();
        model.params.initialise(1);
        TrainStep::with_sgd(model, &Hyp::default(), 64)
    }

    fn images() -> Vec<f32> {
        (0..64 * 64 * 3).map(|i| (i % 7) as f32 / 7.0).collect()
    }

    fn poison(step: &mut TrainStep, layer: &str, value: f32) -> String {
        let found = step.model.params.iter().find(|(_, p)| p.name.starts_with(layer) && p.kind.learns());
        let (id, name) = found.map(|(id, p)| (id, p.name.clone())).unwrap();
        step.model.params.get_mut(id)[0] = value;
        name
    }

    #[test]
    fn a_poisoned_weight_is_named() {
        let mut step = step();
        let name = poison(&mut step, "model.3.", f32::NAN);
        let parts = step.forward_backward(&images(), SIZE, &[]).unwrap();
        assert!(!(parts.box_ + parts.obj + parts.cls).is_finite());
        let place = place_of_loss(&mut step, &images(), SIZE);
        assert!(place.starts_with("the weights of layer 3 (") && place.ends_with(&format!("`{name}`")), "{place}");
    }

    #[test]
    fn the_layer_whose_output_overflows_first_is_named() {
        let mut step = step();
        // Finite, but its products with pixels are not once they are squared for the variance.
        let id = step.model.params.iter().find(|(_, p)| p.name.starts_with("model.0.")).unwrap().0;
        step.model.params.get_mut(id).iter_mut().for_each(|v| *v = 3e38);
        let place = place_of_loss(&mut step, &images(), SIZE);
        assert!(place.starts_with("the output of layer 0 ("), "{place}");
    }

    #[test]
    fn the_gradient_is_named_where_the_backward_pass_begins() {
        let mut step = step();
        let target = Target { image: 0, class: 1, cxcywh: [0.5, 0.5, 0.4, 0.5] };
        step.forward_backward(&images(), SIZE, &[target]).unwrap();
        assert_eq!(place_of_gradient(&step), "its norm, which is too large for a number");
        let last = step.model.spec.layers.len() - 1;
        for (name, value) in [("model.0.", f32::NAN), (&format!("model.{last}."), f32::INFINITY)] {
            let id = step.model.params.iter().find(|(_, p)| p.name.starts_with(name) && p.kind.learns()).unwrap().0;
            step.poison_gradient(id, value);
        }
        let before = step.model.params.values().to_vec();
        assert!(!step.update([0.01; 3], 0.9).is_finite());
        assert_eq!(step.model.params.values(), before, "such a step is not taken");
        assert!(
            place_of_gradient(&step).starts_with(&format!("the gradient of layer {last} (Detect), `model.{last}."))
        );
    }
}
