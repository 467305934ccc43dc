//! Squeeze-and-excite: channels weighted by a gate computed from their means.
//!
//! Source: Hu et al. 2018, arXiv:1709.01507; with ReLU inside and a hard-sigmoid gate as in MobileNetV3 (Howard et al.
//! 2019, arXiv:1905.02244, section 5.2).
//! Shapes: x `[n, h, w, c]`; squeezed `[n, c]`, hidden `[n, r]`, gate `[n, c]`.

use super::{Operation, take_inputs};
use crate::rows::{Input, RowsContext};
use crate::session::{BackwardContext, ForwardContext, InputGrad, Mode};
use crate::{Activation, ParamId, Shape, ShapeError};
use kinglet_kernels::conv::{conv_backward_bias, conv_backward_input, conv_backward_weight, conv_forward};
use kinglet_kernels::rows::InputGradient;
use kinglet_kernels::threads::{SendPtr, parallel_chunks_mut};
use kinglet_kernels::{ConvShape, activation, elementwise, pooling, rows};
use std::ops::Range;

/// `y = activation(x * hard_sigmoid(expand(relu(reduce(mean(x))))))`. The activation after the product serves blocks
/// that squeeze before they activate; it is the identity elsewhere.
#[derive(Debug, Clone)]
pub struct SqueezeExcite {
    /// Weight `[r, c]` (or `[r, c, 1, 1]`) and bias of the first linear layer.
    pub reduce: [ParamId; 2],
    /// Weight `[c, r]` and bias of the second.
    pub expand: [ParamId; 2],
    /// Width r of the hidden layer.
    pub hidden: usize,
    /// Applied to the scaled map.
    pub activation: Activation,
}

/// Places of the intermediate values in the saved buffer.
struct Parts {
    n: usize,
    c: usize,
    r: usize,
}

impl Parts {
    fn len(&self) -> usize {
        self.n * (3 * self.c + 2 * self.r)
    }

    /// squeezed, hidden before and after ReLU, gate before and after hard sigmoid
    fn split<'a>(&self, all: &'a mut [f32]) -> [&'a mut [f32]; 5] {
        let (squeezed, rest) = all.split_at_mut(self.n * self.c);
        let (pre_hidden, rest) = rest.split_at_mut(self.n * self.r);
        let (hidden, rest) = rest.split_at_mut(self.n * self.r);
        let (pre_gate, gate) = rest.split_at_mut(self.n * self.c);
        [squeezed, pre_hidden, hidden, pre_gate, gate]
    }
}

fn linear(n: usize, c_in: usize, c_out: usize) -> ConvShape {
    ConvShape::new(n, [1, 1], c_in, c_out, [1, 1], [1, 1], [0, 0], [1, 1], 1)
}

