//! Precision, recall and average precision of a table of detections.
//!
//! Source: the interpolated AP of COCO (101 recall points, trapezoid rule) with the details of YOLOv5-compatible
//! validation: monotone envelope with sentinels (0, 1) and (1, 0); P, R and F1 at 1000 confidences, reported at the
//! maximum of the mean F1 smoothed with a box filter of a tenth of the range. Golden: `numbers.json`, "ap".
//! Classes without labels do not count.

/// Confidences at which the curves are sampled, evenly from 0 to 1.
pub const CURVE_POINTS: usize = 1000;
const RECALL_POINTS: usize = 101;
const SMOOTHING: f64 = 0.1;
const EPS: f64 = 1e-16;

/// One detection: its score, its class and where it is a true positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Detection score.
    pub score: f64,
    /// Class index.
    pub class: usize,
    /// True positive at each IoU threshold.
    pub correct: [bool; 10],
    /// Neither right nor wrong at each IoU threshold.
    pub ignored: [bool; 10],
}

/// Curves of one class, each with [`CURVE_POINTS`] values.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassCurves {
    /// Class index.
    pub class: usize,
    /// Number of labels.
    pub labels: usize,
    /// Number of detections.
    pub detections: usize,
    /// Average precision at each IoU threshold.
    pub ap: [f64; 10],
    /// Precision at IoU 0.5 against confidence.
    pub precision: Vec<f64>,
    /// Recall at IoU 0.5 against confidence.
    pub recall: Vec<f64>,
    /// F1 at IoU 0.5 against confidence.
    pub f1: Vec<f64>,
    /// Interpolated precision at IoU 0.5 against recall.
    pub precision_at_recall: Vec<f64>,
}

/// The curves of every class that has labels, and the confidence chosen for reporting.
#[derive(Debug, Clone, PartialEq)]
pub struct ApTable {
    /// By class index, ascending.
    pub classes: Vec<ClassCurves>,
    /// Index into the curves of the best mean F1.
    pub best: usize,
}

/// Average precision of recalls and precisions in order of falling score.
pub fn average_precision(recall: &[f64], precision: &[f64]) -> f64 {
    let (recall, envelope) = precision_envelope(recall, precision);
    let sampled: Vec<f64> =
        (0..RECALL_POINTS).map(|i| interpolate(i as f64 / (RECALL_POINTS - 1) as f64, &recall, &envelope)).collect();
    sampled.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).sum::<f64>() / (RECALL_POINTS - 1) as f64
}

fn precision_envelope(recall: &[f64], precision: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let recall: Vec<f64> = std::iter::once(0.0).chain(recall.iter().copied()).chain([1.0]).collect();
    let mut envelope: Vec<f64> = std::iter::once(1.0).chain(precision.iter().copied()).chain([0.0]).collect();
    for i in (1..envelope.len()).rev() {
        envelope[i - 1] = envelope[i - 1].max(envelope[i]);
    }
    (recall, envelope)
}

/// Linear interpolation of `y(x)` at `at`; the end values hold outside. `x` must not fall.
fn interpolate(at: f64, x: &[f64], y: &[f64]) -> f64 {
    let after = x.partition_point(|&value| value <= at);
    if after == 0 {
        return y[0];
    }
    if after == x.len() {
        return y[after - 1];
    }
    let slope = (y[after] - y[after - 1]) / (x[after] - x[after - 1]);
    slope * (at - x[after - 1]) + y[after - 1]
}

/// Box filter over a share of twice `SMOOTHING` / 2 of the points, the end values repeated outside.
fn smooth(values: &[f64]) -> Vec<f64> {
    let window = (values.len() as f64 * SMOOTHING * 2.0).round_ties_even() as usize / 2 + 1;
    let half = window / 2;
    let last = values.len() - 1;
    (0..values.len())
        .map(|i| (0..window).map(|k| values[(i + k).saturating_sub(half).min(last)]).sum::<f64>() / window as f64)
        .collect()
}

