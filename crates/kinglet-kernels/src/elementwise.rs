//! Elementwise kernels, optimiser steps, and the kernels that move or scale whole channels.
//!
//! Shapes: flat slices, `[rows, c]` with `rows = n * h * w`, or `[n, h, w, c]`. Oracle: the naive loops in the tests.
//! Work is cut into chunks of `CHUNK` values, so that results do not depend on the number of threads.
//!
//! Loops that only add, scale or copy are plain Rust: memory bounds them and the compiler vectorises them.

use crate::activation::{apply_simd, derivative_simd, specialise};
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_for};
use crate::{Activation, dispatch};

/// Values a task handles: 128 KiB, which with two more operands stays in a usual L2 cache.
pub(crate) const CHUNK: usize = 32 * 1024;

/// Runs `f(start, length)` over fixed chunks of `0..len`, in parallel.
pub(crate) fn for_each_chunk(len: usize, f: impl Fn(usize, usize) + Sync) {
    for_each_block(len, CHUNK, |_, start, n| f(start, n));
}

/// Runs `f(block, start, length)` over blocks of `size` out of `0..len`, in parallel.
pub(crate) fn for_each_block(len: usize, size: usize, f: impl Fn(usize, usize, usize) + Sync) {
    parallel_for(len.div_ceil(size), |block| {
        let start = block * size;
        f(block, start, size.min(len - start));
    });
}

/// Loads `n <= LANES` floats. A full vector is the common case, and the branch is predicted.
///
/// # Safety
/// `n` floats at `p` are readable.
#[inline(always)]
pub(crate) unsafe fn load_n<S: Simd>(p: *const f32, n: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { if n == S::LANES { S::load(p) } else { S::load_partial(p, n) } }
}

/// Stores `n <= LANES` floats.
///
/// # Safety
/// `n` floats at `p` are writable.
#[inline(always)]
pub(crate) unsafe fn store_n<S: Simd>(p: *mut f32, v: S::V, n: usize) {
    // SAFETY: the caller's promise.
    unsafe { if n == S::LANES { S::store(p, v) } else { S::store_partial(p, v, n) } }
}

/// Rows of `width` values that make up about a [`CHUNK`]: at least one.
pub(crate) fn rows_per_chunk(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}

/// Runs `f(start, part of y)` over fixed chunks of `y`, in parallel.
fn for_each_chunk_mut<T: Send>(y: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    for_each_block_mut(y, CHUNK, f);
}

/// Runs `f(start, part of y)` over blocks of `size` values of `y`, in parallel.
pub(crate) fn for_each_block_mut<T: Send>(y: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let out = SendPtr(y.as_mut_ptr());
    for_each_block(y.len(), size, |_, start, n| {
        // SAFETY: blocks lie inside `y`, which is borrowed mutably for the whole call, and do not overlap.
        f(start, unsafe { std::slice::from_raw_parts_mut(out.get().add(start), n) });
    });
}

/// `y = x`.
///
/// # Panics
/// If the lengths differ.
pub fn copy(y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len(), "copy: lengths differ");
    for_each_chunk_mut(y, |start, y| y.copy_from_slice(&x[start..start + y.len()]));
}

/// `y += x`.
///
/// # Panics
/// If the lengths differ.
pub fn add_assign(y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len(), "add_assign: lengths differ");
    for_each_chunk_mut(y, |start, y| {
        for (y, x) in y.iter_mut().zip(&x[start..]) {
            *y += x;
        }
    });
}

/// The sum of squares in `f64`, in a fixed order.
pub fn sum_sq(x: &[f32]) -> f64 {
    let mut partial = vec![0.0f64; x.len().div_ceil(CHUNK)];
    for_each_block_mut(&mut partial, 1, |block, out| {
        let part = &x[block * CHUNK..x.len().min((block + 1) * CHUNK)];
        let mut lanes = [0.0f64; 8];
        for eight in part.chunks(8) {
            for (lane, &v) in lanes.iter_mut().zip(eight) {
                *lane += f64::from(v) * f64::from(v);
            }
        }
        out[0] = lanes.iter().sum();
    });
    partial.iter().sum()
}

