//! Average precision of small, medium and large objects.
//!
//! Source: COCO's area ranges, in pixels of the image: small below 32 x 32, large from 96 x 96 on. For one size, labels of
//! other sizes count neither way, nor do detections that find them, nor detections of another size that find nothing. Differs
//! from pycocotools as the matching does, and in that the area is the box's where the label has an outline.

use kinglet_vision::boxes::area;
use kinglet_vision::nms::Detection;

use crate::ap::{Scored, evaluate};
use crate::matching::{IOU_THRESHOLDS, IgnoredBox, LabelBox, excuses, matched_labels};

/// Names of the sizes.
pub const SIZES: [&str; 3] = ["small", "medium", "large"];
/// Areas from which on an object is of the next size.
const BOUNDS: [f32; 2] = [32.0 * 32.0, 96.0 * 96.0];

fn size_of(xyxy: [f32; 4]) -> u8 {
    let area = area(xyxy);
    u8::from(area >= BOUNDS[0]) + u8::from(area >= BOUNDS[1])
}

/// Metrics of the objects of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SizeMetrics {
    /// Their number.
    pub instances: usize,
    /// Mean average precision at IoU 0.5; none where there is no such object.
    pub map50: Option<f64>,
    /// Mean average precision at IoU 0.5 to 0.95.
    pub map50_95: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    class: usize,
    score: f32,
    own: u8,
    /// The size of the label that it finds at each threshold.
    label: [Option<u8>; 10],
    excuse: f32,
}

#[derive(Debug)]
struct Seen {
    index: usize,
    found: Vec<Found>,
    /// Class and size of each label.
    labels: Vec<(usize, u8)>,
}

/// Gathers detections by size, image by image.
#[derive(Debug, Default)]
pub struct BySize {
    seen: Vec<Seen>,
}

impl BySize {
    /// Adds the image of number `index`; boxes in its pixels.
    pub fn add_image(&mut self, index: usize, detections: &[Detection], labels: &[LabelBox], ignored: &[IgnoredBox]) {
        let matched = matched_labels(detections, labels);
        let one = |((detection, levels), excuse): ((&Detection, [Option<usize>; 10]), f32)| Found {
            class: detection.class,
            score: detection.score,
            own: size_of(detection.xyxy),
            label: levels.map(|label| label.map(|at| size_of(labels[at].xyxy))),
            excuse,
        };
        let found = detections.iter().zip(matched).zip(excuses(detections, ignored)).map(one).collect();
        let labels = labels.iter().map(|label| (label.class, size_of(label.xyxy))).collect();
        self.seen.push(Seen { index, found, labels });
    }

    /// Metrics of small, medium and large objects. The order of the images does not matter.
    pub fn finish(mut self) -> [SizeMetrics; 3] {
        self.seen.sort_by_key(|seen| seen.index);
        [0, 1, 2].map(|size: u8| {
            let scored: Vec<Scored> = self.seen.iter().flat_map(|seen| &seen.found).map(|f| scored(f, size)).collect();
            let own = self.seen.iter().flat_map(|seen| &seen.labels).filter(|(_, of)| *of == size);
            let classes: Vec<usize> = own.map(|(class, _)| *class).collect();
            let curves = evaluate(&scored, &classes).classes;
            let mean = |value: &dyn Fn(&[f64; 10]) -> f64| {
                (!curves.is_empty()).then(|| curves.iter().map(|c| value(&c.ap)).sum::<f64>() / curves.len() as f64)
            };
            SizeMetrics {
                instances: classes.len(),
                map50: mean(&|ap| ap[0]),
                map50_95: mean(&|ap| ap.iter().sum::<f64>() / ap.len() as f64),
            }
        })
    }
}

/// A detection as the metrics of one size count it.
fn scored(found: &Found, size: u8) -> Scored {
    let ignored = |level: usize| match found.label[level] {
        Some(label) => label != size,
        None => found.own != size || found.excuse >= IOU_THRESHOLDS[level] as f32,
    };
    Scored {
        score: f64::from(found.score),
        class: found.class,
        correct: found.label.map(|label| label == Some(size)),
        ignored: std::array::from_fn(ignored),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, side: f32) -> [f32; 4] {
        [x, 0.0, x + side, side]
    }

    #[test]
    fn each_size_is_judged_as_if_the_others_were_not_there() {
        let found = |x, side, score| Detection { xyxy: square(x, side), score, class: 0 };
        let label = |x, side| LabelBox { xyxy: square(x, side), class: 0 };
        // Sides 31 and 32 are small and medium; 96 is large.
        let labels = [label(0.0, 31.0), label(200.0, 32.0), label(400.0, 96.0)];
        // A small false alarm ranks first, the large object is not found.
        let detections = [found(600.0, 20.0, 0.9), found(0.0, 31.0, 0.8), found(200.0, 32.0, 0.7)];
        let mut sizes = BySize::default();
        sizes.add_image(0, &detections, &labels, &[]);
        let [small, medium, large] = sizes.finish();
        // Precision 1/2 at recall 1, then a perfect class (0.995 by the 101-point rule), then nothing.
        assert!((small.map50.unwrap() - 0.4975).abs() < 1e-9, "{small:?}");
        assert!((medium.map50_95.unwrap() - 0.995).abs() < 1e-9, "{medium:?}");
        assert_eq!((large.instances, large.map50), (1, Some(0.0)));
    }

    #[test]
    fn a_detection_of_another_size_finds_its_label_and_a_size_without_labels_has_no_number() {
        // 30 x 30 in 33 x 33: IoU 900 / 1089 = 0.826, right at the first seven thresholds.
        let detection = Detection { xyxy: square(0.0, 30.0), score: 0.9, class: 0 };
        let label = LabelBox { xyxy: square(0.0, 33.0), class: 0 };
        let mut sizes = BySize::default();
        sizes.add_image(0, &[detection], &[label], &[]);
        let [small, medium, _] = sizes.finish();
        assert_eq!(small, SizeMetrics { instances: 0, map50: None, map50_95: None });
        assert!((medium.map50.unwrap() - 0.995).abs() < 1e-9);
        assert!((medium.map50_95.unwrap() - 0.7 * 0.995).abs() < 1e-9, "{medium:?}");
    }
}
