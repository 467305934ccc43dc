//! The detection loss: CIoU for boxes, binary cross-entropy for objectness and classes, with gradients.
//!
//! Source: YOLOv5's loss, restated from its behaviour; CIoU from Zheng et al. 2020, arXiv:2005.03572, whose `alpha`
//! carries no gradient; focal loss from Lin et al. 2017, arXiv:1708.02002.
//! Shapes: raw head outputs per level `[N, H, W, A * (5 + C)]`, channel `a * (5 + C) + k` with `k` = x, y, w, h,
//! objectness, classes. Units: boxes in cells.
//! All sums and all box arithmetic are in f64: positives are few, and the objectness sum runs over every cell.

use crate::assign::{Assignment, Level, Target, assign};
use crate::hyp::Hyp;
use kinglet_kernels::threads::parallel_chunks_mut;

/// Keeps CIoU's denominators away from zero.
const IOU_EPS: f64 = 1e-7;

/// Weight of positives in the focal loss; negatives get the rest.
const FOCAL_ALPHA: f64 = 0.25;

/// Memory of the automatic balance.
const BALANCE_DECAY: f64 = 0.9999;

/// Weights of the levels' objectness, finest first, for three levels.
const BALANCE_3: [f64; 3] = [4.0, 1.0, 0.4];

/// The same for any other number of levels.
const BALANCE_5: [f64; 5] = [4.0, 1.0, 0.25, 0.06, 0.02];

/// Gains and switches of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossOptions {
    /// Gain of the box loss.
    pub box_gain: f64,
    /// Gain of the objectness loss.
    pub obj_gain: f64,
    /// Gain of the class loss.
    pub cls_gain: f64,
    /// Weight of positives in the class loss.
    pub cls_pw: f64,
    /// Weight of the positive part in the objectness loss.
    pub obj_pw: f64,
    /// Focal gamma; 0 is plain BCE.
    pub fl_gamma: f64,
    /// Label smoothing epsilon.
    pub label_smoothing: f64,
    /// Largest side ratio of a box and an anchor it is assigned to.
    pub anchor_t: f64,
    /// Share of the overlap in the objectness target of a positive; the rest is 1.
    pub gr: f64,
    /// Whether the objectness weights of the levels follow their losses.
    pub autobalance: bool,
}

impl LossOptions {
    /// Options with the gains exactly as the hyperparameters give them.
    pub fn unscaled(hyp: &Hyp) -> Self {
        LossOptions {
            box_gain: hyp.box_,
            obj_gain: hyp.obj,
            cls_gain: hyp.cls,
            cls_pw: hyp.cls_pw,
            obj_pw: hyp.obj_pw,
            fl_gamma: hyp.fl_gamma,
            label_smoothing: hyp.label_smoothing,
            anchor_t: hyp.anchor_t,
            gr: 1.0,
            autobalance: false,
        }
    }

    /// Options with the gains scaled to `levels` levels, `classes` classes and `image_size` pixels.
    pub fn scaled(hyp: &Hyp, levels: usize, classes: usize, image_size: usize) -> Self {
        let per_level = 3.0 / levels.max(1) as f64;
        let mut options = Self::unscaled(hyp);
        options.box_gain *= per_level;
        options.cls_gain *= classes as f64 / 80.0 * per_level;
        options.obj_gain *= (image_size as f64 / 640.0).powi(2) * per_level;
        options
    }
}

/// Value of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossParts {
    /// What is minimised: the sum of the parts times the batch size.
    pub total: f64,
    /// Box part, after its gain.
    pub box_: f64,
    /// Objectness part, after its gain.
    pub obj: f64,
    /// Class part, after its gain.
    pub cls: f64,
}

/// Why a loss could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// Another number of levels than the loss was made for.
    #[error("loss: expected {expected} levels of {what}, found {found}; pass one per stride")]
    Levels {
        /// Of what.
        what: &'static str,
        /// Number of strides.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// A level's data has another length.
    #[error(
        "loss: level {level}: expected {expected} values of {what}, found {found}; check grid, anchors and classes"
    )]
    Length {
        /// Of what.
        what: &'static str,
        /// Index of the level.
        level: usize,
        /// Expected length.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// A target refers to an image or class that is not there.
    #[error("loss: target {target}: expected {what} below {limit}, found {found}; check the labels")]
    Target {
        /// Image or class.
        what: &'static str,
        /// Index of the target.
        target: usize,
        /// Number of images or classes.
        limit: usize,
        /// What came.
        found: usize,
    },
}

/// The loss with its state (only the automatic balance has any).
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    options: LossOptions,
    classes: usize,
    balance: Vec<f64>,
    /// Index of the level with stride 16, to whose weight the automatic balance is relative.
    reference_level: usize,
}

