//! Work on whole maps: pooling, repeating, scaling and shifting, Focus, borders.

use std::sync::Arc;

use super::{Place, check_apart};
use crate::elementwise::{Padding, load_n, store_n};
use crate::pooling::PoolShape;
use crate::simd::Simd;
use crate::threads::{SendPtr, parallel_for};
use crate::{Activation, activation, dispatch};

/// Max pooling.
#[derive(Debug)]
pub struct Pool {
    shape: PoolShape,
    x: Place,
    y: Place,
}

impl Pool {
    /// Prepares the pooling of the map at `x`.
    ///
    /// # Panics
    /// If the places do not fit.
    pub fn new(shape: PoolShape, x: Place, y: Place) -> Pool {
        let ([n, h, w, c], [_, oh, ow, _]) = (shape.input, shape.output());
        assert!(x.c == c && y.c == c && shape.stride > 0, "max pooling: channels");
        check_apart("max pooling", &x, n * h * w, &y, n * oh * ow);
        Pool { shape, x, y }
    }

    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short.
    pub fn run(&self, arena: &mut [f32]) {
        let ([n, h, w, _], [_, oh, ow, _]) = (self.shape.input, self.shape.output());
        assert!(arena.len() >= self.x.end(n * h * w).max(self.y.end(n * oh * ow)), "max pooling: arena");
        let base = SendPtr(arena.as_mut_ptr());
        parallel_for(n * oh, |line| {
            // SAFETY: each task writes its own row; the places were checked.
            unsafe {
                let x = base.get().add(self.x.at + line / oh * h * w * self.x.ld);
                let y = base.get().add(self.y.at + line * ow * self.y.ld);
                pool_line(&self.shape, x, self.x.ld, line % oh, y, self.y.ld);
            }
        });
    }
}

#[inline(always)]
unsafe fn pool_kernel<S: Simd>(s: &PoolShape, x: *const f32, ld: usize, row: usize, y: *mut f32, y_ld: usize) {
    let ([_, h, w, c], ow) = (s.input, s.output()[2]);
    let (top, _, rows) = s.window(row, h);
    for column in 0..ow {
        let (left, _, columns) = s.window(column, w);
        let mut i = 0;
        while i < c {
            let k = (c - i).min(S::LANES);
            // SAFETY: windows are cut to the input; `k` channels from `i`.
            unsafe {
                let from = x.add((top * w + left) * ld + i);
                let mut best = S::splat(f32::NEG_INFINITY);
                for r in 0..rows {
                    for q in 0..columns {
                        let v = load_n::<S>(from.add((r * w + q) * ld), k);
                        best = S::select_gt(v, best, v, best);
                    }
                }
                store_n::<S>(y.add(column * y_ld + i), best, k);
            }
            i += S::LANES;
        }
    }
}
dispatch!(fn pool_line(s: &PoolShape, x: *const f32, ld: usize, row: usize, y: *mut f32, y_ld: usize) = pool_kernel);

/// Nearest-neighbour enlargement by a whole factor; a copy where it is 1.
#[derive(Debug)]
pub struct Repeat {
    /// Images, height and width of the input.
    size: [usize; 3],
    scale: usize,
    x: Place,
    y: Place,
}

impl Repeat {
    /// Prepares the enlargement of `[n, h, w]` pixels at `x`.
    ///
    /// # Panics
    /// If the places do not fit.
    pub fn new(size: [usize; 3], scale: usize, x: Place, y: Place) -> Repeat {
        let pixels = size.iter().product::<usize>();
        assert!(x.c == y.c && scale > 0, "enlarging: channels");
        check_apart("enlarging", &x, pixels, &y, pixels * scale * scale);
        Repeat { size, scale, x, y }
    }

    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short.
    pub fn run(&self, arena: &mut [f32]) {
        let [n, h, w] = self.size;
        let (scale, c, pixels) = (self.scale, self.x.c, n * h * w);
        assert!(arena.len() >= self.x.end(pixels).max(self.y.end(pixels * scale * scale)), "enlarging: arena");
        let base = SendPtr(arena.as_mut_ptr());
        // A task writes the rows that one input row gives.
        parallel_for(n * h, |line| {
            // SAFETY: each task writes its own rows, apart from the input.
            unsafe {
                let x = base.get().add(self.x.at + line * w * self.x.ld).cast_const();
                let y = base.get().add(self.y.at + line * scale * w * scale * self.y.ld);
                for r in 0..scale {
                    let mut to = y.add(r * w * scale * self.y.ld);
                    for pixel in 0..w {
                        for _ in 0..scale {
                            std::ptr::copy_nonoverlapping(x.add(pixel * self.x.ld), to, c);
                            to = to.wrapping_add(self.y.ld);
                        }
                    }
                }
            }
        });
    }
}

