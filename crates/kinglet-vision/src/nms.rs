//! Non-maximum suppression.
//!
//! Source: the usual greedy rule per class (Girshick et al. 2014, arXiv:1311.2524) with the candidate rules of
//! YOLOv5-compatible post-processing: objectness first, then score = objectness x class probability.
//! Shapes: predictions `[cells, 5 + nc]` = cx, cy, w, h in pixels, objectness, class probabilities.
//! There is no time limit: results never depend on the speed of the machine.

use crate::boxes::{cxcywh_to_xyxy, iou};

/// One found object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Left, top, right, bottom in pixels.
    pub xyxy: [f32; 4],
    /// Objectness x class probability.
    pub score: f32,
    /// Class index.
    pub class: usize,
}

/// What to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct NmsOptions {
    /// Both the objectness and the score must be above this.
    pub conf: f32,
    /// A box that overlaps a better one of its class by more than this is dropped.
    pub iou: f32,
    /// At most so many detections a picture.
    pub max_det: usize,
    /// Only these classes, if given.
    pub classes: Option<Vec<usize>>,
    /// Suppress across classes.
    pub agnostic: bool,
    /// Every class above `conf` makes a candidate, not only the best class of a cell.
    pub multi_label: bool,
    /// At most so many candidates, best first, enter the suppression.
    pub max_candidates: usize,
}

impl Default for NmsOptions {
    fn default() -> Self {
        Self {
            conf: 0.25,
            iou: 0.45,
            max_det: 300,
            classes: None,
            agnostic: false,
            multi_label: false,
            max_candidates: 30_000,
        }
    }
}

/// Turns the decoded predictions of one picture into detections, best first.
///
/// # Panics
/// Where `predictions` is not a whole number of rows of `5 + nc` values.
pub fn nms(predictions: &[f32], nc: usize, options: &NmsOptions) -> Vec<Detection> {
    let width = 5 + nc;
    assert!(predictions.len().is_multiple_of(width), "rows of {width} values, got {} in all", predictions.len());
    let wanted = |class: usize| options.classes.as_ref().is_none_or(|classes| classes.contains(&class));
    let mut candidates = Vec::new();
    for row in predictions.chunks_exact(width) {
        let objectness = row[4];
        if objectness.is_nan() || objectness <= options.conf {
            continue;
        }
        let xyxy = cxcywh_to_xyxy([row[0], row[1], row[2], row[3]]);
        let mut push = |class: usize, score: f32| {
            if score > options.conf && wanted(class) && xyxy.iter().all(|v| v.is_finite()) {
                candidates.push(Detection { xyxy, score, class });
            }
        };
        if nc == 0 {
            push(0, objectness);
        } else if options.multi_label && nc > 1 {
            for (class, &probability) in row[5..].iter().enumerate() {
                push(class, probability * objectness);
            }
        } else {
            let mut best = 0;
            for class in 1..nc {
                if row[5 + class] > row[5 + best] {
                    best = class;
                }
            }
            push(best, row[5 + best] * objectness);
        }
    }
    suppress(candidates, options)
}

/// Sorts candidates by score (ties keep their order) and drops those that overlap a better one.
pub fn suppress(mut candidates: Vec<Detection>, options: &NmsOptions) -> Vec<Detection> {
    // The sort is stable, so equal scores stay in the order of their cells.
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(options.max_candidates);
    let mut kept: Vec<Detection> = Vec::new();
    let mut by_class: Vec<Vec<[f32; 4]>> = Vec::new();
    for candidate in candidates {
        if kept.len() >= options.max_det {
            break;
        }
        let group = if options.agnostic { 0 } else { candidate.class };
        if group >= by_class.len() {
            by_class.resize_with(group + 1, Vec::new);
        }
        // No overlap is above 1: comparing every pair would be work for nothing.
        if options.iou >= 1.0 || by_class[group].iter().all(|&better| iou(better, candidate.xyxy) <= options.iou) {
            by_class[group].push(candidate.xyxy);
            kept.push(candidate);
        }
    }
    kept
}
