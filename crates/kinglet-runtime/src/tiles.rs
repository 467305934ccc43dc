//! Detection in images far larger than the network's input: in overlapping tiles, and in the whole image.
//!
//! Source: slicing aided inference (Akyon et al. 2022, arXiv:2202.06934): tiles find what is small, the whole image what is
//! larger than a tile. Units: pixels of the image.
//! A tile's border cuts objects. A part of an object has a low IoU with the whole, so at borders the share of the smaller
//! box counts as well, and a cut box comes after whole ones of half its score. An object smaller than the overlap
//! lies whole in some tile.   Oracle: worked cases in the tests below.

use crate::{Detector, Fit, Timing};
use kinglet_nn::SizeError;
use kinglet_vision::boxes::{area, intersection};
use kinglet_vision::{Detection, Image, NmsOptions, iou};

/// A box that ends so near to a tile's inner border is cut by it, as a share of the tile's side.
const BORDER: f32 = 0.01;
/// A cut box that shares more than this of the smaller box with a better one is a part of it.
const PART: f32 = 0.5;
/// Weight of a cut box's score where it competes with whole ones.
const CUT_RANK: f32 = 0.5;

/// How an image is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tiling {
    /// Side of a tile in pixels of the image.
    pub side: usize,
    /// Least share of a tile that its neighbour covers as well, below 1.
    pub overlap: f32,
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

impl Tiling {
    /// The tiles of an image, row by row; none where the image is no larger than one.
    pub fn plan(&self, width: usize, height: usize) -> Vec<Tile> {
        if width <= self.side && height <= self.side {
            return Vec::new();
        }
        let (columns, rows) = (self.starts(width), self.starts(height));
        let (w, h) = (self.side.min(width), self.side.min(height));
        rows.iter().flat_map(|&y| columns.iter().map(move |&x| Tile { x, y, width: w, height: h })).collect()
    }

    /// Where tiles begin along a side: evenly spread, as few as give the overlap.
    fn starts(&self, length: usize) -> Vec<usize> {
        let rest = length.saturating_sub(self.side);
        let step = (self.side as f64 * (1.0 - f64::from(self.overlap))).max(1.0);
        let steps = (rest as f64 / step).ceil() as usize;
        (0..=steps).map(|i| (rest * i + steps / 2) / steps.max(1)).collect()
    }
}

impl Detector {
    /// Detects in the tiles of an image and in the whole; boxes in pixels of the image.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn detect_tiled(
        &mut self,
        image: &Image,
        size: [usize; 2],
        tiling: &Tiling,
        options: &NmsOptions,
    ) -> Result<(Vec<Detection>, [usize; 2], Timing), SizeError> {
        let (whole, shape, mut timing) = self.detect(image, size, Fit::Stride, options)?;
        let tiles = tiling.plan(image.width, image.height);
        if tiles.is_empty() {
            return Ok((whole, shape, timing));
        }
        let mut candidates: Vec<(Detection, bool)> = whole.into_iter().map(|detection| (detection, false)).collect();
        for tile in tiles {
            let part = image.crop(tile.x, tile.y, tile.width, tile.height);
            let (found, _, spent) = self.detect(&part, size, Fit::Stride, options)?;
            timing += spent;
            candidates.extend(found.into_iter().map(|d| placed(d, tile, (image.width, image.height))));
        }
        Ok((merge(candidates, options), shape, timing))
    }
}

/// A tile's detection in the image, and whether a border cuts it.
fn placed(found: Detection, tile: Tile, (width, height): (usize, usize)) -> (Detection, bool) {
    let [x1, y1, x2, y2] = found.xyxy;
    let (w, h) = (tile.width as f32, tile.height as f32);
    let near = BORDER * w.max(h);
    let is_cut = (tile.x > 0 && x1 < near)
        || (tile.y > 0 && y1 < near)
        || (tile.x + tile.width < width && x2 > w - near)
        || (tile.y + tile.height < height && y2 > h - near);
    let (x, y) = (tile.x as f32, tile.y as f32);
    (Detection { xyxy: [x1 + x, y1 + y, x2 + x, y2 + y], ..found }, is_cut)
}