/// One step of SGD with momentum, as in PyTorch: `d = grad * grad_scale + weight_decay * w`,
/// `buf = momentum * buf + d`, then `w -= lr * (nesterov ? d + momentum * buf : buf)`.
///
/// A buffer of zeros before the first step gives PyTorch's first step, `buf = d`.
///
/// # Panics
/// If the lengths differ.
#[allow(clippy::too_many_arguments, clippy::cast_possible_truncation)]
pub fn sgd_step(
    w: &mut [f32],
    grad: &[f32],
    buf: &mut [f32],
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    nesterov: bool,
    grad_scale: f64,
) {
    assert!(w.len() == grad.len() && w.len() == buf.len(), "sgd_step: lengths differ");
    let [lr, momentum, weight_decay, grad_scale] = [lr, momentum, weight_decay, grad_scale].map(|v| v as f32);
    let buf = SendPtr(buf.as_mut_ptr());
    for_each_chunk_mut(w, |start, w| {
        // SAFETY: `buf` is as long as `w`, borrowed mutably for the whole call, and chunks do not overlap.
        let buf = unsafe { std::slice::from_raw_parts_mut(buf.get().add(start), w.len()) };
        for ((w, g), b) in w.iter_mut().zip(&grad[start..]).zip(buf) {
            let d = g * grad_scale + weight_decay * *w;
            *b = momentum * *b + d;
            *w -= lr * if nesterov { d + momentum * *b } else { *b };
        }
    });
}