impl Loss {
    /// A loss for `classes` classes and levels of the given strides, finest first.
    pub fn new(options: LossOptions, classes: usize, strides: &[usize]) -> Self {
        let mut balance = if strides.len() == 3 { BALANCE_3.to_vec() } else { BALANCE_5.to_vec() };
        balance.resize(strides.len(), BALANCE_5[BALANCE_5.len() - 1]);
        let reference_level = strides.iter().position(|&s| s == 16).unwrap_or(0);
        Loss { options, classes, balance, reference_level }
    }

    /// Objectness weights of the levels.
    pub fn balance(&self) -> &[f64] {
        &self.balance
    }

    /// Continues with the weights of an earlier run.
    pub fn set_balance(&mut self, balance: &[f64]) {
        self.balance.copy_from_slice(balance);
    }

    /// Computes the loss of a batch and, if `grads` is given, its gradient.
    ///
    /// `grads` has one vector per level in the layout of `raw`; each is overwritten with the gradient of `total` with
    /// respect to the raw outputs, times `grad_scale`.
    ///
    /// # Errors
    /// [`LossError`] where lengths or targets do not fit.
    pub fn compute(
        &mut self,
        raw: &[&[f32]],
        batch: usize,
        levels: &[Level],
        targets: &[Target],
        mut grads: Option<&mut [Vec<f32>]>,
        grad_scale: f64,
    ) -> Result<LossParts, LossError> {
        self.check(raw, batch, levels, targets, grads.as_deref())?;
        let assigned = assign(targets, levels, self.options.anchor_t as f32);
        let mut sums = LossParts::default();
        let outer = grad_scale * batch as f64;
        for (index, (level, positives)) in levels.iter().zip(&assigned).enumerate() {
            let mut grad = grads.as_deref_mut().map(|all| all[index].as_mut_slice());
            if let Some(grad) = grad.as_deref_mut() {
                grad.fill(0.0);
            }
            let (box_, cls, objectness) =
                self.positives(raw[index], level, batch, positives, grad.as_deref_mut(), outer);
            sums.box_ += box_;
            sums.cls += cls;
            let weight = self.options.obj_gain * self.balance[index];
            let obj = self.objectness(raw[index], &objectness, grad, outer * weight);
            sums.obj += obj * self.balance[index];
            if self.options.autobalance {
                self.balance[index] = self.balance[index] * BALANCE_DECAY + (1.0 - BALANCE_DECAY) / obj;
            }
        }
        if self.options.autobalance {
            let reference = self.balance[self.reference_level];
            self.balance.iter_mut().for_each(|b| *b /= reference);
        }
        sums.box_ *= self.options.box_gain;
        sums.obj *= self.options.obj_gain;
        sums.cls *= self.options.cls_gain;
        sums.total = (sums.box_ + sums.obj + sums.cls) * batch as f64;
        Ok(sums)
    }

    fn check(
        &self,
        raw: &[&[f32]],
        batch: usize,
        levels: &[Level],
        targets: &[Target],
        grads: Option<&[Vec<f32>]>,
    ) -> Result<(), LossError> {
        let expected = self.balance.len();
        let counts =
            [("raw outputs", raw.len()), ("grids", levels.len()), ("gradients", grads.map_or(expected, |g| g.len()))];
        for (what, found) in counts {
            if found != expected {
                return Err(LossError::Levels { what, expected, found });
            }
        }
        for (level, grid) in levels.iter().enumerate() {
            let expected = batch * grid.height * grid.width * grid.anchors.len() * (5 + self.classes);
            let found = raw[level].len();
            if found != expected {
                return Err(LossError::Length { what: "raw outputs", level, expected, found });
            }
            if let Some(found) = grads.map(|g| g[level].len()).filter(|&found| found != expected) {
                return Err(LossError::Length { what: "gradients", level, expected, found });
            }
        }
        for (target, t) in targets.iter().enumerate() {
            for (what, found, limit) in [("an image", t.image, batch), ("a class", t.class, self.classes)] {
                if found >= limit {
                    return Err(LossError::Target { what, target, limit, found });
                }
            }
        }
        Ok(())
    }

