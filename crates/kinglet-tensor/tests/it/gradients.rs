//! Values and gradients of every operation against `f64`: values from the scalar reference kernels, gradients as
//! central differences of them, for each value of each parameter.

use crate::cases::{self, Case};
use crate::oracle::{self, Values};
use kinglet_tensor::{Gradients, Mode, Session};

/// Rounding of `f32`, relative to the largest value of the tensor. Most cases need a hundredth of it; behind max pooling
/// channels are nearly constant, and a variance from the sums of values and squares loses digits there.
const ROUNDING: f64 = 2e-5;
/// Step of the differences; their own error is about its square, and the rounding of `f64` divided by it.
const STEP: f64 = 1e-5;

/// The loss is the sum of the outputs with these weights: of both signs, and no two the same.
fn output_weights(case: &Case) -> Vec<Vec<f32>> {
    let graph = &case.builder.graph;
    let lengths = graph.outputs().iter().map(|&v| graph.shape(v).len());
    lengths.enumerate().map(|(k, len)| (0..len).map(|i| (1.0 + (i * 7 + k) as f32 * 1.7).sin()).collect()).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// Checks one case; returns the largest error in units of the tolerance.
fn check(mut case: Case) -> f64 {
    let (name, marks, weights) = (case.name.clone(), case.builder.marks(), output_weights(&case));
    let graph = &case.builder.graph;
    let params: Values = case.builder.params.values().iter().map(|v| wide(v)).collect();
    let (input, wide_weights): (_, Vec<Vec<f64>>) = (wide(&marks), weights.iter().map(|w| wide(w)).collect());
    let loss = |params: &Values| -> f64 {
        let outputs = oracle::outputs(graph, params, &input);
        outputs.iter().zip(&wide_weights).flat_map(|(y, w)| y.iter().zip(w)).map(|(y, w)| y * w).sum()
    };
    let mut worst = 0.0f64;
    let mut compare = |got: f32, want: f64, scale: f64, what: &dyn Fn() -> String| {
        let error = (f64::from(got) - want).abs() / (ROUNDING * (1.0 + scale));
        worst = worst.max(error);
        assert!(error <= 1.0, "{name}: {}: {got} instead of {want}, largest {scale}", what());
    };

    let mut session = Session::default();
    session.forward(graph, &mut case.builder.params, &marks, Mode::TRAIN);
    for (&var, want) in graph.outputs().iter().zip(oracle::outputs(graph, &params, &input)) {
        for (i, (&got, &v)) in session.value(var).iter().zip(&want).enumerate() {
            compare(got, v, largest(&want), &|| format!("value {i} of node {}", var.index()));
        }
    }
    let mut grads = Gradients::new(&case.builder.params, |_| true);
    let output_grads: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
    session.backward(graph, &case.builder.params, &mut grads, &output_grads);
    let mut moved = params.clone();
    for (id, p) in case.builder.params.iter() {
        if !p.kind.learns() {
            assert!(grads.get(id).is_empty(), "{name}: a statistic has no gradient");
            continue;
        }
        let mut want = Vec::with_capacity(p.len());
        for i in 0..p.len() {
            let [up, down] = [STEP, -STEP].map(|step| {
                moved[id.index()][i] = params[id.index()][i] + step;
                loss(&moved)
            });
            moved[id.index()][i] = params[id.index()][i];
            want.push((up - down) / (2.0 * STEP));
        }
        for (i, (&got, &v)) in grads.get(id).iter().zip(&want).enumerate() {
            compare(got, v, largest(&want), &|| format!("gradient of {}[{i}]", p.name));
        }
    }
    worst
}

fn check_all(cases: Vec<Case>) {
    for case in cases {
        let name = case.name.clone();
        eprintln!("{name}: {:.3} of the tolerance", check(case));
    }
}

#[test]
fn values_and_gradients_of_every_operation_agree_with_the_reference() {
    check_all(cases::all());
}

#[test]
fn gradients_add_up_where_a_value_is_used_more_than_once() {
    check_all(cases::all_shared());
}