/// Suppression by class over all tiles: of two boxes of one object the better one stays, the whole one before the cut.
fn merge(mut candidates: Vec<(Detection, bool)>, options: &NmsOptions) -> Vec<Detection> {
    let rank = |(d, is_cut): &(Detection, bool)| if *is_cut { d.score * CUT_RANK } else { d.score };
    // The sort is stable, so equal ranks stay in the order of their tiles.
    candidates.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
    candidates.truncate(options.max_candidates);
    let mut kept: Vec<(Detection, bool)> = Vec::new();
    for (candidate, is_cut) in candidates {
        let is_same = |(better, better_cut): &(Detection, bool)| {
            let (a, b) = (better.xyxy, candidate.xyxy);
            (options.agnostic || better.class == candidate.class)
                && (iou(a, b) > options.iou
                    || ((is_cut || *better_cut) && intersection(a, b) > PART * area(a).min(area(b))))
        };
        if !kept.iter().any(is_same) {
            kept.push((candidate, is_cut));
        }
    }
    let mut found: Vec<Detection> = kept.into_iter().map(|(detection, _)| detection).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(options.max_det);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: fn() -> NmsOptions = NmsOptions::default;

    #[test]
    fn tiles_cover_the_image_and_overlap_as_asked() {
        // 640 - 20 % = steps of 512: (2560 - 640) / 512 = 3.75, so 5 columns; (1920 - 640) / 512 = 2.5, so 4 rows.
        let tiling = Tiling { side: 640, overlap: 0.2 };
        let tiles = tiling.plan(2560, 1920);
        let columns: Vec<usize> = tiles[..5].iter().map(|t| t.x).collect();
        assert_eq!((tiles.len(), &columns[..]), (20, &[0, 480, 960, 1440, 1920][..]));
        assert_eq!(tiles.iter().step_by(5).map(|t| t.y).collect::<Vec<_>>(), [0, 427, 853, 1280]);
        for (side, overlap, w, h) in [(100, 0.0, 250, 90), (64, 0.5, 65, 1000), (33, 0.9, 100, 100), (10, 0.99, 31, 7)]
        {
            let tiles = Tiling { side, overlap }.plan(w, h);
            let covered = |x: usize, y: usize| {
                tiles.iter().any(|t| (t.x..t.x + t.width).contains(&x) && (t.y..t.y + t.height).contains(&y))
            };
            assert!((0..w).all(|x| (0..h).all(|y| covered(x, y))), "{side} {overlap} {w} x {h}");
            assert!(tiles.iter().all(|t| t.x + t.width <= w && t.y + t.height <= h));
            for pair in tiles.windows(2).filter(|pair| pair[0].y == pair[1].y) {
                let shared = (pair[0].x + pair[0].width) - pair[1].x;
                assert!(shared as f32 >= overlap * side as f32 - 1.0, "{side} {overlap}: {shared}");
            }
        }
        assert!(tiling.plan(640, 640).is_empty() && tiling.plan(1, 1).is_empty());
        assert_eq!(tiling.plan(641, 300).len(), 2);
    }

    fn found(xyxy: [f32; 4], score: f32) -> Detection {
        Detection { xyxy, score, class: 0 }
    }

    #[test]
    fn an_object_on_a_border_is_found_once() {
        // An object from 560 to 680 in x. The left tile (0 to 640) sees 80 of its 120 px, the right one (512 on) all.
        let left =
            placed(found([560.0, 100.0, 639.0, 200.0], 0.9), Tile { x: 0, y: 0, width: 640, height: 640 }, (1152, 640));
        let right = placed(
            found([48.0, 100.0, 168.0, 200.0], 0.8),
            Tile { x: 512, y: 0, width: 640, height: 640 },
            (1152, 640),
        );
        assert_eq!((left.1, right.1, right.0.xyxy), (true, false, [560.0, 100.0, 680.0, 200.0]));
        // IoU 79 / 120 = 0.66 here; the part has the higher score, and the whole box stays.
        assert_eq!(merge(vec![left, right], &OPTIONS()), [right.0]);
        // A sliver of 30 px: IoU 0.25, but all of it lies within the whole box.
        let sliver = (found([560.0, 100.0, 590.0, 200.0], 0.7), true);
        assert_eq!(merge(vec![sliver, right], &OPTIONS()), [right.0]);
    }

    #[test]
    fn whole_boxes_beside_each_other_and_other_classes_stay() {
        let small = (found([0.0, 0.0, 30.0, 100.0], 0.7), false);
        let large = (found([0.0, 0.0, 120.0, 100.0], 0.8), false);
        assert_eq!(merge(vec![small, large], &OPTIONS()).len(), 2, "no border: IoU 0.25 is no double");
        let other = (Detection { class: 1, ..small.0 }, true);
        assert_eq!(merge(vec![other, large], &OPTIONS()).len(), 2);
        let agnostic = NmsOptions { agnostic: true, ..OPTIONS() };
        assert_eq!(merge(vec![other, large], &agnostic), [large.0]);
        // What no tile and no whole image shows whole stays with its own score, and a faint whole box is no reason to drop it.
        let cut = (found([600.0, 0.0, 640.0, 50.0], 0.9), true);
        let faint = (found([600.0, 0.0, 700.0, 50.0], 0.1), false);
        assert_eq!(merge(vec![faint, cut], &OPTIONS()), [cut.0]);
    }

    #[test]
    fn the_edge_of_the_image_cuts_nothing() {
        let tile = Tile { x: 0, y: 0, width: 640, height: 640 };
        let corner = found([0.0, 0.0, 50.0, 50.0], 0.9);
        assert!(!placed(corner, tile, (1000, 640)).1);
        assert!(!placed(found([10.0, 590.0, 50.0, 640.0], 0.9), tile, (1000, 640)).1);
        assert!(placed(found([590.0, 10.0, 638.0, 50.0], 0.9), tile, (1000, 640)).1);
    }

    #[test]
    fn the_most_detections_are_the_best_ones() {
        let many: Vec<_> = (0..9)
            .map(|i| (found([i as f32 * 20.0, 0.0, i as f32 * 20.0 + 10.0, 9.0], 0.1 * i as f32), i % 2 == 0))
            .collect();
        let options = NmsOptions { max_det: 3, ..OPTIONS() };
        let scores: Vec<f32> = merge(many, &options).iter().map(|d| d.score).collect();
        assert_eq!(scores, [8.0, 7.0, 6.0].map(|i: f32| 0.1 * i));
    }
}
