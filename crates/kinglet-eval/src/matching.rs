//! Which detection counts as finding which label.
//!
//! Source: the matching of YOLOv5-compatible validation: per image and IoU threshold, pairs of the same class with
//! IoU >= threshold; each detection takes its best label, then each label keeps one detection, the best-scored of
//! those that chose it. Differs from pycocotools: no crowd boxes, and a detection never falls back to a second label.

use kinglet_vision::boxes::iou;
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

/// For each detection, whether it is a true positive at each of [`IOU_THRESHOLDS`].
pub fn match_detections(detections: &[Detection], labels: &[LabelBox]) -> Vec<[bool; 10]> {
    let mut correct = vec![[false; 10]; detections.len()];
    let mut by_score: Vec<usize> = (0..detections.len()).collect();
    by_score.sort_by(|&a, &b| detections[b].score.total_cmp(&detections[a].score));
    let best: Vec<Option<(usize, f32)>> = detections
        .iter()
        .map(|detection| {
            let mut best: Option<(usize, f32)> = None;
            for (index, label) in labels.iter().enumerate() {
                let overlap = if label.class == detection.class { iou(label.xyxy, detection.xyxy) } else { 0.0 };
                if overlap > best.map_or(0.0, |(_, most)| most) {
                    best = Some((index, overlap));
                }
            }
            best
        })
        .collect();
    // A detection's best label is the same at every threshold, so its pairs are found once.
    for (level, &threshold) in IOU_THRESHOLDS.iter().enumerate() {
        let mut taken = vec![false; labels.len()];
        for &index in &by_score {
            if let Some((label, overlap)) = best[index]
                && overlap >= threshold as f32
                && !taken[label]
            {
                taken[label] = true;
                correct[index][level] = true;
            }
        }
    }
    correct
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
    fn another_class_never_matches() {
        let labels = [LabelBox { class: 1, xyxy: SQUARE }];
        assert_eq!(match_detections(&[found(SQUARE, 0.9, 0)], &labels), vec![[false; 10]]);
        assert!(match_detections(&[], &labels).is_empty());
        assert_eq!(match_detections(&[found(SQUARE, 0.9, 0)], &[]), vec![[false; 10]]);
    }
}
