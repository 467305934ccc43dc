//! JPEG pictures, whole or at half their size, as OpenCV decodes them, whose pictures YOLOv5's models have learnt from:
//! other decoders transform, round and interpolate chroma in other ways.
//!
//! The mean of two neighbouring pixels is linear in a block's coefficients, as the pixels are: so a block of 8x8 gives
//! 4x4 means by one smaller transform, and three of four pixels are never made. Where chroma is stored at half the size
//! already it stays, smoothed as interpolating it and taking means would do.
//!
//! Source: ITU-T T.81 (baseline, Huffman), JFIF 1.02 for colours. Only ordinary files are read: one scan, 8 bits, grey or
//! YCbCr, intact to the end. For everything else there is the general decoder.
//! Oracle: OpenCV's decoding, to the bit, and its resizing, to rounding, in the tests.

mod batch;
mod chroma;
mod entropy;
mod idct;

use crate::image::{Image, Region};
use batch::{Batch, Room};
use chroma::Interpolated;
use entropy::{Codes, Interval, Steps};
use kinglet_kernels::idct::BLOCKS;
use kinglet_kernels::vectorise::{Vectorise, vectorise};
use std::ops::Range;

/// How large a picture becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As it is.
    Whole,
    /// Each pixel the mean of four.
    Half,
}

impl Scale {
    /// Planes hold grey levels in whole numbers of `1 / 2^level_bits`. Whole pictures round where OpenCV does; for half of
    /// them that would be felt in the colours.
    fn level_bits(self) -> u32 {
        match self {
            Scale::Whole => 0,
            Scale::Half => 4,
        }
    }
}

/// One colour plane of the file and its pixels.
#[derive(Default)]
struct Plane {
    id: u8,
    /// Blocks of an MCU, across and down.
    blocks: [usize; 2],
    /// Whether it is stored at half the picture's size, across and down.
    halved: [bool; 2],
    /// Sides of the result of a block: 4 where pixels are averaged.
    sides: [usize; 2],
    steps: usize,
    codes: [usize; 2],
    /// The first coefficient of the block before.
    first: i32,
    width: usize,
    /// The row that `pixels` begin with: none above it is wanted.
    top: usize,
    pixels: Vec<u16>,
}

/// What the headers say.
#[derive(Default)]
struct Headers<'a> {
    size: [usize; 2],
    planes: Vec<Plane>,
    steps: [Option<Steps>; 4],
    /// For first and other coefficients.
    codes: [[Option<Codes>; 4]; 2],
    restart: usize,
    scan: &'a [u8],
}

/// The picture at this scale, black where nothing of `region` (in pixels of the result) is near. `None` where a side to
/// halve is odd, or the file is not ordinary as far as it was read: below the region it is not.
pub(crate) fn decode(bytes: &[u8], scale: Scale, region: &Region) -> Option<Image> {
    let mut headers = read_headers(bytes)?;
    let [width, height] = headers.size;
    if scale == Scale::Half && !(width.is_multiple_of(2) && height.is_multiple_of(2)) {
        return None;
    }
    let mcu: [usize; 2] =
        std::array::from_fn(|i| headers.planes.iter().map(|plane| plane.blocks[i]).max().unwrap_or(1));
    let mcus = [width.div_ceil(8 * mcu[0]), height.div_ceil(8 * mcu[1])];
    for plane in &mut headers.planes {
        if (0..2).any(|i| plane.blocks[i] != mcu[i] && plane.blocks[i] * 2 != mcu[i]) {
            return None;
        }
        plane.halved = std::array::from_fn(|i| plane.blocks[i] != mcu[i]);
        plane.sides = plane.halved.map(|halved| if scale == Scale::Half && !halved { 4 } else { 8 });
    }
    let level_bits = scale.level_bits();
    let (size, mcu) = match scale {
        Scale::Whole => ([width, height], mcu.map(|blocks| 8 * blocks)),
        Scale::Half => ([width / 2, height / 2], mcu.map(|blocks| 4 * blocks)),
    };
    let clipped = |range: &Range<usize>, side: usize| {
        let end = range.end.min(side);
        range.start.min(end)..end
    };
    let (columns, rows) = (clipped(&region.columns, size[0]), clipped(&region.rows, size[1]));
    let seen = [near(&columns, mcu[0], mcus[0]), near(&rows, mcu[1], mcus[1])];
    let mut planes = std::mem::take(&mut headers.planes);
    for plane in &mut planes {
        let [width, height] = [0, 1].map(|i| plane.blocks[i] * plane.sides[i]);
        (plane.width, plane.top) = (mcus[0] * width, seen[1].start * height);
        plane.pixels = vec![0; plane.width * seen[1].len() * height];
    }
    vectorise(Scan { headers: &headers, planes: &mut planes, mcus, seen, scale })?;
    let mut out = Image::new(size[0], size[1], [0; 3]);
    let mut interpolated: Vec<_> = planes.iter().map(|plane| Interpolated::new(plane, scale, size)).collect();
    for y in rows {
        let out = &mut out.row_mut(y)[columns.start * 3..columns.end * 3];
        match interpolated.as_mut_slice() {
            [luma] => {
                for (pixel, &grey) in out.as_chunks_mut().0.iter_mut().zip(&luma.row(y)[columns.clone()]) {
                    *pixel = [level([i32::from(grey) << 16, 0], level_bits); 3];
                }
            }
            [luma, blue, red] => {
                let planes = [luma, blue, red].map(|plane| &plane.row(y)[columns.clone()]);
                vectorise(ToRgb { planes, level_bits, out });
            }
            _ => return None,
        }
    }
    Some(out)
}

