//! Convolutions and their gradients as plain loops: any groups, stride, padding and dilation.
//!
//! NHWC inputs and outputs, weights `[c_out, c_in / groups, kernel_h, kernel_w]`.

use super::Float;
use crate::ConvShape;

/// Calls `f(x, weight, y)` with the indices of every multiply-add whose input lies inside the image.
fn for_each(s: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let (gi, go) = (s.c_in / s.groups, s.c_out / s.groups);
    for n in 0..s.batch {
        for (oy, ox) in grid(s.output) {
            for co in 0..s.c_out {
                let y = ((n * s.output[0] + oy) * s.output[1] + ox) * s.c_out + co;
                for (ky, kx) in grid(s.kernel) {
                    let iy = (oy * s.stride[0] + ky * s.dilation[0]).wrapping_sub(s.padding[0]);
                    let ix = (ox * s.stride[1] + kx * s.dilation[1]).wrapping_sub(s.padding[1]);
                    if iy >= s.input[0] || ix >= s.input[1] {
                        continue;
                    }
                    for ci in 0..gi {
                        let x = ((n * s.input[0] + iy) * s.input[1] + ix) * s.c_in + co / go * gi + ci;
                        f(x, ((co * gi + ci) * s.kernel[0] + ky) * s.kernel[1] + kx, y);
                    }
                }
            }
        }
    }
}

fn grid([h, w]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..h).flat_map(move |y| (0..w).map(move |x| (y, x)))
}

/// `y = conv(x) + bias`.
pub fn forward<T: Float>(s: &ConvShape, x: &[T], weight: &[T], bias: Option<&[T]>, y: &mut [T]) {
    for (i, v) in y.iter_mut().enumerate() {
        *v = bias.map_or(T::ZERO, |b| b[i % s.c_out]);
    }
    for_each(s, |i, w, o| y[o] += x[i] * weight[w]);
}

/// `dx = dL/dx`, or `dx += dL/dx` with `accumulate`.
pub fn backward_input<T: Float>(s: &ConvShape, weight: &[T], dy: &[T], dx: &mut [T], accumulate: bool) {
    if !accumulate {
        dx.fill(T::ZERO);
    }
    for_each(s, |i, w, o| dx[i] += dy[o] * weight[w]);
}

/// `dweight += dL/dweight`.
pub fn backward_weight<T: Float>(s: &ConvShape, x: &[T], dy: &[T], dweight: &mut [T]) {
    for_each(s, |i, w, o| dweight[w] += dy[o] * x[i]);
}

/// `dbias += dL/dbias`.
pub fn backward_bias<T: Float>(s: &ConvShape, dy: &[T], dbias: &mut [T]) {
    for pixel in dy.chunks_exact(s.c_out.max(1)) {
        for (d, v) in dbias.iter_mut().zip(pixel) {
            *d += *v;
        }
    }
}
