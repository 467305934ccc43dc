//! The transformer of C3TR: attention of the pixels of a map to each other.
//!
//! Source: Vaswani et al. 2017, arXiv:1706.03762, and Dosovitskiy et al. 2020, arXiv:2010.11929, in YOLOv5's form: four
//! heads, no LayerNorm, no activation between the two last layers, and a linear layer in place of position embeddings.
//! Queries, keys and values pass a linear layer of their own before the attention's projections.
//! Parameters: `linear`, and for layer k `tr.k` with `q`, `k`, `v`, `ma` (PyTorch's attention), `fc1`, `fc2`.

use crate::Recorder;
use kinglet_tensor::{Init, ParamKind, Var, ops};

/// Heads of every attention.
pub(super) const HEADS: usize = 4;

/// Records `layers` transformer layers on `x`.
pub(super) fn record(m: &mut Recorder<'_>, x: Var, layers: usize) -> Var {
    let c = m.shape(x).c;
    let placed = m.linear("linear", x, c, true, Some(x));
    let mut m = m.scope("tr");
    (0..layers).fold(placed, |x, k| layer(&mut m.scope(k), x, c))
}

fn layer(m: &mut Recorder<'_>, x: Var, c: usize) -> Var {
    let inputs = ["q", "k", "v"].map(|name| m.linear(name, x, c, false, None));
    let attention = attention(&mut m.scope("ma"), c);
    let attended = m.push(attention, &inputs);
    let y = m.push(ops::Add, &[attended, x]);
    let wide = m.linear("fc1", y, c, false, None);
    m.linear("fc2", wide, c, false, Some(y))
}

/// PyTorch's attention with its first values: Glorot's for the projections, zeros for biases.
fn attention(m: &mut Recorder<'_>, c: usize) -> ops::Attention {
    let glorot = Init::Uniform((6.0 / (4 * c) as f32).sqrt()); // fan in c, fan out 3 c
    let zeros = || Init::Constant(0.0);
    let projection = [
        m.declare("in_proj_weight", &[3 * c, c], ParamKind::Weight, glorot),
        m.declare("in_proj_bias", &[3 * c], ParamKind::Bias, zeros()),
    ];
    let mut m = m.scope("out_proj");
    let bound = Init::Uniform((1.0 / c as f32).sqrt());
    let output =
        [m.declare("weight", &[c, c], ParamKind::Weight, bound), m.declare("bias", &[c], ParamKind::Bias, zeros())];
    ops::Attention { projection, output, heads: HEADS }
}