    /// Box and class loss of one level before their gains, and the objectness target of every cell and anchor.
    fn positives(
        &self,
        raw: &[f32],
        level: &Level,
        batch: usize,
        positives: &[Assignment],
        mut grad: Option<&mut [f32]>,
        outer: f64,
    ) -> (f64, f64, Vec<f32>) {
        let outputs = 5 + self.classes;
        let mut objectness = vec![0.0f32; batch * level.height * level.width * level.anchors.len()];
        if positives.is_empty() {
            return (0.0, 0.0, objectness);
        }
        let count = positives.len() as f64;
        let with_classes = self.classes > 1; // with one class, objectness says it all
        let box_scale = outer * self.options.box_gain / count;
        let cls_scale = outer * self.options.cls_gain / (count * self.classes as f64);
        let (on, off) = (1.0 - 0.5 * self.options.label_smoothing, 0.5 * self.options.label_smoothing);
        let (mut box_sum, mut cls_sum) = (0.0, 0.0);
        for p in positives {
            let cell = ((p.image * level.height + p.row) * level.width + p.column) * level.anchors.len() + p.anchor;
            let base = cell * outputs;
            let (decoded, slopes) = decode([raw[base], raw[base + 1], raw[base + 2], raw[base + 3]], p.anchor_cells);
            let overlap = ciou(decoded, p.box_cells.map(f64::from));
            box_sum += 1.0 - overlap.value;
            let gr = self.options.gr;
            objectness[cell] = ((1.0 - gr) + gr * overlap.value.max(0.0)) as f32;
            if let Some(grad) = grad.as_deref_mut() {
                for k in 0..4 {
                    grad[base + k] -= (box_scale * overlap.gradient[k] * slopes[k]) as f32;
                }
            }
            if with_classes {
                for class in 0..self.classes {
                    let at = base + 5 + class;
                    let wanted = if class == p.class { on } else { off };
                    let (value, slope) = bce(f64::from(raw[at]), wanted, self.options.cls_pw, self.options.fl_gamma);
                    cls_sum += value;
                    if let Some(grad) = grad.as_deref_mut() {
                        grad[at] += (cls_scale * slope) as f32;
                    }
                }
            }
        }
        (box_sum / count, cls_sum / (count * self.classes as f64), objectness)
    }

    /// Mean objectness loss over all cells and anchors of a level.
    fn objectness(&self, raw: &[f32], wanted: &[f32], mut grad: Option<&mut [f32]>, scale: f64) -> f64 {
        if wanted.is_empty() {
            return 0.0;
        }
        let outputs = 5 + self.classes;
        let count = wanted.len() as f64;
        let scale = scale / count;
        // By many threads; the sum is taken in order.
        const CELLS: usize = 1024;
        let mut each = vec![(0.0, 0.0); wanted.len()];
        parallel_chunks_mut(&mut each, CELLS, |i, each| {
            for (cell, value_and_slope) in (i * CELLS..).zip(each) {
                let (logit, wanted) = (f64::from(raw[cell * outputs + 4]), f64::from(wanted[cell]));
                *value_and_slope = bce(logit, wanted, self.options.obj_pw, self.options.fl_gamma);
            }
        });
        let mut sum = 0.0;
        for (cell, (value, slope)) in each.into_iter().enumerate() {
            let at = cell * outputs + 4;
            sum += value;
            if let Some(grad) = grad.as_deref_mut() {
                grad[at] = (scale * slope) as f32;
            }
        }
        sum / count
    }
}

/// Box in cells (centre relative to the cell) from raw outputs, and its slope with respect to each of them.
fn decode(raw: [f32; 4], anchor: [f32; 2]) -> ([f64; 4], [f64; 4]) {
    let (mut value, mut slope) = ([0.0; 4], [0.0; 4]);
    for k in 0..4 {
        let (s, ds) = sigmoid(f64::from(raw[k]));
        if k < 2 {
            value[k] = 2.0 * s - 0.5;
            slope[k] = 2.0 * ds;
        } else {
            let anchor = f64::from(anchor[k - 2]);
            value[k] = 4.0 * s * s * anchor;
            slope[k] = 8.0 * s * ds * anchor;
        }
    }
    (value, slope)
}

/// Sigmoid and its slope.
fn sigmoid(x: f64) -> (f64, f64) {
    let e = (-x.abs()).exp();
    let s = if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
    (s, e / ((1.0 + e) * (1.0 + e)))
}

/// Binary cross-entropy of a logit, and its slope. `positive_weight` multiplies the part of `wanted`; a `gamma`
/// above 0 makes it the focal loss.
pub fn bce(logit: f64, wanted: f64, positive_weight: f64, gamma: f64) -> (f64, f64) {
    let e = (-logit.abs()).exp();
    let log = e.ln_1p(); // of an exponential that cannot overflow
    let softplus_negative = log + (-logit).max(0.0); // -ln(sigmoid(x))
    let softplus_positive = log + logit.max(0.0); // -ln(1 - sigmoid(x))
    let p = if logit >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
    let q = if logit >= 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) };
    let value = positive_weight * wanted * softplus_negative + (1.0 - wanted) * softplus_positive;
    let slope = (1.0 - wanted) * p - positive_weight * wanted * q;
    if gamma <= 0.0 {
        return (value, slope);
    }
    // How far the prediction is off, 1 - p_t, also where `wanted` is between 0 and 1.
    let miss = wanted * q + (1.0 - wanted) * p;
    let miss_slope = (1.0 - 2.0 * wanted) * p * q;
    let alpha = wanted * FOCAL_ALPHA + (1.0 - wanted) * (1.0 - FOCAL_ALPHA);
    let factor = alpha * miss.powf(gamma);
    let factor_slope = if miss > 0.0 { alpha * gamma * miss.powf(gamma - 1.0) * miss_slope } else { 0.0 };
    (value * factor, slope * factor + value * factor_slope)
}

