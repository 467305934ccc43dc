//! Colour spaces for augmentation.
//!
//! Convention: 8-bit HSV as OpenCV has it: hue 0 to 179 (half degrees), saturation and value 0 to 255.
//! Source: the usual hexcone formulas (Smith 1978) with OpenCV's 12-bit fixed-point division tables.

use crate::image::Image;
use kinglet_kernels::vectorise::{Vectorise, vectorise};

const DIVISION_BITS: i32 = 12;
const HALF: i32 = 1 << (DIVISION_BITS - 1);

/// `round(numerator * 4096 / i)` for every 8-bit `i`, 0 for 0.
const fn division_table(numerator: i32) -> [i32; 256] {
    let mut table = [0; 256];
    let mut i = 1;
    while i < 256 {
        let scaled = numerator << DIVISION_BITS;
        let (quotient, rest) = (scaled / i, scaled % i);
        // Ties to even, as the tables of OpenCV.
        let up = rest * 2 > i || (rest * 2 == i && quotient % 2 == 1);
        table[i as usize] = quotient + up as i32;
        i += 1;
    }
    table
}

const SATURATION: [i32; 256] = division_table(255);
const HUE: [i32; 256] = division_table(30);

/// RGB to HSV.
#[inline]
pub fn rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let value = r.max(g).max(b);
    let spread = i32::from(value - r.min(g).min(b));
    let saturation = (spread * SATURATION[usize::from(value)] + HALF) >> DIVISION_BITS;
    let (red, green, blue) = (i32::from(r), i32::from(g), i32::from(b));
    let sextant = if value == r {
        green - blue
    } else if value == g {
        blue - red + 2 * spread
    } else {
        red - green + 4 * spread
    };
    let hue = (sextant * HUE[spread as usize] + HALF) >> DIVISION_BITS;
    [(if hue < 0 { hue + 180 } else { hue }) as u8, saturation as u8, value]
}

/// HSV to RGB; hues of 180 and more wrap around.
#[inline]
pub fn hsv_to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    let v = f32::from(value);
    let s = f32::from(saturation) * (1.0 / 255.0);
    let h = f32::from(hue % 180) * (1.0 / 30.0);
    let sector = h as u8;
    let fraction = h - f32::from(sector);
    // OpenCV's vector code drops the fraction here.
    let whole = |x: f32| x as u8;
    let low = whole(v * (1.0 - s));
    let falling = whole(v * (1.0 - s * fraction));
    let rising = whole(v * (1.0 - s * (1.0 - fraction)));
    match sector {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// Pixels that are worked on together, one plane for each number.
const BLOCK: usize = 256;

/// Multiplies hue (modulo 180), saturation and value (both clipped) of every pixel by `gains`.
///
/// Gains beyond 0 to 2 for hue and 0 to 256 for the others count as the nearer end.
pub fn apply_hsv_gains(image: &mut Image, gains: [f32; 3]) {
    let limits = [2.0, 256.0, 256.0];
    let gains = std::array::from_fn(|i| Gain::new(gains[i].clamp(0.0, limits[i])));
    vectorise(ApplyGains { data: &mut image.data, gains });
}

/// A factor as a whole number and a shift, so that the whole part of a product is exact.
#[derive(Clone, Copy)]
struct Gain {
    factor: u32,
    shift: u32,
}

impl Gain {
    /// For 0 to 256.
    fn new(gain: f32) -> Self {
        if gain < 1.0 / 256.0 {
            return Self { factor: 0, shift: 0 };
        }
        let (fraction, exponent) = (gain.to_bits() & 0x7f_ffff, gain.to_bits() >> 23);
        // The 24 bits of the number, 1.fraction, times 2 to the power of (exponent - 127).
        Self { factor: fraction | 0x80_0000, shift: 23 + 127 - exponent }
    }

    /// The whole part of gain times `x`, for `x` up to 255.
    #[inline(always)]
    fn times(self, x: u32) -> u32 {
        (x * self.factor) >> self.shift
    }
}

struct ApplyGains<'a> {
    data: &'a mut [u8],
    gains: [Gain; 3],
}

impl Vectorise for ApplyGains<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut blocks = self.data.chunks_exact_mut(BLOCK * 3);
        for block in &mut blocks {
            gain_block(block, self.gains);
        }
        let rest = blocks.into_remainder();
        let mut last = [0; BLOCK * 3];
        last[..rest.len()].copy_from_slice(rest);
        gain_block(&mut last, self.gains);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// [`rgb_to_hsv`], the gains and [`hsv_to_rgb`], in steps without tables and branches.
#[inline(always)]
fn gain_block(block: &mut [u8], gains: [Gain; 3]) {
    let [mut first, mut second, mut third] = [[0u8; BLOCK]; 3];
    for (i, pixel) in block.as_chunks::<3>().0.iter().enumerate().take(BLOCK) {
        [first[i], second[i], third[i]] = *pixel;
    }
    for i in 0..BLOCK {
        let hsv = gained_hsv([first[i], second[i], third[i]].map(i32::from), gains);
        [first[i], second[i], third[i]] = hsv.map(|v| v as u8);
    }
    for i in 0..BLOCK {
        let rgb = plain_rgb([first[i], second[i], third[i]].map(i32::from));
        [first[i], second[i], third[i]] = rgb.map(|v| v as u8);
    }
    for (i, pixel) in block.as_chunks_mut::<3>().0.iter_mut().enumerate().take(BLOCK) {
        *pixel = [first[i], second[i], third[i]];
    }
}

