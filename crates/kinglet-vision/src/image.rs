//! The picture type: 8-bit RGB, three bytes a pixel, rows one after another without padding.
//!
//! Shapes: `data` is `[height, width, 3]`. Units: grey levels 0 to 255 in the sRGB-like space of the file.

use std::borrow::Cow;
use std::ops::Range;

/// A part of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Its columns.
    pub columns: Range<usize>,
    /// Its rows.
    pub rows: Range<usize>,
}

impl Region {
    /// All of a picture.
    pub fn whole(width: usize, height: usize) -> Self {
        Region { columns: 0..width, rows: 0..height }
    }

    /// The region in a picture of the size `to` that has the pixels of this one in a picture of the size `from` (both width,
    /// height), with those beside it that resizing mixes in.
    pub(crate) fn resized(&self, from: (usize, usize), to: (usize, usize)) -> Self {
        let side = |range: &Range<usize>, from: usize, to: usize| {
            let scaled = |x: usize| x as f64 * to as f64 / from.max(1) as f64;
            let start = (scaled(range.start).floor() as usize).saturating_sub(2);
            start..(scaled(range.end).ceil() as usize + 2).min(to)
        };
        Region { columns: side(&self.columns, from.0, to.0), rows: side(&self.rows, from.1, to.1) }
    }
}

/// An 8-bit RGB picture.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes, row-major, red first.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}

impl Image {
    /// Makes a picture of one colour.
    pub fn new(width: usize, height: usize, fill: [u8; 3]) -> Self {
        let mut data = vec![fill[0]; width * height * 3];
        if fill[1] != fill[0] || fill[2] != fill[0] {
            for pixel in data.chunks_exact_mut(3) {
                pixel.copy_from_slice(&fill);
            }
        }
        Self { width, height, data }
    }

    /// Wraps pixels; `None` unless `data` holds exactly `width * height * 3` bytes.
    pub fn from_raw(width: usize, height: usize, data: Vec<u8>) -> Option<Self> {
        let bytes = width.checked_mul(height)?.checked_mul(3)?;
        (data.len() == bytes).then_some(Self { width, height, data })
    }

    /// The colour at column `x` of row `y`.
    ///
    /// # Panics
    /// Outside the picture.
    #[inline]
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        assert!(x < self.width, "column {x} of a picture {} wide", self.width);
        let at = (y * self.width + x) * 3;
        [self.data[at], self.data[at + 1], self.data[at + 2]]
    }

    /// Sets one pixel; does nothing outside the picture.
    #[inline]
    pub fn set_pixel(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            let at = (y * self.width + x) * 3;
            self.data[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// The bytes of row `y`.
    #[inline]
    pub fn row(&self, y: usize) -> &[u8] {
        &self.data[y * self.width * 3..(y + 1) * self.width * 3]
    }

    /// The bytes of row `y`, to be changed.
    #[inline]
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.data[y * self.width * 3..(y + 1) * self.width * 3]
    }

    /// Swaps left and right.
    pub fn flip_horizontal(&mut self) {
        let stride = self.width * 3;
        if stride == 0 {
            return;
        }
        for row in self.data.chunks_exact_mut(stride) {
            row.as_chunks_mut::<3>().0.reverse();
        }
    }

    /// Swaps top and bottom.
    pub fn flip_vertical(&mut self) {
        let stride = self.width * 3;
        for y in 0..self.height / 2 {
            let (upper, lower) = self.data.split_at_mut((self.height - 1 - y) * stride);
            upper[y * stride..(y + 1) * stride].swap_with_slice(&mut lower[..stride]);
        }
    }

    /// Cuts out a rectangle, clipped to the picture (it may come back smaller, even empty).
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        let (x, y) = (x.min(self.width), y.min(self.height));
        let (width, height) = (width.min(self.width - x), height.min(self.height - y));
        let mut data = Vec::with_capacity(width * height * 3);
        for row in y..y + height {
            data.extend_from_slice(&self.row(row)[x * 3..(x + width) * 3]);
        }
        Self { width, height, data }
    }

    /// Copies `source` so that its upper left pixel lands on (`x`, `y`); parts outside are dropped.
    pub fn paste(&mut self, source: &Self, x: isize, y: isize) {
        let (from_x, to_x) = ((-x).max(0) as usize, x.max(0) as usize);
        let (from_y, to_y) = ((-y).max(0) as usize, y.max(0) as usize);
        if from_x >= source.width || from_y >= source.height || to_x >= self.width || to_y >= self.height {
            return;
        }
        let width = (source.width - from_x).min(self.width - to_x);
        let height = (source.height - from_y).min(self.height - to_y);
        for row in 0..height {
            let from = &source.row(from_y + row)[from_x * 3..(from_x + width) * 3];
            self.row_mut(to_y + row)[to_x * 3..(to_x + width) * 3].copy_from_slice(from);
        }
    }
}

