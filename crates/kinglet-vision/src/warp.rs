//! Affine and perspective warps, bilinear, with a constant border.
//!
//! Convention: OpenCV's `warpAffine` and `warpPerspective`: the matrix maps integer pixel coordinates (the centre of
//! the upper left pixel is 0, 0), fractions are whole numbers of 1/32, pixels outside count as the border colour.
//! Shapes: the matrix is 3x3 in row-major order. A matrix that cannot be inverted gives a picture of border only.

use crate::image::{Image, Rows};
use crate::neighbours::{self, PADDING};
use kinglet_kernels::vectorise::{Vectorise, vectorise};

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

/// Warps `source` by the `forward` matrix, which takes a pixel of the original to its place in the result.
pub fn warp(source: &impl Rows, forward: [f64; 9], out_w: usize, out_h: usize, border: [u8; 3]) -> Image {
    let mut out = Image::new(out_w, out_h, border);
    let Some(inverse) = invert(forward) else { return out };
    let (width, height) = source.size();
    if width == 0 || height == 0 {
        return out;
    }
    let [a, b, c, d, e, f, g, h, i] = inverse;
    if g == 0.0 && h == 0.0 {
        let affine = [a / i, b / i, c / i, d / i, e / i, f / i];
        if affine[1] == 0.0 && affine[3] == 0.0 {
            scale(source, affine, border, &mut out);
        } else {
            warp_affine(&source.picture(), affine, border, &mut out);
        }
    } else {
        warp_perspective(&source.picture(), inverse, border, &mut out);
    }
    out
}

/// A coordinate of an affine warp in whole numbers of 1/1024 pixel.
fn affine_fixed(v: f64) -> i64 {
    (v * AFFINE_SCALE).clamp(-FAR * AFFINE_SCALE, FAR * AFFINE_SCALE).round_ties_even() as i64
}

/// 1/1024 pixel to 1/32 pixel, rounded.
fn affine_steps(v: i64) -> i64 {
    (v + AFFINE_SCALE as i64 / STEPS / 2) >> (AFFINE_SCALE.log2() as u32 - FRACTION_BITS)
}

/// A warp without rotation and shear. Columns and rows are independent then: a row of the result mixes two rows of
/// `source` and then two columns of the mixture. Only the part of `source` that is seen is asked for.
fn scale(source: &impl Rows, [a, _, c, _, e, f]: [f64; 6], border: [u8; 3], out: &mut Image) {
    let (width, height) = source.size();
    let whole = |steps: i64, size: usize| (steps >> FRACTION_BITS).clamp(-2, size as i64);
    let fraction = |steps: i64| (steps & (STEPS - 1)) as u16;
    let at: Vec<i64> = (0..out.width).map(|x| affine_steps(affine_fixed(c) + affine_fixed(a * x as f64))).collect();
    let lefts: Vec<i64> = at.iter().map(|&x| whole(x, width)).collect();
    let (Some(&first), Some(&last)) = (lefts.iter().min(), lefts.iter().max()) else { return };
    let offsets: Vec<u32> = lefts.iter().map(|left| (left - first) as u32 * 3).collect();
    let right_parts: Vec<u16> = at.iter().flat_map(|&x| [fraction(x); 3]).collect();

    // Rows hold columns `first` to `last + 1`; two of `source`, as neighbouring rows of the result mostly share them.
    let columns = (last + 2 - first) as usize;
    let border_row = || border.repeat(columns);
    let inside = first.clamp(0, width as i64) as usize..(last + 2).clamp(0, width as i64) as usize;
    let inside_bytes = {
        let start = (inside.start as i64 - first) as usize * 3;
        start..start + inside.len() * 3
    };
    let (mut upper, mut lower) = ((i64::MIN, border_row()), (i64::MIN, border_row()));
    let mut mixed = vec![0u16; columns * 3 + PADDING];
    let (mut left, mut right) = (vec![0u16; out.width * 3 + PADDING], vec![0u16; out.width * 3 + PADDING]);
    for y in 0..out.height {
        let y_at = affine_steps(affine_fixed(e * y as f64 + f));
        let top = whole(y_at, height);
        if inside.is_empty() || top < -1 || top >= height as i64 {
            continue; // the result already holds the border
        }
        if upper.0 != top {
            std::mem::swap(&mut upper, &mut lower);
        }
        for (line, row) in [(&mut upper, top), (&mut lower, top + 1)] {
            if line.0 != row {
                line.0 = row;
                match usize::try_from(row) {
                    Ok(row) if row < height => {
                        source.copy_row(row, inside.clone(), &mut line.1[inside_bytes.clone()]);
                    }
                    _ => line.1.copy_from_slice(&border_row()),
                }
            }
        }
        vectorise(MixRows { upper: &upper.1, lower: &lower.1, lower_part: fraction(y_at), out: &mut mixed });
        neighbours::gather(&mixed, &offsets, &mut left, &mut right);
        vectorise(MixColumns { left: &left, right: &right, right_parts: &right_parts, out: out.row_mut(y) });
    }
}

/// Two rows in a proportion of 32nds, not yet divided.
struct MixRows<'a> {
    upper: &'a [u8],
    lower: &'a [u8],
    lower_part: u16,
    out: &'a mut [u16],
}

impl Vectorise for MixRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let upper_part = STEPS as u16 - self.lower_part;
        for ((out, &upper), &lower) in self.out.iter_mut().zip(self.upper).zip(self.lower) {
            *out = u16::from(upper) * upper_part + u16::from(lower) * self.lower_part;
        }
    }
}

/// Neighbouring numbers of [`MixRows`] in proportions of 32nds, rounded to grey levels.
struct MixColumns<'a> {
    left: &'a [u16],
    right: &'a [u16],
    right_parts: &'a [u16],
    out: &'a mut [u8],
}

impl Vectorise for MixColumns<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let pairs = self.left.iter().zip(self.right).zip(self.right_parts);
        for (out, ((&left, &right), &right_part)) in self.out.iter_mut().zip(pairs) {
            let left_part = u32::from(STEPS as u16 - right_part);
            let sum = u32::from(left) * left_part + u32::from(right) * u32::from(right_part);
            *out = ((sum + 512) >> 10) as u8;
        }
    }
}

fn warp_affine(image: &Image, [a, b, c, d, e, f]: [f64; 6], border: [u8; 3], out: &mut Image) {
    let steps_x: Vec<i64> = (0..out.width).map(|x| affine_fixed(a * x as f64)).collect();
    let steps_y: Vec<i64> = (0..out.width).map(|x| affine_fixed(d * x as f64)).collect();
    for y in 0..out.height {
        let start_x = affine_fixed(b * y as f64 + c);
        let start_y = affine_fixed(e * y as f64 + f);
        let row = out.row_mut(y);
        for ((pixel, step_x), step_y) in row.chunks_exact_mut(3).zip(&steps_x).zip(&steps_y) {
            sample(image, affine_steps(start_x + step_x), affine_steps(start_y + step_y), border, pixel);
        }
    }
}

fn warp_perspective(image: &Image, [a, b, c, d, e, f, g, h, i]: [f64; 9], border: [u8; 3], out: &mut Image) {
    let fixed = |v: f64| (v * STEPS as f64).clamp(-FAR, FAR).round_ties_even() as i64;
    for y in 0..out.height {
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
