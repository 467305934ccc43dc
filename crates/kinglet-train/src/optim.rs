//! Optimisers: SGD with Nesterov momentum, Adam and AdamW, over three groups of parameters.
//!
//! Source: YOLOv5's recipe with PyTorch's update rules. Only the weights of convolutions and linear layers decay;
//! biases and normalisation weights do not. Adam adds the decay to the gradient, AdamW shrinks the weight itself.

use kinglet_kernels::elementwise::{adam_step, sgd_step, sum_sq};

/// Second-moment decay of Adam and AdamW.
pub const ADAM_BETA2: f64 = 0.999;

/// Added to the root of Adam's second moment.
pub const ADAM_EPS: f64 = 1e-8;

/// Largest gradient norm of the recipe; longer gradients are scaled down to it.
pub const MAX_GRAD_NORM: f64 = 10.0;

/// Update rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum OptimKind {
    /// Stochastic gradient descent with Nesterov momentum.
    #[default]
    Sgd,
    /// Adam; weight decay joins the gradient.
    Adam,
    /// Adam; weight decay is applied to the weight directly.
    AdamW,
}

/// Group of a parameter; the order is that of the learning rates given to [`Optim::step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamGroup {
    /// Biases, those of normalisation layers included: no decay, own warm-up.
    Bias,
    /// Weights of convolutions and linear layers: decay.
    Weight,
    /// Weights of normalisation layers: no decay.
    Norm,
}

/// Why an optimiser's saved state was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptimError {
    /// An entry is missing.
    #[error("optimiser state `{name}` is missing; the checkpoint was made with another optimiser or model")]
    Missing {
        /// Name of the entry.
        name: String,
    },
    /// An entry has another length.
    #[error(
        "optimiser state `{name}`: expected {expected} values, found {found}; the checkpoint belongs to another model"
    )]
    Length {
        /// Name of the entry.
        name: String,
        /// Length of the parameter.
        expected: usize,
        /// Length of the entry.
        found: usize,
    },
}

/// An optimiser with its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Optim {
    kind: OptimKind,
    groups: Vec<ParamGroup>,
    frozen: Vec<bool>,
    beta1: f64,
    weight_decay: f64,
    /// Momentum buffer (SGD) or first moment, per parameter.
    first: Vec<Vec<f32>>,
    /// Second moment, per parameter; empty for SGD.
    second: Vec<Vec<f32>>,
    steps: u64,
}

impl Optim {
    /// An optimiser for parameters of the given lengths and groups. `momentum` is Adam's beta1; SGD takes the
    /// momentum of each step.
    ///
    /// # Panics
    /// Where `sizes` and `groups` differ in length.
    pub fn new(kind: OptimKind, sizes: &[usize], groups: &[ParamGroup], momentum: f64, weight_decay: f64) -> Self {
        assert_eq!(sizes.len(), groups.len(), "every parameter has a size and a group");
        let zeros = || sizes.iter().map(|&n| vec![0.0; n]).collect::<Vec<_>>();
        Optim {
            kind,
            groups: groups.to_vec(),
            frozen: vec![false; sizes.len()],
            beta1: momentum,
            weight_decay,
            first: zeros(),
            second: if kind == OptimKind::Sgd { Vec::new() } else { zeros() },
            steps: 0,
        }
    }

    /// Leaves parameter `index` as it is from now on (or trains it again).
    pub fn set_frozen(&mut self, index: usize, frozen: bool) {
        self.frozen[index] = frozen;
    }

