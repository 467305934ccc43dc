//! The gradient of a depthwise convolution's weights.

use super::{Axis, Segment, opaque};
use crate::elementwise::{load_n, store_n};
use crate::simd::Simd;
use crate::{ConvShape, dispatch};

/// Outputs that one chain of sums runs over: their inputs stay in L1.
const CHAIN: usize = 16;

/// What the tasks share.
pub(super) struct WeightPlan<'a> {
    s: &'a ConvShape,
    rows: Axis,
    segments: Vec<Segment>,
}

impl<'a> WeightPlan<'a> {
    pub fn new(s: &'a ConvShape) -> Self {
        WeightPlan { s, rows: Axis::forward(s, 0), segments: Axis::forward(s, 1).segments(CHAIN) }
    }
}

#[inline(always)]
unsafe fn weight_kernel<S: Simd>(
    p: &WeightPlan<'_>,
    x: *const f32,
    dy: *const f32,
    first: usize,
    rows: usize,
    sums: *mut f32,
) {
    let (s, c) = (p.s, p.s.c_in);
    let line = s.input[1] * c;
    for row in first..first + rows {
        let down = p.rows.runs[row];
        for segment in &p.segments {
            let across = segment.run;
            let steps = WeightSteps {
                c,
                row: s.dilation[0] * line,
                tap_row: s.kernel[1] * c,
                column: s.dilation[1] * c,
                advance: s.stride[1] * c,
                len: segment.len,
            };
            // SAFETY: runs and segments stay inside `x`, `dy` and the sums by their construction.
            unsafe {
                let x = x.wrapping_add(down.input * line + across.input * c);
                let dy = dy.wrapping_add((row * s.output[1] + segment.output) * c);
                let sums = sums.add((down.tap * s.kernel[1] + across.tap) * c);
                if down.count == 3 && across.count == 3 {
                    weight_tile::<S, 3, 3>(steps, x, dy, sums);
                    continue;
                }
                let mut j = 0;
                while j < down.count {
                    let pair = down.count - j >= 2 && across.count >= 5;
                    let (x, sums) = (x.add(j * steps.row), sums.add(j * steps.tap_row));
                    let mut i = 0;
                    while i < across.count {
                        let (x, sums) = (x.add(i * steps.column), sums.add(i * c));
                        i += match across.count - i {
                            5.. if pair => weight_tile::<S, 2, 5>(steps, x, dy, sums),
                            5.. => weight_tile::<S, 1, 5>(steps, x, dy, sums),
                            3.. if pair => weight_tile::<S, 2, 3>(steps, x, dy, sums),
                            3.. => weight_tile::<S, 1, 3>(steps, x, dy, sums),
                            _ if pair => weight_tile::<S, 2, 1>(steps, x, dy, sums),
                            _ => weight_tile::<S, 1, 1>(steps, x, dy, sums),
                        };
                    }
                    j += 1 + usize::from(pair);
                }
            }
        }
    }
}
dispatch!(
    /// Adds to `[taps, c]` sums what output rows `first..first + rows` of one image contribute.
    ///
    /// # Safety
    /// `x` and `dy` are the image's input and output gradient, of which only the lines that these rows read are touched.
    pub(super) fn weight_rows(p: &WeightPlan<'_>, x: *const f32, dy: *const f32, first: usize, rows: usize,
    sums: *mut f32) = weight_kernel);

#[derive(Clone, Copy)]
struct WeightSteps {
    c: usize,
    row: usize,
    tap_row: usize,
    column: usize,
    advance: usize,
    len: usize,
}

/// Adds to `H * W` taps what the outputs of one segment contribute, for every channel. Returns `W`.
#[inline(always)]
unsafe fn weight_tile<S: Simd, const H: usize, const W: usize>(
    s: WeightSteps,
    x: *const f32,
    dy: *const f32,
    sums: *mut f32,
) -> usize {
    let mut i = 0;
    // SAFETY: channels `i..i + LANES`, then the `c - i` that remain, of the places that the caller answers for.
    unsafe {
        while i + S::LANES <= s.c {
            weight_vector::<S, H, W>(s, x.add(i), dy.add(i), sums.add(i), S::LANES);
            i += S::LANES;
        }
        if i < s.c {
            weight_vector::<S, H, W>(s, x.add(i), dy.add(i), sums.add(i), s.c - i);
        }
    }
    W
}

#[inline(always)]
unsafe fn weight_vector<S: Simd, const H: usize, const W: usize>(
    s: WeightSteps,
    x: *const f32,
    dy: *const f32,
    sums: *mut f32,
    k: usize,
) {
    // SAFETY: the caller's promise: `k` channels of every place.
    unsafe {
        let mut acc = [[S::splat(0.0); W]; H];
        for o in 0..s.len {
            let d = load_n::<S>(dy.add(o * s.c), k);
            let mut row = x.add(o * s.advance);
            for (h, acc) in acc.iter_mut().enumerate() {
                if h > 0 {
                    row = row.add(s.row);
                }
                row = opaque(row);
                let mut from = row;
                for (w, acc) in acc.iter_mut().enumerate() {
                    if w > 0 {
                        from = from.add(s.column);
                    }
                    *acc = S::fma(load_n::<S>(from, k), d, *acc);
                }
            }
        }
        for (h, acc) in acc.iter().enumerate() {
            for (w, &acc) in acc.iter().enumerate() {
                let to = sums.add(h * s.tap_row + w * s.c);
                store_n::<S>(to, S::add(load_n::<S>(to, k), acc), k);
            }
        }
    }
}
