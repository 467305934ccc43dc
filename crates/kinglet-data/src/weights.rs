//! Class weights and the weighted order of samples that `--image-weights` asks for.
//!
//! Source: YOLOv5 (behaviour): a class weighs 1 / its number of boxes; with the map of each class, an epoch's weights
//! are `weight * (1 - map)^2 / nc`; an image weighs the sum over its boxes; samples are drawn with replacement.

use crate::rng::Rng;
use crate::scan::Sample;

/// Inverse frequency of each class, normalised to a sum of 1. A class without boxes counts as having one.
pub fn class_weights(samples: &[Sample], nc: usize) -> Vec<f64> {
    let mut counts = vec![0usize; nc];
    for label in samples.iter().flat_map(|s| &s.labels) {
        if let Some(count) = counts.get_mut(label.class) {
            *count += 1;
        }
    }
    let inverse: Vec<f64> = counts.iter().map(|&c| 1.0 / c.max(1) as f64).collect();
    let sum: f64 = inverse.iter().sum();
    inverse.iter().map(|w| w / sum).collect()
}

/// Class weights of an epoch: more for classes that the last validation (`maps`, mAP by class) found hard.
pub fn epoch_class_weights(class_weights: &[f64], maps: &[f64]) -> Vec<f64> {
    let nc = class_weights.len().max(1) as f64;
    let map = |i: usize| maps.get(i).copied().unwrap_or(0.0);
    class_weights.iter().enumerate().map(|(i, w)| w * (1.0 - map(i)).powi(2) / nc).collect()
}

/// Weight of each image: the sum of its boxes' class weights.
pub fn image_weights(samples: &[Sample], class_weights: &[f64]) -> Vec<f64> {
    let weight = |class: usize| class_weights.get(class).copied().unwrap_or(0.0);
    samples.iter().map(|s| s.labels.iter().map(|l| weight(l.class)).sum()).collect()
}

/// Draws `n` sample numbers with replacement, each with probability proportional to its weight.
pub fn weighted_order(weights: &[f64], n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut sum = 0.0;
    let cumulative: Vec<f64> = weights
        .iter()
        .map(|w| {
            sum += w.max(0.0);
            sum
        })
        .collect();
    if weights.is_empty() {
        return Vec::new();
    }
    if sum <= 0.0 {
        return (0..n).map(|_| rng.below(weights.len())).collect();
    }
    (0..n)
        .map(|_| {
            let at = rng.unit() * sum;
            cumulative.partition_point(|&c| c <= at).min(weights.len() - 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Label;

    fn sample(classes: &[usize]) -> Sample {
        let labels = classes.iter().map(|&class| Label { class, cxcywh: [0.5; 4], polygon: None }).collect();
        Sample { path: "x".into(), width: 9, height: 9, labels, ignored: Vec::new(), label_file: None, id: None }
    }

    #[test]
    fn rare_and_hard_classes_weigh_more() {
        let samples = [sample(&[0, 0, 0]), sample(&[1]), sample(&[])];
        let w = class_weights(&samples, 2);
        assert_eq!(w, [0.25, 0.75]);
        let e = epoch_class_weights(&w, &[0.0, 0.5]);
        assert_eq!(e, [0.125, 0.09375]);
        assert_eq!(image_weights(&samples, &e), [0.375, 0.09375, 0.0]);
    }

    #[test]
    fn draws_follow_the_weights() {
        let order = weighted_order(&[1.0, 0.0, 3.0], 8000, &mut Rng::new(0));
        let share = |i| order.iter().filter(|&&x| x == i).count() as f64 / 8000.0;
        assert!((share(0) - 0.25).abs() < 0.02 && share(1) == 0.0);
        assert_eq!(weighted_order(&[0.0, 0.0], 5, &mut Rng::new(0)).len(), 5);
        assert!(weighted_order(&[], 5, &mut Rng::new(0)).is_empty());
    }
}
