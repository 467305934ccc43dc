//! Letterbox: resize keeping the ratio, pad to a wanted shape, and the way back for boxes.
//!
//! Source: the geometry facts of YOLOv5-compatible loaders: `r = min(H/h, W/w)`, padding split with
//! `round(d - 0.1)` left and top, `round(d + 0.1)` right and bottom, grey 114. Golden: `numbers.json`, "letterbox".
//! Units: pixels. Boxes map with the *whole-pixel* offset at which the picture really lies, so that there and back is
//! exact; the common recipe uses the unrounded half padding, which is half a pixel off when the padding is odd.

use crate::boxes;
use crate::image::Image;
use crate::resize;

/// The grey around a letterboxed picture.
pub const LETTERBOX_GREY: [u8; 3] = [114; 3];

/// Where a picture lies within its letterboxed version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// Output pixels for an input pixel.
    pub ratio: f32,
    /// Pixels added at the left and at the top: where the picture begins.
    pub pad: [usize; 2],
    /// Width and height of the resized picture, without padding.
    pub new_size: (usize, usize),
    /// Width and height of the result.
    pub out: (usize, usize),
    /// Width and height of the original.
    pub original: (usize, usize),
}

impl Letterbox {
    /// Plans for a picture of `h` rows and `w` columns into `target` = `[rows, columns]`.
    ///
    /// `auto` pads only up to the next multiple of `stride`; without `scaleup` small pictures are not enlarged.
    pub fn plan(h: usize, w: usize, target: [usize; 2], auto: bool, scaleup: bool, stride: usize) -> Self {
        let (height, width) = (h.max(1) as f64, w.max(1) as f64);
        let mut ratio = (target[0] as f64 / height).min(target[1] as f64 / width);
        if !scaleup {
            ratio = ratio.min(1.0);
        }
        let new_w = ((width * ratio).round_ties_even() as usize).clamp(1, target[1].max(1));
        let new_h = ((height * ratio).round_ties_even() as usize).clamp(1, target[0].max(1));
        let (mut pad_w, mut pad_h) = (target[1].max(1) - new_w, target[0].max(1) - new_h);
        if auto {
            (pad_w, pad_h) = (pad_w % stride.max(1), pad_h % stride.max(1));
        }
        // round(d - 0.1) of a half padding is the smaller half: the odd pixel goes to the right and the bottom.
        Self {
            ratio: ratio as f32,
            pad: [pad_w / 2, pad_h / 2],
            new_size: (new_w, new_h),
            out: (new_w + pad_w, new_h + pad_h),
            original: (w, h),
        }
    }

    /// Resizes (bilinear) and pads `image` with grey 114.
    pub fn apply(&self, image: &Image) -> Image {
        let mut out = Image::new(self.out.0, self.out.1, LETTERBOX_GREY);
        let (w, h) = self.new_size;
        if (image.width, image.height) == (w, h) {
            out.paste(image, self.pad[0] as isize, self.pad[1] as isize);
        } else {
            let resized = resize::resize_bilinear(image, w, h);
            out.paste(&resized, self.pad[0] as isize, self.pad[1] as isize);
        }
        out
    }

    /// Maps a corner-form box from the original picture into the letterboxed one.
    pub fn map_box(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let [left, top] = self.pad.map(|pad| pad as f32);
        [x1 * self.ratio + left, y1 * self.ratio + top, x2 * self.ratio + left, y2 * self.ratio + top]
    }

    /// Maps a corner-form box back into the original picture and clips it there.
    pub fn unmap_box(&self, xyxy: [f32; 4]) -> [f32; 4] {
        boxes::clip(self.unmap_beyond(xyxy), self.original.0 as f32, self.original.1 as f32)
    }

    /// Maps a corner-form box back; it may reach beyond the original picture.
    pub fn unmap_beyond(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let [left, top] = self.pad.map(|pad| pad as f32);
        [(x1 - left) / self.ratio, (y1 - top) / self.ratio, (x2 - left) / self.ratio, (y2 - top) / self.ratio]
    }
}
