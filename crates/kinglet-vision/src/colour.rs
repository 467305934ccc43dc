//! Colour spaces for augmentation.
//!
//! Convention: 8-bit HSV as OpenCV has it: hue 0 to 179 (half degrees), saturation and value 0 to 255.
//! Source: the usual hexcone formulas (Smith 1978) with OpenCV's 12-bit fixed-point division tables.

use crate::image::Image;

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

/// Multiplies hue (modulo 180), saturation and value (both clipped) of every pixel by `gains`.
pub fn apply_hsv_gains(image: &mut Image, gains: [f32; 3]) {
    let [hue, saturation, value] = gains.map(f64::from);
    let table = |f: &dyn Fn(f64) -> f64| -> [u8; 256] { std::array::from_fn(|i| f(i as f64) as u8) };
    let hues = table(&|x| (x * hue).rem_euclid(180.0));
    let saturations = table(&|x| (x * saturation).clamp(0.0, 255.0));
    let values = table(&|x| (x * value).clamp(0.0, 255.0));
    for pixel in image.data.chunks_exact_mut(3) {
        let [h, s, v] = rgb_to_hsv([pixel[0], pixel[1], pixel[2]]);
        let changed = [hues[usize::from(h)], saturations[usize::from(s)], values[usize::from(v)]];
        pixel.copy_from_slice(&hsv_to_rgb(changed));
    }
}
