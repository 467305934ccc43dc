//! Which detection counts as finding which label.
//!
//! Source: the matching of YOLOv5-compatible validation: per image and IoU threshold, pairs of the same class with
//! IoU >= threshold; each detection takes its best label, then each label keeps one detection, the best-scored of
//! those that chose it. A detection that finds no label counts neither way where it overlaps an ignored region of its class by
//! the threshold: a crowd by the share of the detection that lies in it, as pycocotools has it, a difficult object by IoU, as
//! the VOC devkit has it. Differs from pycocotools: a detection never falls back to a second label.

use kinglet_vision::boxes::{area, intersection, iou};
use kinglet_vision::nms::Detection;

/// The ten thresholds of mAP50-95.
pub const IOU_THRESHOLDS: [f64; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

/// A ground-truth box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelBox {
    /// Class index.
    pub class: usize,
    /// Left, top, right, bottom in the pixels of the detections.
    pub xyxy: [f32; 4],
}

/// A place where detections are neither right nor wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IgnoredBox {
    /// Class index.
    pub class: usize,
    /// Left, top, right, bottom in the pixels of the detections.
    pub xyxy: [f32; 4],
    /// Whether it holds many objects: any part of it may be found.
    pub crowd: bool,
}

impl IgnoredBox {
    /// How much of a detection it excuses, from 0 to 1.
    pub(crate) fn overlap(&self, detection: &Detection) -> f32 {
        if !self.crowd {
            return iou(self.xyxy, detection.xyxy);
        }
        let own = area(detection.xyxy);
        if own > 0.0 { intersection(detection.xyxy, self.xyxy) / own } else { 0.0 }
    }
}

/// For each detection, the most that an ignored region of its class excuses of it.
pub fn excuses(detections: &[Detection], ignored: &[IgnoredBox]) -> Vec<f32> {
    let most = |detection: &Detection| {
        let own = ignored.iter().filter(|region| region.class == detection.class);
        own.map(|region| region.overlap(detection)).fold(0.0, f32::max)
    };
    detections.iter().map(most).collect()
}

/// For each detection, whether it is a true positive at each of [`IOU_THRESHOLDS`].
pub fn match_detections(detections: &[Detection], labels: &[LabelBox]) -> Vec<[bool; 10]> {
    matched_labels(detections, labels).into_iter().map(|found| found.map(|label| label.is_some())).collect()
}

/// For each detection, which label it finds at each of [`IOU_THRESHOLDS`].
pub fn matched_labels(detections: &[Detection], labels: &[LabelBox]) -> Vec<[Option<usize>; 10]> {
    let mut found = vec![[None; 10]; detections.len()];
    let mut by_score: Vec<usize> = (0..detections.len()).collect();
    by_score.sort_by(|&a, &b| detections[b].score.total_cmp(&detections[a].score));
    let best: Vec<Option<(usize, f32)>> =
        detections.iter().map(|detection| best_label(detection, labels, |class| class == detection.class)).collect();
    // A detection's best label is the same at every threshold, so its pairs are found once.
    for (level, &threshold) in IOU_THRESHOLDS.iter().enumerate() {
        let mut taken = vec![false; labels.len()];
        for &index in &by_score {
            if let Some((label, overlap)) = best[index]
                && overlap >= threshold as f32
                && !taken[label]
            {
                taken[label] = true;
                found[index][level] = Some(label);
            }
        }
    }
    found
}

/// The label of some classes that a detection overlaps most, and the IoU; the first of equal ones.
pub(crate) fn best_label(
    detection: &Detection,
    labels: &[LabelBox],
    is_wanted: impl Fn(usize) -> bool,
) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (index, label) in labels.iter().enumerate().filter(|(_, label)| is_wanted(label.class)) {
        let overlap = iou(label.xyxy, detection.xyxy);
        if overlap > best.map_or(0.0, |(_, most)| most) {
            best = Some((index, overlap));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(xyxy: [f32; 4], score: f32, class: usize) -> Detection {
        Detection { xyxy, score, class }
    }

    const SQUARE: [f32; 4] = [0.0, 0.0, 10.0, 10.0];

    #[test]
    fn the_overlap_decides_how_many_thresholds_are_met() {
        // 10x10 against 10x8 inside: IoU 0.8, so thresholds 0.5 to 0.75; 0.8 may round either way in f32.
        let labels = [LabelBox { class: 3, xyxy: SQUARE }];
        let correct = match_detections(&[found([0.0, 0.0, 10.0, 8.1], 0.9, 3)], &labels);
        assert_eq!(correct[0].iter().filter(|&&c| c).count(), 7);
    }

    #[test]
    fn a_label_is_found_once_and_by_the_better_score() {
        let labels = [LabelBox { class: 0, xyxy: SQUARE }];
        // The first fits perfectly, the second scores higher.
        let pair = [found(SQUARE, 0.5, 0), found([0.0, 0.0, 10.0, 9.0], 0.8, 0)];
        let correct = match_detections(&pair, &labels);
        assert!(!correct[0][0] && correct[1][0]);
        // At 0.95 only the perfect one is left.
        assert!(correct[0][9] && !correct[1][9]);
    }

    #[test]
    fn a_crowd_excuses_what_lies_in_it_and_a_difficult_object_what_fits_it() {
        let inside = found([2.0, 2.0, 6.0, 7.0], 0.9, 0);
        let half_out = found([5.0, 0.0, 15.0, 10.0], 0.9, 0);
        let region = |crowd| [IgnoredBox { class: 0, xyxy: SQUARE, crowd }];
        // Of 100 pixels, 50 lie in the crowd; the IoU of the first with the square is 20 / 100.
        assert_eq!(excuses(&[inside, half_out], &region(true)), [1.0, 0.5]);
        assert_eq!(excuses(&[inside, half_out], &region(false)), [0.2, 50.0 / 150.0]);
        assert_eq!(excuses(&[found(SQUARE, 0.9, 1)], &region(true)), [0.0], "of another class");
    }

    #[test]
    fn another_class_never_matches() {
        let labels = [LabelBox { class: 1, xyxy: SQUARE }];
        assert_eq!(match_detections(&[found(SQUARE, 0.9, 0)], &labels), vec![[false; 10]]);
        assert!(match_detections(&[], &labels).is_empty());
        assert_eq!(match_detections(&[found(SQUARE, 0.9, 0)], &[]), vec![[false; 10]]);
    }
}