/// Complete IoU of two boxes and what [`ciou`] knows beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ciou {
    /// Complete IoU, from about -1 to 1.
    pub value: f64,
    /// Plain IoU.
    pub iou: f64,
    /// Gradient of `value` with respect to the first box, `alpha` held fixed.
    pub gradient: [f64; 4],
    /// Weight of the aspect-ratio term.
    pub alpha: f64,
}

/// Complete IoU of two boxes (centre, size) with the gradient with respect to the first.
///
/// Where edges coincide the gradient is split evenly between both sides, as PyTorch does.
pub fn ciou(a: [f64; 4], b: [f64; 4]) -> Ciou {
    let (w, h) = (a[2], a[3]);
    let mut overlap = [0.0; 2]; // per axis, with slopes for centre and size
    let mut overlap_slope = [[0.0; 2]; 2];
    let mut hull = [0.0; 2];
    let mut hull_slope = [[0.0; 2]; 2];
    for axis in 0..2 {
        let (low, high) = (a[axis] - a[axis + 2] / 2.0, a[axis] + a[axis + 2] / 2.0);
        let (other_low, other_high) = (b[axis] - b[axis + 2] / 2.0, b[axis] + b[axis + 2] / 2.0);
        let inner = high.min(other_high) - low.max(other_low);
        let (low_inside, high_inside) =
            (share(low > other_low, low, other_low), share(high < other_high, high, other_high));
        if inner >= 0.0 {
            overlap[axis] = inner;
            overlap_slope[axis] = [high_inside - low_inside, (high_inside + low_inside) / 2.0];
        }
        hull[axis] = high.max(other_high) - low.min(other_low);
        let (low_outside, high_outside) = (1.0 - low_inside, 1.0 - high_inside);
        hull_slope[axis] = [high_outside - low_outside, (high_outside + low_outside) / 2.0];
    }
    let intersection = overlap[0] * overlap[1];
    let union = w * h + b[2] * b[3] - intersection + IOU_EPS;
    let iou = intersection / union;
    let diagonal = hull[0] * hull[0] + hull[1] * hull[1] + IOU_EPS;
    let offset = [a[0] - b[0], a[1] - b[1]];
    let distance = offset[0] * offset[0] + offset[1] * offset[1];

    // Heights are kept positive so that a box that has shrunk to nothing gives no NaN.
    let (height, other_height) = (h.max(IOU_EPS), b[3].max(IOU_EPS));
    let angle = (b[2] / other_height).atan() - (w / height).atan();
    let pi2 = std::f64::consts::PI * std::f64::consts::PI;
    let aspect = 4.0 / pi2 * angle * angle;
    let alpha = aspect / (aspect - iou + 1.0 + IOU_EPS);
    let radius = w * w + height * height;
    let aspect_slope = [-8.0 / pi2 * angle * height / radius, 8.0 / pi2 * angle * w / radius];

    let mut gradient = [0.0; 4];
    for axis in 0..2 {
        for (part, k) in [(0, axis), (1, axis + 2)] {
            let d_intersection = overlap_slope[axis][part] * overlap[1 - axis];
            let d_area = if part == 1 { a[3 - axis] } else { 0.0 };
            let d_iou = (d_intersection * union - intersection * (d_area - d_intersection)) / (union * union);
            let d_distance = if part == 0 { 2.0 * offset[axis] } else { 0.0 };
            let d_diagonal = 2.0 * hull[axis] * hull_slope[axis][part];
            let d_ratio = (d_distance * diagonal - distance * d_diagonal) / (diagonal * diagonal);
            let d_aspect = if part == 1 { aspect_slope[axis] } else { 0.0 };
            gradient[k] = d_iou - d_ratio - alpha * d_aspect;
        }
    }
    Ciou { value: iou - (distance / diagonal + alpha * aspect), iou, gradient, alpha }
}

/// Share of an edge's slope: 1 where it decides, 0 where the other box's does, a half where both coincide.
fn share(decides: bool, own: f64, other: f64) -> f64 {
    if decides {
        1.0
    } else if own == other {
        0.5
    } else {
        0.0
    }
}
