//! Gathering the two horizontal neighbours of every new pixel, the one step of resizing and warping that is no vector work.
//!
//! Shapes: rows of RGB pixels, three numbers each.

/// Numbers that a source row needs beyond its pixels, and a target row too: four are moved faster than three.
pub(crate) const PADDING: usize = 4;

/// Copies the pixels at each of `offsets` to `left`, and the pixels after them to `right`.
///
/// Offsets count numbers, not pixels. `row` and both targets have [`PADDING`] numbers more than pixels.
pub(crate) fn gather<T: Copy>(row: &[T], offsets: &[u32], left: &mut [T], right: &mut [T]) {
    let (left, right) = (&mut left[..offsets.len() * 3 + PADDING], &mut right[..offsets.len() * 3 + PADDING]);
    for (x, &offset) in offsets.iter().enumerate() {
        let pair: &[T; 7] = row[offset as usize..].first_chunk().expect("a padded row");
        // The next pixel is written over the fourth number.
        left[x * 3..x * 3 + 4].copy_from_slice(&pair[..4]);
        right[x * 3..x * 3 + 4].copy_from_slice(&pair[3..]);
    }
}