/// Step `step` (1 is the first) of Adam, or of AdamW with `decoupled` weight decay, as in PyTorch.
///
/// # Panics
/// If the lengths differ.
#[allow(clippy::too_many_arguments, clippy::cast_possible_truncation)]
pub fn adam_step(
    w: &mut [f32],
    grad: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: u64,
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    decoupled: bool,
    grad_scale: f64,
) {
    assert!(w.len() == grad.len() && w.len() == m.len() && w.len() == v.len(), "adam_step: lengths differ");
    // In f64, because 1 - beta2 would lose three digits in f32.
    let step_size = (lr / (1.0 - beta1.powf(step as f64))) as f32;
    let correction = (1.0 / (1.0 - beta2.powf(step as f64)).sqrt()) as f32;
    let keep = if decoupled { (1.0 - lr * weight_decay) as f32 } else { 1.0 };
    let decay = if decoupled { 0.0 } else { weight_decay as f32 };
    let (blend1, blend2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
    let [beta2, eps, grad_scale] = [beta2, eps, grad_scale].map(|v| v as f32);
    let (m, v) = (SendPtr(m.as_mut_ptr()), SendPtr(v.as_mut_ptr()));
    for_each_chunk_mut(w, |start, w| {
        // SAFETY: `m` and `v` are as long as `w`, borrowed mutably for the whole call, and chunks do not overlap.
        let (m, v) = unsafe {
            let n = w.len();
            let m = std::slice::from_raw_parts_mut(m.get().add(start), n);
            (m, std::slice::from_raw_parts_mut(v.get().add(start), n))
        };
        for (((w, g), m), v) in w.iter_mut().zip(&grad[start..]).zip(m).zip(v) {
            let g = g * grad_scale + decay * *w;
            *m += (g - *m) * blend1;
            *v = beta2 * *v + blend2 * g * g;
            *w = *w * keep - step_size * *m / (v.sqrt() * correction + eps);
        }
    });
}

/// `ema = decay * ema + (1 - decay) * w`.
///
/// # Panics
/// If the lengths differ.
#[allow(clippy::cast_possible_truncation)]
pub fn ema_step(ema: &mut [f32], w: &[f32], decay: f64) {
    assert_eq!(ema.len(), w.len(), "ema_step: lengths differ");
    let (keep, blend) = (decay as f32, (1.0 - decay) as f32);
    for_each_chunk_mut(ema, |start, ema| {
        for (e, w) in ema.iter_mut().zip(&w[start..]) {
            *e = keep * *e + blend * w;
        }
    });
}

/// Copies `src` `[rows, c_src]` into channels `offset..offset + c_src` of `dst` `[rows, c_dst]`.
///
/// # Panics
/// If the shapes do not fit.
pub fn copy_channels_into(src: &[f32], c_src: usize, dst: &mut [f32], c_dst: usize, offset: usize) {
    assert!(offset + c_src <= c_dst, "copy_channels_into: channels {offset}..{} of {c_dst}", offset + c_src);
    assert_eq!(src.len() * c_dst, dst.len() * c_src, "copy_channels_into: rows differ");
    for_each_block_mut(dst, rows_per_chunk(c_dst) * c_dst, |start, dst| {
        let src = &src[start / c_dst * c_src..];
        for (to, from) in dst.chunks_exact_mut(c_dst).zip(src.chunks_exact(c_src)) {
            to[offset..offset + c_src].copy_from_slice(from);
        }
    });
}

/// Copies channels `offset..offset + c_dst` of `src` `[rows, c_src]` to `dst` `[rows, c_dst]`, or adds them to it.
///
/// # Panics
/// If the shapes do not fit.
pub fn copy_channels_from(src: &[f32], c_src: usize, offset: usize, dst: &mut [f32], c_dst: usize, accumulate: bool) {
    assert!(offset + c_dst <= c_src, "copy_channels_from: channels {offset}..{} of {c_src}", offset + c_dst);
    assert_eq!(src.len() * c_dst, dst.len() * c_src, "copy_channels_from: rows differ");
    for_each_block_mut(dst, rows_per_chunk(c_dst) * c_dst, |start, dst| {
        let src = &src[start / c_dst * c_src..];
        for (to, from) in dst.chunks_exact_mut(c_dst).zip(src.chunks_exact(c_src)) {
            put(to, &from[offset..offset + c_dst], accumulate);
        }
    });
}

/// `to = from`, or `to += from`.
fn put(to: &mut [f32], from: &[f32], accumulate: bool) {
    if accumulate {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    } else {
        to.copy_from_slice(from);
    }
}

/// Nearest-neighbour upsampling by an integer: `x` `[n, h, w, c]` to `y` `[n, h * scale, w * scale, c]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn upsample_nearest(x: &[f32], [n, h, w, c]: [usize; 4], scale: usize, y: &mut [f32]) {
    assert_eq!(x.len(), n * h * w * c, "upsample_nearest: x");
    assert_eq!(y.len(), x.len() * scale * scale, "upsample_nearest: y");
    if x.is_empty() {
        return;
    }
    let line = w * c;
    for_each_block_mut(y, scale * line, |start, y| {
        let from = start / (scale * line) / scale * line; // output row r comes from input row r / scale
        for (pixel, to) in x[from..from + line].chunks_exact(c).zip(y.chunks_exact_mut(scale * c)) {
            to.chunks_exact_mut(c).for_each(|to| to.copy_from_slice(pixel));
        }
    });
}

/// The gradient of [`upsample_nearest`]: `dx = ` (or `+=`) the sum of each `scale * scale` block of `dy`.
///
/// `shape` is that of `dx`.
///
/// # Panics
/// If the lengths do not fit.
pub fn upsample_nearest_backward(dy: &[f32], [n, h, w, c]: [usize; 4], scale: usize, dx: &mut [f32], accumulate: bool) {
    assert_eq!(dx.len(), n * h * w * c, "upsample_nearest_backward: dx");
    assert_eq!(dy.len(), dx.len() * scale * scale, "upsample_nearest_backward: dy");
    if dx.is_empty() {
        return;
    }
    let line = w * c;
    for_each_block_mut(dx, line, |start, dx| {
        if !accumulate {
            dx.fill(0.0);
        }
        for dy_line in dy[start * scale * scale..].chunks_exact(scale * line).take(scale) {
            for (to, from) in dx.chunks_exact_mut(c).zip(dy_line.chunks_exact(scale * c)) {
                from.chunks_exact(c).for_each(|from| put(to, from, true));
            }
        }
    });
}

