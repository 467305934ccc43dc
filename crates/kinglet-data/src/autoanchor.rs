//! AutoAnchor: do the anchors fit the boxes, and which would?
//!
//! Source: YOLOv5 (behaviour): an anchor fits a box when neither side differs by more than the factor `anchor_t`; best
//! possible recall (BPR) is the share of boxes that any anchor fits, AAT the mean number that do. New anchors come from
//! k-means on whitened sizes and 1000 random mutations. Units: pixels at the training size.

use crate::rng::Rng;

/// How well anchors fit boxes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnchorFit {
    /// Best possible recall: share of boxes that at least one anchor fits.
    pub bpr: f64,
    /// Anchors above threshold: mean number of anchors that fit a box.
    pub aat: f64,
    /// Mean over the boxes of the best ratio, where it is above the threshold: what `kmean_anchors` maximises.
    pub fitness: f64,
}

impl AnchorFit {
    /// Whether YOLOv5 would leave the anchors alone.
    pub fn is_good(&self) -> bool {
        self.bpr > GOOD_BPR
    }
}

/// Anchors with a higher best possible recall are kept.
pub const GOOD_BPR: f64 = 0.98;
/// Restarts of k-means.
const RESTARTS: usize = 30;
/// Boxes with both sides below this are left out of k-means.
const MIN_SIDE: f32 = 2.0;
/// A gene mutates with this probability.
const MUTATION_PROBABILITY: f64 = 0.9;
/// Standard deviation of a mutation.
const MUTATION_SIGMA: f64 = 0.1;

/// The worse of the two side ratios, each at most 1.
fn ratio(wh: [f32; 2], anchor: [f32; 2]) -> f32 {
    let (r, s) = (wh[0] / anchor[0], wh[1] / anchor[1]);
    r.min(1.0 / r).min(s.min(1.0 / s))
}

/// Measures `anchors` against box sizes.
pub fn check_anchors(whs: &[[f32; 2]], anchors: &[[f32; 2]], anchor_t: f64) -> AnchorFit {
    let threshold = (1.0 / anchor_t) as f32;
    let (mut recalled, mut above, mut fitness) = (0usize, 0usize, 0f64);
    for &wh in whs {
        let mut best = 0f32;
        for &anchor in anchors {
            let r = ratio(wh, anchor);
            best = best.max(r);
            above += usize::from(r > threshold);
        }
        if best > threshold {
            recalled += 1;
            fitness += f64::from(best);
        }
    }
    let n = whs.len().max(1) as f64;
    AnchorFit { bpr: recalled as f64 / n, aat: above as f64 / n, fitness: fitness / n }
}

/// Lloyd's algorithm from random boxes, until it no longer improves; `None` where a cluster runs empty.
fn k_means_once(points: &[[f64; 2]], k: usize, rng: &mut Rng) -> Option<(f64, Vec<[f64; 2]>)> {
    let mut picks: Vec<usize> = (0..points.len()).collect();
    rng.shuffle(&mut picks);
    let mut centres: Vec<[f64; 2]> = picks.iter().take(k).map(|&i| points[i]).collect();
    let mut last = f64::MAX;
    loop {
        let mut sums = vec![(0.0, 0.0, 0usize); k];
        let mut distortion = 0.0;
        for p in points {
            let distance = |c: &[f64; 2]| (p[0] - c[0]).powi(2) + (p[1] - c[1]).powi(2);
            let (nearest, d) = centres
                .iter()
                .map(distance)
                .enumerate()
                .fold((0, f64::MAX), |best, (i, d)| if d < best.1 { (i, d) } else { best });
            distortion += d.sqrt();
            let s = &mut sums[nearest];
            *s = (s.0 + p[0], s.1 + p[1], s.2 + 1);
        }
        distortion /= points.len() as f64;
        if sums.iter().any(|s| s.2 == 0) {
            return None;
        }
        if last - distortion <= 1e-5 {
            return Some((distortion, centres));
        }
        last = distortion;
        centres = sums.iter().map(|s| [s.0 / s.2 as f64, s.1 / s.2 as f64]).collect();
    }
}

fn start(whs: &[[f32; 2]], n: usize, rng: &mut Rng) -> Option<Vec<[f32; 2]>> {
    let usable: Vec<[f64; 2]> =
        whs.iter().filter(|wh| wh[0] >= MIN_SIDE || wh[1] >= MIN_SIDE).map(|wh| wh.map(f64::from)).collect();
    if usable.len() < n {
        return None;
    }
    let std = |axis: usize| {
        let mean = usable.iter().map(|p| p[axis]).sum::<f64>() / usable.len() as f64;
        (usable.iter().map(|p| (p[axis] - mean).powi(2)).sum::<f64>() / usable.len() as f64).sqrt()
    };
    // A spread of zero (all boxes alike) needs no whitening.
    let s = [std(0), std(1)].map(|s| if s > 0.0 { s } else { 1.0 });
    let points: Vec<[f64; 2]> = usable.iter().map(|p| [p[0] / s[0], p[1] / s[1]]).collect();
    let mut best: Option<(f64, Vec<[f64; 2]>)> = None;
    for _ in 0..RESTARTS {
        if let Some(found) = k_means_once(&points, n, rng)
            && best.as_ref().is_none_or(|b| found.0 < b.0)
        {
            best = Some(found);
        }
    }
    best.map(|(_, centres)| centres.iter().map(|c| [(c[0] * s[0]) as f32, (c[1] * s[1]) as f32]).collect())
}