/// Evaluates a table of detections against the classes of all labels.
///
/// Detections of equal score count in the order given.
pub fn evaluate(detections: &[Scored], label_classes: &[usize]) -> ApTable {
    let mut labels = std::collections::BTreeMap::<usize, usize>::new();
    for &class in label_classes {
        *labels.entry(class).or_default() += 1;
    }
    let mut by_class = std::collections::BTreeMap::<usize, Vec<&Scored>>::new();
    for detection in detections {
        by_class.entry(detection.class).or_default().push(detection);
    }
    let classes: Vec<ClassCurves> = labels
        .into_iter()
        .map(|(class, count)| {
            let mut own = by_class.remove(&class).unwrap_or_default();
            own.sort_by(|a, b| b.score.total_cmp(&a.score));
            class_curves(class, count, &own)
        })
        .collect();
    let best = if classes.is_empty() {
        0
    } else {
        let mean: Vec<f64> = (0..CURVE_POINTS)
            .map(|i| classes.iter().map(|class| class.f1[i]).sum::<f64>() / classes.len() as f64)
            .collect();
        let smoothed = smooth(&mean);
        (0..CURVE_POINTS).fold(0, |best, i| if smoothed[i] > smoothed[best] { i } else { best })
    };
    ApTable { classes, best }
}

/// Mean over classes of the average precision at one threshold. `found` holds class, score and whether it is right, in
/// any order; equal scores count in the order given. `labels` holds the number of labels of each class.
pub(crate) fn mean_average_precision(
    found: &[(usize, f64, bool)],
    labels: &std::collections::BTreeMap<usize, usize>,
) -> f64 {
    let mut by_class: std::collections::BTreeMap<usize, Vec<(f64, bool)>> =
        labels.keys().map(|class| (*class, Vec::new())).collect();
    for &(class, score, right) in found {
        if let Some(own) = by_class.get_mut(&class) {
            own.push((score, right));
        }
    }
    let of_class = |(class, own): (&usize, &mut Vec<(f64, bool)>)| {
        own.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (recall, precision) = recall_and_precision(labels[class], own.iter().map(|one| one.1));
        if own.is_empty() { 0.0 } else { average_precision(&recall, &precision) }
    };
    by_class.iter_mut().map(of_class).sum::<f64>() / labels.len().max(1) as f64
}

/// Recall and precision after each detection, in order of falling score.
fn recall_and_precision(labels: usize, correct: impl Iterator<Item = bool>) -> (Vec<f64>, Vec<f64>) {
    let mut positives = 0.0;
    correct
        .enumerate()
        .map(|(i, correct)| {
            positives += f64::from(u8::from(correct));
            (positives / (labels as f64 + EPS), positives / (i + 1) as f64)
        })
        .unzip()
}

/// `detections` in order of falling score.
fn class_curves(class: usize, labels: usize, detections: &[&Scored]) -> ClassCurves {
    let mut curves = ClassCurves {
        class,
        labels,
        detections: detections.len(),
        ap: [0.0; 10],
        precision: vec![0.0; CURVE_POINTS],
        recall: vec![0.0; CURVE_POINTS],
        f1: vec![0.0; CURVE_POINTS],
        precision_at_recall: vec![0.0; CURVE_POINTS],
    };
    if detections.is_empty() {
        return curves;
    }
    let at = |i: usize| i as f64 / (CURVE_POINTS - 1) as f64;
    for level in 0..10 {
        let counted: Vec<&&Scored> = detections.iter().filter(|detection| !detection.ignored[level]).collect();
        if counted.is_empty() {
            continue;
        }
        let (recall, precision) = recall_and_precision(labels, counted.iter().map(|one| one.correct[level]));
        curves.ap[level] = average_precision(&recall, &precision);
        if level == 0 {
            // Scores fall; their negatives rise, as interpolation wants it.
            let falling: Vec<f64> = counted.iter().map(|detection| -detection.score).collect();
            let (full_recall, envelope) = precision_envelope(&recall, &precision);
            for i in 0..CURVE_POINTS {
                let confidence = at(i);
                // Above the highest score nothing is found and nothing is wrong.
                let above = -confidence < falling[0];
                let r = if above { 0.0 } else { interpolate(-confidence, &falling, &recall) };
                let p = if above { 1.0 } else { interpolate(-confidence, &falling, &precision) };
                curves.recall[i] = r;
                curves.precision[i] = p;
                curves.f1[i] = 2.0 * p * r / (p + r + EPS);
                curves.precision_at_recall[i] = interpolate(confidence, &full_recall, &envelope);
            }
        }
    }
    curves
}
