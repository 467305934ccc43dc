//! Confusion matrix: what was taken for what.
//!
//! Source: the convention of YOLOv5-compatible reports: detections above 0.25, pairs with IoU above 0.45 whatever
//! their classes, best overlap first, each detection and each label once; rows are predicted, columns true classes,
//! the last of either is background. Unlike the common code, false positives of images without any pair count too.

use kinglet_vision::boxes::iou;
use kinglet_vision::nms::Detection;

use crate::matching::{IgnoredBox, LabelBox, excuses};

/// Detections must score above this to count.
pub const CONFUSION_CONF: f32 = 0.25;
/// Pairs must overlap by more than this.
pub const CONFUSION_IOU: f32 = 0.45;

/// Counts of predicted against true classes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfusionMatrix {
    nc: usize,
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// An empty matrix for `nc` classes and background.
    pub fn new(nc: usize) -> Self {
        Self { nc, counts: vec![0; (nc + 1) * (nc + 1)] }
    }

    /// Number of classes, background not counted.
    pub fn classes(&self) -> usize {
        self.nc
    }

    /// How often `truth` was predicted as `predicted`; index `nc` is background.
    pub fn count(&self, predicted: usize, truth: usize) -> u64 {
        self.counts[predicted * (self.nc + 1) + truth]
    }

    /// How often each true class was seen, whatever it was predicted as; the last is background.
    pub fn truths(&self) -> Vec<u64> {
        let mut sums = vec![0; self.nc + 1];
        for row in self.counts.chunks_exact(self.nc + 1) {
            sums.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        }
        sums
    }

    /// Adds one image; classes of `nc` or more are left out. Detections of an ignored region are no false alarms.
    pub fn add(&mut self, detections: &[Detection], labels: &[LabelBox], ignored: &[IgnoredBox]) {
        let found: Vec<Detection> =
            detections.iter().copied().filter(|d| d.score > CONFUSION_CONF && d.class < self.nc).collect();
        let excuses = excuses(&found, ignored);
        let labels: Vec<&LabelBox> = labels.iter().filter(|label| label.class < self.nc).collect();
        let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
        for (l, label) in labels.iter().enumerate() {
            for (d, detection) in found.iter().enumerate() {
                let overlap = iou(label.xyxy, detection.xyxy);
                if overlap > CONFUSION_IOU {
                    pairs.push((overlap, l, d));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        // As in the convention: first every detection takes its best label, then every label its best detection.
        let mut best_label = vec![None; found.len()];
        for &(overlap, l, d) in &pairs {
            best_label[d].get_or_insert((overlap, l));
        }
        let mut partner = vec![None; labels.len()];
        let mut used = vec![false; found.len()];
        for &(_, l, d) in &pairs {
            if partner[l].is_none() && best_label[d].is_some_and(|(_, best)| best == l) {
                partner[l] = Some(d);
                used[d] = true;
            }
        }
        for (label, partner) in labels.iter().zip(partner) {
            let row = partner.map_or(self.nc, |d| found[d].class);
            self.counts[row * (self.nc + 1) + label.class] += 1;
        }
        for ((detection, used), excuse) in found.iter().zip(used).zip(excuses) {
            if !used && excuse <= CONFUSION_IOU {
                self.counts[detection.class * (self.nc + 1) + self.nc] += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_mix_ups_misses_and_false_alarms_land_in_their_cells() {
        let square = |x: f32| [x, 0.0, x + 10.0, 10.0];
        let labels = [(0, 0.0), (1, 20.0), (1, 40.0)].map(|(class, x)| LabelBox { class, xyxy: square(x) });
        let detections = [(0, 0.0, 0.9), (0, 20.0, 0.8), (1, 60.0, 0.7), (1, 40.0, 0.2)]
            .map(|(class, x, score)| Detection { xyxy: square(x), score, class });
        let mut matrix = ConfusionMatrix::new(2);
        matrix.add(&detections, &labels, &[]);
        assert_eq!(matrix.count(0, 0), 1); // hit
        assert_eq!(matrix.count(0, 1), 1); // class 1 taken for class 0
        assert_eq!(matrix.count(2, 1), 1); // the third label: its detection scores too little
        assert_eq!(matrix.count(1, 2), 1); // nothing at x = 60
        assert_eq!(matrix.truths(), [1, 2, 1]);
        // An image without labels still counts its false alarm.
        matrix.add(&detections[2..3], &[], &[]);
        // In an ignored region it is none.
        let region = IgnoredBox { class: 1, xyxy: square(60.0), crowd: true };
        matrix.add(&detections[2..3], &[], &[region]);
        assert_eq!(matrix.count(1, 2), 2);
        let sum: u64 = (0..3).flat_map(|r| (0..3).map(move |c| (r, c))).map(|(r, c)| matrix.count(r, c)).sum();
        assert_eq!(sum, 5);
    }
}
