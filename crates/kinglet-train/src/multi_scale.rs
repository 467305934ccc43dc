//! Another image size every batch: a random multiple of the stride within half of the nominal size.

use kinglet_data::Rng;

/// The size that a batch of `size` (height, width) is brought to.
pub fn draw_size(size: [usize; 2], img: usize, stride: usize, rng: &mut Rng) -> [usize; 2] {
    let low = img / 2;
    let drawn = low + rng.below(img + img / 2 + stride - low);
    let target = (drawn / stride * stride).max(stride);
    let factor = target as f64 / size[0].max(size[1]) as f64;
    size.map(|side| ((side as f64 * factor / stride as f64).ceil() as usize).max(1) * stride)
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
}
