//! Resizing: bilinear for enlarging and letterboxing, exact box average for shrinking.
//!
//! Convention: half-pixel centres, no antialiasing in the bilinear form, 11-bit fixed-point weights, as OpenCV's
//! `INTER_LINEAR`; `resize_area` is OpenCV's `INTER_AREA`. Pillow's bilinear is a different filter when shrinking.
//! Golden: values of OpenCV on a small made-up picture, in the tests below.

use crate::image::Image;

/// Weights are whole numbers of 1/2048.
const WEIGHT_BITS: u32 = 11;
/// A covered part of a pixel smaller than this is rounding noise.
const AREA_EPS: f64 = 1e-3;

/// For one new coordinate: the two old ones and the weight of each.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    weight_low: u32,
    weight_high: u32,
}

fn taps(old: usize, new: usize) -> Vec<Tap> {
    let scale = old as f64 / new as f64;
    (0..new)
        .map(|i| {
            let centre = ((i as f64 + 0.5) * scale - 0.5) as f32;
            let floor = centre.floor();
            let (low, fraction) = if floor < 0.0 {
                (0, 0.0)
            } else if floor as usize >= old - 1 {
                (old - 1, 0.0)
            } else {
                (floor as usize, centre - floor)
            };
            let one = (1u32 << WEIGHT_BITS) as f32;
            Tap {
                low,
                high: (low + 1).min(old - 1),
                weight_low: ((1.0 - fraction) * one).round_ties_even() as u32,
                weight_high: (fraction * one).round_ties_even() as u32,
            }
        })
        .collect()
}

/// Resizes by bilinear interpolation between the four nearest pixel centres.
///
/// An empty original or result gives a black picture of the wanted size.
pub fn resize_bilinear(image: &Image, width: usize, height: usize) -> Image {
    if (image.width, image.height) == (width, height) {
        return image.clone();
    }
    let mut out = Image::new(width, height, [0; 3]);
    if image.data.is_empty() || out.data.is_empty() {
        return out;
    }
    let columns = taps(image.width, width);
    let rows = taps(image.height, height);
    // Two horizontally resized rows are kept: neighbouring new rows mostly share them. 16 bits hold 255 * 2048 / 16.
    let mut cache = [(usize::MAX, vec![0u16; width * 3]), (usize::MAX, vec![0u16; width * 3])];
    for (y, tap) in rows.iter().enumerate() {
        if cache[0].0 != tap.low {
            cache.swap(0, 1);
            if cache[0].0 != tap.low {
                resize_row(image.row(tap.low), &columns, &mut cache[0].1);
                cache[0].0 = tap.low;
            }
        }
        if cache[1].0 != tap.high {
            resize_row(image.row(tap.high), &columns, &mut cache[1].1);
            cache[1].0 = tap.high;
        }
        let (low, high) = (&cache[0].1, &cache[1].1);
        let (weight_low, weight_high) = (tap.weight_low, tap.weight_high);
        for ((pixel, &a), &b) in out.row_mut(y).iter_mut().zip(low).zip(high) {
            let sum = ((weight_low * u32::from(a)) >> 16) + ((weight_high * u32::from(b)) >> 16);
            *pixel = ((sum + 2) >> 2) as u8;
        }
    }
    out
}

fn resize_row(row: &[u8], columns: &[Tap], out: &mut [u16]) {
    for (pixel, tap) in out.chunks_exact_mut(3).zip(columns) {
        let low = &row[tap.low * 3..tap.low * 3 + 3];
        let high = &row[tap.high * 3..tap.high * 3 + 3];
        for channel in 0..3 {
            let sum = u32::from(low[channel]) * tap.weight_low + u32::from(high[channel]) * tap.weight_high;
            pixel[channel] = (sum >> 4) as u16;
        }
    }
}

/// A run of old pixels under one new pixel: the first one, and the share of each.
struct Cover {
    first: usize,
    shares: Vec<f32>,
}

fn covers(old: usize, new: usize) -> Vec<Cover> {
    let scale = old as f64 / new as f64;
    (0..new)
        .map(|i| {
            let start = i as f64 * scale;
            let end = (start + scale).min(old as f64);
            let cell = scale.min(old as f64 - start);
            let last = (end.floor() as usize).min(old - 1);
            let whole = (start.ceil() as usize).min(last);
            let mut first = whole;
            let mut shares = Vec::with_capacity(last - whole + 2);
            if whole as f64 - start > AREA_EPS {
                first = whole - 1;
                shares.push(((whole as f64 - start) / cell) as f32);
            }
            shares.resize(shares.len() + (last - whole), (1.0 / cell) as f32);
            if end - last as f64 > AREA_EPS {
                shares.push(((end - last as f64).min(1.0).min(cell) / cell) as f32);
            }
            Cover { first, shares }
        })
        .collect()
}

/// Resizes by averaging the part of the original that each new pixel covers.
///
/// Where a side grows there is nothing to average: the whole picture is then resized by [`resize_bilinear`].
pub fn resize_area(image: &Image, width: usize, height: usize) -> Image {
    if width > image.width || height > image.height || width == 0 || height == 0 {
        return resize_bilinear(image, width, height);
    }
    if (image.width, image.height) == (width, height) {
        return image.clone();
    }
    let columns = covers(image.width, width);
    let rows = covers(image.height, height);
    let mut out = Image::new(width, height, [0; 3]);
    let mut line = vec![0f32; width * 3];
    let mut line_row = usize::MAX;
    let mut sums = vec![0f32; width * 3];
    for (y, cover) in rows.iter().enumerate() {
        sums.fill(0.0);
        for (i, &share) in cover.shares.iter().enumerate() {
            let source = cover.first + i;
            if source != line_row {
                average_row(image.row(source), &columns, &mut line);
                line_row = source;
            }
            for (sum, &value) in sums.iter_mut().zip(&line) {
                *sum += share * value;
            }
        }
        for (pixel, &sum) in out.row_mut(y).iter_mut().zip(&sums) {
            *pixel = sum.round_ties_even().clamp(0.0, 255.0) as u8;
        }
    }
    out
}

fn average_row(row: &[u8], columns: &[Cover], out: &mut [f32]) {
    for (pixel, cover) in out.chunks_exact_mut(3).zip(columns) {
        let mut sum = [0f32; 3];
        let run = &row[cover.first * 3..(cover.first + cover.shares.len()) * 3];
        for (old, &share) in run.chunks_exact(3).zip(&cover.shares) {
            for channel in 0..3 {
                sum[channel] += share * f32::from(old[channel]);
            }
        }
        pixel.copy_from_slice(&sum);
    }
}
