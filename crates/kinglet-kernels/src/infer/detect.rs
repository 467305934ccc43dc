//! The 1x1 convolution of a head level: box and objectness of every cell, class scores where an object may be.
//!
//! Most cells of a picture hold nothing, and whoever reads the map does not look at their class scores. With 80 classes
//! these are fifteen of sixteen columns.

use std::sync::Arc;

use super::dense::{SMALL, row_target};
use super::{Place, check_apart, padded_bias};
use crate::conv::gemm::{Tile, gemm_tile, lanes, panel_count};
use crate::conv::plan::{Plan, Scratch, with_scratch};
use crate::conv::{PackedConv, forward_problem};
use crate::threads::{SendPtr, parallel_for};
use crate::{Activation, ConvShape};

/// Values of an anchor before its class scores: x, y, width, height, objectness.
const BOX: usize = 5;
/// Tasks that a level is cut into where it has enough pixels.
const TASKS: usize = 8;

/// Some columns of the weights with their bias.
#[derive(Debug)]
struct Columns {
    weights: PackedConv,
    bias: Arc<[f32]>,
}

/// The weights: box columns of all anchors together, class columns by anchor.
#[derive(Debug)]
pub struct DetectWeights {
    boxes: Columns,
    /// Empty where there are no classes.
    classes: Vec<Columns>,
    c_in: usize,
    nc: usize,
}

/// The matrix product of `pixels` with `c_out` columns.
fn product(pixels: usize, c_in: usize, c_out: usize) -> ConvShape {
    ConvShape::new(1, [1, pixels], c_in, c_out, [1, 1], [1, 1], [0, 0], [1, 1], 1)
}

impl DetectWeights {
    /// From `[anchors x (5 + nc), c_in]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, c_in: usize, nc: usize) -> DetectWeights {
        let values = BOX + nc;
        assert!(weight.len().is_multiple_of((c_in * values).max(1)), "head: weights");
        let anchors = weight.len() / (c_in * values).max(1);
        assert!(bias.is_none_or(|b| b.len() == anchors * values), "head: bias");
        let columns = |which: &dyn Fn(usize) -> bool| {
            let rows: Vec<usize> = (0..anchors * values).filter(|&c| which(c)).collect();
            let shape = product(1, c_in, rows.len());
            let some: Vec<f32> = rows.iter().flat_map(|&c| &weight[c * c_in..][..c_in]).copied().collect();
            let bias: Option<Vec<f32>> = bias.map(|bias| rows.iter().map(|&c| bias[c]).collect());
            Columns { weights: PackedConv::new(&shape, &some), bias: padded_bias(&shape, bias.as_deref()) }
        };
        let boxes = columns(&|c| c % values < BOX);
        let of_anchor = |a: usize| columns(&move |c| c / values == a && c % values >= BOX);
        let classes = if nc == 0 { Vec::new() } else { (0..anchors).map(of_anchor).collect() };
        DetectWeights { boxes, classes, c_in, nc }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let of = |c: &Columns| c.weights.bytes() + 4 * c.bias.len();
        of(&self.boxes) + self.classes.iter().map(of).sum::<usize>()
    }
}

/// The convolution for one place.
#[derive(Debug)]
pub struct DetectConv {
    weights: Arc<DetectWeights>,
    anchors: usize,
    pixels: usize,
    /// Pixels of a task.
    rows: usize,
    x: Place,
    y: Place,
    boxes: Plan,
    classes: Plan,
    end: usize,
}

impl DetectConv {
    /// Prepares the convolution of the `pixels` of the map at `x` into `y`, `[pixels, anchors x (5 + nc)]`.
    ///
    /// # Panics
    /// If places or weights do not fit, or input and output overlap.
    pub fn new(pixels: usize, weights: Arc<DetectWeights>, x: Place, y: Place) -> DetectConv {
        let values = BOX + weights.nc;
        assert!(x.c == weights.c_in && y.c.is_multiple_of(values), "head: channels");
        let anchors = y.c / values;
        assert_eq!(weights.boxes.weights.key, PackedConv::key(&product(1, x.c, BOX * anchors)), "head: weights");
        check_apart("head", &x, pixels, &y, pixels);
        let plan = |c_out: usize| Plan::new(forward_problem(&product(1, x.c, c_out), 0), 48);
        let rows = row_target(x.c, y.c).min(pixels.div_ceil(TASKS)).max((SMALL / (x.c * y.c).max(1)).max(6));
        let end = x.end(pixels).max(y.end(pixels));
        let (boxes, classes) = (plan(BOX * anchors), plan(weights.nc));
        DetectConv { weights, anchors, pixels, rows, x, y, boxes, classes, end }
    }

