//! Weights as the kernels want them: BatchNorm folded in, packed, bias padded. Made once and shared by the programs of
//! all input shapes.

use kinglet_kernels::ConvShape;
use kinglet_kernels::conv::PackedConv;
use kinglet_kernels::infer::{DetectWeights, Linear, Taps, WinogradWeights, padded_bias};
use kinglet_kernels::threads::parallel_for;
use kinglet_tensor::ops::{ConvUnit, Norm};
use kinglet_tensor::{ParamId, Params};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Folded weights by the parameter that they come from.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    dense: HashMap<ParamId, (Arc<PackedConv>, Arc<[f32]>)>,
    winograd: HashMap<ParamId, (Arc<WinogradWeights>, Arc<[f32]>)>,
    depthwise: HashMap<ParamId, Taps>,
    detect: HashMap<ParamId, Arc<DetectWeights>>,
    linear: HashMap<ParamId, Linear>,
    factors: HashMap<ParamId, Arc<[f32]>>,
}

/// Which form of a convolution's weights a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Dense,
    Winograd,
    Depthwise,
    /// The last of a head level, for `nc` classes.
    Detect {
        nc: usize,
    },
}

/// Weights in one of these forms, with their padded bias.
enum Made {
    Dense(Arc<PackedConv>, Arc<[f32]>),
    Winograd(Arc<WinogradWeights>, Arc<[f32]>),
    Depthwise(Taps),
    Detect(Arc<DetectWeights>),
}

impl Made {
    fn new(form: Form, s: &ConvShape, unit: &ConvUnit, params: &Params) -> Made {
        let (weight, bias) = unit.folded(params);
        let bias = bias.as_deref();
        match form {
            Form::Dense => Made::Dense(Arc::new(PackedConv::new(s, &weight)), padded_bias(s, bias)),
            Form::Winograd => Made::Winograd(Arc::new(WinogradWeights::new(s, &weight)), padded_bias(s, bias)),
            Form::Depthwise => Made::Depthwise(Taps::new(&weight, bias, unit.c_out)),
            Form::Detect { nc } => Made::Detect(Arc::new(DetectWeights::new(&weight, bias, s.c_in, nc))),
        }
    }
}

impl Weights {
    /// Makes what is missing of these convolutions' weights, on all threads.
    pub fn make(&mut self, convolutions: &[(Form, ConvShape, &ConvUnit)], params: &Params) {
        let missing: Vec<_> = convolutions
            .iter()
            .filter(|(form, _, unit)| match form {
                Form::Dense => !self.dense.contains_key(&unit.weight),
                Form::Winograd => !self.winograd.contains_key(&unit.weight),
                Form::Depthwise => !self.depthwise.contains_key(&unit.weight),
                Form::Detect { .. } => !self.detect.contains_key(&unit.weight),
            })
            .collect();
        let made: Vec<OnceLock<Made>> = missing.iter().map(|_| OnceLock::new()).collect();
        parallel_for(missing.len(), |i| {
            let (form, s, unit) = missing[i];
            made[i].get_or_init(|| Made::new(*form, s, unit, params));
        });
        for ((_, _, unit), made) in missing.into_iter().zip(made) {
            match made.into_inner().expect("every task ran") {
                Made::Dense(w, b) => drop(self.dense.insert(unit.weight, (w, b))),
                Made::Winograd(w, b) => drop(self.winograd.insert(unit.weight, (w, b))),
                Made::Depthwise(taps) => drop(self.depthwise.insert(unit.weight, taps)),
                Made::Detect(w) => drop(self.detect.insert(unit.weight, w)),
            }
        }
    }

    /// Of a dense or grouped convolution that was made.
    pub fn dense(&self, unit: &ConvUnit) -> (Arc<PackedConv>, Arc<[f32]>) {
        self.dense[&unit.weight].clone()
    }

    /// Of a 3x3 convolution by Winograd's algorithm that was made.
    pub fn winograd(&self, unit: &ConvUnit) -> (Arc<WinogradWeights>, Arc<[f32]>) {
        self.winograd[&unit.weight].clone()
    }

    /// Of a depthwise convolution that was made.
    pub fn depthwise(&self, unit: &ConvUnit) -> Taps {
        self.depthwise[&unit.weight].clone()
    }

    /// Of the last convolution of a head level.
    pub fn detect(&self, unit: &ConvUnit) -> Arc<DetectWeights> {
        self.detect[&unit.weight].clone()
    }

    /// Of a linear layer.
    pub fn linear(&mut self, [weight, bias]: [ParamId; 2], params: &Params) -> Linear {
        let linear = self
            .linear
            .entry(weight)
            .or_insert_with(|| Linear { weight: params.get(weight).into(), bias: params.get(bias).into() });
        linear.clone()
    }

    /// Scales and then shifts of a BatchNorm on its own.
    pub fn factors(&mut self, norm: &Norm, params: &Params) -> Arc<[f32]> {
        let factors = self.factors.entry(norm.weight).or_insert_with(|| {
            let (scale, shift) = norm.fold(params);
            [scale, shift].concat().into()
        });
        Arc::clone(factors)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let dense: usize = self.dense.values().map(|(w, b)| w.bytes() + 4 * b.len()).sum();
        let winograd: usize = self.winograd.values().map(|(w, b)| w.bytes() + 4 * b.len()).sum();
        let depthwise: usize = self.depthwise.values().map(Taps::bytes).sum();
        let linear: usize = self.linear.values().map(|l| 4 * (l.weight.len() + l.bias.len())).sum();
        let detect: usize = self.detect.values().map(|w| w.bytes()).sum();
        dense + winograd + depthwise + detect + linear + self.factors.values().map(|f| 4 * f.len()).sum::<usize>()
    }
}
