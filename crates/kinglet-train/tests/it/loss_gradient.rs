//! The loss's gradient against central differences in f64 of a second, plain version of the loss.

use kinglet_train::assign::{Assignment, Level, Target, assign};
use kinglet_train::loss::{Loss, LossOptions, bce, ciou};

const CLASSES: usize = 3;
const OUTPUTS: usize = 5 + CLASSES;
const BATCH: usize = 2;

fn options() -> LossOptions {
    LossOptions {
        box_gain: 0.05,
        obj_gain: 0.7,
        cls_gain: 0.3,
        cls_pw: 1.3,
        obj_pw: 0.8,
        fl_gamma: 0.0,
        label_smoothing: 0.1,
        anchor_t: 4.0,
        gr: 1.0,
        autobalance: false,
    }
}

fn levels() -> Vec<Level> {
    vec![
        Level { height: 4, width: 6, anchors: vec![[1.2, 1.6], [2.0, 1.0]] },
        Level { height: 2, width: 3, anchors: vec![[1.5, 0.8], [0.9, 0.9]] },
    ]
}

fn targets() -> Vec<Target> {
    [
        (0, 1, [0.3, 0.4, 0.3, 0.35]),
        (0, 1, [0.31, 0.41, 0.25, 0.3]), // same cell and anchor as the one before: duplicates
        (0, 2, [0.7, 0.8, 0.2, 0.5]),
        (1, 0, [0.52, 0.27, 0.45, 0.3]),
    ]
    .map(|(image, class, cxcywh)| Target { image, class, cxcywh })
    .to_vec()
}

/// A fixed sequence in -2..2.
fn raw_outputs() -> Vec<Vec<f32>> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 * 4.0 - 2.0
    };
    let sizes = levels().into_iter().map(|l| BATCH * l.height * l.width * l.anchors.len() * OUTPUTS);
    sizes.map(|n| (0..n).map(|_| draw()).collect()).collect()
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn decoded(raw: &[f64], base: usize, p: &Assignment) -> [f64; 4] {
    let s = |k: usize| logistic(raw[base + k]);
    let (aw, ah) = (f64::from(p.anchor_cells[0]), f64::from(p.anchor_cells[1]));
    [2.0 * s(0) - 0.5, 2.0 * s(1) - 0.5, (2.0 * s(2)).powi(2) * aw, (2.0 * s(3)).powi(2) * ah]
}

