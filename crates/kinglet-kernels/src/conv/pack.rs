//! Weights in the micro-kernel's order.
//!
//! Panel `i` holds, for every reduction index `(tap_y, tap_x, channel)`, the weights of its one to three vectors of
//! output columns, zero where the column does not exist. Panels follow each other; vector `v` of the columns starts its
//! panel at `v * lanes * k` floats.

use super::gemm::{panel_count, panel_width};
use super::plan::Problem;
use crate::threads::{SendPtr, parallel_for};

/// Strides of a weight array, in floats.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightStrides {
    /// Between output columns of the product.
    pub column: usize,
    /// Between its reduction channels.
    pub channel: usize,
    /// Kernel height and width, the innermost dimensions.
    pub kernel: [usize; 2],
}

/// Channels whose packed rows stay in the first-level cache while one column after the other is written.
const CHANNELS: usize = 64;

/// Floats of the packed weights of `p`.
pub(crate) fn packed_len(p: &Problem, lanes: usize) -> usize {
    let k = p.axes[0].taps.len() * p.axes[1].taps.len() * p.c_in;
    k * p.c_out.next_multiple_of(lanes)
}

/// Packs the weights of one group into `out`.
pub(crate) fn pack(p: &Problem, weight: &[f32], s: WeightStrides, lanes: usize, out: &mut [f32]) {
    let vectors = p.c_out.div_ceil(lanes);
    let k = p.axes[0].taps.len() * p.axes[1].taps.len() * p.c_in;
    if out.is_empty() {
        return;
    }
    let base = SendPtr(out.as_mut_ptr());
    debug_assert_eq!(out.len(), k * vectors * lanes);
    let one = |panel: usize| {
        let width = panel_width(panel, vectors) * lanes;
        let column = 2 * panel * lanes;
        // SAFETY: panels do not overlap and end at `vectors * lanes * k`.
        let out = unsafe { std::slice::from_raw_parts_mut(base.get().add(column * k), width * k) };
        let exist = width.min(p.c_out - column);
        if exist < width {
            out.fill(0.0);
        }
        let mut rows = out.chunks_exact_mut(p.c_in.max(1) * width);
        for &(_, ky) in &p.axes[0].taps {
            for &(_, kx) in &p.axes[1].taps {
                let Some(rows) = rows.next() else { return };
                let tap = &weight[ky * s.kernel[1] + kx..];
                if s.column < s.channel {
                    for (c, row) in rows.chunks_exact_mut(width).enumerate() {
                        let from = &tap[c * s.channel + column * s.column..];
                        row[..exist].iter_mut().zip(from.iter().step_by(s.column)).for_each(|(o, w)| *o = *w);
                    }
                    continue;
                }
                for (block, rows) in rows.chunks_mut(CHANNELS * width).enumerate() {
                    for j in 0..exist {
                        let from = &tap[(column + j) * s.column + block * CHANNELS * s.channel..];
                        let to = rows[j..].iter_mut().step_by(width);
                        to.zip(from.iter().step_by(s.channel)).for_each(|(o, w)| *o = *w);
                    }
                }
            }
        }
    };
    let panels = panel_count(vectors);
    if out.len() < 16 * 1024 {
        (0..panels).for_each(one);
    } else {
        parallel_for(panels, one);
    }
}