/// The four phases of [`space_to_depth`] as (row, column) offsets, in YOLOv5's Focus order.
const FOCUS: [[usize; 2]; 4] = [[0, 0], [1, 0], [0, 1], [1, 1]];

/// YOLOv5's Focus slicing: `x` `[n, h, w, c]` with even `h` and `w` to `y` `[n, h / 2, w / 2, 4 c]`.
///
/// The channel groups are (even rows, even columns), (odd, even), (even, odd), (odd, odd).
///
/// # Panics
/// If a side is odd or the lengths do not fit.
pub fn space_to_depth(x: &[f32], [n, h, w, c]: [usize; 4], y: &mut [f32]) {
    assert!(h % 2 == 0 && w % 2 == 0, "space_to_depth: {h} x {w} is not even");
    assert!(x.len() == n * h * w * c && y.len() == x.len(), "space_to_depth: lengths");
    if x.is_empty() {
        return;
    }
    for_each_block_mut(y, 2 * w * c, |start, y| {
        for (group, [dy, dx]) in FOCUS.into_iter().enumerate() {
            let row = &x[start + dy * w * c..][..w * c];
            for (to, from) in y.chunks_exact_mut(4 * c).zip(row.chunks_exact(2 * c)) {
                to[group * c..(group + 1) * c].copy_from_slice(&from[dx * c..(dx + 1) * c]);
            }
        }
    });
}

/// The gradient of [`space_to_depth`]; `shape` is that of `dx`.
///
/// # Panics
/// If a side is odd or the lengths do not fit.
pub fn space_to_depth_backward(dy: &[f32], [n, h, w, c]: [usize; 4], dx: &mut [f32], accumulate: bool) {
    assert!(h % 2 == 0 && w % 2 == 0, "space_to_depth_backward: {h} x {w} is not even");
    assert!(dx.len() == n * h * w * c && dy.len() == dx.len(), "space_to_depth_backward: lengths");
    if dx.is_empty() {
        return;
    }
    for_each_block_mut(dx, 2 * w * c, |start, dx| {
        let pixels = &dy[start..start + 2 * w * c];
        for (group, [row, column]) in FOCUS.into_iter().enumerate() {
            let line = &mut dx[row * w * c..(row + 1) * w * c];
            for (to, from) in line.chunks_exact_mut(2 * c).zip(pixels.chunks_exact(4 * c)) {
                put(&mut to[column * c..(column + 1) * c], &from[group * c..(group + 1) * c], accumulate);
            }
        }
    });
}

/// Zeros added around an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding {
    /// Columns added on the left.
    pub left: usize,
    /// Columns added on the right.
    pub right: usize,
    /// Rows added above.
    pub top: usize,
    /// Rows added below.
    pub bottom: usize,
}

/// Pads `x` `[n, h, w, c]` with zeros to `y` `[n, top + h + bottom, left + w + right, c]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn zero_pad(x: &[f32], [n, h, w, c]: [usize; 4], padding: Padding, y: &mut [f32]) {
    let Padding { left, right, top, bottom } = padding;
    let (tall, line) = (h + top + bottom, (w + left + right) * c);
    assert_eq!(x.len(), n * h * w * c, "zero_pad: x");
    assert_eq!(y.len(), n * tall * line, "zero_pad: y");
    if y.is_empty() {
        return;
    }
    for_each_block_mut(y, line, |start, y| {
        let (image, row) = (start / line / tall, start / line % tall);
        y.fill(0.0);
        if (top..top + h).contains(&row) {
            let from = (image * h + row - top) * w * c;
            y[left * c..(left + w) * c].copy_from_slice(&x[from..from + w * c]);
        }
    });
}