/// Something that can be asked for pixels row by row, before all of them exist in one place.
pub trait Rows {
    /// Width and height.
    fn size(&self) -> (usize, usize);

    /// Writes the pixels of row `y` in `columns` to `out`, three bytes each.
    ///
    /// # Panics
    /// Outside the picture, or where `out` has another length.
    fn copy_row(&self, y: usize, columns: Range<usize>, out: &mut [u8]);

    /// All pixels.
    fn picture(&self) -> Cow<'_, Image>;
}

impl Rows for Image {
    fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn copy_row(&self, y: usize, columns: Range<usize>, out: &mut [u8]) {
        out.copy_from_slice(&self.row(y)[columns.start * 3..columns.end * 3]);
    }

    fn picture(&self) -> Cow<'_, Image> {
        Cow::Borrowed(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: usize, height: usize) -> Image {
        let data = (0..width * height).flat_map(|i| [i as u8, 100 + i as u8, 200]).collect();
        Image::from_raw(width, height, data).unwrap()
    }

    #[test]
    fn flipping_twice_gives_the_picture_back() {
        for (w, h) in [(1, 1), (3, 2), (4, 5), (5, 1)] {
            let original = numbered(w, h);
            let mut flipped = original.clone();
            flipped.flip_horizontal();
            assert_eq!(flipped.pixel(0, 0), original.pixel(w - 1, 0));
            flipped.flip_vertical();
            assert_eq!(flipped.pixel(0, 0), original.pixel(w - 1, h - 1));
            flipped.flip_vertical();
            flipped.flip_horizontal();
            assert_eq!(flipped, original);
        }
    }

    #[test]
    fn paste_clips_on_every_side_and_crop_undoes_it() {
        let small = numbered(3, 3);
        for (x, y) in [(-2, -2), (2, 2), (-5, 0), (9, 9), (1, -1), (0, 0)] {
            let mut canvas = Image::new(4, 4, [7; 3]);
            canvas.paste(&small, x, y);
            for py in 0..4isize {
                for px in 0..4isize {
                    let (sx, sy) = (px - x, py - y);
                    let inside = (0..3).contains(&sx) && (0..3).contains(&sy);
                    let expected = if inside { small.pixel(sx as usize, sy as usize) } else { [7; 3] };
                    assert_eq!(canvas.pixel(px as usize, py as usize), expected);
                }
            }
        }
        let mut canvas = Image::new(6, 6, [0; 3]);
        canvas.paste(&small, 2, 1);
        assert_eq!(canvas.crop(2, 1, 3, 3), small);
        assert_eq!(canvas.crop(5, 5, 10, 10).width, 1);
        assert_eq!(canvas.crop(9, 9, 1, 1).data.len(), 0);
    }

    #[test]
    fn from_raw_refuses_a_wrong_length() {
        assert!(Image::from_raw(2, 2, vec![0; 11]).is_none());
        assert!(Image::from_raw(usize::MAX, 2, vec![]).is_none());
    }
}