/// Complete IoU by corners, with `alpha` given from outside.
fn plain_ciou(a: [f64; 4], b: [f64; 4], alpha: f64) -> f64 {
    let corners = |c: [f64; 4]| [c[0] - c[2] / 2.0, c[1] - c[3] / 2.0, c[0] + c[2] / 2.0, c[1] + c[3] / 2.0];
    let (p, q) = (corners(a), corners(b));
    let inter = (p[2].min(q[2]) - p[0].max(q[0])).max(0.0) * (p[3].min(q[3]) - p[1].max(q[1])).max(0.0);
    let iou = inter / (a[2] * a[3] + b[2] * b[3] - inter + 1e-7);
    let c2 = (p[2].max(q[2]) - p[0].min(q[0])).powi(2) + (p[3].max(q[3]) - p[1].min(q[1])).powi(2) + 1e-7;
    let rho2 = (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
    let v = 4.0 / std::f64::consts::PI.powi(2) * ((b[2] / b[3]).atan() - (a[2] / a[3]).atan()).powi(2);
    iou - (rho2 / c2 + alpha * v)
}

/// Textbook BCE, with the focal factor where `gamma` is above 0.
fn plain_bce(x: f64, y: f64, pw: f64, gamma: f64) -> f64 {
    let p = logistic(x);
    let plain = -(pw * y * p.ln() + (1.0 - y) * (1.0 - p).ln());
    if gamma == 0.0 {
        return plain;
    }
    let p_t = y * p + (1.0 - y) * (1.0 - p);
    plain * (y * 0.25 + (1.0 - y) * 0.75) * (1.0 - p_t).powf(gamma)
}

/// What carries no gradient: alpha of every positive, objectness target of every cell.
struct Frozen {
    alphas: Vec<Vec<f64>>,
    wanted: Vec<Vec<f64>>,
}

fn base_of(p: &Assignment, level: &Level) -> usize {
    (((p.image * level.height + p.row) * level.width + p.column) * level.anchors.len() + p.anchor) * OUTPUTS
}

fn freeze(raw: &[Vec<f64>], assigned: &[Vec<Assignment>], gr: f64) -> Frozen {
    let (mut alphas, mut wanted) = (Vec::new(), Vec::new());
    for ((raw, level), positives) in raw.iter().zip(&levels()).zip(assigned) {
        let mut level_alphas = Vec::new();
        let mut level_wanted = vec![0.0; raw.len() / OUTPUTS];
        for p in positives {
            let base = base_of(p, level);
            let found = ciou(decoded(raw, base, p), p.box_cells.map(f64::from));
            level_alphas.push(found.alpha);
            level_wanted[base / OUTPUTS] = 1.0 - gr + gr * found.value.max(0.0);
        }
        alphas.push(level_alphas);
        wanted.push(level_wanted);
    }
    Frozen { alphas, wanted }
}

fn plain_total(raw: &[Vec<f64>], assigned: &[Vec<Assignment>], frozen: &Frozen, o: &LossOptions) -> f64 {
    let mut total = 0.0;
    for (index, (raw, level)) in raw.iter().zip(&levels()).enumerate() {
        let positives = &assigned[index];
        let n = positives.len() as f64;
        for (p, &alpha) in positives.iter().zip(&frozen.alphas[index]) {
            let base = base_of(p, level);
            let overlap = plain_ciou(decoded(raw, base, p), p.box_cells.map(f64::from), alpha);
            total += o.box_gain * (1.0 - overlap) / n;
            for class in 0..CLASSES {
                let eps = o.label_smoothing;
                let y = if class == p.class { 1.0 - eps / 2.0 } else { eps / 2.0 };
                let value = plain_bce(raw[base + 5 + class], y, o.cls_pw, o.fl_gamma);
                total += o.cls_gain * value / (n * CLASSES as f64);
            }
        }
        let balance = [4.0, 1.0][index];
        let cells = &frozen.wanted[index];
        for (cell, &y) in cells.iter().enumerate() {
            let value = plain_bce(raw[cell * OUTPUTS + 4], y, o.obj_pw, o.fl_gamma);
            total += o.obj_gain * balance * value / cells.len() as f64;
        }
    }
    total * BATCH as f64
}

fn check(o: LossOptions) {
    let levels = levels();
    let raw32 = raw_outputs();
    let slices: Vec<&[f32]> = raw32.iter().map(Vec::as_slice).collect();
    let mut grads: Vec<Vec<f32>> = raw32.iter().map(|r| vec![0.0; r.len()]).collect();
    let mut loss = Loss::new(o, CLASSES, &[8, 16]);
    let parts = loss.compute(&slices, BATCH, &levels, &targets(), Some(&mut grads), 1.0).unwrap();

    let mut raw: Vec<Vec<f64>> = raw32.iter().map(|r| r.iter().map(|&v| f64::from(v)).collect()).collect();
    let assigned = assign(&targets(), &levels, 4.0);
    assert!(assigned.iter().all(|a| a.len() > 3), "both levels have positives");
    let frozen = freeze(&raw, &assigned, o.gr);
    let value = plain_total(&raw, &assigned, &frozen, &o);
    assert!((value - parts.total).abs() < 1e-6 * value, "{value} {parts:?}");

    const STEP: f64 = 1e-5;
    for level in 0..raw.len() {
        for at in 0..raw[level].len() {
            let here = raw[level][at];
            raw[level][at] = here + STEP;
            let above = plain_total(&raw, &assigned, &frozen, &o);
            raw[level][at] = here - STEP;
            let below = plain_total(&raw, &assigned, &frozen, &o);
            raw[level][at] = here;
            let want = (above - below) / (2.0 * STEP);
            let got = f64::from(grads[level][at]);
            // f32 storage of the gradient and cancellation in the differences leave about 1e-9.
            assert!((got - want).abs() < 1e-6 * want.abs() + 2e-9, "level {level} value {at}: {got} {want}");
        }
    }
}

#[test]
fn the_gradient_equals_central_differences() {
    check(options());
}

#[test]
fn the_focal_gradient_equals_central_differences() {
    check(LossOptions { fl_gamma: 1.5, ..options() });
    check(LossOptions { fl_gamma: 0.5, gr: 0.6, ..options() });
}

#[test]
fn bce_slopes_equal_central_differences_and_stay_finite_far_out() {
    for gamma in [0.0, 0.7, 2.0] {
        for y in [0.0, 0.05, 0.5, 1.0] {
            for x in [-6.0, -1.0, 0.0, 0.3, 4.0] {
                let (value, slope) = bce(x, y, 1.7, gamma);
                assert!((value - plain_bce(x, y, 1.7, gamma)).abs() < 1e-12);
                let want = (plain_bce(x + 1e-5, y, 1.7, gamma) - plain_bce(x - 1e-5, y, 1.7, gamma)) / 2e-5;
                assert!((slope - want).abs() < 1e-8, "x {x} y {y} gamma {gamma}: {slope} {want}");
            }
            for x in [-1e30, -800.0, 800.0, 1e30] {
                let (value, slope) = bce(x, y, 1.7, gamma);
                assert!(value.is_finite() && slope.is_finite(), "x {x} y {y} gamma {gamma}: {value} {slope}");
            }
        }
    }
}

#[test]
fn an_empty_batch_of_targets_leaves_objectness_only() {
    let raw32 = raw_outputs();
    let slices: Vec<&[f32]> = raw32.iter().map(Vec::as_slice).collect();
    let mut grads: Vec<Vec<f32>> = raw32.iter().map(|r| vec![7.0; r.len()]).collect();
    let mut loss = Loss::new(options(), CLASSES, &[8, 16]);
    let parts = loss.compute(&slices, BATCH, &levels(), &[], Some(&mut grads), 1.0).unwrap();
    assert_eq!((parts.box_, parts.cls), (0.0, 0.0));
    assert!(parts.obj > 0.0);
    for grad in &grads {
        assert!(grad.iter().enumerate().all(|(at, &g)| (at % OUTPUTS == 4) == (g != 0.0)));
    }
}

#[test]
fn one_class_has_no_class_loss() {
    let level = Level { height: 2, width: 2, anchors: vec![[1.0, 1.0]] };
    let target = Target { image: 0, class: 0, cxcywh: [0.25, 0.25, 0.5, 0.5] };
    let raw = vec![0.1f32; 4 * 6];
    let mut grads = vec![vec![0.0; raw.len()]];
    let mut loss = Loss::new(options(), 1, &[16]);
    let parts = loss.compute(&[&raw], 1, &[level], &[target], Some(&mut grads), 1.0).unwrap();
    assert!(parts.cls == 0.0 && parts.box_ > 0.0);
    assert!((0..4).all(|cell| grads[0][cell * 6 + 5] == 0.0));
}

#[test]
fn autobalance_follows_the_objectness_loss_relative_to_stride_16() {
    let raw32 = raw_outputs();
    let slices: Vec<&[f32]> = raw32.iter().map(Vec::as_slice).collect();
    let mut plain = Loss::new(options(), CLASSES, &[8, 16]);
    let mut auto = Loss::new(LossOptions { autobalance: true, ..options() }, CLASSES, &[8, 16]);
    let a = plain.compute(&slices, BATCH, &levels(), &[], None, 1.0).unwrap();
    let b = auto.compute(&slices, BATCH, &levels(), &[], None, 1.0).unwrap();
    assert_eq!(a, b, "the balance moves after it was used");
    assert_eq!(plain.balance(), [4.0, 1.0]);
    // Without targets and before the gain, each level's loss is the mean softplus of its objectness outputs.
    let mean = |raw: &[f32]| {
        let logits: Vec<f64> = raw.iter().skip(4).step_by(OUTPUTS).map(|&v| f64::from(v)).collect();
        logits.iter().map(|x| x.exp().ln_1p()).sum::<f64>() / logits.len() as f64
    };
    let moved = [4.0 * 0.9999 + 0.0001 / mean(&raw32[0]), 0.9999 + 0.0001 / mean(&raw32[1])];
    assert!((auto.balance()[0] - moved[0] / moved[1]).abs() < 1e-12);
    assert_eq!(auto.balance()[1], 1.0);
}

#[test]
fn input_that_does_not_fit_is_an_error() {
    let raw32 = raw_outputs();
    let slices: Vec<&[f32]> = raw32.iter().map(Vec::as_slice).collect();
    let mut loss = Loss::new(options(), CLASSES, &[8, 16]);
    let mut message = |raw: &[&[f32]], targets: &[Target]| {
        loss.compute(raw, BATCH, &levels(), targets, None, 1.0).unwrap_err().to_string()
    };
    assert_eq!(message(&slices[..1], &[]), "loss: expected 2 levels of raw outputs, found 1; pass one per stride");
    assert_eq!(
        message(&[slices[0], &slices[1][1..]], &[]),
        "loss: level 1: expected 192 values of raw outputs, found 191; check grid, anchors and classes"
    );
    let stray = |image, class| [Target { image, class, cxcywh: [0.5; 4] }];
    assert_eq!(message(&slices, &stray(2, 0)), "loss: target 0: expected an image below 2, found 2; check the labels");
    assert_eq!(message(&slices, &stray(0, 3)), "loss: target 0: expected a class below 3, found 3; check the labels");
}