/// The gradient of [`zero_pad`]; `shape` is that of `dx`.
///
/// # Panics
/// If the lengths do not fit.
pub fn zero_pad_backward(dy: &[f32], [n, h, w, c]: [usize; 4], padding: Padding, dx: &mut [f32], accumulate: bool) {
    let Padding { left, right, top, bottom } = padding;
    let (tall, line) = (h + top + bottom, (w + left + right) * c);
    assert_eq!(dx.len(), n * h * w * c, "zero_pad_backward: dx");
    assert_eq!(dy.len(), n * tall * line, "zero_pad_backward: dy");
    if dx.is_empty() {
        return;
    }
    for_each_block_mut(dx, w * c, |start, dx| {
        let row = start / (w * c);
        let from = (row / h * tall + row % h + top) * line + left * c;
        put(dx, &dy[from..from + w * c], accumulate);
    });
}

/// Squeeze-excite gating: `y = activation(x * gate)` with `x`, `y` `[n, hw, c]` and `gate` `[n, c]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn scale_channels(x: &[f32], gate: &[f32], [n, hw, c]: [usize; 3], activation: Activation, y: &mut [f32]) {
    assert!(x.len() == n * hw * c && y.len() == x.len(), "scale_channels: x or y");
    assert_eq!(gate.len(), n * c, "scale_channels: gate");
    let rows = rows_per_chunk(c).min(hw.max(1));
    let blocks = hw.div_ceil(rows);
    let out = SendPtr(y.as_mut_ptr());
    parallel_for(n * blocks, |task| {
        let (image, block) = (task / blocks, task % blocks);
        let start = (image * hw + block * rows) * c;
        let rows = rows.min(hw - block * rows);
        // SAFETY: `rows` whole rows from `start` lie inside `x` and `y`; tasks do not overlap.
        unsafe {
            let gate = gate.as_ptr().add(image * c);
            gate_rows(activation, x.as_ptr().add(start), gate, out.get().add(start), rows, c);
        }
    });
}

/// `x = activation(x * gate)` with `x` `[rows, c]` of one image and `gate` `[c]`.
///
/// # Panics
/// If `x` is not whole rows.
pub fn scale_channels_in_place(x: &mut [f32], gate: &[f32], activation: Activation) {
    let c = gate.len();
    assert!(c > 0 && x.len().is_multiple_of(c), "scale_channels_in_place: {} values in rows of {c}", x.len());
    for_each_block_mut(x, rows_per_chunk(c) * c, |_, x| {
        // SAFETY: whole rows of `x`; each value is read before it is written.
        unsafe { gate_rows(activation, x.as_ptr(), gate.as_ptr(), x.as_mut_ptr(), x.len() / c, c) }
    });
}

#[inline(always)]
unsafe fn gate_kernel<S: Simd>(
    activation: Activation,
    x: *const f32,
    gate: *const f32,
    y: *mut f32,
    rows: usize,
    c: usize,
) {
    // SAFETY: every access is to channels below `c` of the `rows` rows.
    unsafe {
        specialise!(activation, a => for r in 0..rows {
            let (x, y) = (x.add(r * c), y.add(r * c));
            let mut i = 0;
            while i + S::LANES <= c {
                S::store(y.add(i), apply_simd::<S>(a, S::mul(S::load(x.add(i)), S::load(gate.add(i)))));
                i += S::LANES;
            }
            if i < c {
                let v = S::mul(S::load_partial(x.add(i), c - i), S::load_partial(gate.add(i), c - i));
                S::store_partial(y.add(i), apply_simd::<S>(a, v), c - i);
            }
        });
    }
}
dispatch!(fn gate_rows(activation: Activation, x: *const f32, gate: *const f32, y: *mut f32, rows: usize,
    c: usize) = gate_kernel);

