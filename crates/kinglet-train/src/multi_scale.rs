//! Another image size every batch: a random multiple of the stride within half of the nominal size.
//!
//! Bilinear with half-pixel centres, as PyTorch's `interpolate(align_corners=False)`.

use kinglet_data::Rng;

/// The size that a batch of `size` (height, width) is brought to.
pub fn draw_size(size: [usize; 2], img: usize, stride: usize, rng: &mut Rng) -> [usize; 2] {
    let low = img / 2;
    let drawn = low + rng.below(img + img / 2 + stride - low);
    let target = (drawn / stride * stride).max(stride);
    let factor = target as f64 / size[0].max(size[1]) as f64;
    size.map(|side| ((side as f64 * factor / stride as f64).ceil() as usize).max(1) * stride)
}

/// Resizes `n` images `[n, h, w, 3]`.
pub fn resize(images: &[f32], n: usize, [h, w]: [usize; 2], [to_h, to_w]: [usize; 2]) -> Vec<f32> {
    let taps = |from: usize, to: usize| -> Vec<(usize, usize, f32)> {
        let scale = from as f32 / to as f32;
        (0..to)
            .map(|i| {
                let at = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
                let low = (at as usize).min(from - 1);
                (low, (low + 1).min(from - 1), at - low as f32)
            })
            .collect()
    };
    let (rows, columns) = (taps(h, to_h), taps(w, to_w));
    let mut out = Vec::with_capacity(n * to_h * to_w * 3);
    for image in images.chunks_exact(h * w * 3).take(n) {
        for &(top, bottom, fy) in &rows {
            for &(left, right, fx) in &columns {
                for c in 0..3 {
                    let at = |y: usize, x: usize| image[(y * w + x) * 3 + c];
                    let upper = at(top, left) + (at(top, right) - at(top, left)) * fx;
                    let lower = at(bottom, left) + (at(bottom, right) - at(bottom, left)) * fx;
                    out.push(upper + (lower - upper) * fy);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_multiples_of_the_stride_within_half() {
        let mut rng = Rng::new(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let [h, w] = draw_size([320, 320], 320, 32, &mut rng);
            assert!(h == w && h % 32 == 0 && (160..=480).contains(&h), "{h}");
            seen.insert(h);
        }
        assert!(seen.len() > 8, "{seen:?}");
    }

    #[test]
    fn doubling_a_ramp_interpolates_between_centres() {
        // One row 0, 1: half-pixel centres give 0, 0.25, 0.75, 1.
        let out = resize(&[0.0, 0.0, 0.0, 1.0, 1.0, 1.0], 1, [1, 2], [1, 4]);
        assert_eq!(out.iter().step_by(3).copied().collect::<Vec<_>>(), [0.0, 0.25, 0.75, 1.0]);
    }
}
