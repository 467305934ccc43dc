//! Affine and perspective warps, bilinear, with a constant border.
//!
//! Convention: OpenCV's `warpAffine` and `warpPerspective`: the matrix maps integer pixel coordinates (the centre of
//! the upper left pixel is 0, 0), fractions are whole numbers of 1/32, pixels outside count as the border colour.
//! Shapes: the matrix is 3x3 in row-major order. A matrix that cannot be inverted gives a picture of border only.

use crate::image::Image;

const FRACTION_BITS: u32 = 5;
const STEPS: i64 = 1 << FRACTION_BITS;
/// Affine coordinates are stepped along a row in whole numbers of 1/1024 pixel.
const AFFINE_SCALE: f64 = 1024.0;
/// Coordinates beyond this lie outside any picture.
const FAR: f64 = 1e9;

/// Inverts a row-major 3x3 matrix; `None` where it has no inverse.
pub fn invert(m: [f64; 9]) -> Option<[f64; 9]> {
    let cofactors = [
        m[4] * m[8] - m[5] * m[7],
        m[2] * m[7] - m[1] * m[8],
        m[1] * m[5] - m[2] * m[4],
        m[5] * m[6] - m[3] * m[8],
        m[0] * m[8] - m[2] * m[6],
        m[2] * m[3] - m[0] * m[5],
        m[3] * m[7] - m[4] * m[6],
        m[1] * m[6] - m[0] * m[7],
        m[0] * m[4] - m[1] * m[3],
    ];
    let determinant = m[0] * cofactors[0] + m[1] * cofactors[3] + m[2] * cofactors[6];
    let inverse = cofactors.map(|cofactor| cofactor / determinant);
    inverse.iter().all(|value| value.is_finite()).then_some(inverse)
}

/// Maps a point by a row-major 3x3 matrix.
pub fn map_point(m: &[f64; 9], x: f64, y: f64) -> (f64, f64) {
    let w = m[6] * x + m[7] * y + m[8];
    ((m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w)
}

/// Warps `image` by the `forward` matrix, which takes a pixel of the original to its place in the result.
pub fn warp(image: &Image, forward: [f64; 9], out_w: usize, out_h: usize, border: [u8; 3]) -> Image {
    let mut out = Image::new(out_w, out_h, border);
    let Some(inverse) = invert(forward) else { return out };
    if image.data.is_empty() {
        return out;
    }
    let affine = inverse[6] == 0.0 && inverse[7] == 0.0;
    let [a, b, c, d, e, f, g, h, i] = inverse;
    if affine {
        let fixed = |v: f64| (v * AFFINE_SCALE).clamp(-FAR * AFFINE_SCALE, FAR * AFFINE_SCALE).round_ties_even() as i64;
        let (a, b, c, d, e, f) = (a / i, b / i, c / i, d / i, e / i, f / i);
        let steps_x: Vec<i64> = (0..out_w).map(|x| fixed(a * x as f64)).collect();
        let steps_y: Vec<i64> = (0..out_w).map(|x| fixed(d * x as f64)).collect();
        // Half of 1/32 pixel, so that the shift rounds.
        let half = AFFINE_SCALE as i64 / STEPS / 2;
        let shift = AFFINE_SCALE.log2() as u32 - FRACTION_BITS;
        for y in 0..out_h {
            let start_x = fixed(b * y as f64 + c) + half;
            let start_y = fixed(e * y as f64 + f) + half;
            let row = out.row_mut(y);
            for ((pixel, step_x), step_y) in row.chunks_exact_mut(3).zip(&steps_x).zip(&steps_y) {
                sample(image, (start_x + step_x) >> shift, (start_y + step_y) >> shift, border, pixel);
            }
        }
    } else {
        let fixed = |v: f64| (v * STEPS as f64).clamp(-FAR, FAR).round_ties_even() as i64;
        for y in 0..out_h {
            let row_y = y as f64;
            for (x, pixel) in out.row_mut(y).chunks_exact_mut(3).enumerate() {
                let x = x as f64;
                let w = g * x + h * row_y + i;
                let scale = if w == 0.0 { 0.0 } else { 1.0 / w };
                let source_x = (a * x + b * row_y + c) * scale;
                let source_y = (d * x + e * row_y + f) * scale;
                sample(image, fixed(source_x), fixed(source_y), border, pixel);
            }
        }
    }
    out
}

/// Interpolates at (`x`, `y`) in 1/32 pixel.
#[inline(always)]
fn sample(image: &Image, x: i64, y: i64, border: [u8; 3], out: &mut [u8]) {
    let (left, top) = (x >> FRACTION_BITS, y >> FRACTION_BITS);
    let (right_part, lower_part) = ((x & (STEPS - 1)) as u32, (y & (STEPS - 1)) as u32);
    let (left_part, upper_part) = (STEPS as u32 - right_part, STEPS as u32 - lower_part);
    let weights = [left_part * upper_part, right_part * upper_part, left_part * lower_part, right_part * lower_part];
    let (width, height) = (image.width as i64, image.height as i64);
    if left >= 0 && top >= 0 && left < width - 1 && top < height - 1 {
        let at = (top as usize * image.width + left as usize) * 3;
        let upper = &image.data[at..at + 6];
        let lower = &image.data[at + image.width * 3..at + image.width * 3 + 6];
        for channel in 0..3 {
            let sum = u32::from(upper[channel]) * weights[0]
                + u32::from(upper[channel + 3]) * weights[1]
                + u32::from(lower[channel]) * weights[2]
                + u32::from(lower[channel + 3]) * weights[3];
            out[channel] = ((sum + 512) >> 10) as u8;
        }
    } else if left >= -1 && top >= -1 && left < width && top < height {
        let corners = [(left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)].map(|(x, y)| {
            let inside = x >= 0 && y >= 0 && x < width && y < height;
            if inside { image.pixel(x as usize, y as usize) } else { border }
        });
        for channel in 0..3 {
            let sum: u32 =
                corners.iter().zip(weights).map(|(corner, weight)| u32::from(corner[channel]) * weight).sum();
            out[channel] = ((sum + 512) >> 10) as u8;
        }
    }
    // Elsewhere the result already holds the border.
}
