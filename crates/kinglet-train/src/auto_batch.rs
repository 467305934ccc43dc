//! How many images a step may take: as many as fit into a share of the free memory.
//!
//! The memory of a step is planned before anything runs, so batches are not tried: their plan is asked.

use crate::optim::OptimKind;
use kinglet_nn::Model;
use kinglet_tensor::{Mode, Session};

/// Batches that are considered, largest first; more than YOLOv5's nominal batch gains nothing.
const BATCHES: [usize; 12] = [64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];
/// Share of the free memory that a step may take: decoded images may take half.
pub const SHARE: f64 = 0.4;
/// Copies of the parameters in a training: weights, gradients, average, those of the validation, and the moments: one
/// of SGD, two of the others.
fn copies(kind: OptimKind) -> usize {
    if kind == OptimKind::Sgd { 5 } else { 6 }
}

/// What was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoBatch {
    /// Images a step.
    pub batch: usize,
    /// Bytes that such steps need.
    pub bytes: u64,
}

/// Bytes of a training with `batch` images of side `img` a step, `ahead` batches being made ahead, and of its validation,
/// whose memory stays beside it.
///
/// # Errors
/// An image side that the model cannot take.
pub fn bytes(
    model: &mut Model,
    kind: OptimKind,
    batch: usize,
    img: usize,
    ahead: usize,
) -> Result<u64, kinglet_nn::SizeError> {
    let step = Session::planned_bytes(&model.record(batch, [img; 2])?.graph, Mode::TRAIN);
    // The trainer validates with batches of twice the size. What is compiled for that needs about as much as this.
    let validation = Session::planned_bytes(&model.record(2 * batch, [img; 2])?.graph, Mode::Evaluate);
    let pixels = batch * img * img * 3;
    let params: usize = model.params.iter().map(|(_, p)| p.len()).sum();
    // A batch is numbers once and bytes in each that waits; one of the validation is twice that.
    Ok((step + validation + 3 * (4 * pixels + pixels * ahead) + 4 * copies(kind) * params) as u64)
}

/// The largest batch whose training fits into [`SHARE`] of `free` bytes; one image where none does.
///
/// # Errors
/// An image side that the model cannot take.
pub fn choose(
    model: &mut Model,
    kind: OptimKind,
    img: usize,
    ahead: usize,
    free: u64,
) -> Result<AutoBatch, kinglet_nn::SizeError> {
    let most = (free as f64 * SHARE) as u64;
    let mut last = AutoBatch { batch: 1, bytes: 0 };
    for batch in BATCHES {
        last = AutoBatch { batch, bytes: bytes(model, kind, batch, img, ahead)? };
        if last.bytes <= most {
            break;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hyp::Hyp;
    use crate::step::TrainStep;
    use kinglet_spec::ResolveOptions;

    fn model() -> Model {
        let yaml = include_str!("../../../zoo/models/kinglet_small.yaml");
        Model::from_yaml(yaml, "m.yaml", &ResolveOptions { nc: Some(2), ..Default::default() }).unwrap()
    }

    #[test]
    fn the_plan_is_what_a_step_takes() {
        let mut model = model();
        model.params.initialise(1);
        let graph = model.record(2, [64, 64]).unwrap().graph;
        let mut step = TrainStep::with_sgd(model, &Hyp::default(), 64);
        step.forward_backward(&vec![0.5; 2 * 64 * 64 * 3], [2, 64, 64], &[]).unwrap();
        assert_eq!(Session::planned_bytes(&graph, Mode::TRAIN), step.session().allocated_bytes());
    }

    #[test]
    fn the_largest_batch_that_fits_is_taken() {
        let mut model = model();
        let of = |model: &mut Model, batch| bytes(model, OptimKind::Sgd, batch, 320, 3).unwrap();
        let (eight, twelve) = (of(&mut model, 8), of(&mut model, 12));
        assert!(eight < twelve);
        let free = (eight as f64 / SHARE) as u64 + 16;
        assert_eq!(choose(&mut model, OptimKind::Sgd, 320, 3, free).unwrap(), AutoBatch { batch: 8, bytes: eight });
        assert_eq!(choose(&mut model, OptimKind::Sgd, 320, 3, 0).unwrap().batch, 1);
        assert_eq!(choose(&mut model, OptimKind::Sgd, 320, 3, u64::MAX).unwrap().batch, 64);
    }
}
