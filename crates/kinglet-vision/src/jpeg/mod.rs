//! JPEG pictures at half their size, without decoding them in full.
//!
//! The mean of two neighbouring pixels is linear in a block's coefficients, as the pixels are: so a block of 8x8 gives
//! 4x4 means by one smaller transform, and three of four pixels are never made. Where chroma is stored at half the size
//! already it stays, smoothed as interpolating it and taking means would do.
//!
//! Source: ITU-T T.81 (baseline, Huffman), JFIF 1.02 for colours. Only ordinary files are read: one scan, 8 bits, grey or
//! YCbCr, intact to the end. For everything else there is the general decoder.
//! Oracle: OpenCV's full decoding and resizing, in the tests.

mod entropy;

use crate::image::Image;
use entropy::{Bits, Codes};
use kinglet_kernels::vectorise::{Vectorise, vectorise};
use std::sync::LazyLock;

/// Planes hold grey levels in whole numbers of 1/16: rounding to grey levels here would be felt in the colours.
const LEVEL_BITS: u32 = 4;

/// One colour plane of the file and its pixels at half the picture's size.
struct Plane {
    id: u8,
    /// Blocks of an MCU, across and down.
    blocks: [usize; 2],
    /// Sides of the result of a block: 4 where pixels are averaged, 8 where the plane is stored at half size.
    sides: [usize; 2],
    steps: usize,
    codes: [usize; 2],
    /// The first coefficient of the block before.
    first: i32,
    width: usize,
    pixels: Vec<u16>,
}

/// What the headers say.
#[derive(Default)]
struct Headers<'a> {
    size: [usize; 2],
    planes: Vec<Plane>,
    steps: [Option<[i32; 64]>; 4],
    /// For first and other coefficients.
    codes: [[Option<Codes>; 4]; 2],
    restart: usize,
    scan: &'a [u8],
}

/// The picture at half its size, each pixel the mean of four. `None` where a side is odd or the file is not ordinary.
pub(crate) fn decode_half(bytes: &[u8]) -> Option<Image> {
    let mut headers = read_headers(bytes)?;
    let [width, height] = headers.size;
    if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
        return None;
    }
    let mcu: [usize; 2] =
        std::array::from_fn(|i| headers.planes.iter().map(|plane| plane.blocks[i]).max().unwrap_or(1));
    let mcus = [width.div_ceil(8 * mcu[0]), height.div_ceil(8 * mcu[1])];
    for plane in &mut headers.planes {
        if (0..2).any(|i| plane.blocks[i] != mcu[i] && plane.blocks[i] * 2 != mcu[i]) {
            return None;
        }
        plane.sides = std::array::from_fn(|i| if plane.blocks[i] == mcu[i] { 4 } else { 8 });
        plane.width = mcus[0] * plane.blocks[0] * plane.sides[0];
        plane.pixels = vec![0; plane.width * mcus[1] * plane.blocks[1] * plane.sides[1]];
    }
    let mut planes = std::mem::take(&mut headers.planes);
    vectorise(Scan { headers: &headers, planes: &mut planes, mcus })?;
    let size = [width / 2, height / 2];
    for plane in &mut planes {
        smooth(plane, size);
    }
    let mut out = Image::new(size[0], size[1], [0; 3]);
    for y in 0..size[1] {
        let row = |plane: &Plane| y * plane.width..y * plane.width + size[0];
        match planes.as_slice() {
            [luma] => {
                for (pixel, &grey) in out.row_mut(y).as_chunks_mut().0.iter_mut().zip(&luma.pixels[row(luma)]) {
                    *pixel = [level(i32::from(grey) << 16, 0); 3];
                }
            }
            [luma, blue, red] => vectorise(ToRgb {
                planes: [luma, blue, red].map(|plane| &plane.pixels[row(plane)]),
                out: out.row_mut(y),
            }),
            _ => return None,
        }
    }
    Some(out)
}

fn read_headers(bytes: &[u8]) -> Option<Headers<'_>> {
    let mut headers = Headers::default();
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let (&[0xff, marker, high, low], after) = rest.split_first_chunk()? else { return None };
        let length = usize::from(u16::from_be_bytes([high, low])).checked_sub(2)?;
        let (segment, after) = after.split_at_checked(length)?;
        match marker {
            0xc0 => read_frame(segment, &mut headers)?,
            0xc4 => read_codes(segment, &mut headers)?,
            0xdb => read_steps(segment, &mut headers)?,
            0xdd => headers.restart = usize::from(u16::from_be_bytes(segment.try_into().ok()?)),
            0xda => {
                read_scan(segment, &mut headers)?;
                headers.scan = after;
                return Some(headers);
            }
            // Adobe's segment may tell of other colours than YCbCr.
            0xee => return None,
            0xe0..=0xef | 0xfe => {}
            _ => return None,
        }
        rest = after;
    }
}

