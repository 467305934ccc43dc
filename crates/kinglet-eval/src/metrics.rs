//! Gathers images and reports precision, recall and mAP.
//!
//! The result does not depend on the order in which images arrive: each carries its index in the dataset, and
//! detections of equal score are ranked by image index, then by their order within the image.

use kinglet_vision::nms::Detection;
use std::collections::BTreeMap;

use crate::ap::{ApTable, CURVE_POINTS, Scored, evaluate};
use crate::confusion::ConfusionMatrix;
use crate::matching::{IOU_THRESHOLDS, IgnoredBox, LabelBox, excuses, match_detections};

/// Metrics of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMetrics {
    /// Class index.
    pub class: usize,
    /// Class name.
    pub name: String,
    /// Images that show it.
    pub images: usize,
    /// Its labels.
    pub instances: usize,
    /// Precision at the reported confidence.
    pub p: f64,
    /// Recall at the reported confidence.
    pub r: f64,
    /// Average precision at IoU 0.5.
    pub ap50: f64,
    /// Mean of the average precision at IoU 0.5 to 0.95.
    pub ap: f64,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Images seen.
    pub images: usize,
    /// Labels seen.
    pub instances: usize,
    /// Mean precision over the classes with labels.
    pub precision: f64,
    /// Mean recall.
    pub recall: f64,
    /// Mean average precision at IoU 0.5.
    pub map50: f64,
    /// Mean average precision at IoU 0.5 to 0.95.
    pub map50_95: f64,
    /// The confidence at which precision and recall are reported: that of the best smoothed mean F1.
    pub confidence: f64,
    /// Classes with labels, by index.
    pub per_class: Vec<ClassMetrics>,
    /// Curves of the same classes, in the same order.
    pub curves: ApTable,
    /// What was taken for what.
    pub confusion: ConfusionMatrix,
}

impl Report {
    /// The one number by which checkpoints are compared: a tenth of mAP50 and nine tenths of mAP50-95.
    pub fn fitness(&self) -> f64 {
        0.1 * self.map50 + 0.9 * self.map50_95
    }
}

struct Seen {
    index: usize,
    scored: Vec<Scored>,
    label_classes: Vec<usize>,
}

/// Takes the detections and labels of a dataset, image by image.
pub struct Evaluator {
    seen: Vec<Seen>,
    confusion: ConfusionMatrix,
}

impl Evaluator {
    /// Starts an evaluation of `nc` classes.
    pub fn new(nc: usize) -> Self {
        Self { seen: Vec::new(), confusion: ConfusionMatrix::new(nc) }
    }

    /// Adds the image of number `index`; boxes of both kinds in the same pixels.
    pub fn add_image(&mut self, index: usize, detections: &[Detection], labels: &[LabelBox], ignored: &[IgnoredBox]) {
        let excuses = excuses(detections, ignored);
        let one = |((detection, correct), excuse): ((&Detection, [bool; 10]), &f32)| Scored {
            score: f64::from(detection.score),
            class: detection.class,
            correct,
            ignored: std::array::from_fn(|i| !correct[i] && *excuse >= IOU_THRESHOLDS[i] as f32),
        };
        let scored = detections.iter().zip(match_detections(detections, labels)).zip(&excuses).map(one).collect();
        self.confusion.add(detections, labels, ignored);
        self.seen.push(Seen { index, scored, label_classes: labels.iter().map(|label| label.class).collect() });
    }

    /// Computes the report; a class without a name is called by its number.
    pub fn finish(mut self, names: &[String]) -> Report {
        self.seen.sort_by_key(|seen| seen.index);
        let scored: Vec<Scored> = self.seen.iter().flat_map(|seen| seen.scored.iter().copied()).collect();
        let label_classes: Vec<usize> = self.seen.iter().flat_map(|seen| seen.label_classes.iter().copied()).collect();
        let curves = evaluate(&scored, &label_classes);
        // Images of each class, and the last of them, counted from 1.
        let mut images: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (at, seen) in self.seen.iter().enumerate() {
            for class in &seen.label_classes {
                let (count, last) = images.entry(*class).or_default();
                *count += usize::from(std::mem::replace(last, at + 1) != at + 1);
            }
        }
        let per_class: Vec<ClassMetrics> = curves
            .classes
            .iter()
            .map(|class| ClassMetrics {
                class: class.class,
                name: names.get(class.class).map_or_else(|| class.class.to_string(), Clone::clone),
                images: images.get(&class.class).map_or(0, |(count, _)| *count),
                instances: class.labels,
                p: class.precision[curves.best],
                r: class.recall[curves.best],
                ap50: class.ap[0],
                ap: class.ap.iter().sum::<f64>() / class.ap.len() as f64,
            })
            .collect();
        let mean = |value: fn(&ClassMetrics) -> f64| {
            if per_class.is_empty() { 0.0 } else { per_class.iter().map(value).sum::<f64>() / per_class.len() as f64 }
        };
        Report {
            images: self.seen.len(),
            instances: label_classes.len(),
            precision: mean(|class| class.p),
            recall: mean(|class| class.r),
            map50: mean(|class| class.ap50),
            map50_95: mean(|class| class.ap),
            confidence: curves.best as f64 / (CURVE_POINTS - 1) as f64,
            per_class,
            curves,
            confusion: self.confusion,
        }
    }
}
