//! Training augmentation: mosaic, copy-paste, random perspective, mixup, HSV and flips, in YOLOv5's order.
//!
//! Source: the distributions of YOLOv5's loader. Units: boxes are `[x1, y1, x2, y2]` in pixels of the picture they
//! belong to until [`finish`] makes them fractions. Every draw comes from one [`Rng`] per sample.

pub mod copy_paste;
pub mod mixup;
pub mod mosaic;
pub mod perspective;

use crate::labels::Label;
use crate::rng::Rng;
use kinglet_vision::{Image, colour};

/// The augmentation part of a hyperparameter file, by its usual names. Default: all off.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AugmentParams {
    /// Hue gain, a fraction.
    pub hsv_h: f64,
    /// Saturation gain, a fraction.
    pub hsv_s: f64,
    /// Value gain, a fraction.
    pub hsv_v: f64,
    /// Rotation up to +/- degrees.
    pub degrees: f64,
    /// Translation up to +/- a fraction of the size.
    pub translate: f64,
    /// Scale factor 1 +/- this.
    pub scale: f64,
    /// Shear up to +/- degrees.
    pub shear: f64,
    /// Perspective up to +/- this, 0 to 0.001.
    pub perspective: f64,
    /// Probability of an upside-down flip.
    pub flipud: f64,
    /// Probability of a left-right flip.
    pub fliplr: f64,
    /// Probability of a mosaic of four.
    pub mosaic: f64,
    /// Probability of blending with a second mosaic.
    pub mixup: f64,
    /// Share of objects with polygons that are copied, mirrored.
    pub copy_paste: f64,
}

impl AugmentParams {
    /// YOLOv5's `hyp.scratch-low`: for the small models.
    pub fn scratch_low() -> Self {
        AugmentParams {
            hsv_h: 0.015,
            hsv_s: 0.7,
            hsv_v: 0.4,
            translate: 0.1,
            scale: 0.5,
            fliplr: 0.5,
            mosaic: 1.0,
            ..Self::default()
        }
    }

    /// No augmentation at all (letterboxed pictures, enlarged where small).
    pub fn none() -> Self {
        Self::default()
    }
}

/// A box on its way through the augmentations.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Class number.
    pub class: usize,
    /// Corners in pixels.
    pub xyxy: [f32; 4],
    /// Outline in pixels, where the label had one.
    pub polygon: Option<Vec<[f32; 2]>>,
}

impl Object {
    /// A label placed in a picture: fractions times (`width`, `height`), then moved by (`dx`, `dy`).
    pub fn place(label: &Label, width: f32, height: f32, dx: f32, dy: f32) -> Self {
        let [cx, cy, w, h] = label.cxcywh;
        let x = |v: f32| v * width + dx;
        let y = |v: f32| v * height + dy;
        Object {
            class: label.class,
            xyxy: [x(cx - w / 2.0), y(cy - h / 2.0), x(cx + w / 2.0), y(cy + h / 2.0)],
            polygon: label.polygon.as_ref().map(|p| p.iter().map(|q| [x(q[0]), y(q[1])]).collect()),
        }
    }

    /// Clips box and outline to a picture.
    pub fn clip(&mut self, width: f32, height: f32) {
        let [x1, y1, x2, y2] = self.xyxy;
        self.xyxy = [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)];
        for point in self.polygon.iter_mut().flatten() {
            *point = [point[0].clamp(0.0, width), point[1].clamp(0.0, height)];
        }
    }
}

/// A picture and its objects.
#[derive(Debug, Clone)]
pub struct Scene<I = Image> {
    /// The pixels.
    pub image: I,
    /// The objects, in pixels of `image`.
    pub objects: Vec<Object>,
}

/// Clips to the picture as YOLOv5 does: boxes end a thousandth of a pixel before the far edges.
const CLIP_EPS: f32 = 1e-3;

/// Objects as `(class, cxcywh)` in fractions of a picture of `width` x `height`, clipped; empty ones vanish.
pub fn normalise(objects: &[Object], width: usize, height: usize) -> Vec<(usize, [f32; 4])> {
    let (w, h) = (width as f32, height as f32);
    let clip = |v: f32, limit: f32| v.clamp(0.0, limit - CLIP_EPS);
    let boxes = objects.iter().map(|o| {
        let [x1, y1, x2, y2] = o.xyxy;
        let (x1, y1, x2, y2) = (clip(x1, w), clip(y1, h), clip(x2, w), clip(y2, h));
        (o.class, [(x1 + x2) / 2.0 / w, (y1 + y2) / 2.0 / h, (x2 - x1) / w, (y2 - y1) / h])
    });
    boxes.filter(|(_, b)| b[2] > 0.0 && b[3] > 0.0).collect()
}

/// The last steps of every training sample: fractions, HSV, upside-down flip, left-right flip.
pub fn finish(mut scene: Scene, params: &AugmentParams, rng: &mut Rng) -> (Image, Vec<(usize, [f32; 4])>) {
    let mut boxes = normalise(&scene.objects, scene.image.width, scene.image.height);
    let mut gain = |g: f64| 1.0 + rng.uniform(-1.0, 1.0) * g;
    let gains = [gain(params.hsv_h), gain(params.hsv_s), gain(params.hsv_v)];
    if params.hsv_h > 0.0 || params.hsv_s > 0.0 || params.hsv_v > 0.0 {
        colour::apply_hsv_gains(&mut scene.image, gains.map(|g| g as f32));
    }
    if rng.chance(params.flipud) {
        scene.image.flip_vertical();
        boxes.iter_mut().for_each(|(_, b)| b[1] = 1.0 - b[1]);
    }
    if rng.chance(params.fliplr) {
        scene.image.flip_horizontal();
        boxes.iter_mut().for_each(|(_, b)| b[0] = 1.0 - b[0]);
    }
    (scene.image, boxes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_mirror_pixels_and_boxes() {
        let mut image = Image::new(4, 2, [0; 3]);
        image.set_pixel(0, 0, [9; 3]);
        let object = Object { class: 1, xyxy: [0.0, 0.0, 1.0, 1.0], polygon: None };
        let params = AugmentParams { fliplr: 1.0, flipud: 1.0, ..AugmentParams::none() };
        let scene = Scene { image, objects: vec![object] };
        let (image, boxes) = finish(scene, &params, &mut Rng::new(0));
        assert_eq!(image.pixel(3, 1), [9; 3]);
        assert_eq!(boxes, [(1, [0.875, 0.75, 0.25, 0.5])]);
    }

    #[test]
    fn boxes_end_just_before_the_edge_and_empty_ones_vanish() {
        let object = |xyxy| Object { class: 0, xyxy, polygon: None };
        let boxes = normalise(&[object([90.0, 10.0, 120.0, 20.0]), object([100.0, 0.0, 110.0, 9.0])], 100, 50);
        assert_eq!(boxes.len(), 1);
        let expected = [0.949_995, 0.3, 0.099_99, 0.2];
        assert!(boxes[0].1.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{boxes:?}");
    }

    #[test]
    fn without_gains_colours_stay() {
        let scene = Scene { image: Image::new(2, 2, [10, 200, 77]), objects: Vec::new() };
        let (image, _) = finish(scene, &AugmentParams::none(), &mut Rng::new(0));
        assert_eq!(image, Image::new(2, 2, [10, 200, 77]));
    }
}
