//! The gradient by the weights at the same points: `dW = G^T [sum over tiles of (A dY A^T) (B^T d B)] G`, the adjoint of
//! the forward pass.
//!
//! Inputs are transformed as there, and output gradients by A. Points of the same weights lie side by side, so that one
//! product over tiles and points gives the sum of each of the 36 kinds, `[c_out][ld]`.

// Rows and columns of a tile change places between the two halves of a transform.
#![allow(clippy::needless_range_loop)]
// The points and their powers are exact in f32.
#![allow(clippy::cast_possible_truncation)]

use super::{
    A, A2, B, B2, G_NARROW, G_WIDE, Half, KINDS, NARROW, PHASED, WEIGHTS, WIDE, Winograd, group, lanes, place, points,
    product, side,
};
use crate::conv::plan::with_floats;
use crate::conv::weight::{Layout, add_product};
use crate::elementwise::{load_n, store_n};
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_for};
use crate::{ConvShape, dispatch};

/// `dweight += dL/dweight`, for a convolution that [`super::pays`].
pub(crate) fn weight_gradient(s: &ConvShape, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    s.check(x.len(), dweight.len(), dy.len());
    let winograd = Winograd::new(s);
    let (c_in, c_out, points) = (s.c_in, s.c_out, points(s));
    let tiles = (PHASED / (points * (c_in + c_out))).clamp(1, winograd.tiles);
    let ld = c_in.next_multiple_of(lanes());
    let lens = [tiles * points * c_in, tiles * points * c_out, WEIGHTS * c_out * ld];
    with_floats(lens.iter().sum(), |floats| {
        let (v, rest) = floats.split_at_mut(lens[0]);
        let (g, sums) = rest.split_at_mut(lens[1]);
        let [v, g, sums] = [v, g, sums].map(|part| SendPtr(part.as_mut_ptr()));
        for first in (0..winograd.tiles).step_by(tiles) {
            let count = tiles.min(winograd.tiles - first);
            // Tiles that one task transforms.
            let some = (4096 / c_in.max(c_out)).clamp(1, count.div_ceil(4));
            parallel_for(count.div_ceil(some), |i| {
                let range = i * some..(i * some + some).min(count);
                // SAFETY: the buffers hold `count` tiles, and tasks write different ones.
                unsafe {
                    winograd.load(x.as_ptr(), c_in, first, range.clone(), count, v.get());
                    load_gradients(&winograd, dy, first, range, count, g.get());
                }
            });
            parallel_for(WEIGHTS, |i| {
                // The last kinds have the most points: first, so that no thread is left with them.
                let kind = WEIGHTS - 1 - i;
                let [from, points] = group(side(s), [kind / KINDS, kind % KINDS]);
                let rows = points * count;
                // SAFETY: the points of this kind, which were written above; tasks write different sums.
                unsafe {
                    let v = std::slice::from_raw_parts(v.get().add(from * count * c_in), rows * c_in);
                    let g = std::slice::from_raw_parts(g.get().add(from * count * c_out), rows * c_out);
                    let sum = sums.get().add(kind * c_out * ld);
                    add_product(&product(s, rows), Layout::new(c_out, c_in), [v, g], sum, first == 0);
                }
            });
        }
        let out = SendPtr(dweight.as_mut_ptr());
        parallel_for(c_out, |co| {
            // SAFETY: every task has its own output channel.
            unsafe {
                let sums = sums.get().add(co * ld).cast_const();
                let dw = out.get().add(co * c_in * 9);
                combine(&Combine { side: side(s), sums, step: c_out * ld, c: c_in, dw });
            }
        });
    });
}

/// Transforms the output gradients of tiles `first + range` to `g`, which holds `count` tiles.
///
/// # Safety
/// `dy` is as long as the shape says and `g` long enough; no one else touches these tiles of `g`.
unsafe fn load_gradients(
    winograd: &Winograd,
    dy: &[f32],
    first: usize,
    range: std::ops::Range<usize>,
    count: usize,
    g: *mut f32,
) {
    let s = &winograd.s;
    let [h, w] = s.output;
    for t in range {
        let [image, row, column] = winograd.tile(first + t);
        let pixel = (image * h + 4 * row) * w + 4 * column;
        // SAFETY: `size` keeps the reads inside the map.
        unsafe {
            transform_gradient(&Gradients {
                side: side(s),
                dy: dy.as_ptr().add(pixel * s.c_out),
                dy_step: [w * s.c_out, s.c_out],
                size: [(h - 4 * row).min(4), (w - 4 * column).min(4)],
                c: s.c_out,
                g: g.add(t * s.c_out),
                step: count * s.c_out,
            });
        }
    }
}

