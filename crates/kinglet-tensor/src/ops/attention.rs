//! Multi-head attention of the pixels of an image to each other.
//!
//! Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2; parameters as in PyTorch's `nn.MultiheadAttention`.
//! Shapes: queries, keys and values `[n, h, w, c]`; an image's pixels in row order are the sequence.

use super::{Operation, take_inputs};
use crate::session::{BackwardContext, ForwardContext, Mode};
use crate::{ParamId, Params, Shape, ShapeError};
use kinglet_kernels::attention::{self, AttentionShape, Projections};
use kinglet_kernels::elementwise::add_assign;

/// `out(softmax(q k^T / sqrt(c / heads)) v)` with q, k and v projections of the three inputs. It counts no
/// multiply-adds, as YOLOv5's summary counts none for PyTorch's attention.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Weight `[3 c, c]` and bias `[3 c]` of the projections of queries, keys and values.
    pub projection: [ParamId; 2],
    /// Weight `[c, c]` and bias `[c]` of the projection of the joined heads.
    pub output: [ParamId; 2],
    /// Heads, which divide the channels.
    pub heads: usize,
}

impl Attention {
    /// The sizes for inputs of this shape.
    pub fn geometry(&self, x: Shape) -> AttentionShape {
        AttentionShape { batch: x.n, pixels: x.pixels(), channels: x.c, heads: self.heads }
    }

    /// The weights' values.
    pub fn weights<'a>(&self, params: &'a Params) -> Projections<'a> {
        Projections {
            in_weight: params.get(self.projection[0]),
            in_bias: params.get(self.projection[1]),
            out_weight: params.get(self.output[0]),
            out_bias: params.get(self.output[1]),
        }
    }
}

impl Operation for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let [q, k, v] = take_inputs::<3>(self.name(), inputs)?;
        if q != k || k != v {
            return Err(ShapeError { op: self.name(), message: format!("{q}, {k} and {v} differ") });
        }
        if self.heads == 0 || !q.c.is_multiple_of(self.heads) {
            return Err(ShapeError { op: self.name(), message: format!("{} channels for {} heads", q.c, self.heads) });
        }
        Ok(q)
    }

    fn params(&self) -> Vec<ParamId> {
        [self.projection, self.output].concat()
    }

    fn kept_len(&self, inputs: &[Shape], _output: Shape, _mode: Mode) -> usize {
        self.geometry(inputs[0]).kept_len()
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let inputs = [0, 1, 2].map(|i| cx.inputs[i].whole());
        let y = cx.output.as_deref_mut().expect("the output is in memory");
        attention::forward(self.geometry(cx.shape), inputs, &self.weights(cx.params), cx.kept, y);
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let inputs = [0, 1, 2].map(|i| cx.inputs[i].whole());
        let mut targets = cx.input_grads.iter_mut().map(|g| g.as_mut().map(|g| (&mut *g.values, g.accumulate)));
        let targets = [(); 3].map(|()| targets.next().expect("three inputs"));
        let weights = self.weights(cx.params);
        let gradients =
            attention::backward(self.geometry(cx.shape), inputs, &weights, cx.kept, cx.output_grad, targets);
        for (id, gradient) in [
            (self.projection[0], &gradients.in_weight),
            (self.projection[1], &gradients.in_bias),
            (self.output[0], &gradients.out_weight),
            (self.output[1], &gradients.out_bias),
        ] {
            if cx.grads.wanted(id) {
                add_assign(cx.grads.get_mut(id), gradient);
            }
        }
    }
}
