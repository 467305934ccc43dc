//! Matrices whose rows are computed when they are needed, and sums taken of rows while these are in the cache.
//!
//! In training the output of most operations is not stored: whoever reads it computes the rows that it is at from what
//! the operation keeps. Likewise the gradient of such an output is summed up for BatchNorm's backward pass by whoever
//! computes it, row by row. On a light detector's shapes a pass over memory costs about as much as the arithmetic.
//!
//! A row is one pixel with all its channels.

use crate::AlignedVec;
use crate::threads::{SendPtr, parallel_for};
use std::cell::Cell;
use std::ops::Range;

/// A function that computes a range of rows.
pub type RowsFn<'a> = dyn Fn(Range<usize>, &mut [f32]) + Sync + 'a;

/// A matrix that lies in memory, or whose rows are computed when they are needed.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// In memory.
    Whole(&'a [f32]),
    /// Computed.
    Computed(&'a RowsFn<'a>),
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Rows::Whole(_) => "Whole",
            Rows::Computed(_) => "Computed",
        })
    }
}

impl<'a> Rows<'a> {
    /// Rows `range` of `c` channels: in memory, or computed into `scratch`.
    pub(crate) fn get<'b>(self, range: Range<usize>, c: usize, scratch: &'b mut AlignedVec) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Rows::Whole(all) => &all[range.start * c..range.end * c],
            Rows::Computed(f) => {
                let out = grown(scratch, range.len() * c);
                f(range, out);
                out
            }
        }
    }
}

/// Runs `f(i, rows)` for each range of rows, of `c` channels, in parallel.
pub fn for_each(x: Rows<'_>, c: usize, ranges: &[Range<usize>], f: impl Fn(usize, &[f32]) + Sync) {
    parallel_for(ranges.len(), |i| with_scratch(|[scratch, ..]| f(i, x.get(ranges[i].clone(), c, scratch))));
}

thread_local! {
    static SCRATCH: Cell<[AlignedVec; 3]> = Cell::default();
}

/// Runs `f` with this thread's buffers.
pub(crate) fn with_scratch(f: impl FnOnce(&mut [AlignedVec; 3])) {
    let mut scratch = SCRATCH.take();
    f(&mut scratch);
    SCRATCH.set(scratch);
}

/// The first `len` floats of `v`, of any value.
pub(crate) fn grown(v: &mut AlignedVec, len: usize) -> &mut [f32] {
    v.grow(len);
    &mut v[..len]
}

/// Where the gradient of an input goes.
#[derive(Debug)]
pub struct InputGradient<'a> {
    /// `[rows, c_in]`.
    pub values: &'a mut [f32],
    /// Add to what is there.
    pub accumulate: bool,
    /// What is summed over it once its rows are done.
    pub sums: Option<RowSums<'a>>,
}

/// A function that adds to `[len]` sums those of a range of rows, given the rows.
pub type RowSumsFn<'a> = dyn Fn(Range<usize>, &[f32], &mut [f64]) + Sync + 'a;

/// Sums over the rows of a matrix.
pub struct RowSums<'a> {
    /// Adds the sums of some rows.
    pub add: &'a RowSumsFn<'a>,
    /// Where they are added up.
    pub totals: &'a mut [f64],
}

impl std::fmt::Debug for RowSums<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowSums").field("len", &self.totals.len()).finish_non_exhaustive()
    }
}

/// [`RowSums`] while tasks take them: each adds to sums of its own, which are added up in the order of the tasks.
pub(crate) struct TaskSums<'a> {
    sums: Option<RowSums<'a>>,
    /// `[tasks, len]`; written through `out`.
    parts: Vec<f64>,
    out: SendPtr<f64>,
    len: usize,
}

impl<'a> TaskSums<'a> {
    /// Zeros for so many tasks. Without `sums` nothing is taken.
    pub fn new(sums: Option<RowSums<'a>>, tasks: usize) -> TaskSums<'a> {
        let len = sums.as_ref().map_or(0, |sums| sums.totals.len());
        let mut parts = vec![0.0; tasks * len];
        let out = SendPtr(parts.as_mut_ptr());
        TaskSums { sums, parts, out, len }
    }

    /// Adds those of some rows to the sums of `task`.
    ///
    /// # Safety
    /// `task` is one of those that there are, and nobody else adds to its sums now.
    pub unsafe fn add(&self, task: usize, range: Range<usize>, rows: &[f32]) {
        if let Some(sums) = &self.sums {
            // SAFETY: the caller's promise.
            let part = unsafe { std::slice::from_raw_parts_mut(self.out.get().add(task * self.len), self.len) };
            (sums.add)(range, rows, part);
        }
    }

    /// Adds the sums of all tasks to the totals.
    pub fn finish(self) {
        let Some(sums) = self.sums else { return };
        for part in self.parts.chunks_exact(self.len.max(1)) {
            sums.totals.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
    }
}
