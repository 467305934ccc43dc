//! Operations that have no kernel for compiled models: their training kernels, on dense maps.

use kinglet_kernels::attention::{self, Projections};
use kinglet_kernels::infer::Work;
use kinglet_kernels::rearrange;
use kinglet_tensor::ops::{Op, conv_transpose};
use kinglet_tensor::{ParamId, Params, Shape};

/// The work of an operation on an input of shape `x` with an output of shape `y`, with its weights.
///
/// # Panics
/// For operations that have kernels of their own.
pub(crate) fn work(op: &Op, x: Shape, y: Shape, params: &Params) -> Work {
    let dims = [x.n, x.h, x.w, x.c];
    let values = |id: ParamId| params.get(id).to_vec();
    match op {
        Op::Attention(op) => {
            let s = op.geometry(x);
            let [in_weight, in_bias] = op.projection.map(values);
            let [out_weight, out_bias] = op.output.map(values);
            Box::new(move |x, y| {
                let weights = Projections {
                    in_weight: &in_weight,
                    in_bias: &in_bias,
                    out_weight: &out_weight,
                    out_bias: &out_bias,
                };
                attention::forward(s, [x[0], x[1], x[2]], &weights, &mut vec![0.0; s.kept_len()], y);
            })
        }
        Op::ConvTranspose(op) => {
            let (s, weight, bias) = (op.geometry(x, y), values(op.weight), op.bias.map(values));
            Box::new(move |x, y| conv_transpose(&s, x[0], &weight, bias.as_deref(), y))
        }
        Op::Contract(op) => {
            let gain = op.gain;
            Box::new(move |x, y| rearrange::contract(x[0], dims, gain, y, false))
        }
        Op::Expand(op) => {
            let gain = op.gain;
            Box::new(move |x, y| rearrange::expand(x[0], dims, gain, y, false))
        }
        Op::ShuffleChannels(op) => {
            let groups = op.groups;
            Box::new(move |x, y| rearrange::shuffle_channels(x[0], dims[3], groups, y, false))
        }
        op => unreachable!("{} has a kernel of its own", op.run().name()),
    }
}