fn read_frame(segment: &[u8], headers: &mut Headers<'_>) -> Option<()> {
    let (&[8, h1, h0, w1, w0, count], planes) = segment.split_first_chunk()? else { return None };
    headers.size = [[w1, w0], [h1, h0]].map(|bytes| usize::from(u16::from_be_bytes(bytes)));
    let (planes, []) = planes.as_chunks::<3>() else { return None };
    if planes.len() != usize::from(count) || ![1, 3].contains(&count) || !headers.planes.is_empty() {
        return None;
    }
    for &[id, blocks, steps] in planes {
        // The blocks of a single plane are not grouped, whatever the file says.
        let blocks = if count == 1 { [1, 1] } else { [blocks >> 4, blocks & 15].map(usize::from) };
        if blocks.iter().any(|n| !(1..=2).contains(n)) || steps > 3 {
            return None;
        }
        let (sides, codes) = ([0; 2], [0; 2]);
        let steps = usize::from(steps);
        headers.planes.push(Plane { id, blocks, sides, steps, codes, first: 0, width: 0, pixels: Vec::new() });
    }
    Some(())
}

fn read_codes(mut segment: &[u8], headers: &mut Headers<'_>) -> Option<()> {
    while let Some((&[head], rest)) = segment.split_first_chunk() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let total = counts.iter().map(|&n| usize::from(n)).sum();
        let (symbols, rest) = rest.split_at_checked(total)?;
        let slot = headers.codes.get_mut(usize::from(head >> 4))?.get_mut(usize::from(head & 15))?;
        *slot = Some(Codes::new(counts, symbols)?);
        segment = rest;
    }
    Some(())
}

fn read_steps(segment: &[u8], headers: &mut Headers<'_>) -> Option<()> {
    let (tables, []) = segment.as_chunks::<65>() else { return None };
    for [head, steps @ ..] in tables {
        *headers.steps.get_mut(usize::from(*head))? = Some(steps.map(i32::from));
    }
    Some(())
}

fn read_scan(segment: &[u8], headers: &mut Headers<'_>) -> Option<()> {
    let (&count, rest) = segment.split_first()?;
    // The last three bytes: all coefficients, in one go.
    let (planes, &[0, 63, 0]) = rest.split_last_chunk()? else { return None };
    let (planes, []) = planes.as_chunks::<2>() else { return None };
    if planes.len() != usize::from(count) || planes.is_empty() || planes.len() != headers.planes.len() {
        return None;
    }
    for (plane, &[id, codes]) in headers.planes.iter_mut().zip(planes) {
        if plane.id != id {
            return None;
        }
        plane.codes = [codes >> 4, codes & 15].map(usize::from);
    }
    Some(())
}

/// `[coefficient][place]`; of four places the others are 0.
type Basis = [[f32; 8]; 8];

