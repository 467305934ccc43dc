//! Runs plans: the tasks of the forward pass and of the gradient of the input.

use super::gemm::{Tile, gemm_tile, lanes, panel_count, row_chunk};
use super::plan::{Plan, Problem, with_scratch};
use crate::Activation;
use crate::threads::{SendPtr, parallel_for};

/// Multiply-adds that are not worth waking another thread for.
const SMALL: usize = 64 * 1024;
/// Tasks that a problem is cut into where it has enough work.
const TASKS: usize = 8;

/// What happens to a finished output.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<'a> {
    /// One for every output channel of the group.
    pub bias: Option<&'a [f32]>,
    pub accumulate: bool,
    pub activation: Activation,
}

/// Rows of a tile, so that its inputs and outputs stay in the second-level cache.
pub(super) fn row_target(p: &Problem) -> usize {
    let taps = p.axes[0].taps.len() * p.axes[1].taps.len();
    let per_row = (p.c_in * taps).min(288) + p.c_out;
    (64 * 1024 / per_row.max(1)).clamp(48, 384) / 12 * 12
}

/// One plan with its packed weights.
pub(super) struct Job<'a> {
    pub plan: &'a Plan,
    pub packed: &'a [f32],
}

/// Computes `jobs`, whose outputs do not overlap, into `y`.
///
/// With `stats`, the sums and sums of squares of every column over all outputs of all jobs are written there
/// (`c_out` each).
pub(super) fn run(
    jobs: &[Job<'_>],
    x: &[f32],
    y: &mut [f32],
    e: Epilogue<'_>,
    stats: Option<(&mut [f64], &mut [f64])>,
) {
    let Some(n) = jobs.first().map(|j| j.plan.p.c_out) else { return };
    if n == 0 {
        return;
    }
    let lanes = lanes();
    let columns = n.next_multiple_of(lanes);
    let panels = panel_count(columns / lanes);
    let tiles: usize = jobs.iter().map(|j| j.plan.tiles()).sum();
    let work: usize = jobs.iter().map(|j| j.plan.tiles() * j.plan.max_rows() * j.plan.k * n).sum();
    // Few tiles: cut the columns too.
    let splits = if tiles == 0 { 1 } else { TASKS.div_ceil(tiles).min(panels).min((work / tiles / SMALL).max(1)) };

    let bias: Option<Vec<f32>> = e.bias.map(|b| {
        let mut padded = b.to_vec();
        padded.resize(columns, 0.0);
        padded
    });
    let mut partial = vec![0.0f32; if stats.is_some() { tiles * 2 * columns } else { 0 }];
    let partial_ptr = SendPtr(partial.as_mut_ptr());
    let with_stats = stats.is_some();
    let out = SendPtr(y.as_mut_ptr());
    let task = |i: usize| {
        let (tile, split) = (i / splits, i % splits);
        let (mut job, mut local) = (0, tile);
        while local >= jobs[job].plan.tiles() {
            local -= jobs[job].plan.tiles();
            job += 1;
        }
        let Job { plan, packed } = &jobs[job];
        with_scratch(|s| {
            let a = plan.load(local, x, s);
            let t = Tile {
                a,
                a_off: &s.a_off,
                y: out.get(),
                y_off: &s.y_off,
                b: packed.as_ptr(),
                k: plan.k,
                n,
                segments: &plan.segments,
                blocks: &plan.blocks,
                panels: panels * split / splits..panels * (split + 1) / splits,
                row_chunk: row_chunk(plan.k * columns),
                bias: bias.as_ref().map_or(std::ptr::null(), |b| b.as_ptr()),
                // SAFETY: one part for every tile; tasks of a tile write to different columns.
                stats: if with_stats {
                    unsafe { partial_ptr.get().add(tile * 2 * columns) }
                } else {
                    std::ptr::null_mut()
                },
                accumulate: e.accumulate,
                activation: e.activation,
                residual: std::ptr::null(),
                r_off: &[],
            };
            // SAFETY: `load` gives rows inside the input or its copy and inside `y`; tasks write different rows or
            // columns; buffers have the padded sizes computed above.
            unsafe { gemm_tile(&t) };
        });
    };
    if work < SMALL {
        (0..tiles * splits).for_each(task);
    } else {
        parallel_for(tiles * splits, task);
    }
    if let Some((sum, square)) = stats {
        sum.fill(0.0);
        square.fill(0.0);
        for part in partial.chunks_exact(2 * columns) {
            let (s, q) = part.split_at(columns);
            sum.iter_mut().zip(s).for_each(|(t, v)| *t += f64::from(*v));
            square.iter_mut().zip(q).for_each(|(t, v)| *t += f64::from(*v));
        }
    }
}