/// The gradients of [`scale_channels`]: with `d = dy * activation'(x * gate)`, `dx = d * gate` (or `+=` with
/// `accumulate`) and `dgate = sum over hw of d * x` (overwritten).
///
/// # Panics
/// If the lengths do not fit.
#[allow(clippy::too_many_arguments, clippy::cast_possible_truncation)]
pub fn scale_channels_backward(
    x: &[f32],
    gate: &[f32],
    dy: &[f32],
    [n, hw, c]: [usize; 3],
    activation: Activation,
    dx: &mut [f32],
    accumulate: bool,
    dgate: &mut [f32],
) {
    assert!(x.len() == n * hw * c && dy.len() == x.len() && dx.len() == x.len(), "scale_channels_backward: x, dy, dx");
    assert!(gate.len() == n * c && dgate.len() == gate.len(), "scale_channels_backward: gate, dgate");
    let rows = rows_per_chunk(c).min(hw.max(1));
    let blocks = hw.div_ceil(rows);
    let mut partial = vec![0.0f32; n * blocks * c];
    let (out, sums) = (SendPtr(dx.as_mut_ptr()), SendPtr(partial.as_mut_ptr()));
    parallel_for(n * blocks, |task| {
        let (image, block) = (task / blocks, task % blocks);
        let start = (image * hw + block * rows) * c;
        let rows = rows.min(hw - block * rows);
        // SAFETY: `rows` whole rows from `start` lie inside `x`, `dy` and `dx`; tasks do not overlap, nor do the
        // `c` sums of each.
        unsafe {
            let (x, dy, dx) = (x.as_ptr().add(start), dy.as_ptr().add(start), out.get().add(start));
            let gate = gate.as_ptr().add(image * c);
            gate_backward_rows(activation, x, gate, dy, dx, accumulate, sums.get().add(task * c), rows, c);
        }
    });
    for (image, dgate) in dgate.chunks_exact_mut(c.max(1)).enumerate() {
        for (ch, dgate) in dgate.iter_mut().enumerate() {
            *dgate = (0..blocks).map(|b| f64::from(partial[(image * blocks + b) * c + ch])).sum::<f64>() as f32;
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn gate_backward_kernel<S: Simd>(
    activation: Activation,
    x: *const f32,
    gate: *const f32,
    dy: *const f32,
    dx: *mut f32,
    accumulate: bool,
    sums: *mut f32,
    rows: usize,
    c: usize,
) {
    // SAFETY: every access is to channels below `c` of the `rows` rows.
    unsafe {
        specialise!(activation, a => for r in 0..rows {
            let at = r * c;
            let mut i = 0;
            while i < c {
                let k = (c - i).min(S::LANES);
                let (xv, gv) = (load_n::<S>(x.add(at + i), k), load_n::<S>(gate.add(i), k));
                let d = S::mul(load_n::<S>(dy.add(at + i), k), derivative_simd::<S>(a, S::mul(xv, gv)));
                let start = if accumulate { load_n::<S>(dx.add(at + i), k) } else { S::splat(0.0) };
                store_n::<S>(dx.add(at + i), S::fma(d, gv, start), k);
                store_n::<S>(sums.add(i), S::fma(d, xv, load_n::<S>(sums.add(i), k)), k);
                i += k;
            }
        });
    }
}
dispatch!(fn gate_backward_rows(activation: Activation, x: *const f32, gate: *const f32, dy: *const f32, dx: *mut f32,
    accumulate: bool, sums: *mut f32, rows: usize, c: usize) = gate_backward_kernel);

#[cfg(test)]
#[path = "elementwise_tests.rs"]
pub(crate) mod tests;