/// `y = activation(x * scale + shift)` by channel; `y` may be `x`.
#[derive(Debug)]
pub struct Affine {
    rows: usize,
    /// Scales and then shifts, or neither.
    factors: Option<Arc<[f32]>>,
    activation: Activation,
    x: Place,
    y: Place,
}

impl Affine {
    /// Prepares the work on `rows` pixels; `factors` are `c` scales and `c` shifts.
    ///
    /// # Panics
    /// If the places or factors do not fit.
    pub fn new(rows: usize, factors: Option<Arc<[f32]>>, activation: Activation, x: Place, y: Place) -> Affine {
        assert!(x.c == y.c && factors.as_ref().is_none_or(|f| f.len() == 2 * x.c), "scale and shift: channels");
        if x != y {
            check_apart("scale and shift", &x, rows, &y, rows);
        }
        Affine { rows, factors, activation, x, y }
    }

    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short.
    pub fn run(&self, arena: &mut [f32]) {
        const ROWS: usize = 256;
        assert!(arena.len() >= self.x.end(self.rows).max(self.y.end(self.rows)), "scale and shift: arena");
        let base = SendPtr(arena.as_mut_ptr());
        parallel_for(self.rows.div_ceil(ROWS), |task| {
            let first = task * ROWS;
            // SAFETY: each task has its own rows.
            unsafe {
                let x = base.get().add(self.x.at + first * self.x.ld);
                let y = base.get().add(self.y.at + first * self.y.ld);
                affine_rows(self, x, y, ROWS.min(self.rows - first));
            }
        });
    }
}

#[inline(always)]
unsafe fn affine_kernel<S: Simd>(p: &Affine, x: *const f32, y: *mut f32, rows: usize) {
    let c = p.x.c;
    for row in 0..rows {
        let mut i = 0;
        while i < c {
            let k = (c - i).min(S::LANES);
            // SAFETY: the caller's promise.
            unsafe {
                let mut v = load_n::<S>(x.add(row * p.x.ld + i), k);
                if let Some(f) = &p.factors {
                    v = S::fma(v, load_n::<S>(f.as_ptr().add(i), k), load_n::<S>(f.as_ptr().add(c + i), k));
                }
                store_n::<S>(y.add(row * p.y.ld + i), activation::apply_simd::<S>(p.activation, v), k);
            }
            i += S::LANES;
        }
    }
}
dispatch!(fn affine_rows(p: &Affine, x: *const f32, y: *mut f32, rows: usize) = affine_kernel);

/// YOLOv5's Focus: 2x2 pixels to channels, ordered as [`crate::elementwise::space_to_depth`].
#[derive(Debug)]
pub struct Focus {
    size: [usize; 3],
    x: Place,
    y: Place,
}

