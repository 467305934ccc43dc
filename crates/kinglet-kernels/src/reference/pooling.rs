//! Max pooling and global average pooling, one value at a time.

use super::Float;
use crate::pooling::PoolShape;

/// Max pooling of `x` `[n, h, w, c]`: `(y, index)`, where `index` is the place in `x` that each value came from: the
/// first of equal ones in row-major order.
pub fn max_pool<T: Float>(s: &PoolShape, x: &[T]) -> (Vec<T>, Vec<usize>) {
    let ([_, h, w, c], [n, oh, ow, _]) = (s.input, s.output());
    let (mut y, mut index) = (Vec::new(), Vec::new());
    for image in 0..n {
        for out in 0..oh * ow * c {
            let (row, column, ch) = (out / c / ow, out / c % ow, out % c);
            let mut best: Option<usize> = None;
            for place in 0..s.kernel * s.kernel {
                let at = [(row, place / s.kernel, h), (column, place % s.kernel, w)]
                    .map(|(o, k, size)| (o * s.stride + k).checked_sub(s.padding).filter(|&i| i < size));
                if let [Some(i), Some(j)] = at {
                    let here = ((image * h + i) * w + j) * c + ch;
                    if best.is_none_or(|best| x[here] > x[best]) {
                        best = Some(here);
                    }
                }
            }
            let best = best.expect("padding is at most half the window");
            y.push(x[best]);
            index.push(best);
        }
    }
    (y, index)
}

/// The gradient of [`max_pool`]: `dy` summed at the places that the maxima came from.
pub fn max_pool_backward<T: Float>(dy: &[T], index: &[usize], len: usize) -> Vec<T> {
    let mut dx = vec![T::ZERO; len];
    for (&dy, &from) in dy.iter().zip(index) {
        dx[from] += dy;
    }
    dx
}

/// The mean of `x` `[n, hw, c]` over `hw`: `[n, c]`.
pub fn global_avg_pool<T: Float>(x: &[T], [n, hw, c]: [usize; 3]) -> Vec<T> {
    let mean = |out: usize| {
        let (image, ch) = (out / c, out % c);
        (0..hw).map(|row| x[(image * hw + row) * c + ch]).sum::<T>() / T::from_f64(hw as f64)
    };
    (0..n * c).map(mean).collect()
}