    /// Whether parameter `index` is left as it is.
    pub fn is_frozen(&self, index: usize) -> bool {
        self.frozen[index]
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Updates all parameters that are not frozen.
    ///
    /// `lrs` are the learning rates of biases, weights and normalisation weights; gradients are multiplied by
    /// `grad_scale` first (see [`clip_scale`]); `momentum` is that of SGD and is not used by Adam.
    ///
    /// # Panics
    /// Where parameters and gradients differ from the sizes given to [`Optim::new`].
    pub fn step(&mut self, params: &mut [&mut [f32]], grads: &[&[f32]], lrs: [f64; 3], momentum: f64, grad_scale: f64) {
        assert_eq!(params.len(), self.groups.len(), "one slice per parameter");
        assert_eq!(grads.len(), self.groups.len(), "one gradient per parameter");
        self.steps += 1;
        for (i, (w, grad)) in params.iter_mut().zip(grads).enumerate() {
            if self.frozen[i] {
                continue;
            }
            assert_eq!(w.len(), self.first[i].len(), "parameter {i} keeps its length");
            assert_eq!(grad.len(), w.len(), "gradient {i} has its parameter's length");
            let (lr, decay) = match self.groups[i] {
                ParamGroup::Bias => (lrs[0], 0.0),
                ParamGroup::Weight => (lrs[1], self.weight_decay),
                ParamGroup::Norm => (lrs[2], 0.0),
            };
            let first = &mut self.first[i];
            if self.kind == OptimKind::Sgd {
                sgd_step(w, grad, first, lr, momentum, decay, true, grad_scale);
            } else {
                let (second, decoupled) = (&mut self.second[i], self.kind == OptimKind::AdamW);
                let (beta1, step) = (self.beta1, self.steps);
                adam_step(w, grad, first, second, step, lr, beta1, ADAM_BETA2, ADAM_EPS, decay, decoupled, grad_scale);
            }
        }
    }

    /// State to save besides [`Optim::steps`]: `<index>.momentum` for SGD, `<index>.first_moment` and
    /// `<index>.second_moment` for Adam and AdamW.
    pub fn state(&self) -> Vec<(String, &[f32])> {
        let first = self.first.iter().enumerate().map(|(i, v)| (self.first_name(i), v.as_slice()));
        let second = self.second.iter().enumerate().map(|(i, v)| (second_name(i), v.as_slice()));
        first.chain(second).collect()
    }

    /// Takes back a state saved by [`Optim::state`]; `find` returns the values of a name.
    ///
    /// # Errors
    /// [`OptimError`] where an entry is missing or has another length; the optimiser is then unchanged.
    pub fn restore<'a>(&mut self, steps: u64, find: impl Fn(&str) -> Option<&'a [f32]>) -> Result<(), OptimError> {
        let fetch = |name: String, expected: usize| -> Result<Vec<f32>, OptimError> {
            let values = find(&name).ok_or_else(|| OptimError::Missing { name: name.clone() })?;
            if values.len() != expected {
                return Err(OptimError::Length { name, expected, found: values.len() });
            }
            Ok(values.to_vec())
        };
        let first = self.first.iter().enumerate().map(|(i, v)| fetch(self.first_name(i), v.len()));
        let first = first.collect::<Result<Vec<_>, _>>()?;
        let second = self.second.iter().enumerate().map(|(i, v)| fetch(second_name(i), v.len()));
        let second = second.collect::<Result<Vec<_>, _>>()?;
        (self.first, self.second, self.steps) = (first, second, steps);
        Ok(())
    }

    fn first_name(&self, index: usize) -> String {
        match self.kind {
            OptimKind::Sgd => format!("{index}.momentum"),
            OptimKind::Adam | OptimKind::AdamW => format!("{index}.first_moment"),
        }
    }
}

fn second_name(index: usize) -> String {
    format!("{index}.second_moment")
}

/// Norm of all gradients together and the factor that brings it down to `max_norm`, as PyTorch's
/// `clip_grad_norm_` computes it: `max_norm / (norm + 1e-6)`, at most 1.
///
/// Leave frozen parameters out of `grads`. Where the norm is not finite the step must not be taken.
pub fn clip_scale(grads: &[&[f32]], max_norm: f64) -> (f64, f64) {
    let norm = grads.iter().map(|g| sum_sq(g)).sum::<f64>().sqrt();
    (norm, (max_norm / (norm + 1e-6)).min(1.0))
}
