//! Optimiser steps against values worked out by the textbook rules in f64.

use kinglet_train::optim::{Optim, OptimError, OptimKind, ParamGroup, clip_scale};

const GROUPS: [ParamGroup; 3] = [ParamGroup::Bias, ParamGroup::Weight, ParamGroup::Norm];
const LRS: [f64; 3] = [0.1, 0.01, 0.02];
const DECAY: f64 = 0.05;

/// Runs `steps` steps on three one-value parameters whose gradient is `w + 0.3 * step`.
fn run(optim: &mut Optim, params: &mut [Vec<f32>], steps: std::ops::Range<usize>, grad_scale: f64) {
    for step in steps {
        let grads: Vec<Vec<f32>> =
            params.iter().map(|w| vec![(w[0] + 0.3 * step as f32) / grad_scale as f32]).collect();
        let grads: Vec<&[f32]> = grads.iter().map(Vec::as_slice).collect();
        let mut params: Vec<&mut [f32]> = params.iter_mut().map(Vec::as_mut_slice).collect();
        optim.step(&mut params, &grads, LRS, 0.9, grad_scale);
    }
}

fn start() -> Vec<Vec<f32>> {
    vec![vec![1.0], vec![-2.0], vec![0.5]]
}

/// The same in f64, straight from the papers.
fn expected(kind: OptimKind, steps: usize) -> Vec<f64> {
    let one = |(group, w): (usize, &Vec<f32>)| {
        let (lr, decay) = (LRS[group], if group == 1 { DECAY } else { 0.0 });
        let (mut w, mut m, mut v) = (f64::from(w[0]), 0.0f64, 0.0f64);
        for step in 0..steps {
            let mut g = w + 0.3 * step as f64;
            match kind {
                OptimKind::Sgd => {
                    g += decay * w;
                    m = 0.9 * m + g;
                    w -= lr * (g + 0.9 * m);
                }
                OptimKind::Adam | OptimKind::AdamW => {
                    if kind == OptimKind::Adam {
                        g += decay * w;
                    } else {
                        w -= lr * decay * w;
                    }
                    m = 0.9 * m + 0.1 * g;
                    v = 0.999 * v + 0.001 * g * g;
                    let t = step as i32 + 1;
                    let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                    w -= lr * m_hat / (v_hat.sqrt() + 1e-8);
                }
            }
        }
        w
    };
    start().iter().enumerate().map(one).collect()
}

#[test]
fn every_optimiser_follows_its_textbook_rule() {
    for kind in [OptimKind::Sgd, OptimKind::Adam, OptimKind::AdamW] {
        for scale in [1.0, 0.25] {
            let mut optim = Optim::new(kind, &[1; 3], &GROUPS, 0.9, DECAY);
            let mut params = start();
            run(&mut optim, &mut params, 0..12, scale);
            for (got, want) in params.iter().zip(expected(kind, 12)) {
                assert!((f64::from(got[0]) - want).abs() < 2e-5, "{kind:?}: {got:?} {want}");
            }
        }
    }
}

#[test]
fn a_first_sgd_step_equals_the_hand_worked_value() {
    // Weight -2, gradient -2, decay 0.05: g = -2.1; buffer = g; step = g + 0.9 g = -3.99; times lr 0.01.
    let mut optim = Optim::new(OptimKind::Sgd, &[1; 3], &GROUPS, 0.9, DECAY);
    let mut params = start();
    run(&mut optim, &mut params, 0..1, 1.0);
    assert!((params[1][0] - (-2.0 + 0.0399)).abs() < 1e-6, "{}", params[1][0]);
    assert!((params[0][0] - (1.0 - 0.19)).abs() < 1e-6, "{}", params[0][0]); // bias: 1.9 * 0.1
}

#[test]
fn a_restored_optimiser_continues_bit_for_bit() {
    for kind in [OptimKind::Sgd, OptimKind::Adam, OptimKind::AdamW] {
        let mut whole = Optim::new(kind, &[1; 3], &GROUPS, 0.9, 0.05);
        let mut params = start();
        run(&mut whole, &mut params, 0..5, 1.0);
        let saved: Vec<(String, Vec<f32>)> = whole.state().into_iter().map(|(n, v)| (n, v.to_vec())).collect();
        assert_eq!(saved.len(), if kind == OptimKind::Sgd { 3 } else { 6 });
        let find = |name: &str| saved.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice());
        let mut resumed = Optim::new(kind, &[1; 3], &GROUPS, 0.9, 0.05);
        resumed.restore(whole.steps(), find).unwrap();
        let mut copy = params.clone();
        run(&mut whole, &mut params, 5..9, 1.0);
        run(&mut resumed, &mut copy, 5..9, 1.0);
        assert_eq!(params, copy);
        assert_eq!(whole, resumed);
    }
}

#[test]
fn state_of_another_model_or_optimiser_is_refused() {
    let mut optim = Optim::new(OptimKind::Sgd, &[2], &[ParamGroup::Weight], 0.9, 0.0);
    let before = optim.clone();
    let missing = optim.restore(1, |_| None).unwrap_err();
    assert_eq!(missing, OptimError::Missing { name: "0.momentum".to_owned() });
    let short = optim.restore(1, |_| Some(&[1.0])).unwrap_err();
    assert_eq!(short, OptimError::Length { name: "0.momentum".to_owned(), expected: 2, found: 1 });
    assert_eq!(optim, before);
}

#[test]
fn a_frozen_parameter_does_not_move() {
    let mut optim = Optim::new(OptimKind::Sgd, &[1; 3], &GROUPS, 0.9, 0.05);
    optim.set_frozen(1, true);
    let mut params = start();
    run(&mut optim, &mut params, 0..3, 1.0);
    assert_eq!(params[1], [-2.0]);
    assert!(params[0] != [1.0] && params[2] != [0.5]);
    assert!(optim.is_frozen(1) && !optim.is_frozen(0));
}

#[test]
fn long_gradients_are_clipped_and_short_ones_left() {
    let (norm, scale) = clip_scale(&[&[3.0, 0.0], &[4.0]], 10.0);
    assert_eq!((norm, scale), (5.0, 1.0));
    let (norm, scale) = clip_scale(&[&[30.0], &[-40.0]], 10.0);
    assert_eq!(norm, 50.0);
    assert!((scale - 10.0 / (50.0 + 1e-6)).abs() < 1e-8);
    assert_eq!(clip_scale(&[], 10.0), (0.0, 1.0));
}
