//! Running statistics of BatchNorm, worked by hand.

use crate::cases::Builder;
use kinglet_tensor::ops::{BatchNorm, ConvUnit, Norm};
use kinglet_tensor::{Activation, BATCH_NORM_MOMENTUM, Mode, Session, Shape};

/// Two channels over four pixels: 1 2 3 6 (mean 3, squares of the distances 4 1 0 9) and a constant 5.
const X: [f32; 8] = [1.0, 5.0, 2.0, 5.0, 3.0, 5.0, 6.0, 5.0];
/// The variance that normalises the batch, and the one that moves the running variance.
const BIASED: f32 = 14.0 / 4.0;
const UNBIASED: f32 = 14.0 / 3.0;

fn near(got: f32, want: f32, what: &str) {
    assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{what}: {got} instead of {want}");
}

/// A BatchNorm of `X` on its own or behind a convolution that changes nothing, with statistics 0 and 1, scale 2 and
/// shift 1.
fn build(within_conv: bool) -> (Builder, Norm) {
    let mut b = Builder::on(Shape::new(2, 2, 1, 2));
    let (norm, x) = (b.norm(2), b.graph.input());
    let mut weight = None;
    let y = if within_conv {
        let conv = b.conv(x, 2, 1, 1);
        weight = Some(conv.weight);
        b.graph.push(ConvUnit { norm: Some(norm), ..conv }, &[x])
    } else {
        b.graph.push(BatchNorm { norm, activation: Activation::Identity }, &[x])
    };
    b.graph.output(y);
    b.params.initialise(0);
    if let Some(weight) = weight {
        b.params.get_mut(weight).copy_from_slice(&[1.0, 0.0, 0.0, 1.0]);
    }
    b.params.get_mut(norm.weight).fill(2.0);
    b.params.get_mut(norm.bias).fill(1.0);
    (b, norm)
}

#[test]
fn running_statistics_follow_the_momentum_and_the_unbiased_variance() {
    for (within_conv, momentum) in [(false, 0.25), (true, 0.25), (false, BATCH_NORM_MOMENTUM), (true, 1.0)] {
        let (mut b, norm) = build(within_conv);
        let mut session = Session::default();
        let (mut mean, mut variance) = ([0.0f32; 2], [1.0f32; 2]);
        for step in 0..3 {
            session.forward(&b.graph, &mut b.params, &X, Mode::Train { momentum });
            for (c, (batch_mean, batch_variance)) in [(3.0, UNBIASED), (5.0, 0.0)].into_iter().enumerate() {
                mean[c] = (1.0 - momentum) * mean[c] + momentum * batch_mean;
                variance[c] = (1.0 - momentum) * variance[c] + momentum * batch_variance;
                let what = format!("conv {within_conv}, momentum {momentum}, step {step}, channel {c}");
                near(b.params.get(norm.mean)[c], mean[c], &what);
                near(b.params.get(norm.variance)[c], variance[c], &what);
            }
        }
    }
}

#[test]
fn a_batch_is_normalised_with_its_biased_variance() {
    for within_conv in [false, true] {
        let (mut b, _) = build(within_conv);
        let mut session = Session::default();
        session.forward(&b.graph, &mut b.params, &X, Mode::TRAIN);
        let y = session.value(b.graph.outputs()[0]);
        for (pixel, x) in [1.0, 2.0, 3.0, 6.0f32].into_iter().enumerate() {
            near(y[2 * pixel], 2.0 * (x - 3.0) / (BIASED + 1e-3).sqrt() + 1.0, "the first channel");
            // Scale and shift are folded: 5 * 63 - 5 * 63 + 1.
            assert!((y[2 * pixel + 1] - 1.0).abs() < 3e-5, "the constant channel: {}", y[2 * pixel + 1]);
        }
    }
}

#[test]
fn evaluation_uses_the_running_statistics() {
    for within_conv in [false, true] {
        let (mut b, norm) = build(within_conv);
        b.params.get_mut(norm.mean).copy_from_slice(&[2.0, 4.0]);
        b.params.get_mut(norm.variance).copy_from_slice(&[4.0 - 1e-3, 0.25 - 1e-3]);
        let mut session = Session::default();
        session.forward(&b.graph, &mut b.params, &X, Mode::Evaluate);
        // 2 (x - 2) / 2 + 1 and 2 (5 - 4) / 0.5 + 1
        for (got, want) in session.value(b.graph.outputs()[0]).iter().zip([0.0, 5.0, 1.0, 5.0, 2.0, 5.0, 5.0, 5.0]) {
            assert!((got - want).abs() < 1e-5, "{got} instead of {want}");
        }
    }
}

#[test]
fn a_mean_far_beyond_the_deviation_costs_few_digits_of_the_variance() {
    for (pixels, mean) in [(48, 10.0), (6400, 10.0), (6400, 1e3), (6400, 1e4)] {
        let mut b = Builder::on(Shape::new(1, pixels, 1, 3));
        let norm = b.norm(3);
        let y = b.graph.push(BatchNorm { norm, activation: Activation::Identity }, &[b.graph.input()]);
        b.graph.output(y);
        b.params.initialise(0);
        let x: Vec<f32> = (0..pixels * 3).map(|i| mean + 1.414 * ((i * i) as f32 * 0.71).sin()).collect();
        Session::default().forward(&b.graph, &mut b.params, &x, Mode::Train { momentum: 1.0 });
        for c in 0..3 {
            let values = || x.iter().skip(c).step_by(3).map(|&v| f64::from(v));
            let centre = values().sum::<f64>() / pixels as f64;
            let want = values().map(|v| (v - centre).powi(2)).sum::<f64>() / (pixels - 1) as f64;
            let got = f64::from(b.params.get(norm.variance)[c]);
            assert!(
                (got / want - 1.0).abs() < 2e-4,
                "{pixels} pixels around {mean}, channel {c}: {got} instead of {want}"
            );
        }
    }
}