impl Focus {
    /// Prepares the work on `[n, h, w]` pixels at `x`, with even sides.
    ///
    /// # Panics
    /// If the places do not fit.
    pub fn new([n, h, w]: [usize; 3], x: Place, y: Place) -> Focus {
        assert!(y.c == 4 * x.c && h % 2 == 0 && w % 2 == 0, "Focus: shapes");
        check_apart("Focus", &x, n * h * w, &y, n * h * w / 4);
        Focus { size: [n, h, w], x, y }
    }

    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short.
    pub fn run(&self, arena: &mut [f32]) {
        let [n, h, w] = self.size;
        assert!(arena.len() >= self.x.end(n * h * w).max(self.y.end(n * h * w / 4)), "Focus: arena");
        let (c, base) = (self.x.c, SendPtr(arena.as_mut_ptr()));
        parallel_for(n * h / 2, |line| {
            // SAFETY: each task writes its own row, apart from the input.
            unsafe {
                let x = base.get().add(self.x.at + 2 * line * w * self.x.ld).cast_const();
                let y = base.get().add(self.y.at + line * (w / 2) * self.y.ld);
                for column in 0..w / 2 {
                    for (group, [dy, dx]) in [[0, 0], [1, 0], [0, 1], [1, 1]].into_iter().enumerate() {
                        let from = x.add((dy * w + 2 * column + dx) * self.x.ld);
                        std::ptr::copy_nonoverlapping(from, y.add(column * self.y.ld + group * c), c);
                    }
                }
            }
        });
    }
}

/// A border of zeros.
#[derive(Debug)]
pub struct ZeroBorder {
    size: [usize; 3],
    padding: Padding,
    x: Place,
    y: Place,
}

impl ZeroBorder {
    /// Prepares the work on `[n, h, w]` pixels at `x`.
    ///
    /// # Panics
    /// If the places do not fit.
    pub fn new(size: [usize; 3], padding: Padding, x: Place, y: Place) -> ZeroBorder {
        assert_eq!(x.c, y.c, "border: channels");
        let step = ZeroBorder { size, padding, x, y };
        check_apart("border", &x, size.iter().product(), &y, step.out_rows());
        step
    }

    fn out_rows(&self) -> usize {
        let ([n, h, w], p) = (self.size, self.padding);
        n * (h + p.top + p.bottom) * (w + p.left + p.right)
    }

    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short.
    pub fn run(&self, arena: &mut [f32]) {
        let ([n, h, w], p) = (self.size, self.padding);
        assert!(arena.len() >= self.x.end(n * h * w).max(self.y.end(self.out_rows())), "border: arena");
        let (tall, wide, c) = (h + p.top + p.bottom, w + p.left + p.right, self.x.c);
        let base = SendPtr(arena.as_mut_ptr());
        parallel_for(n * tall, |line| {
            let (image, row) = (line / tall, line % tall);
            let inside = (p.top..p.top + h).contains(&row);
            for column in 0..wide {
                // SAFETY: each task writes its own row, apart from the input.
                unsafe {
                    let to = base.get().add(self.y.at + (line * wide + column) * self.y.ld);
                    if inside && (p.left..p.left + w).contains(&column) {
                        let pixel = (image * h + row - p.top) * w + column - p.left;
                        std::ptr::copy_nonoverlapping(base.get().add(self.x.at + pixel * self.x.ld), to, c);
                    } else {
                        to.write_bytes(0, c);
                    }
                }
            }
        });
    }
}

/// `y += x`.
#[derive(Debug)]
pub struct Sum {
    rows: usize,
    x: Place,
    y: Place,
}

impl Sum {
    /// Prepares the sum of `rows` pixels.
    ///
    /// # Panics
    /// If the places do not fit.
    pub fn new(rows: usize, x: Place, y: Place) -> Sum {
        assert_eq!(x.c, y.c, "sum: channels");
        check_apart("sum", &x, rows, &y, rows);
        Sum { rows, x, y }
    }

    /// Computes the sum.
    ///
    /// # Panics
    /// If the arena is too short.
    pub fn run(&self, arena: &mut [f32]) {
        const ROWS: usize = 256;
        assert!(arena.len() >= self.x.end(self.rows).max(self.y.end(self.rows)), "sum: arena");
        let base = SendPtr(arena.as_mut_ptr());
        parallel_for(self.rows.div_ceil(ROWS), |task| {
            for row in task * ROWS..(task * ROWS + ROWS).min(self.rows) {
                for i in 0..self.x.c {
                    // SAFETY: each task has its own rows; the places are apart and inside the arena.
                    unsafe {
                        let x = base.get().add(self.x.at + row * self.x.ld + i);
                        *base.get().add(self.y.at + row * self.y.ld + i) += *x;
                    }
                }
            }
        });
    }
}
