//! Squeeze-and-excite: the gate from partial sums, and its product with a map.
//!
//! `gate = hard_sigmoid(w2 relu(w1 mean + b1) + b2)`. The sums come from the depthwise convolution before it, one part
//! a task, added here in order; or from the map itself.

use std::sync::Arc;

use super::Place;
use super::dense::{SMALL, gate_rows};
use crate::elementwise::load_n;
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_for};
use crate::{Activation, dispatch};

/// Pixels that one task of a mean or a scaling covers.
const PIXELS: usize = 512;
/// Outputs of a linear layer that one task computes.
const OUTPUTS: usize = 32;

/// A linear layer: weight `[c_out, c_in]` and bias `[c_out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[c_out, c_in]`.
    pub weight: Arc<[f32]>,
    /// `[c_out]`.
    pub bias: Arc<[f32]>,
}

/// Computes the gate of a batch.
#[derive(Debug)]
pub struct Squeeze {
    /// Images, pixels of one, channels.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels.
    pub c: usize,
    /// First layer, to the hidden width.
    pub reduce: Linear,
    /// Second layer, to the gate.
    pub expand: Linear,
    /// Partial sums, `[images, parts, c]`.
    pub sums: usize,
    /// How many parts an image has.
    pub parts: usize,
    /// The map to sum over first, where no step before has done so; `parts` is then [`Squeeze::map_parts`].
    pub map: Option<Place>,
    /// Work space: means `[images, c]` and hidden values `[images, r]`.
    pub work: usize,
    /// The result, `[images, c]`.
    pub gate: usize,
}

impl Squeeze {
    /// Parts of an image that are summed separately where the map is read here.
    pub fn map_parts(pixels: usize) -> usize {
        pixels.div_ceil(PIXELS).max(1)
    }

    /// Floats of the work space.
    pub fn work_len(images: usize, c: usize, hidden: usize) -> usize {
        images * (c + hidden)
    }

    fn check(&self, arena: usize) {
        let (r, c) = (self.reduce.bias.len(), self.c);
        assert!(self.reduce.weight.len() == r * c && self.expand.weight.len() == r * c, "squeeze: weights");
        assert_eq!(self.expand.bias.len(), c, "squeeze: bias");
        let ranges = [
            (self.sums, self.images * self.parts * c),
            (self.work, self.images * (c + r)),
            (self.gate, self.images * c),
        ];
        for (i, &(at, len)) in ranges.iter().enumerate() {
            assert!(at + len <= arena, "squeeze: an arena of {arena} floats is too short");
            for &(other, other_len) in &ranges[..i] {
                assert!(at + len <= other || other + other_len <= at, "squeeze: work areas overlap");
            }
        }
        if let Some(map) = self.map {
            let rows = self.images * self.pixels;
            assert!(map.c == c && map.end(rows) <= arena, "squeeze: the map");
            assert_eq!(self.parts, Squeeze::map_parts(self.pixels), "squeeze: parts");
            let sums = Place { at: self.sums, ld: c.max(1), c };
            assert!(map.apart(rows, &sums, self.images * self.parts), "squeeze: map and sums overlap");
        }
    }

    /// Computes the gate.
    ///
    /// # Panics
    /// If the arena is too short or the parts overlap.
    pub fn run(&self, arena: &mut [f32]) {
        self.check(arena.len());
        let (c, r) = (self.c, self.reduce.bias.len());
        let base = SendPtr(arena.as_mut_ptr());
        if let Some(map) = self.map {
            parallel_for(self.images * self.parts, |task| {
                let (image, part) = (task / self.parts, task % self.parts);
                let first = part * PIXELS;
                let rows = PIXELS.min(self.pixels - first);
                // SAFETY: each task has its own sums, apart from the map; both lie in the arena.
                unsafe {
                    let x = base.get().add(map.at + (image * self.pixels + first) * map.ld);
                    sum_rows(x, map.ld, rows, c, base.get().add(self.sums + task * c));
                }
            });
        }
        for image in 0..self.images {
            let (sums, rest) = (self.sums + image * self.parts * c, self.work + image * (c + r));
            // SAFETY: ranges in the arena that `check` found apart.
            unsafe {
                let mean = base.get().add(rest);
                mean_of_parts(base.get().add(sums), self.parts, c, self.pixels, mean);
                let hidden = mean.add(c);
                linear(&self.reduce, mean, c, Activation::Relu, hidden);
                linear(&self.expand, hidden, r, Activation::HardSigmoid, base.get().add(self.gate + image * c));
            }
        }
    }
}

/// # Safety
/// `layer.weight` has rows of `c_in` values, which are readable at `x`; the outputs are writable.
unsafe fn linear(layer: &Linear, x: *const f32, c_in: usize, activation: Activation, y: *mut f32) {
    let c_out = layer.bias.len();
    let (x, y) = (SendPtr(x.cast_mut()), SendPtr(y));
    let task = |i: usize| {
        let first = i * OUTPUTS;
        let count = OUTPUTS.min(c_out - first);
        // SAFETY: each task has its own outputs.
        unsafe {
            let weight = layer.weight.as_ptr().add(first * c_in);
            let bias = layer.bias.as_ptr().add(first);
            dot_rows(weight, x.get(), c_in, bias, activation, y.get().add(first), count);
        }
    };
    let tasks = c_out.div_ceil(OUTPUTS);
    if c_in * c_out < SMALL {
        (0..tasks).for_each(task);
    } else {
        parallel_for(tasks, task);
    }
}

