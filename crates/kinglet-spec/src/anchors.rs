//! Do the anchors fit the head's levels?
//!
//! Source: YOLOv5 reverses the anchors where the order of their areas disagrees with the order of the strides.
//! Units: anchors in pixels, strides in pixels a cell.

use crate::model_file::Anchors;

/// Anchors in the order of the head's levels, and what had to be done or is odd about them.
pub(crate) struct Fitted {
    pub anchors: Vec<Vec<[f32; 2]>>,
    pub reversed: bool,
    /// Levels whose anchors are not larger than those of the next finer level: (finer, coarser), as positions.
    pub unordered: Option<(usize, usize)>,
    /// The first level whose mean anchor side is less than one cell.
    pub tiny: Option<usize>,
}

/// Fits anchors to levels; their numbers agree already.
pub(crate) fn fit(anchors: &Anchors, strides: &[usize]) -> Fitted {
    let given = match anchors {
        Anchors::Given(levels) => levels,
        Anchors::Count(n) => {
            let anchors = strides.iter().map(|s| placeholders(*n, *s)).collect();
            return Fitted { anchors, reversed: false, unordered: None, tiny: None };
        }
    };
    let mut levels = given.clone();
    let (first, last) = (0, levels.len().saturating_sub(1));
    let ascending_areas = area(&levels[last]) - area(&levels[first]);
    let ascending_strides = strides[last] as f32 - strides[first] as f32;
    let reversed = ascending_areas * ascending_strides < 0.0;
    if reversed {
        levels.reverse();
    }
    let mut order: Vec<usize> = (0..levels.len()).collect();
    order.sort_by_key(|l| strides[*l]);
    let unordered = order.windows(2).map(|w| (w[0], w[1])).find(|(a, b)| area(&levels[*a]) > area(&levels[*b]));
    let tiny = (0..levels.len()).find(|l| area(&levels[*l]).sqrt() < strides[*l] as f32);
    Fitted { anchors: levels, reversed, unordered, tiny }
}

fn area(level: &[[f32; 2]]) -> f32 {
    level.iter().map(|[w, h]| w * h).sum::<f32>() / level.len().max(1) as f32
}

/// Squares of two cells and more, up to eight: stand-ins until anchors are computed from the labels.
fn placeholders(count: usize, stride: usize) -> Vec<[f32; 2]> {
    (0..count)
        .map(|i| {
            let cells = 2.0 * 4f32.powf(i as f32 / (count.max(2) - 1) as f32);
            let side = (cells * stride as f32).round_ties_even();
            [side, side]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_follow_the_strides() {
        let given = Anchors::Given(vec![vec![[10.0, 13.0]], vec![[30.0, 61.0]], vec![[116.0, 90.0]]]);
        let straight = fit(&given, &[8, 16, 32]);
        assert!(!straight.reversed && straight.unordered.is_none() && straight.tiny.is_none());
        let turned = fit(&given, &[32, 16, 8]);
        assert!(turned.reversed && turned.unordered.is_none());
        assert_eq!(turned.anchors[0], [[116.0, 90.0]]);
        assert_eq!(fit(&given, &[16, 32, 64]).tiny, Some(0));
    }

    #[test]
    fn placeholders_span_two_to_eight_cells() {
        let fitted = fit(&Anchors::Count(3), &[8, 16]);
        assert_eq!(fitted.anchors[0], [[16.0, 16.0], [32.0, 32.0], [64.0, 64.0]]);
        assert_eq!(fitted.anchors[1][0], [32.0, 32.0]);
    }
}