/// The cosines of the 8-point transform, as they are and as means of two neighbours.
static BASES: LazyLock<[Basis; 2]> = LazyLock::new(|| {
    let whole = |k: usize, x: usize| {
        let scale = if k == 0 { 0.125f64.sqrt() } else { 0.5 };
        scale * ((2 * x + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos()
    };
    let mean = |k: usize, x: usize| (whole(k, 2 * x) + whole(k, 2 * x + 1)) / 2.0;
    let table = |f: &dyn Fn(usize, usize) -> f64, sides: usize| -> Basis {
        std::array::from_fn(|k| std::array::from_fn(|x| if x < sides { f(k, x) as f32 } else { 0.0 }))
    };
    [table(&mean, 4), table(&whole, 8)]
});

struct Scan<'a> {
    headers: &'a Headers<'a>,
    planes: &'a mut [Plane],
    mcus: [usize; 2],
}

impl Vectorise for Scan<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn run(self) -> Option<()> {
        let Self { headers, planes, mcus } = self;
        let [half, whole] = &*BASES;
        let mut bits = Bits::new(headers.scan);
        let mut coefficients = [0f32; 64];
        let total = mcus[0] * mcus[1];
        for mcu in 0..total {
            if headers.restart > 0 && mcu > 0 && mcu.is_multiple_of(headers.restart) {
                bits.finish(0xd0 + ((mcu / headers.restart - 1) % 8) as u8)?;
                planes.iter_mut().for_each(|plane| plane.first = 0);
            }
            for plane in planes.iter_mut() {
                let steps = headers.steps[plane.steps].as_ref()?;
                let dc = headers.codes[0].get(plane.codes[0])?.as_ref()?;
                let ac = headers.codes[1].get(plane.codes[1])?.as_ref()?;
                for block in 0..plane.blocks[0] * plane.blocks[1] {
                    let written = entropy::read_block(&mut bits, dc, ac, steps, &mut plane.first, &mut coefficients)?;
                    let x = (mcu % mcus[0] * plane.blocks[0] + block % plane.blocks[0]) * plane.sides[0];
                    let y = (mcu / mcus[0] * plane.blocks[1] + block / plane.blocks[0]) * plane.sides[1];
                    let out = &mut plane.pixels[y * plane.width + x..];
                    match plane.sides {
                        [4, 4] => transform::<4, 4>(&mut coefficients, written, half, half, out, plane.width),
                        [8, 8] => transform::<8, 8>(&mut coefficients, written, whole, whole, out, plane.width),
                        [8, _] => transform::<8, 4>(&mut coefficients, written, whole, half, out, plane.width),
                        _ => transform::<4, 8>(&mut coefficients, written, half, whole, out, plane.width),
                    }
                }
            }
        }
        bits.finish(0xd9)
    }
}

/// Pixels of a block, `X` across and `Y` down; the coefficients are zero afterwards.
#[inline(always)]
fn transform<const X: usize, const Y: usize>(
    coefficients: &mut [f32; 64],
    written: u64,
    across: &Basis,
    down: &Basis,
    out: &mut [u16],
    stride: usize,
) {
    if written == 1 {
        let grey = fine_level(coefficients[0] * 0.125);
        coefficients[0] = 0.0;
        for y in 0..Y {
            out[y * stride..y * stride + X].fill(grey);
        }
        return;
    }
    // Most blocks have low frequencies alone. Two fixed sizes are faster than loops whose end cannot be foreseen.
    const LOW: u64 = 0x0f0f_0f0f;
    if written & !LOW == 0 {
        products::<X, Y, 4>(coefficients, across, down, out, stride);
    } else {
        products::<X, Y, 8>(coefficients, across, down, out, stride);
    }
    coefficients.fill(0.0);
}

/// Columns times the coefficients times rows of cosines, with the first `K` frequencies.
#[inline(always)]
fn products<const X: usize, const Y: usize, const K: usize>(
    coefficients: &[f32; 64],
    across: &Basis,
    down: &Basis,
    out: &mut [u16],
    stride: usize,
) {
    let rows = &coefficients.as_chunks::<8>().0[..8];
    let mut wide = [[0f32; 8]; K];
    for (wide, row) in wide.iter_mut().zip(rows) {
        for k in 0..K {
            for x in 0..8 {
                wide[x] += row[k] * across[k][x];
            }
        }
    }
    let mut pixels = [[0f32; 8]; Y];
    for (y, pixels) in pixels.iter_mut().enumerate() {
        for (wide, down) in wide.iter().zip(down) {
            for x in 0..8 {
                pixels[x] += down[y] * wide[x];
            }
        }
    }
    let mut greys = [[0u16; 8]; Y];
    for (grey, &pixel) in greys.as_flattened_mut().iter_mut().zip(pixels.as_flattened()) {
        *grey = fine_level(pixel);
    }
    for (y, greys) in greys.iter().enumerate() {
        out[y * stride..y * stride + X].copy_from_slice(&greys[..X]);
    }
}

/// A value around 0 as a grey level around 128, in whole numbers of 1/16.
#[inline(always)]
fn fine_level(value: f32) -> u16 {
    const ONE: f32 = (1 << LEVEL_BITS) as f32;
    // Adding 1.5 * 2^23 leaves the nearest whole number in the lower bits.
    const ROUND: f32 = 12_582_912.0;
    let whole = (value * ONE + (ROUND + 128.0 * ONE)).to_bits() as i32 - ROUND.to_bits() as i32;
    whole.clamp(0, 255 << LEVEL_BITS) as u16
}

