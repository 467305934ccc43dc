//! The first two convolutions of an inverted residual in training: the 1x1 convolution that widens a map of few channels,
//! and the depthwise convolution that alone reads it. The widened map is never in memory.
//!
//! Oracle: the two as operations of their own.

use super::batch_norm::CANCELLING;
use super::{BatchMoments, ConvUnit, Op, Operation};
use crate::rows::RowsContext;
use crate::session::{BackwardContext, ForwardContext, InputGrad, Mode};
use crate::{ParamId, Params, Shape, ShapeError};
use kinglet_kernels::conv::ChannelStats;
use kinglet_kernels::depthwise::expanded::{Expansion, InputProducts, Targets, deviations, takes};
use kinglet_kernels::rows::Rows;
use std::ops::Range;

/// `y = depthwise(expand(x))`, both with BatchNorm and activation.
#[derive(Debug, Clone)]
pub struct Expanded {
    /// The 1x1 convolution.
    pub expand: ConvUnit,
    /// The depthwise convolution.
    pub depthwise: ConvUnit,
}

/// What the forward pass notes of the widened map.
#[derive(Debug, Default)]
pub(crate) struct ExpansionNotes {
    moments: BatchMoments,
    inputs: InputProducts,
}

impl Expanded {
    /// The operation for `expand`, which reads `x`, and what reads it, where this is of a kind that is faster in one.
    pub fn new(expand: &Op, depthwise: &Op, x: Shape) -> Option<Self> {
        let (Op::ConvUnit(expand), Op::ConvUnit(depthwise)) = (expand, depthwise) else { return None };
        let has_norm = |unit: &ConvUnit| unit.norm.is_some() && unit.bias.is_none();
        let of_kind = expand.is_pointwise() && has_norm(expand) && has_norm(depthwise) && depthwise.groups > 1;
        let wide = expand.shape(&[x]).ok().filter(|_| of_kind)?;
        takes(&depthwise.geometry(wide), x.c, expand.activation)
            .then(|| Expanded { expand: expand.clone(), depthwise: depthwise.clone() })
    }

    fn wide(&self, x: Shape) -> Shape {
        Shape { c: self.expand.c_out, ..x }
    }

    fn expansion<'a>(&self, x: Shape, params: &'a Params, moments: &'a BatchMoments) -> Expansion<'a> {
        Expansion {
            c_in: x.c,
            weight: params.get(self.expand.weight),
            moments: moments.by_channel(),
            activation: self.expand.activation,
        }
    }

    /// The moments of the widened map, which nobody has seen.
    fn measure(
        &self,
        x: Rows<'_>,
        shape: Shape,
        inputs: &InputProducts,
        momentum: f32,
        params: &mut Params,
    ) -> BatchMoments {
        let norm = self.expand.norm.expect("of the operations that this one is made of");
        let (weight, count) = (params.get(self.expand.weight), shape.rows() as f64);
        let ChannelStats { sum, sum_sq } = inputs.stats(weight);
        let means: Vec<f64> = sum.iter().map(|sum| sum / count).collect();
        let mut variances: Vec<f64> = sum_sq.iter().zip(&means).map(|(sq, mean)| sq / count - mean * mean).collect();
        let mut scales = inputs.scales(weight).into_iter().zip(&variances);
        if scales.any(|(scale, variance)| scale > CANCELLING * (variance + f64::from(norm.eps))) {
            let sums = deviations(x, shape.rows(), shape.c, weight, &means);
            variances = sums.iter().map(|sum| sum / count).collect();
        }
        norm.settle(&means, &variances, count, momentum, params)
    }
}

impl Operation for Expanded {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        self.depthwise.shape(&[self.expand.shape(inputs)?])
    }

    fn macs(&self, inputs: &[Shape], output: Shape) -> u64 {
        let wide = self.wide(inputs[0]);
        self.expand.macs(inputs, wide) + self.depthwise.macs(&[wide], output)
    }

    fn params(&self) -> Vec<ParamId> {
        [&self.expand, &self.depthwise].into_iter().flat_map(Operation::params).collect()
    }

    fn kept_len(&self, inputs: &[Shape], output: Shape, mode: Mode) -> usize {
        if mode.records() { output.len() } else { self.wide(inputs[0]).len() }
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn recompute_reads(&self, _position: usize) -> bool {
        false
    }

    fn takes_rows(&self, _position: usize, _inputs: &[Shape]) -> bool {
        true
    }

    fn finishes_rows(&self, _position: usize, _inputs: &[Shape]) -> bool {
        true
    }

    fn gradient_sums(&self) -> usize {
        self.depthwise.gradient_sums()
    }

    fn add_gradient_sums(&self, cx: &RowsContext<'_>, range: Range<usize>, gradient: &[f32], sums: &mut [f64]) {
        self.depthwise.add_gradient_sums(cx, range, gradient, sums);
    }

    fn rows(&self, cx: &RowsContext<'_>, range: Range<usize>, output: &mut [f32]) {
        let range = range.start * cx.shape.c..range.end * cx.shape.c;
        self.depthwise.finish(&cx.kept[range], cx.notes, None, output);
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let shape = cx.input_shapes[0];
        let s = self.depthwise.geometry(self.wide(shape));
        let Mode::Train { momentum } = cx.mode else {
            let geometry = self.expand.geometry(shape);
            self.expand.evaluate(&geometry, cx.inputs[0].whole(), None, cx.params, cx.kept);
            let y = cx.output.as_deref_mut().expect("evaluations write outputs");
            return self.depthwise.evaluate(&s, cx.kept, None, cx.params, y);
        };
        let mut stats = ChannelStats::default();
        let (z, notes) = (&mut *cx.kept, &mut *cx.notes);
        cx.inputs[0].with_rows(|x| {
            let inputs = InputProducts::new(x, shape.rows(), shape.c);
            let moments = self.measure(x, shape, &inputs, momentum, cx.params);
            let taps = cx.params.get(self.depthwise.weight);
            self.expansion(shape, cx.params, &moments).forward(&s, x, taps, z, &mut stats);
            notes.expansion = ExpansionNotes { moments, inputs };
        });
        let norm = self.depthwise.norm.expect("of the operations that this one is made of");
        notes.moments = norm.normalise(z, &stats, momentum, cx.params);
        if let Some(y) = cx.output.as_deref_mut() {
            self.depthwise.finish(z, notes, None, y);
        }
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let shape = cx.input_shapes[0];
        let s = self.depthwise.geometry(self.wide(shape));
        let gradient = self.depthwise.norm_gradient(cx).expect("of the operations that this one is made of");
        gradient.rows_in_place(cx.kept, cx.output_grad);
        let norm = self.expand.norm.expect("of the operations that this one is made of");
        let ExpansionNotes { moments, inputs } = &cx.notes.expansion;
        let expansion = self.expansion(shape, cx.params, moments);
        let taps = cx.params.get(self.depthwise.weight);
        let ids = [self.depthwise.weight, self.expand.weight, norm.weight, norm.bias];
        let wanted = ids.map(|id| cx.grads.wanted(id));
        let [dtaps, dweight, dgamma, dbeta] = cx.grads.several(ids);
        let (dtaps, dweight) = (wanted[0].then_some(dtaps), wanted[1].then_some(dweight));
        let (dy, dx) = (&*cx.output_grad, cx.input_grads[0].as_mut());
        cx.inputs[0].with_rows(|x| {
            InputGrad::with(dx, |dx| {
                let to = Targets { dtaps, dweight, affine: [dgamma, dbeta], dx };
                expansion.backward(&s, x, inputs, taps, dy, to);
            });
        });
    }
}