    /// Computes the output. Where an anchor's objectness is at most `least`, a logit, its class scores may keep any value.
    ///
    /// # Panics
    /// If the arena is too short, or the instruction set changed since the weights were packed.
    pub fn run(&self, arena: &mut [f32], least: f32) {
        assert!(arena.len() >= self.end, "arena of {} floats instead of {}", arena.len(), self.end);
        assert_eq!(self.weights.boxes.weights.lanes, lanes(), "weights packed for another instruction set");
        let base = SendPtr(arena.as_mut_ptr());
        parallel_for(self.pixels.div_ceil(self.rows), |task| {
            // SAFETY: the arena holds both places (`end`); tasks write different pixels.
            with_scratch(|s| unsafe { self.part(base.get(), task * self.rows, least, s) });
        });
    }

    /// The pixels of a task, from `first`.
    ///
    /// # Safety
    /// The arena is long enough, and no one else writes these pixels.
    unsafe fn part(&self, arena: *mut f32, first: usize, least: f32, s: &mut Scratch) {
        let rows = self.rows.min(self.pixels - first);
        let width = BOX * self.anchors;
        s.strip.grow(rows * width);
        let Scratch { strip, a_off, y_off, .. } = s;
        // SAFETY: pixels `first..first + rows` lie in both places, and their boxes in the strip.
        unsafe {
            let x = arena.add(self.x.at).cast_const();
            let y = arena.add(self.y.at);
            a_off.clear();
            a_off.extend((first..first + rows).map(|pixel| pixel * self.x.ld));
            y_off.clear();
            y_off.extend((0..rows).map(|row| row * width));
            multiply(&self.weights.boxes, &self.boxes, x, a_off, strip.as_mut_ptr(), y_off, width);
            for anchor in 0..self.anchors {
                a_off.clear();
                y_off.clear();
                for (row, pixel) in (first..first + rows).enumerate() {
                    let from = &strip[row * width + anchor * BOX..][..BOX];
                    let to = pixel * self.y.ld + anchor * (BOX + self.weights.nc);
                    std::ptr::copy_nonoverlapping(from.as_ptr(), y.add(to), BOX);
                    // Not a number is for the reader to see.
                    if from[BOX - 1] > least || from[BOX - 1].is_nan() {
                        a_off.push(pixel * self.x.ld);
                        y_off.push(to + BOX);
                    }
                }
                if let (Some(classes), false) = (self.weights.classes.get(anchor), a_off.is_empty()) {
                    multiply(classes, &self.classes, x, a_off, y, y_off, self.weights.nc);
                }
            }
        }
    }
}

/// `y = x * columns + bias` for rows at these offsets.
///
/// # Safety
/// The rows can be read and written.
unsafe fn multiply(
    columns: &Columns,
    plan: &Plan,
    x: *const f32,
    a_off: &[usize],
    y: *mut f32,
    y_off: &[usize],
    n: usize,
) {
    let t = Tile {
        a: x,
        a_off,
        y,
        y_off,
        b: columns.weights.data.as_ptr(),
        k: plan.k,
        n,
        segments: &plan.segments,
        blocks: &plan.blocks,
        panels: 0..panel_count(n.div_ceil(lanes())),
        row_chunk: usize::MAX / 2,
        bias: columns.bias.as_ptr(),
        stats: std::ptr::null_mut(),
        accumulate: false,
        activation: Activation::Identity,
        residual: std::ptr::null(),
        r_off: &[],
    };
    // SAFETY: the caller's promise; the bias is padded to whole vectors.
    unsafe { gemm_tile(&t) };
}