/// Smooths a plane that is stored at half size. Interpolation gives (3a + b) / 4 on both sides of a pixel a; the mean of
/// these is (6a + b + c) / 8 with its two neighbours b and c.
fn smooth(plane: &mut Plane, [width, height]: [usize; 2]) {
    let smoothed = plane.sides.map(|side| side == 8);
    if smoothed == [false, false] {
        return;
    }
    let before = plane.pixels.clone();
    let row = |y: usize| &before[y * plane.width..y * plane.width + width];
    let mut sums = vec![0u16; width + 2];
    for y in 0..height {
        let rows = [row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1))];
        let out = &mut plane.pixels[y * plane.width..y * plane.width + width];
        vectorise(Smooth { rows, sums: &mut sums, smoothed, out });
    }
}

/// One row of [`smooth`] from the rows above, here and below. `sums` has a place more on each side.
struct Smooth<'a> {
    rows: [&'a [u16]; 3],
    sums: &'a mut [u16],
    smoothed: [bool; 2],
    out: &'a mut [u16],
}

impl Vectorise for Smooth<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { rows: [above, here, below], sums, smoothed, out } = self;
        let width = out.len();
        let eighths = |smoothed: bool| if smoothed { [1u16, 6] } else { [0, 8] };
        let ([side, middle], inner) = (eighths(smoothed[1]), &mut sums[1..=width]);
        for (((sum, &a), &h), &b) in inner.iter_mut().zip(above).zip(here).zip(below) {
            *sum = side * (a + b) + middle * h; // at most 8 * 255 * 16
        }
        (sums[0], sums[width + 1]) = (sums[1], sums[width]);
        let [side, middle] = eighths(smoothed[0]).map(u32::from);
        for (((pixel, &left), &here), &right) in out.iter_mut().zip(&*sums).zip(&sums[1..]).zip(&sums[2..]) {
            let outer = u32::from(left) + u32::from(right);
            *pixel = ((side * outer + middle * u32::from(here) + 32) >> 6) as u16;
        }
    }
}

/// A row of YCbCr to RGB.
struct ToRgb<'a> {
    planes: [&'a [u16]; 3],
    out: &'a mut [u8],
}

impl Vectorise for ToRgb<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // The factors of JFIF in whole numbers of 1/65536.
        const RED: i32 = 91_881; // 1.402
        const GREEN: [i32; 2] = [-22_554, -46_802]; // -0.344136, -0.714136
        const BLUE: i32 = 116_130; // 1.772
        const GREY: i32 = 128 << LEVEL_BITS;
        let [luma, blues, reds] = self.planes;
        let pixels = self.out.as_chunks_mut::<3>().0.chunks_mut(ROW_PART);
        for (((pixels, luma), blues), reds) in
            pixels.zip(luma.chunks(ROW_PART)).zip(blues.chunks(ROW_PART)).zip(reds.chunks(ROW_PART))
        {
            // First the colours one by one, then all together: each is simple enough to become vectors.
            let [mut red, mut green, mut blue] = [[0u8; ROW_PART]; 3];
            let chroma = || blues.iter().zip(reds).map(|(&b, &r)| (i32::from(b) - GREY, i32::from(r) - GREY));
            for ((out, &y), (_, r)) in red.iter_mut().zip(luma).zip(chroma()) {
                *out = level(i32::from(y) << 16, RED * r);
            }
            for ((out, &y), (b, r)) in green.iter_mut().zip(luma).zip(chroma()) {
                *out = level(i32::from(y) << 16, GREEN[0] * b + GREEN[1] * r);
            }
            for ((out, &y), (b, _)) in blue.iter_mut().zip(luma).zip(chroma()) {
                *out = level(i32::from(y) << 16, BLUE * b);
            }
            for (((pixel, &r), &g), &b) in pixels.iter_mut().zip(&red).zip(&green).zip(&blue) {
                *pixel = [r, g, b];
            }
        }
    }
}

/// The sum of luma and a part of chroma, both in 1/16 * 1/65536, as a grey level.
#[inline(always)]
fn level(luma: i32, chroma: i32) -> u8 {
    const BITS: u32 = 16 + LEVEL_BITS;
    ((luma + chroma + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// So many pixels of a row change colour space together.
const ROW_PART: usize = 64;

#[cfg(test)]
mod tests;