/// One dimension of the output gradient's transform, A.
#[inline(always)]
unsafe fn to_points<S: Simd, const N: usize>(d: [S::V; 4]) -> [S::V; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut points = [d[0]; N];
        if N == WIDE {
            let (even, odd) = (S::add(d[0], d[2]), S::add(d[1], d[3]));
            points[1] = S::add(even, odd);
            points[2] = S::sub(even, odd);
            let (four, eight) = (S::splat(4.0), S::splat(8.0));
            points[3] = S::fma(eight, d[3], S::fma(four, d[2], S::fma(S::splat(2.0), d[1], d[0])));
            points[4] = d[3];
            points[5..9].copy_from_slice(&d);
            return points;
        }
        let [a, a2, a3] = [A, A2, A * A2].map(|v| S::splat(v as f32));
        let [b, b2, b3] = [B, B2, B * B2].map(|v| S::splat(v as f32));
        let (even, odd) = (S::fma(a2, d[2], d[0]), S::fma(a3, d[3], S::mul(a, d[1])));
        points[1] = S::add(even, odd);
        points[2] = S::sub(even, odd);
        let (even, odd) = (S::fma(b2, d[2], d[0]), S::fma(b3, d[3], S::mul(b, d[1])));
        points[3] = S::add(even, odd);
        points[4] = S::sub(even, odd);
        points[5] = d[3];
        points
    }
}

/// A tile's output gradients, of which `size` exist, and where its points go.
struct Gradients {
    side: usize,
    dy: *const f32,
    /// From one row, and one pixel, to the next.
    dy_step: [usize; 2],
    size: [usize; 2],
    c: usize,
    g: *mut f32,
    /// From one point to the next.
    step: usize,
}

#[inline(always)]
unsafe fn gradient_tile<S: Simd, const N: usize>(p: &Gradients) {
    let mut i = 0;
    while i < p.c {
        let k = (p.c - i).min(S::LANES);
        // SAFETY: the caller's promise: the tile's `size` from `dy`, its points `step` apart at `g`.
        unsafe {
            let zero = S::splat(0.0);
            let mut half = Half::<S::V, N, 4>::new();
            for x in p.size[1]..4 {
                half.set_column(x, [zero; N]);
            }
            for x in 0..p.size[1] {
                let mut d = [zero; 4];
                for y in 0..p.size[0] {
                    d[y] = load_n::<S>(p.dy.add(y * p.dy_step[0] + x * p.dy_step[1] + i), k);
                }
                half.set_column(x, to_points::<S, N>(d));
            }
            for y in 0..N {
                let points = to_points::<S, N>(half.row(y));
                for (x, v) in points.iter().enumerate() {
                    store_n::<S>(p.g.add(place::<N>(y, x) * p.step + i), *v, k);
                }
            }
        }
        i += S::LANES;
    }
}

#[inline(always)]
unsafe fn gradient_kernel<S: Simd>(p: &Gradients) {
    // SAFETY: the caller's promise.
    unsafe { if p.side == NARROW { gradient_tile::<S, NARROW>(p) } else { gradient_tile::<S, WIDE>(p) } }
}
dispatch!(
    /// Transforms a tile of output gradients.
    fn transform_gradient(p: &Gradients) = gradient_kernel
);

/// The sums of one output channel and the weights that they are the gradient of.
struct Combine {
    side: usize,
    sums: *const f32,
    /// From one kind to the next.
    step: usize,
    c: usize,
    /// `[c][3][3]`.
    dw: *mut f32,
}

#[inline(always)]
unsafe fn combine_kernel<S: Simd>(p: &Combine) {
    let matrix = (if p.side == NARROW { &G_NARROW } else { &G_WIDE }).map(|row| row.map(|v| v as f32));
    let mut i = 0;
    while i < p.c {
        let k = (p.c - i).min(S::LANES);
        // SAFETY: the caller's promise: `c` sums of each kind at `sums`, and as many kernels at `dw`.
        unsafe {
            let zero = S::splat(0.0);
            let mut taps = [[zero; 3]; 3];
            for y in 0..KINDS {
                let mut half = [zero; 3];
                for x in 0..KINDS {
                    let v = load_n::<S>(p.sums.add((y * KINDS + x) * p.step + i), k);
                    for kx in 0..3 {
                        half[kx] = S::fma(S::splat(matrix[x][kx]), v, half[kx]);
                    }
                }
                for ky in 0..3 {
                    let g = S::splat(matrix[y][ky]);
                    for kx in 0..3 {
                        taps[ky][kx] = S::fma(g, half[kx], taps[ky][kx]);
                    }
                }
            }
            for (tap, v) in taps.iter().flatten().enumerate() {
                let mut lane = [0.0; 16];
                S::store(lane.as_mut_ptr(), *v);
                for j in 0..k {
                    *p.dw.add((i + j) * 9 + tap) += lane[j];
                }
            }
        }
        i += S::LANES;
    }
}
dispatch!(
    /// Adds to one output channel's weights what its sums give.
    fn combine(p: &Combine) = combine_kernel
);
