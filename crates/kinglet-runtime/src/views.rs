//! Test-time augmentation: the same pictures seen at several scales and mirrored.
//!
//! Source: the views of YOLOv5: scales 1, 0.83 (mirrored) and 0.67, padded with 0.447 to a multiple of the stride; the
//! coarsest level of the first view and the finest of the last are left out, since the other views see those sizes better.
//! Shapes: pictures `[n, h, w, 3]` of values in 0..=1; rows as [`kinglet_nn::Head::decode`] gives them. Units: pixels.

use kinglet_vision::resize::resize_numbers;
use std::ops::Range;

/// What is put beside a picture that does not fill its multiple of the stride.
const GREY: f32 = 0.447;

/// Which levels of a view do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    Coarsest,
    Finest,
}

/// One way to look at a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct View {
    /// Pixels of the view for a pixel of the picture.
    scale: f64,
    mirrored: bool,
    without: Without,
}

/// The picture as it is.
pub(crate) const PLAIN: &[View] = &[View { scale: 1.0, mirrored: false, without: Without::Nothing }];

/// YOLOv5's three views.
pub(crate) const AUGMENTED: &[View] = &[
    View { scale: 1.0, mirrored: false, without: Without::Coarsest },
    View { scale: 0.83, mirrored: true, without: Without::Nothing },
    View { scale: 0.67, mirrored: false, without: Without::Finest },
];

impl View {
    /// Height and width of this view of a picture, padding included.
    pub fn size(self, size: [usize; 2], stride: usize) -> [usize; 2] {
        size.map(|side| ((side as f64 * self.scale / stride as f64).ceil() as usize).max(1) * stride)
    }

    /// The pictures as this view shows them, of the size that [`Self::size`] tells.
    pub fn show(self, images: &[f32], [n, h, w]: [usize; 3], stride: usize) -> Vec<f32> {
        let [out_h, out_w] = self.size([h, w], stride);
        // Rounded down, as YOLOv5 does.
        let inner = [h, w].map(|side| ((side as f64 * self.scale) as usize).max(1));
        let scaled = if inner == [h, w] { images.to_vec() } else { resize_numbers(images, n, [h, w], inner) };
        let mut out = vec![GREY; n * out_h * out_w * 3];
        let rows = scaled.chunks_exact(inner[1] * 3).enumerate();
        for (i, row) in rows {
            let (image, y) = (i / inner[0], i % inner[0]);
            let to = &mut out[(image * out_h + y) * out_w * 3..][..row.len()];
            if self.mirrored {
                to.chunks_exact_mut(3).zip(row.rchunks_exact(3)).for_each(|(to, from)| to.copy_from_slice(from));
            } else {
                to.copy_from_slice(row);
            }
        }
        out
    }

    /// The levels that count of a head with so many; a head with one level keeps it.
    pub fn levels(self, levels: usize) -> Range<usize> {
        match self.without {
            Without::Coarsest if levels > 1 => 0..levels - 1,
            Without::Finest if levels > 1 => 1..levels,
            _ => 0..levels,
        }
    }

    /// Brings decoded rows of `values` numbers back to a picture of `width` pixels.
    pub fn undo(self, rows: &mut [f32], values: usize, width: usize) {
        if self == PLAIN[0] {
            return;
        }
        let scale = self.scale as f32;
        for row in rows.chunks_exact_mut(values) {
            row[..4].iter_mut().for_each(|v| *v /= scale);
            if self.mirrored {
                row[0] = width as f32 - row[0];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_have_the_sizes_worked_by_hand() {
        // 0.83 x 640 = 531.2 and 0.67 x 640 = 428.8: the next multiples of 32 are 544 and 448.
        let sizes = AUGMENTED.iter().map(|view| view.size([640, 320], 32)).collect::<Vec<_>>();
        assert_eq!(sizes, [[640, 320], [544, 288], [448, 224]]);
    }

    #[test]
    fn a_mirrored_view_lies_left_and_its_boxes_come_back() {
        let view = View { scale: 0.5, mirrored: true, without: Without::Nothing };
        // Two columns of black and two of white; mirrored and halved: white, black, then padding to 4.
        let image: Vec<f32> = [0.0, 0.0, 1.0, 1.0].iter().flat_map(|&v| [v; 3]).cycle().take(4 * 4 * 3).collect();
        let shown = view.show(&image, [1, 4, 4], 4);
        let first: Vec<f32> = shown.iter().step_by(3).take(4).copied().collect();
        assert_eq!(first, [1.0, 0.0, GREY, GREY]);
        assert_eq!(shown[2 * 4 * 3..], [GREY; 2 * 4 * 3]);
        // A box in the view's white half: centre (0.5, 1), one by two; in the picture it is centred on (3, 2), two by four.
        let mut row = [0.5, 1.0, 1.0, 2.0, 0.9, 0.8];
        view.undo(&mut row, 6, 4);
        assert_eq!(row, [3.0, 2.0, 2.0, 4.0, 0.9, 0.8]);
    }

    #[test]
    fn the_outer_views_leave_out_the_level_that_others_see_better() {
        assert_eq!(AUGMENTED.iter().map(|view| view.levels(3)).collect::<Vec<_>>(), [0..2, 0..3, 1..3]);
        assert_eq!(AUGMENTED.iter().map(|view| view.levels(1)).collect::<Vec<_>>(), [0..1, 0..1, 0..1]);
    }
}