/// The MCUs, of `side` pixels each, that pixels of this range need: their own, and those of the pixels beside them, from
/// which chroma is interpolated.
fn near(range: &Range<usize>, side: usize, mcus: usize) -> Range<usize> {
    if range.is_empty() {
        return 0..0;
    }
    range.start.saturating_sub(2) / side..((range.end + 2).div_ceil(side)).min(mcus)
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
    let usual = planes.len() == usize::from(count) && [1, 3].contains(&count) && !headers.size.contains(&0);
    if !usual || !headers.planes.is_empty() {
        return None;
    }
    for &[id, blocks, steps] in planes {
        // The blocks of a single plane are not grouped, whatever the file says.
        let blocks = if count == 1 { [1, 1] } else { [blocks >> 4, blocks & 15].map(usize::from) };
        if blocks.iter().any(|n| !(1..=2).contains(n)) || steps > 3 {
            return None;
        }
        let steps = usize::from(steps);
        headers.planes.push(Plane { id, blocks, steps, ..Plane::default() });
    }
    Some(())
}

fn read_codes(mut segment: &[u8], headers: &mut Headers<'_>) -> Option<()> {
    while let Some((&[head], rest)) = segment.split_first_chunk() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let total = counts.iter().map(|&n| usize::from(n)).sum();
        let (symbols, rest) = rest.split_at_checked(total)?;
        let slot = headers.codes.get_mut(usize::from(head >> 4))?.get_mut(usize::from(head & 15))?;
        *slot = Some(Codes::new(counts, symbols, head >> 4 == 0)?);
        segment = rest;
    }
    Some(())
}

fn read_steps(segment: &[u8], headers: &mut Headers<'_>) -> Option<()> {
    let (tables, []) = segment.as_chunks::<65>() else { return None };
    for [head, steps @ ..] in tables {
        *headers.steps.get_mut(usize::from(*head))? = Some(Steps::new(steps));
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
    // By these names decoders know red, green and blue.
    if headers.planes.iter().map(|plane| plane.id).eq(*b"RGB") {
        return None;
    }
    Some(())
}

struct Scan<'a> {
    headers: &'a Headers<'a>,
    planes: &'a mut [Plane],
    mcus: [usize; 2],
    /// Columns and rows of MCUs that are wanted.
    seen: [Range<usize>; 2],
    scale: Scale,
}

