//! Pictures side by side on one sheet, each with its boxes and its name below.
//!
//! Source: the sizes of YOLOv5's batch pictures: at most 16 tiles and 1920 pixels a side.   Units: pixels.

use crate::draw::{DrawOptions, draw_detections};
use crate::image::Image;
use crate::nms::Detection;
use crate::resize::{resize_area, resize_bilinear};
use crate::text::{draw_text, text_width};

/// More pictures than this are left out.
pub const TILES: usize = 16;
/// A sheet is about as wide at most.
const SIDE: usize = 1920;
/// Between pictures.
const GAP: usize = 6;
/// Of a name, and of the strip that it stands in.
const NAME: f32 = 15.0;
const STRIP: usize = 20;
/// Small pictures grow up to this, so that the names of their classes do not cover them.
const LARGEST_SCALE: f32 = 2.0;

/// One picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    /// The pixels.
    pub image: Image,
    /// What stands below.
    pub caption: String,
}

/// The picture at `side` pixels for its longer side, at most twice as large as it was, and the factor.
pub fn scaled(image: &Image, side: usize) -> (Image, f32) {
    let longest = image.width.max(image.height).max(1) as f32;
    let scale = (side as f32 / longest).min(LARGEST_SCALE);
    let size = |v: usize| ((v as f32 * scale).round_ties_even() as usize).max(1);
    let (width, height) = (size(image.width), size(image.height));
    let resize = if scale < 1.0 { resize_area } else { resize_bilinear };
    (resize(image, width, height), scale)
}

/// Side of each picture on a sheet of so many.
pub fn tile_side(count: usize) -> usize {
    SIDE / columns(count) - GAP
}

impl Tile {
    /// A picture at `side` pixels, with boxes; `scores` shows their scores.
    pub fn new(image: &Image, side: usize, caption: &str, boxes: &[Detection], names: &[String], scores: bool) -> Self {
        let (mut image, scale) = scaled(image, side);
        let placed: Vec<Detection> =
            boxes.iter().map(|b| Detection { xyxy: b.xyxy.map(|v| v * scale), ..*b }).collect();
        draw_detections(&mut image, &placed, names, &DrawOptions { hide_conf: !scores, ..DrawOptions::default() });
        Tile { image, caption: caption.to_owned() }
    }
}

fn columns(count: usize) -> usize {
    (1..).find(|n| n * n >= count.min(TILES)).unwrap_or(1)
}

/// All on one sheet, in rows from the upper left.
pub fn sheet(tiles: &[Tile]) -> Image {
    let tiles = &tiles[..tiles.len().min(TILES)];
    let columns = columns(tiles.len());
    let widest = tiles.iter().map(|tile| tile.image.width).max().unwrap_or(1);
    let highest = tiles.iter().map(|tile| tile.image.height).max().unwrap_or(1);
    let (w, h) = (widest + GAP, highest + GAP + STRIP);
    let mut sheet = Image::new(columns * w + GAP, tiles.len().div_ceil(columns).max(1) * h + GAP, [255; 3]);
    for (at, tile) in tiles.iter().enumerate() {
        let (x, y) = (GAP + at % columns * w, GAP + at / columns * h);
        sheet.paste(&tile.image, x as isize, y as isize);
        let mut name = tile.caption.clone();
        while text_width(&name, NAME) > widest && name.pop().is_some() {}
        let below = (y + tile.image.height) as f32 + 2.0;
        draw_text(&mut sheet, x as f32, below, &name, NAME, [40, 44, 52]);
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_stand_in_rows_and_boxes_move_with_their_picture() {
        let names = vec!["a".to_owned()];
        let red = Image::new(40, 20, [200, 0, 0]);
        let one = Detection { xyxy: [10.0, 5.0, 30.0, 15.0], score: 1.0, class: 0 };
        let tile = Tile::new(&red, 400, "name", &[one], &names, false);
        // Twice as large at most.
        assert_eq!((tile.image.width, tile.image.height), (80, 40));
        assert_eq!(tile.image.pixel(20, 28), crate::draw::class_colour(0), "the left edge of the frame, at 10 x 2");
        assert_eq!(tile.image.pixel(70, 35), [200, 0, 0]);
        let three = sheet(&[tile.clone(), tile.clone(), tile]);
        // Two columns and two rows; the second tile of the first row begins behind one tile and two gaps.
        assert_eq!((three.width, three.height), (2 * 86 + 6, 2 * (46 + 20) + 6));
        assert_eq!(three.pixel(92 + 70, 6 + 35), [200, 0, 0]);
        assert_eq!(three.pixel(92 + 70, 72 + 35), [255; 3], "there is no fourth");
        assert_eq!((columns(1), columns(5), columns(16), columns(99)), (1, 3, 4, 4));
        sheet(&[]);
    }

    #[test]
    fn large_pictures_shrink_to_their_place() {
        let (small, scale) = scaled(&Image::new(1000, 500, [9; 3]), 250);
        assert_eq!((small.width, small.height, scale), (250, 125, 0.25));
        assert_eq!(tile_side(16), 474);
    }
}
