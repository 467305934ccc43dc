//! Resizing: bilinear for enlarging and letterboxing, exact box average for shrinking.
//!
//! Convention: half-pixel centres, no antialiasing in the bilinear form, 11-bit fixed-point weights, as OpenCV's
//! `INTER_LINEAR`; `resize_area` is OpenCV's `INTER_AREA`. Pillow's bilinear is a different filter when shrinking.
//! Golden: values of OpenCV on a small made-up picture, in the tests below.

use crate::image::Image;
use crate::neighbours::{self, PADDING};
use kinglet_kernels::vectorise::{Vectorise, vectorise};

/// Weights are whole numbers of 1/2048.
const WEIGHT_BITS: u32 = 11;
/// A covered part of a pixel smaller than this is rounding noise.
const AREA_EPS: f64 = 1e-3;

/// For one new coordinate: the first of two old neighbours and the weight of each.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    weight_low: u32,
    weight_high: u32,
}

fn taps(old: usize, new: usize) -> Vec<Tap> {
    let scale = old as f64 / new as f64;
    let one = (1u32 << WEIGHT_BITS) as f32;
    (0..new)
        .map(|i| {
            let centre = ((i as f64 + 0.5) * scale - 0.5) as f32;
            let floor = centre.floor();
            // Beyond the outer pixels' centres one pixel counts alone.
            let (low, fraction) = if floor < 0.0 || old < 2 {
                (0, 0.0)
            } else if floor as usize >= old - 1 {
                (old - 2, 1.0)
            } else {
                (floor as usize, centre - floor)
            };
            Tap {
                low,
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
    let (columns, rows) = (taps(image.width, width), taps(image.height, height));
    let weights: [Vec<u16>; 2] = [|tap: &Tap| tap.weight_low, |tap: &Tap| tap.weight_high]
        .map(|weight| columns.iter().flat_map(|tap| [weight(tap) as u16; 3]).collect());
    // Two horizontally resized rows are kept: neighbouring new rows mostly share them. 16 bits hold 255 * 2048 / 16.
    let line = || (usize::MAX, vec![0u16; width * 3]);
    let (mut low, mut high) = (line(), line());
    let offsets: Vec<u32> = columns.iter().map(|tap| tap.low as u32 * 3).collect();
    let padded = |width: usize| vec![0u8; width * 3 + PADDING];
    let (mut source, mut left, mut right) = (padded(image.width), padded(width), padded(width));
    for (y, tap) in rows.iter().enumerate() {
        let wanted = [tap.low, (tap.low + 1).min(image.height - 1)];
        if low.0 != wanted[0] {
            std::mem::swap(&mut low, &mut high);
        }
        for (line, row) in [&mut low, &mut high].into_iter().zip(wanted) {
            if line.0 != row {
                source[..image.width * 3].copy_from_slice(image.row(row));
                neighbours::gather(&source, &offsets, &mut left, &mut right);
                vectorise(Horizontal { neighbours: [&left, &right], weights: &weights, out: &mut line.1 });
                line.0 = row;
            }
        }
        vectorise(Vertical { low: &low.1, high: &high.1, tap: *tap, out: out.row_mut(y) });
    }
    out
}

/// One row at its new width from the left and right neighbours of each number, and their weights.
struct Horizontal<'a> {
    neighbours: [&'a [u8]; 2],
    weights: &'a [Vec<u16>; 2],
    out: &'a mut [u16],
}

impl Vectorise for Horizontal<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { neighbours: [left, right], weights: [left_weights, right_weights], out } = self;
        let left = left.iter().zip(left_weights).map(|(&v, &w)| u32::from(v) * u32::from(w));
        let right = right.iter().zip(right_weights).map(|(&v, &w)| u32::from(v) * u32::from(w));
        for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
            *out = ((left + right) >> 4) as u16;
        }
    }
}

/// One new row from the two that are nearest.
struct Vertical<'a> {
    low: &'a [u16],
    high: &'a [u16],
    tap: Tap,
    out: &'a mut [u8],
}

impl Vectorise for Vertical<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Tap { weight_low, weight_high, .. } = self.tap;
        for ((pixel, &low), &high) in self.out.iter_mut().zip(self.low).zip(self.high) {
            let sum = ((weight_low * u32::from(low)) >> 16) + ((weight_high * u32::from(high)) >> 16);
            *pixel = ((sum + 2) >> 2) as u8;
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

/// Resizes `n` pictures of numbers `[n, h, w, 3]`: bilinear with half-pixel centres, as PyTorch's
/// `interpolate(align_corners=False)`.
pub fn resize_numbers(images: &[f32], n: usize, [h, w]: [usize; 2], [to_h, to_w]: [usize; 2]) -> Vec<f32> {
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