/// Computes `n` anchors for box sizes, sorted by area. The same boxes and stream give the same anchors.
pub fn kmean_anchors(n: usize, whs: &[[f32; 2]], anchor_t: f64, generations: usize, rng: &mut Rng) -> Vec<[f32; 2]> {
    let largest = whs.iter().flatten().copied().fold(32.0, f32::max);
    let mut anchors = start(whs, n, rng).unwrap_or_else(|| {
        // Too few boxes to cluster: sorted random sizes, as a base for the mutations.
        let mut sides: Vec<f32> = (0..2 * n).map(|_| rng.unit() as f32 * largest).collect();
        sides.sort_by(f32::total_cmp);
        sides.chunks_exact(2).map(|c| [c[0], c[1]]).collect()
    });
    anchors.iter_mut().flatten().for_each(|v| *v = v.max(MIN_SIDE));
    let mut fitness = check_anchors(whs, &anchors, anchor_t).fitness;
    for _ in 0..generations {
        let amount = rng.unit();
        let mut candidate = anchors.clone();
        for v in candidate.iter_mut().flatten() {
            let factor =
                if rng.chance(MUTATION_PROBABILITY) { rng.normal() * amount * MUTATION_SIGMA + 1.0 } else { 1.0 };
            *v = (*v * factor.clamp(0.3, 3.0) as f32).max(MIN_SIDE);
        }
        if candidate == anchors {
            continue;
        }
        let candidate_fitness = check_anchors(whs, &candidate, anchor_t).fitness;
        if candidate_fitness > fitness {
            (fitness, anchors) = (candidate_fitness, candidate);
        }
    }
    anchors.sort_by(|a, b| (a[0] * a[1]).total_cmp(&(b[0] * b[1])));
    anchors
}

/// Gives anchors, smallest first, to the levels of a head: the smallest to the level of the least stride, in whatever order
/// the levels are. Every level gets as many as it has.
///
/// # Panics
/// If the levels have more anchors than there are.
pub fn deal(anchors: &[[f32; 2]], strides: &[usize], levels: &mut [Vec<[f32; 2]>]) {
    let mut left = anchors;
    let mut order: Vec<_> = strides.iter().zip(levels).collect();
    order.sort_by_key(|(stride, _)| **stride);
    for (_, level) in order {
        let (own, rest) = left.split_at(level.len());
        level.copy_from_slice(own);
        left = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finest_level_gets_the_smallest_anchors() {
        let anchors = [[1.0; 2], [2.0; 2], [3.0; 2], [4.0; 2]];
        let mut levels = vec![vec![[0.0; 2]; 1], vec![[0.0; 2]; 2], vec![[0.0; 2]; 1]];
        deal(&anchors, &[32, 8, 16], &mut levels);
        assert_eq!(levels, [vec![[4.0; 2]], vec![[1.0; 2], [2.0; 2]], vec![[3.0; 2]]]);
    }

    #[test]
    fn fit_matches_numbers_worked_by_hand() {
        // Against 10x10: 20x10 has ratio 0.5 (fits at 4), 50x10 has 0.2 (does not). Against 60x12: 1/3 and 5/6.
        let fit = check_anchors(&[[20.0, 10.0], [50.0, 10.0]], &[[10.0, 10.0], [60.0, 12.0]], 4.0);
        assert_eq!((fit.bpr, fit.aat), (1.0, 1.5));
        assert!((fit.fitness - (0.5 + 5.0 / 6.0) / 2.0).abs() < 1e-6);
        let fit = check_anchors(&[[20.0, 10.0], [50.0, 10.0]], &[[10.0, 10.0]], 4.0);
        assert_eq!((fit.bpr, fit.aat, fit.is_good()), (0.5, 0.5, false));
    }

    #[test]
    fn clusters_are_found_and_repeat() {
        let mut rng = Rng::new(4);
        let centres = [[10.0, 12.0], [40.0, 20.0], [100.0, 160.0]];
        let whs: Vec<[f32; 2]> =
            (0..600).map(|i| centres[i % 3].map(|c: f64| (c * (1.0 + 0.05 * rng.normal())) as f32)).collect();
        let run = || kmean_anchors(3, &whs, 4.0, 300, &mut Rng::new(9));
        let found = run();
        for (a, c) in found.iter().zip(centres) {
            assert!(a.iter().zip(c).all(|(a, c)| (f64::from(*a) / c - 1.0).abs() < 0.05), "{found:?}");
        }
        assert_eq!(found, run());
        assert_eq!(check_anchors(&whs, &found, 4.0).bpr, 1.0);
    }

    #[test]
    fn few_or_equal_boxes_do_not_break_it() {
        for whs in [vec![], vec![[10.0, 10.0]], vec![[30.0, 30.0]; 50]] {
            let anchors = kmean_anchors(9, &whs, 4.0, 50, &mut Rng::new(1));
            assert_eq!(anchors.len(), 9);
            assert!(anchors.iter().flatten().all(|v| v.is_finite() && *v >= 2.0));
        }
    }
}