/// `round(numerator * 4096 / i)`, ties to even, as [`division_table`]; `i` from 1 to 255.
#[inline(always)]
fn division(numerator: i32, i: i32) -> i32 {
    // Adding 1.5 * 2^23 leaves the whole number, rounded, in the lower bits.
    const ROUND: f32 = 12_582_912.0;
    ((numerator << DIVISION_BITS) as f32 / i as f32 + ROUND).to_bits() as i32 - ROUND.to_bits() as i32
}

#[inline(always)]
fn gained_hsv([red, green, blue]: [i32; 3], gains: [Gain; 3]) -> [i32; 3] {
    let value = red.max(green).max(blue);
    let spread = value - red.min(green).min(blue);
    // Where the divisor is 0, so is the spread.
    let saturation = (spread * division(255, value.max(1)) + HALF) >> DIVISION_BITS;
    let green_or_blue = if value == green { blue - red + 2 * spread } else { red - green + 4 * spread };
    let sextant = if value == red { green - blue } else { green_or_blue };
    let hue = (sextant * division(30, spread.max(1)) + HALF) >> DIVISION_BITS;
    let hue = if hue < 0 { hue + 180 } else { hue };
    let hue = gains[0].times(hue as u32) as i32;
    [
        if hue >= 180 { hue - 180 } else { hue },
        gains[1].times(saturation as u32).min(255) as i32,
        gains[2].times(value as u32).min(255) as i32,
    ]
}

/// The whole part of 0 to 2^22. A plain `as` would not become vector code, because of its rules for what has no result.
#[inline(always)]
fn whole(x: f32) -> i32 {
    // Adding 2^23 leaves the nearest whole number in the lower bits.
    const ROUND: f32 = 8_388_608.0;
    let nearest = x + ROUND;
    (nearest.to_bits() as i32 - ROUND.to_bits() as i32) - i32::from(nearest - ROUND > x)
}

/// [`hsv_to_rgb`] for hues below 180.
#[inline(always)]
fn plain_rgb([hue, saturation, value]: [i32; 3]) -> [i32; 3] {
    let v = value as f32;
    let s = saturation as f32 * (1.0 / 255.0);
    let h = hue as f32 * (1.0 / 30.0);
    let sector = whole(h);
    let fraction = h - sector as f32;
    let low = whole(v * (1.0 - s));
    // Colours fall in odd sectors and rise in even ones.
    let fraction = if sector & 1 == 1 { fraction } else { 1.0 - fraction };
    let middle = whole(v * (1.0 - s * fraction));
    let pick = |full: [i32; 2], between: [i32; 2]| {
        let dim = if sector == between[0] || sector == between[1] { middle } else { low };
        if sector == full[0] || sector == full[1] { value } else { dim }
    };
    [pick([0, 5], [1, 4]), pick([1, 2], [0, 3]), pick([3, 4], [2, 5])]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gains by tables of exact products, pixel by pixel.
    fn by_tables(image: &Image, gains: [f32; 3]) -> Image {
        let [hue, saturation, value] = gains.map(f64::from);
        let table = |f: &dyn Fn(f64) -> f64| -> [u8; 256] { std::array::from_fn(|i| f(i as f64) as u8) };
        let hues = table(&|x| (x * hue).rem_euclid(180.0));
        let saturations = table(&|x| (x * saturation).clamp(0.0, 255.0));
        let values = table(&|x| (x * value).clamp(0.0, 255.0));
        let mut out = image.clone();
        for pixel in out.data.as_chunks_mut::<3>().0 {
            let [h, s, v] = rgb_to_hsv(*pixel);
            *pixel = hsv_to_rgb([hues[usize::from(h)], saturations[usize::from(s)], values[usize::from(v)]]);
        }
        out
    }

    #[test]
    fn divisions_are_those_of_the_tables() {
        for i in 1..256 {
            assert_eq!(division(255, i), SATURATION[i as usize], "255 / {i}");
            assert_eq!(division(30, i), HUE[i as usize], "30 / {i}");
        }
    }

    #[test]
    fn gains_are_those_of_tables_for_many_colours() {
        // 43^3 colours, and a part of a block at the end.
        let steps = || (0..=252u8).step_by(6);
        let data = steps().flat_map(|r| steps().flat_map(move |g| steps().flat_map(move |b| [r, g ^ 1, b | 3])));
        let image = Image::from_raw(43, 43 * 43, data.collect()).unwrap();
        let gains = [0.0, 0.003, 0.3, 0.5, 0.985, 0.999_999_9, 1.0, 1.015, 1.37, 1.7, 2.0];
        for (i, &gain) in gains.iter().enumerate() {
            let gains = [gain, gains[(i * 3 + 2) % gains.len()], gains[(i * 5 + 1) % gains.len()] * 1.3];
            let mut out = image.clone();
            apply_hsv_gains(&mut out, gains);
            assert!(out == by_tables(&image, gains), "gains {gains:?}");
        }
    }
}
