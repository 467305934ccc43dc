//! What a split holds, in numbers: classes, sizes, places, boxes an image.
//!
//! Units: fractions of the image, and pixels at a training size.

use crate::scan::Dataset;
use serde::Serialize;

/// One class of a split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassCount {
    /// Its name.
    pub name: String,
    /// Boxes of it.
    pub boxes: usize,
    /// Images that show it.
    pub images: usize,
}

/// Least, quartiles and most of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// A quarter is below.
    pub p25: f64,
    /// Half is below.
    pub median: f64,
    /// Three quarters are below.
    pub p75: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of any values; zeros where there are none. The value of rank round(share x (n - 1)).
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1);
        let at = |share: f64| values.get((share * last as f64).round_ties_even() as usize).copied().unwrap_or(0.0);
        Spread { min: at(0.0), p25: at(0.25), median: at(0.5), p75: at(0.75), max: at(1.0) }
    }
}

/// A split in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// `train`, `val` or `test`.
    pub split: String,
    /// Usable images.
    pub images: usize,
    /// Images without a box.
    pub backgrounds: usize,
    /// Boxes in use.
    pub boxes: usize,
    /// By class.
    pub classes: Vec<ClassCount>,
    /// Widths of images in pixels.
    pub image_widths: Spread,
    /// Heights of images in pixels.
    pub image_heights: Spread,
    /// Boxes an image.
    pub boxes_per_image: Spread,
    /// Side of a square of each box's area, in pixels at the training size.
    pub box_sides: Spread,
    /// The training size.
    pub img: usize,
    /// Boxes of less than 32 x 32, of less than 96 x 96, and larger ones, as COCO counts areas, in pixels of the images.
    pub small_medium_large: [usize; 3],
}

impl Stats {
    /// Counts a split; sides of boxes are those at the training size `img`.
    pub fn of(set: &Dataset, img: usize) -> Self {
        let mut classes: Vec<ClassCount> =
            set.names.iter().map(|name| ClassCount { name: name.clone(), boxes: 0, images: 0 }).collect();
        let mut areas = [0; 3];
        // The last image that showed each class, counted from 1.
        let mut last = vec![0; classes.len()];
        for (image, sample) in set.samples.iter().enumerate() {
            for label in &sample.labels {
                classes[label.class].boxes += 1;
                classes[label.class].images +=
                    usize::from(std::mem::replace(&mut last[label.class], image + 1) != image + 1);
            }
            for [_, _, w, h] in sample.labels.iter().map(|label| label.cxcywh.map(f64::from)) {
                let area = w * h * (sample.width * sample.height) as f64;
                areas[usize::from(area >= 32.0 * 32.0) + usize::from(area >= 96.0 * 96.0)] += 1;
            }
        }
        let each = |of: fn(&crate::Sample) -> usize| Spread::of(set.samples.iter().map(|s| of(s) as f64).collect());
        let sides = set.box_sizes(img, None).into_iter().map(|[w, h]| f64::from(w * h).sqrt()).collect();
        Stats {
            split: set.split.key().to_owned(),
            images: set.samples.len(),
            backgrounds: set.summary.background,
            boxes: set.summary.boxes,
            classes,
            image_widths: each(|sample| sample.width),
            image_heights: each(|sample| sample.height),
            boxes_per_image: each(|sample| sample.labels.len()),
            box_sides: Spread::of(sides),
            img,
            small_medium_large: areas,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_ranks_and_nothing_is_zeros() {
        let spread = Spread::of(vec![5.0, 1.0, 2.0, 4.0, 3.0]);
        assert_eq!((spread.min, spread.p25, spread.median, spread.p75, spread.max), (1.0, 2.0, 3.0, 4.0, 5.0));
        assert_eq!(Spread::of(vec![]).max, 0.0);
    }
}
