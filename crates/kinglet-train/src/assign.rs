//! Target assignment: which grid cells and anchors are responsible for which labelled box.
//!
//! Source: YOLOv5's rule (ratio test plus up to two neighbouring cells), restated in `docs`. A box may be assigned to
//! any number of anchors of any number of levels; there is no best-anchor rule and no ignore band.
//! Shapes: one list of assignments per level. Units: targets normalised to the image, anchors and results in cells
//! (pixels divided by the level's stride).

pub use kinglet_data::Target;

/// Grid size and anchors of one detection level.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// Anchor sizes (width, height) in cells, that is pixels divided by the level's stride.
    pub anchors: Vec<[f32; 2]>,
}

/// One target given to one anchor of one cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assignment {
    /// Index of the image in the batch.
    pub image: usize,
    /// Index of the anchor within the level.
    pub anchor: usize,
    /// Row of the cell.
    pub row: usize,
    /// Column of the cell.
    pub column: usize,
    /// Class index of the target.
    pub class: usize,
    /// The target in cells: centre relative to the cell's corner, then width and height.
    pub box_cells: [f32; 4],
    /// Size of the anchor in cells.
    pub anchor_cells: [f32; 2],
    /// Index of the target in the list given to [`assign`].
    pub target: usize,
}

/// Where a target's neighbouring cell lies, in the order in which YOLOv5 lists them.
const NEIGHBOURS: [[f32; 2]; 5] = [[0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [-0.5, 0.0], [0.0, -0.5]];

/// Assigns targets to cells and anchors, level by level.
///
/// The order within a level is part of the contract, since of several targets given to one anchor of one cell the
/// last one sets the objectness target: own cells first, then left, upper, right and lower neighbours; within each
/// by anchor, then by target.
pub fn assign(targets: &[Target], levels: &[Level], anchor_t: f32) -> Vec<Vec<Assignment>> {
    levels.iter().map(|level| assign_level(targets, level, anchor_t)).collect()
}

fn assign_level(targets: &[Target], level: &Level, anchor_t: f32) -> Vec<Assignment> {
    if level.width == 0 || level.height == 0 {
        return Vec::new();
    }
    let gain = [level.width as f32, level.height as f32];
    let mut kept = Vec::new(); // (anchor, target, centre and size in cells)
    for (anchor, size) in level.anchors.iter().enumerate() {
        for (index, target) in targets.iter().enumerate() {
            let [x, y, w, h] = target.cxcywh;
            let cells = [x * gain[0], y * gain[1], w * gain[0], h * gain[1]];
            if side_ratio([cells[2], cells[3]], *size) < anchor_t {
                kept.push((anchor, index, cells));
            }
        }
    }
    let mut out = Vec::new();
    for (neighbour, offset) in NEIGHBOURS.iter().enumerate() {
        for &(anchor, index, cells) in &kept {
            if !reaches(neighbour, [cells[0], cells[1]], gain) {
                continue;
            }
            let column = clamp_cell(cells[0] - offset[0], level.width);
            let row = clamp_cell(cells[1] - offset[1], level.height);
            out.push(Assignment {
                image: targets[index].image,
                anchor,
                row,
                column,
                class: targets[index].class,
                box_cells: [cells[0] - column as f32, cells[1] - row as f32, cells[2], cells[3]],
                anchor_cells: level.anchors[anchor],
                target: index,
            });
        }
    }
    out
}

/// The larger of both sides' ratios, taken the way round that exceeds 1. NaN (0/0) never passes the `<` test.
fn side_ratio(size: [f32; 2], anchor: [f32; 2]) -> f32 {
    let mut worst = 0.0f32;
    for side in 0..2 {
        let ratio = size[side] / anchor[side];
        let ratio = ratio.max(1.0 / ratio);
        if ratio.is_nan() {
            return f32::NAN;
        }
        worst = worst.max(ratio);
    }
    worst
}

/// Whether a box's centre lies in the half of its cell that touches this neighbour, and the neighbour exists.
fn reaches(neighbour: usize, centre: [f32; 2], gain: [f32; 2]) -> bool {
    let distance = match neighbour {
        0 => return true,
        1 => centre[0],
        2 => centre[1],
        3 => gain[0] - centre[0],
        _ => gain[1] - centre[1],
    };
    distance % 1.0 < 0.5 && distance > 1.0
}

fn clamp_cell(position: f32, cells: usize) -> usize {
    (position.max(0.0) as usize).min(cells - 1) // a float-to-integer cast saturates and maps NaN to 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(size: usize) -> Level {
        Level { height: size, width: size, anchors: vec![[2.0, 2.0]] }
    }

    fn cells(targets: &[Target], level: Level, anchor_t: f32) -> Vec<(usize, usize)> {
        assign(targets, &[level], anchor_t)[0].iter().map(|a| (a.column, a.row)).collect()
    }

    fn target(x: f32, y: f32, w: f32, h: f32) -> Target {
        Target { image: 0, class: 0, cxcywh: [x, y, w, h] }
    }

    #[test]
    fn a_box_takes_its_cell_and_the_two_nearest_neighbours() {
        // On 8 cells: centre (2.25, 5.75), so left and lower neighbours.
        let got = cells(&[target(2.25 / 8.0, 5.75 / 8.0, 0.25, 0.25)], level(8), 4.0);
        assert_eq!(got, [(2, 5), (1, 5), (2, 6)]);
    }

    #[test]
    fn a_centre_in_the_middle_of_a_cell_has_no_neighbours() {
        assert_eq!(cells(&[target(2.5 / 8.0, 2.5 / 8.0, 0.25, 0.25)], level(8), 4.0), [(2, 2)]);
    }

    #[test]
    fn neighbours_outside_the_grid_are_not_taken() {
        assert_eq!(cells(&[target(0.25 / 8.0, 7.75 / 8.0, 0.25, 0.25)], level(8), 4.0), [(0, 7)]);
    }

    #[test]
    fn a_centre_on_the_far_edge_falls_in_the_last_cell() {
        let got = assign(&[target(1.0, 1.0, 0.25, 0.25)], &[level(8)], 4.0);
        assert!(got[0].iter().all(|a| a.column <= 7 && a.row <= 7), "{got:?}");
        assert_eq!(got[0][0].box_cells, [1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn the_ratio_test_is_strict_and_works_both_ways() {
        // anchor 2 cells: 8 cells is a ratio of exactly 4, 0.5 cells too.
        assert!(cells(&[target(0.5, 0.5, 1.0, 0.25)], level(8), 4.0).is_empty());
        assert!(cells(&[target(0.5, 0.5, 0.0625, 0.25)], level(8), 4.0).is_empty());
        assert!(!cells(&[target(0.5, 0.5, 0.99, 0.25)], level(8), 4.0).is_empty());
    }

    #[test]
    fn degenerate_boxes_and_levels_give_nothing() {
        assert!(cells(&[target(0.5, 0.5, 0.0, 0.25)], level(8), 4.0).is_empty());
        assert!(cells(&[target(f32::NAN, 0.5, f32::NAN, 0.25)], level(8), 4.0).is_empty());
        assert!(cells(&[target(0.5, 0.5, 0.25, 0.25)], level(0), 4.0).is_empty());
        assert!(assign(&[], &[level(8)], 4.0)[0].is_empty());
    }
}
