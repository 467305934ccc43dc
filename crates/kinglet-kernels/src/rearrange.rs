//! Kernels that only move values: pixels to channels and back, channels among themselves.
//!
//! Shapes: NHWC. Each takes `accumulate`, since the gradient of one such move is the opposite move. Oracle: index rules
//! in the tests below.

use crate::threads::parallel_chunks_mut;

/// Writes or adds a run of values.
fn put(to: &mut [f32], from: &[f32], accumulate: bool) {
    if accumulate {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    } else {
        to.copy_from_slice(from);
    }
}

/// Pixels to channels: `x` `[n, h, w, c]` to `y` `[n, h / gain, w / gain, gain^2 c]`. Channel `(row gain + column) c + k`
/// is channel k of the pixel at that row and column of a square of `gain` x `gain`: the order of ONNX's `SpaceToDepth`.
/// With `accumulate` the values are added to `y`.
///
/// # Panics
/// If `gain` does not divide the sides, or the lengths do not fit.
pub fn contract(x: &[f32], [n, h, w, c]: [usize; 4], gain: usize, y: &mut [f32], accumulate: bool) {
    assert!(gain > 0 && h.is_multiple_of(gain) && w.is_multiple_of(gain), "contract: {h} x {w} by {gain}");
    assert!(x.len() == n * h * w * c && y.len() == x.len(), "contract: lengths");
    if x.is_empty() {
        return;
    }
    // `gain` lines of `x` are one of `y`, and a pixel's run of `gain` pixels stays a run.
    let (line, run) = (w * c, gain * c);
    parallel_chunks_mut(y, gain * line, |i, y| {
        let lines = &x[i * gain * line..][..gain * line];
        for (column, pixel) in y.chunks_exact_mut(gain * run).enumerate() {
            for (row, to) in pixel.chunks_exact_mut(run).enumerate() {
                put(to, &lines[row * line + column * run..][..run], accumulate);
            }
        }
    });
}

/// Channels to pixels, the opposite of [`contract`]: `x` `[n, h, w, c]` to `y` `[n, gain h, gain w, c / gain^2]`, in the
/// order of ONNX's `DepthToSpace` (mode `DCR`).
///
/// # Panics
/// If `gain` squared does not divide the channels, or the lengths do not fit.
pub fn expand(x: &[f32], [n, h, w, c]: [usize; 4], gain: usize, y: &mut [f32], accumulate: bool) {
    assert!(gain > 0 && c.is_multiple_of(gain * gain), "expand: {c} channels by {gain}");
    assert!(x.len() == n * h * w * c && y.len() == x.len(), "expand: lengths");
    if x.is_empty() {
        return;
    }
    let (line, run) = (w * c / gain, c / gain);
    parallel_chunks_mut(y, gain * line, |i, lines| {
        let x = &x[i * gain * line..][..gain * line];
        for (column, pixel) in x.chunks_exact(c).enumerate() {
            for (row, from) in pixel.chunks_exact(run).enumerate() {
                put(&mut lines[row * line + column * run..][..run], from, accumulate);
            }
        }
    });
}

/// Floats of a task of the kernels that work pixel by pixel.
const CHUNK: usize = 32 * 1024;

