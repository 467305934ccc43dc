//! An image at the network's size, with the way back to its own pixels.
//!
//! Oracle: `Letterbox::apply`, pixel by pixel, in the tests below.

use crate::Fit;
use kinglet_vision::letterbox::LETTERBOX_GREY;
use kinglet_vision::{Image, Letterbox, resize};
use std::borrow::Cow;

/// An image resized for the network. The original's pixels are not kept, so that waiting images need little memory.
#[derive(Debug, Clone)]
pub struct Fitted<'a> {
    letterbox: Letterbox,
    resized: Cow<'a, Image>,
}

impl<'a> Fitted<'a> {
    /// Resizes an image to `[height, width]`, for a model of this stride.
    pub fn new(image: Cow<'a, Image>, size: [usize; 2], fit: Fit, stride: usize) -> Self {
        let letterbox = Letterbox::plan(image.height, image.width, size, fit == Fit::Stride, true, stride);
        let (width, height) = letterbox.new_size;
        let resized = if (image.width, image.height) == (width, height) {
            image
        } else {
            Cow::Owned(resize::resize_bilinear(&image, width, height))
        };
        Fitted { letterbox, resized }
    }

    /// Height and width of what the network sees, padding included.
    pub fn shape(&self) -> [usize; 2] {
        [self.letterbox.out.1, self.letterbox.out.0]
    }

    /// Width and height of the original.
    pub fn original(&self) -> (usize, usize) {
        self.letterbox.original
    }

    /// A box of the network's input in pixels of the original, clipped to it.
    pub fn to_original(&self, xyxy: [f32; 4]) -> [f32; 4] {
        self.letterbox.unmap_box(xyxy)
    }

    /// The same, not clipped.
    pub fn to_beyond_original(&self, xyxy: [f32; 4]) -> [f32; 4] {
        self.letterbox.unmap_beyond(xyxy)
    }

    /// Writes `[height, width, 3]` values in 0..=1, padding included.
    pub(crate) fn write(&self, values: &mut [f32]) {
        // 255 divisions instead of one a value; the result is the same.
        let scaled: [f32; 256] = std::array::from_fn(|b| b as f32 / 255.0);
        let (width, height) = self.letterbox.new_size;
        let grey = scaled[usize::from(LETTERBOX_GREY[0])];
        let [left, top] = self.letterbox.pad;
        for (y, row) in values.chunks_exact_mut(self.letterbox.out.0.max(1) * 3).enumerate() {
            if !(top..top + height).contains(&y) {
                row.fill(grey);
                continue;
            }
            row[..left * 3].fill(grey);
            row[(left + width) * 3..].fill(grey);
            let pixels = self.resized.row(y - top);
            row[left * 3..(left + width) * 3].iter_mut().zip(pixels).for_each(|(v, &b)| *v = scaled[usize::from(b)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_filled_in_as_the_letterbox_draws_it() {
        for (width, height, target) in [(64, 48, [64, 64]), (31, 77, [64, 96]), (40, 20, [32, 64])] {
            let mut image = Image::new(width, height, [0; 3]);
            image.data.iter_mut().enumerate().for_each(|(i, b)| *b = (i * 37 % 251) as u8);
            for fit in [Fit::Full, Fit::Stride] {
                let letterbox = Letterbox::plan(height, width, target, fit == Fit::Stride, true, 32);
                let want: Vec<f32> = letterbox.apply(&image).data.iter().map(|&b| f32::from(b) / 255.0).collect();
                let fitted = Fitted::new(Cow::Borrowed(&image), target, fit, 32);
                assert_eq!(fitted.shape(), [letterbox.out.1, letterbox.out.0]);
                let mut got = vec![f32::NAN; want.len()];
                fitted.write(&mut got);
                assert_eq!(got, want, "{width} x {height} into {target:?}, {fit:?}");
            }
        }
    }
}
