//! Mosaic of four: the pictures meet at a random point of a grey canvas twice the wanted size.
//!
//! Source: YOLOv5 (behaviour: centre U(s/2, 3s/2) on both axes, canvas 2s x 2s, grey 114, labels clipped to it).

use super::{Object, Scene};
use crate::labels::Label;
use crate::rng::Rng;
use kinglet_vision::{Image, LETTERBOX_GREY};

/// One of the four pictures, already resized to its long side.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// The resized picture.
    pub image: &'a Image,
    /// Its labels.
    pub labels: &'a [Label],
}

/// Draws the point where the four pictures meet, for a final size of `size`.
pub fn draw_centre(size: usize, rng: &mut Rng) -> (usize, usize) {
    let s = size as f64;
    let mut draw = || rng.uniform(s / 2.0, 1.5 * s) as usize;
    (draw(), draw())
}

/// Lays four pictures around `centre`: upper left, upper right, lower left, lower right.
pub fn compose(tiles: [Tile<'_>; 4], size: usize, centre: (usize, usize)) -> Scene {
    let side = 2 * size;
    let mut image = Image::new(side, side, LETTERBOX_GREY);
    let mut objects = Vec::new();
    for (position, tile) in tiles.iter().enumerate() {
        let (w, h) = (tile.image.width as isize, tile.image.height as isize);
        let x = centre.0 as isize - if position.is_multiple_of(2) { w } else { 0 };
        let y = centre.1 as isize - if position < 2 { h } else { 0 };
        image.paste(tile.image, x, y);
        for label in tile.labels {
            let mut object = Object::place(label, w as f32, h as f32, x as f32, y as f32);
            object.clip(side as f32, side as f32);
            objects.push(object);
        }
    }
    Scene { image, objects }
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
        assert_eq!((scene.image.width, scene.image.height), (40, 40));
        for (x, y, expected) in
            [(14, 21, 1), (15, 21, 2), (14, 22, 3), (15, 22, 4), (0, 12, 1), (0, 11, 114), (35, 22, 114)]
        {
            assert_eq!(scene.image.pixel(x, y), [expected; 3], "at {x}, {y}");
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