impl Vectorise for Scan<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn run(self) -> Option<()> {
        let Self { headers, planes, mcus, seen, scale } = self;
        let (mut scan, mut interval) = (headers.scan, Interval::default());
        interval.take(&mut scan)?;
        let mut bits = interval.bits();
        // Of each plane, a batch for each row of blocks in an MCU.
        let mut batches: Vec<[Batch; 2]> = planes.iter().map(|_| [Batch::new(), Batch::new()]).collect();
        let mut room = Room::new();
        let total = mcus[0] * seen[1].end;
        for mcu in 0..total {
            if headers.restart > 0 && mcu > 0 && mcu.is_multiple_of(headers.restart) {
                if !interval.ends(&bits, 0xd0 + ((mcu / headers.restart - 1) % 8) as u8) {
                    return None;
                }
                interval.take(&mut scan)?;
                bits = interval.bits();
                planes.iter_mut().for_each(|plane| plane.first = 0);
            }
            let (column, row) = (mcu % mcus[0], mcu / mcus[0]);
            for (plane, batches) in planes.iter_mut().zip(&mut batches) {
                let steps = headers.steps[plane.steps].as_ref()?;
                let dc = headers.codes[0].get(plane.codes[0])?.as_ref()?;
                let ac = headers.codes[1].get(plane.codes[1])?.as_ref()?;
                let [across, down] = plane.blocks;
                for (i, batch) in batches[..down].iter_mut().enumerate() {
                    for _ in 0..across {
                        entropy::read_block(&mut bits, [dc, ac], steps, &mut plane.first, batch)?;
                    }
                    // Before it is full, and at the end of a row.
                    if batch.count() + across > BLOCKS || column + 1 == mcus[0] {
                        let columns = column + 1 - batch.count() / across..column + 1;
                        if !seen[1].contains(&row) || columns.end <= seen[0].start || columns.start >= seen[0].end {
                            batch.clear();
                            continue;
                        }
                        let x = ((column + 1) * across - batch.count()) * plane.sides[0];
                        let y = (row * down + i) * plane.sides[1] - plane.top;
                        batch.finish(
                            scale,
                            plane.sides,
                            &mut room,
                            &mut plane.pixels[y * plane.width + x..],
                            plane.width,
                        );
                    }
                }
            }
        }
        (seen[1].end < mcus[1] || interval.ends(&bits, 0xd9)).then_some(())
    }
}

/// A row of YCbCr to RGB.
struct ToRgb<'a> {
    planes: [&'a [u16]; 3],
    level_bits: u32,
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
        let ([luma, blues, reds], bits) = (self.planes, self.level_bits);
        let grey = 128 << bits;
        let pixels = self.out.as_chunks_mut::<3>().0.chunks_mut(ROW_PART);
        for (((pixels, luma), blues), reds) in
            pixels.zip(luma.chunks(ROW_PART)).zip(blues.chunks(ROW_PART)).zip(reds.chunks(ROW_PART))
        {
            // First the colours one by one, then all together: each is simple enough to become vectors.
            let [mut red, mut green, mut blue] = [[0u8; ROW_PART]; 3];
            let chroma = || blues.iter().zip(reds).map(|(&b, &r)| (i32::from(b) - grey, i32::from(r) - grey));
            for ((out, &y), (_, r)) in red.iter_mut().zip(luma).zip(chroma()) {
                *out = level([i32::from(y) << 16, RED * r], bits);
            }
            for ((out, &y), (b, r)) in green.iter_mut().zip(luma).zip(chroma()) {
                *out = level([i32::from(y) << 16, GREEN[0] * b + GREEN[1] * r], bits);
            }
            for ((out, &y), (b, _)) in blue.iter_mut().zip(luma).zip(chroma()) {
                *out = level([i32::from(y) << 16, BLUE * b], bits);
            }
            for (((pixel, &r), &g), &b) in pixels.iter_mut().zip(&red).zip(&green).zip(&blue) {
                *pixel = [r, g, b];
            }
        }
    }
}

/// The sum of luma and a part of chroma, both in parts of `1 / 2^level_bits` and those in 65536 parts, as a grey level.
#[inline(always)]
fn level([luma, chroma]: [i32; 2], level_bits: u32) -> u8 {
    let bits = 16 + level_bits;
    ((luma + chroma + (1 << (bits - 1))) >> bits).clamp(0, 255) as u8
}

/// So many pixels of a row change colour space together.
const ROW_PART: usize = 64;

#[cfg(test)]
mod tests;