/// # Safety
/// `parts * c` sums are readable, `c` means writable.
unsafe fn mean_of_parts(sums: *const f32, parts: usize, c: usize, pixels: usize, mean: *mut f32) {
    for ch in 0..c {
        // SAFETY: the caller's promise.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            let total: f64 = (0..parts).map(|p| f64::from(*sums.add(p * c + ch))).sum();
            *mean.add(ch) = (total / pixels as f64) as f32;
        }
    }
}

#[inline(always)]
unsafe fn dot_kernel<S: Simd>(
    w: *const f32,
    x: *const f32,
    n: usize,
    bias: *const f32,
    activation: Activation,
    y: *mut f32,
    count: usize,
) {
    for o in 0..count {
        // SAFETY: the caller's promise: `count` rows of `n` weights, `n` inputs.
        unsafe {
            let w = w.add(o * n);
            let mut acc = [S::splat(0.0); 4];
            let mut i = 0;
            while i + 4 * S::LANES <= n {
                for (v, acc) in acc.iter_mut().enumerate() {
                    let at = i + v * S::LANES;
                    *acc = S::fma(S::load(w.add(at)), S::load(x.add(at)), *acc);
                }
                i += 4 * S::LANES;
            }
            while i < n {
                let k = (n - i).min(S::LANES);
                acc[0] = S::fma(load_n::<S>(w.add(i), k), load_n::<S>(x.add(i), k), acc[0]);
                i += S::LANES;
            }
            let sum = S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3]));
            let mut lanes = [0.0f32; 16];
            S::store(lanes.as_mut_ptr(), sum);
            let sum: f32 = lanes[..S::LANES].iter().sum::<f32>() + *bias.add(o);
            *y.add(o) = match activation {
                Activation::Relu => sum.max(0.0),
                _ => (sum * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0),
            };
        }
    }
}
dispatch!(
    /// `y = activation(w x + bias)` for `count` outputs; ReLU or hard sigmoid.
    fn dot_rows(w: *const f32, x: *const f32, n: usize, bias: *const f32, activation: Activation, y: *mut f32,
        count: usize) = dot_kernel
);

#[inline(always)]
unsafe fn sum_kernel<S: Simd>(x: *const f32, ld: usize, rows: usize, c: usize, sums: *mut f32) {
    let mut i = 0;
    while i < c {
        let k = (c - i).min(S::LANES);
        // SAFETY: the caller's promise.
        unsafe {
            let mut acc = S::splat(0.0);
            for row in 0..rows {
                acc = S::add(acc, load_n::<S>(x.add(row * ld + i), k));
            }
            crate::elementwise::store_n::<S>(sums.add(i), acc, k);
        }
        i += S::LANES;
    }
}
dispatch!(
    /// Sums of `rows` rows, channel by channel.
    fn sum_rows(x: *const f32, ld: usize, rows: usize, c: usize, sums: *mut f32) = sum_kernel
);

/// `y = activation(x * gate)`; `y` may be `x`.
#[derive(Debug)]
pub struct Scale {
    /// Images.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Input.
    pub x: Place,
    /// Output.
    pub y: Place,
    /// `[images, c]` factors.
    pub gate: usize,
    /// Applied to the product.
    pub activation: Activation,
}

impl Scale {
    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short or the places overlap.
    pub fn run(&self, arena: &mut [f32]) {
        let rows = self.images * self.pixels;
        assert!(self.x == self.y || self.x.apart(rows, &self.y, rows), "scale: the places overlap");
        let gate = Place { at: self.gate, ld: self.x.c.max(1), c: self.x.c };
        assert!(gate.apart(self.images, &self.y, rows) && self.x.c == self.y.c, "scale: the gate");
        let end = self.x.end(rows).max(self.y.end(rows)).max(gate.end(self.images));
        assert!(arena.len() >= end, "scale: the arena is too short");
        let base = SendPtr(arena.as_mut_ptr());
        let parts = self.pixels.div_ceil(PIXELS);
        parallel_for(self.images * parts, |task| {
            let (image, first) = (task / parts, task % parts * PIXELS);
            let count = PIXELS.min(self.pixels - first);
            let row = image * self.pixels + first;
            // SAFETY: each task has its own rows; the places were checked.
            unsafe {
                let x = base.get().add(self.x.at + row * self.x.ld);
                let y = base.get().add(self.y.at + row * self.y.ld);
                let gate = base.get().add(self.gate + image * self.x.c);
                gate_rows(x, self.x.ld, gate, count, self.x.c, self.activation, y, self.y.ld);
            }
        });
    }
}