impl Operation for SqueezeExcite {
    fn name(&self) -> &'static str {
        "squeeze_excite"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        take_inputs::<1>(self.name(), inputs).map(|[x]| x)
    }

    fn macs(&self, inputs: &[Shape], _output: Shape) -> u64 {
        (2 * inputs[0].n * inputs[0].c * self.hidden) as u64
    }

    fn params(&self) -> Vec<ParamId> {
        [self.reduce, self.expand].concat()
    }

    fn kept_len(&self, _inputs: &[Shape], output: Shape, _mode: Mode) -> usize {
        Parts { n: output.n, c: output.c, r: self.hidden }.len()
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn takes_rows(&self, _position: usize, _inputs: &[Shape]) -> bool {
        true
    }

    fn finishes_rows(&self, _position: usize, _inputs: &[Shape]) -> bool {
        true
    }

    fn rows(&self, cx: &RowsContext<'_>, range: Range<usize>, output: &mut [f32]) {
        let s = cx.shape;
        let gate = &cx.kept[Parts { n: s.n, c: s.c, r: self.hidden }.len() - s.n * s.c..];
        self.scale(&cx.inputs[0], gate, s, range, output);
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let s = cx.shape;
        let parts = Parts { n: s.n, c: s.c, r: self.hidden };
        let [squeezed, pre_hidden, hidden, pre_gate, gate] = parts.split(cx.kept);
        let [w1, b1, w2, b2] =
            [self.reduce[0], self.reduce[1], self.expand[0], self.expand[1]].map(|id| cx.params.get(id));
        match &cx.inputs[0] {
            Input::Whole(x) => pooling::global_avg_pool(x, [s.n, s.pixels(), s.c], squeezed),
            x => {
                let chunks = chunks(s);
                let mut partial = vec![0.0; chunks.len() * s.c];
                let means = SendPtr(partial.as_mut_ptr());
                let mean = |i: usize, x: &[f32]| {
                    // SAFETY: every chunk has its own means.
                    let mean = unsafe { std::slice::from_raw_parts_mut(means.get().add(i * s.c), s.c) };
                    pooling::global_avg_pool(x, [1, x.len() / s.c, s.c], mean);
                };
                x.with_rows(|x| rows::for_each(x, s.c, &chunks, mean));
                let share = |range: &Range<usize>| range.len() as f64 / s.pixels() as f64;
                add_up(&partial, &chunks, s, share, squeezed);
            }
        }
        conv_forward(&linear(s.n, s.c, self.hidden), squeezed, w1, Some(b1), pre_hidden, None);
        activation::forward(Activation::Relu, pre_hidden, hidden);
        conv_forward(&linear(s.n, self.hidden, s.c), hidden, w2, Some(b2), pre_gate, None);
        activation::forward(Activation::HardSigmoid, pre_gate, gate);
        if let Some(output) = cx.output.as_deref_mut() {
            self.scale(&cx.inputs[0], gate, s, 0..s.rows(), output);
        }
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let s = cx.shape;
        let dims = [s.n, s.pixels(), s.c];
        let parts = Parts { n: s.n, c: s.c, r: self.hidden };
        let [squeezed, pre_hidden, hidden, pre_gate, gate] = parts.split(cx.kept);
        let mut dgate = vec![0.0; s.n * s.c];
        let mut dhidden = vec![0.0; s.n * self.hidden];
        let mut unused = None;
        let (dx, accumulate) = match cx.input_grads[0].as_mut() {
            Some(dx) => (&mut *dx.values, dx.accumulate),
            None => (unused.insert(vec![0.0; s.len()]).as_mut_slice(), false),
        };
        let chunks = chunks(s);
        let mut partial = vec![0.0; chunks.len() * s.c];
        let (sums, out, dy) = (SendPtr(partial.as_mut_ptr()), SendPtr(dx.as_mut_ptr()), &*cx.output_grad);
        let part = |i: usize, x: &[f32]| {
            let (start, c) = (chunks[i].start, s.c);
            let image = start / s.pixels();
            let (gate, dy) = (&gate[image * c..(image + 1) * c], &dy[start * c..][..x.len()]);
            // SAFETY: chunks do not overlap and lie inside `dx`, and every chunk has its own sums.
            let (dx, dgate) = unsafe {
                let dx = std::slice::from_raw_parts_mut(out.get().add(start * c), x.len());
                (dx, std::slice::from_raw_parts_mut(sums.get().add(i * c), c))
            };
            let dims = [1, x.len() / c, c];
            elementwise::scale_channels_backward(x, gate, dy, dims, self.activation, dx, accumulate, dgate);
        };
        cx.inputs[0].with_rows(|x| rows::for_each(x, s.c, &chunks, part));
        add_up(&partial, &chunks, s, |_| 1.0, &mut dgate);
        activation::backward_in_place(Activation::HardSigmoid, pre_gate, &mut dgate);
        let (up, down) = (linear(s.n, self.hidden, s.c), linear(s.n, s.c, self.hidden));
        if cx.grads.wanted(self.expand[0]) {
            conv_backward_weight(&up, hidden, &dgate, cx.grads.get_mut(self.expand[0]));
        }
        if cx.grads.wanted(self.expand[1]) {
            conv_backward_bias(&up, &dgate, cx.grads.get_mut(self.expand[1]));
        }
        conv_backward_input(&up, cx.params.get(self.expand[0]), &dgate, &mut dhidden, false);
        activation::backward_in_place(Activation::Relu, pre_hidden, &mut dhidden);
        if cx.grads.wanted(self.reduce[0]) {
            conv_backward_weight(&down, squeezed, &dhidden, cx.grads.get_mut(self.reduce[0]));
        }
        if cx.grads.wanted(self.reduce[1]) {
            conv_backward_bias(&down, &dhidden, cx.grads.get_mut(self.reduce[1]));
        }
        conv_backward_input(&down, cx.params.get(self.reduce[0]), &dhidden, &mut dgate, false);
        InputGrad::with(cx.input_grads[0].as_mut(), |dx| {
            if let Some(dx) = dx {
                pooling::global_avg_pool_backward(&dgate, dims, InputGradient { accumulate: true, ..dx });
            }
        });
    }
}

impl SqueezeExcite {
    /// Rows of the scaled and activated map.
    fn scale(&self, x: &Input<'_>, gate: &[f32], s: Shape, range: Range<usize>, output: &mut [f32]) {
        let (pixels, c) = (s.pixels(), s.c);
        if let (Input::Whole(x), true) = (x, range == (0..s.rows())) {
            return elementwise::scale_channels(x, gate, [s.n, pixels, c], self.activation, output);
        }
        let rows = chunk_rows(c);
        parallel_chunks_mut(output, rows * c, |i, part| {
            let mut start = range.start + i * rows;
            x.copy_rows(start..start + part.len() / c, c, part);
            let mut rest = part;
            while !rest.is_empty() {
                let image = start / pixels;
                let count = ((image + 1) * pixels - start).min(rest.len() / c);
                let (part, after) = rest.split_at_mut(count * c);
                elementwise::scale_channels_in_place(part, &gate[image * c..(image + 1) * c], self.activation);
                (start, rest) = (start + count, after);
            }
        });
    }
}

/// Rows that stay in the second-level cache: 256 KiB.
fn chunk_rows(c: usize) -> usize {
    (64 * 1024 / c).max(1)
}

/// Chunks of rows, none of which spans two images.
fn chunks(s: Shape) -> Vec<Range<usize>> {
    let (pixels, rows) = (s.pixels(), chunk_rows(s.c));
    let image = |n: usize| {
        (0..pixels.div_ceil(rows)).map(move |i| n * pixels + i * rows..n * pixels + pixels.min((i + 1) * rows))
    };
    (0..s.n).flat_map(image).collect()
}

/// Adds up by image what each chunk has computed for each channel, with the chunk's weight.
#[expect(clippy::cast_possible_truncation, reason = "the sum is f64, its result is not")]
fn add_up(
    partial: &[f32],
    chunks: &[Range<usize>],
    s: Shape,
    weight: impl Fn(&Range<usize>) -> f64,
    totals: &mut [f32],
) {
    let mut sums = vec![0.0f64; totals.len()];
    for (range, part) in chunks.iter().zip(partial.chunks_exact(s.c)) {
        let sums = &mut sums[range.start / s.pixels() * s.c..][..s.c];
        let weight = weight(range);
        sums.iter_mut().zip(part).for_each(|(sum, &part)| *sum += weight * f64::from(part));
    }
    totals.iter_mut().zip(sums).for_each(|(total, sum)| *total = sum as f32);
}
