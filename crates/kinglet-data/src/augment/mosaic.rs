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
