//! Mosaic of four: the pictures meet at a random point of a grey canvas twice the wanted size.
//!
//! Source: YOLOv5 (behaviour: centre U(s/2, 3s/2) on both axes, canvas 2s x 2s, grey 114, labels clipped to it).

use super::{Object, Scene};
use crate::labels::Label;
use crate::rng::Rng;
use kinglet_vision::{Image, LETTERBOX_GREY, image::Rows};
use std::borrow::Cow;
use std::ops::Range;

/// One of the four pictures, already resized to its long side.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// The resized picture.
    pub image: &'a Image,
    /// Its labels.
    pub labels: &'a [Label],
}

/// Four pictures laid around a point of a grey canvas. The canvas itself is made only for those who ask for all of it.
#[derive(Debug, Clone)]
pub struct Canvas<'a> {
    side: usize,
    /// The pictures and where their upper left pixels lie.
    placed: [(&'a Image, isize, isize); 4],
}

impl Rows for Canvas<'_> {
    fn size(&self) -> (usize, usize) {
        (self.side, self.side)
    }

    fn copy_row(&self, y: usize, columns: Range<usize>, out: &mut [u8]) {
        assert_eq!(out.len(), columns.len() * 3, "three bytes for each column");
        out.fill(LETTERBOX_GREY[0]);
        for &(image, left, top) in &self.placed {
            let row = y as isize - top;
            if !(0..image.height as isize).contains(&row) {
                continue;
            }
            // The part of the picture's row that lies in `columns`.
            let start = (columns.start as isize - left).clamp(0, image.width as isize);
            let end = (columns.end as isize - left).clamp(start, image.width as isize);
            if start < end {
                let to = (start + left) as usize - columns.start;
                let pixels = &image.row(row as usize)[start as usize * 3..end as usize * 3];
                out[to * 3..to * 3 + pixels.len()].copy_from_slice(pixels);
            }
        }
    }

    fn picture(&self) -> Cow<'_, Image> {
        let mut canvas = Image::new(self.side, self.side, LETTERBOX_GREY);
        for (image, left, top) in self.placed {
            canvas.paste(image, left, top);
        }
        Cow::Owned(canvas)
    }
}

/// Draws the point where the four pictures meet, for a final size of `size`.
pub fn draw_centre(size: usize, rng: &mut Rng) -> (usize, usize) {
    let s = size as f64;
    let mut draw = || rng.uniform(s / 2.0, 1.5 * s) as usize;
    (draw(), draw())
}

/// Where the upper left pixel of a picture of `size` lies: upper left of `centre`, upper right, lower left, lower right.
pub fn corner(position: usize, (width, height): (usize, usize), centre: (usize, usize)) -> (isize, isize) {
    let left = centre.0 as isize - if position.is_multiple_of(2) { width as isize } else { 0 };
    let top = centre.1 as isize - if position < 2 { height as isize } else { 0 };
    (left, top)
}

/// Lays four pictures around `centre`, each at its [`corner`].
pub fn compose(tiles: [Tile<'_>; 4], size: usize, centre: (usize, usize)) -> Scene<Canvas<'_>> {
    let side = 2 * size;
    let placed = std::array::from_fn(|position| {
        let image = tiles[position].image;
        let (left, top) = corner(position, image.size(), centre);
        (image, left, top)
    });
    let mut objects = Vec::new();
    for ((image, left, top), tile) in placed.iter().zip(tiles) {
        for label in tile.labels {
            let (w, h) = (image.width as f32, image.height as f32);
            let mut object = Object::place(label, w, h, *left as f32, *top as f32);
            object.clip(side as f32, side as f32);
            objects.push(object);
        }
    }
    Scene { image: Canvas { side, placed }, objects }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_meet_at_the_centre_and_labels_move_along() {
        let images: [Image; 4] = std::array::from_fn(|i| Image::new(20, 10 + i, [i as u8 + 1; 3]));
        let label = [Label { class: 7, cxcywh: [0.5, 0.5, 0.5, 1.0], polygon: Some(vec![[0.0, 0.0], [1.0, 1.0]]) }];
        let tiles = std::array::from_fn(|i| Tile { image: &images[i], labels: &label });
        let scene = compose(tiles, 20, (15, 22));
        let canvas = scene.image.picture();
        assert_eq!((canvas.width, canvas.height), (40, 40));
        for (x, y, expected) in
            [(14, 21, 1), (15, 21, 2), (14, 22, 3), (15, 22, 4), (0, 12, 1), (0, 11, 114), (35, 22, 114)]
        {
            assert_eq!(canvas.pixel(x, y), [expected; 3], "at {x}, {y}");
        }
        for columns in [0..40, 3..17, 15..16, 36..40, 9..9] {
            for y in 0..40 {
                let mut row = vec![0; columns.len() * 3];
                scene.image.copy_row(y, columns.clone(), &mut row);
                assert_eq!(row, canvas.row(y)[columns.start * 3..columns.end * 3], "row {y}, {columns:?}");
            }
        }
        let boxes: Vec<_> = scene.objects.iter().map(|o| o.xyxy).collect();
        // The first picture begins at x = -5, y = 12: its box from 5 to 15 lies at 0 to 10.
        let expected =
            [[0.0, 12.0, 10.0, 22.0], [20.0, 11.0, 30.0, 22.0], [0.0, 22.0, 10.0, 34.0], [20.0, 22.0, 30.0, 35.0]];
        assert_eq!(boxes, expected);
        assert_eq!(scene.objects[0].polygon.as_deref(), Some(&[[0.0, 12.0], [15.0, 22.0]][..]));
    }

    #[test]
    fn centres_cover_the_middle_half_of_the_canvas() {
        let mut rng = Rng::new(0);
        let xs: Vec<usize> = (0..2000).map(|_| draw_centre(100, &mut rng).0).collect();
        assert_eq!((xs.iter().min(), xs.iter().max()), (Some(&50), Some(&149)));
    }
}