/// Shuffles channels between groups: channel `g c / groups + i` of each pixel of `x` becomes channel `i groups + g` of
/// `y`. The opposite is a shuffle of `c / groups` groups.
///
/// # Panics
/// If `groups` does not divide the channels, or the lengths do not fit.
pub fn shuffle_channels(x: &[f32], c: usize, groups: usize, y: &mut [f32], accumulate: bool) {
    assert!(groups > 0 && c.is_multiple_of(groups), "shuffle_channels: {c} channels in {groups} groups");
    assert!(x.len() == y.len() && x.len().is_multiple_of(c.max(1)), "shuffle_channels: lengths");
    if x.is_empty() {
        return;
    }
    let (rows, per_group) = ((CHUNK / c).max(1), c / groups);
    parallel_chunks_mut(y, rows * c, |task, y| {
        let x = &x[task * rows * c..][..y.len()];
        for (to, from) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
            if groups == 2 && !accumulate {
                // The usual case, in a form that compilers make vectors of.
                let (first, second) = from.split_at(per_group);
                let pairs = to.chunks_exact_mut(2).zip(first.iter().zip(second));
                pairs.for_each(|(to, (a, b))| to.copy_from_slice(&[*a, *b]));
                continue;
            }
            for (i, to) in to.chunks_exact_mut(groups).enumerate() {
                for (g, to) in to.iter_mut().enumerate() {
                    let value = from[g * per_group + i];
                    *to = if accumulate { *to + value } else { value };
                }
            }
        }
    });
}

/// The gradient of taking channels `first..first + part_c` of `c`: `dx` gets `dy` there and zeros elsewhere, or `dy`
/// added there with `accumulate`.
///
/// # Panics
/// If the channels or lengths do not fit.
pub fn slice_channels_backward(dy: &[f32], part_c: usize, first: usize, dx: &mut [f32], c: usize, accumulate: bool) {
    assert!(first + part_c <= c && part_c > 0, "slice_channels_backward: {part_c} channels from {first} of {c}");
    assert!(dx.len() / c * part_c == dy.len() && dx.len().is_multiple_of(c), "slice_channels_backward: lengths");
    let rows = (CHUNK / c).max(1);
    parallel_chunks_mut(dx, rows * c, |task, dx| {
        let dy = &dy[task * rows * part_c..];
        for (to, from) in dx.chunks_exact_mut(c).zip(dy.chunks_exact(part_c)) {
            if !accumulate {
                to.fill(0.0);
            }
            put(&mut to[first..first + part_c], from, true);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| i as f32).collect()
    }

    #[test]
    fn a_square_of_pixels_becomes_the_channels_of_one_row_by_row() {
        // Two channels: pixel p holds 2 p and 2 p + 1. Of 2 x 4 pixels, the second square is pixels 2, 3, 6, 7.
        let mut y = vec![0.0; 16];
        contract(&numbers(16), [1, 2, 4, 2], 2, &mut y, false);
        assert_eq!(y, [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15].map(|v: u8| f32::from(v)));
    }

    #[test]
    fn expanding_undoes_contracting_and_shuffling_back_undoes_shuffling() {
        for (gain, [n, h, w, c]) in [(2, [2, 4, 6, 3]), (3, [1, 6, 3, 5]), (1, [1, 2, 2, 2])] {
            let x = numbers(n * h * w * c);
            let (mut small, mut back) = (vec![0.0; x.len()], vec![1.0; x.len()]);
            contract(&x, [n, h, w, c], gain, &mut small, false);
            expand(&small, [n, h / gain, w / gain, c * gain * gain], gain, &mut back, true);
            assert!(back.iter().zip(&x).all(|(b, x)| *b == x + 1.0), "{gain}");
        }
        let x = numbers(4 * 6);
        let (mut y, mut back) = (vec![0.0; 24], vec![0.0; 24]);
        shuffle_channels(&x, 6, 2, &mut y, false);
        // Channels 0 1 2 | 3 4 5 alternate.
        assert_eq!(y[..6], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        shuffle_channels(&y, 6, 3, &mut back, false);
        assert_eq!(back, x);
    }

    #[test]
    fn the_gradient_of_a_slice_lies_where_the_slice_was() {
        let mut dx = vec![7.0; 6];
        slice_channels_backward(&[1.0, 2.0], 1, 1, &mut dx, 3, false);
        assert_eq!(dx, [0.0, 1.0, 0.0, 0.0, 2.0, 0.0]);
        slice_channels_backward(&[1.0, 2.0], 1, 1, &mut dx, 3, true);
        assert_eq!(dx, [0.0, 2.0, 0.0, 0.0, 4.0, 0.0]);
    }
}
