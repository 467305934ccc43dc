//! Every operation of a graph in `f64`, in training mode, from the scalar reference kernels: what the session's values
//! and gradients are compared with.

use kinglet_kernels::attention::Projections;
use kinglet_kernels::pooling::PoolShape;
use kinglet_kernels::reference::{activation, attention, batchnorm, conv, pooling};
use kinglet_tensor::ops::{Attention, ConvTranspose, ConvUnit, MaxPool, Norm, Op, SqueezeExcite};
use kinglet_tensor::{Activation, Graph, ParamId, Shape};

/// Values of the parameters, in their order.
pub type Values = Vec<Vec<f64>>;

/// The values of the graph's outputs.
pub fn outputs(graph: &Graph, params: &Values, input: &[f64]) -> Vec<Vec<f64>> {
    let mut values: Vec<Vec<f64>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let inputs: Vec<&[f64]> = node.inputs.iter().map(|v| values[v.index()].as_slice()).collect();
        let shapes: Vec<Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
        let value = match &node.op {
            None => input.to_vec(),
            Some(Op::Activate(op)) => activate(op.0, inputs[0]),
            Some(Op::Add(_)) => inputs[0].iter().zip(inputs[1]).map(|(a, b)| a + b).collect(),
            Some(Op::Attention(op)) => attend(op, &inputs, node.shape, params),
            Some(Op::BatchNorm(op)) => normalise(&op.norm, op.activation, inputs[0], params),
            Some(Op::Concat(_)) => concat(&inputs, &shapes),
            Some(Op::Contract(op)) => place(node.shape, |[n, h, w, c]| {
                let (square, c) = (c / shapes[0].c, c % shapes[0].c);
                inputs[0][at(shapes[0], [n, h * op.gain + square / op.gain, w * op.gain + square % op.gain, c])]
            }),
            Some(Op::ConvTranspose(op)) => conv_transpose(op, inputs[0], shapes[0], node.shape, params),
            Some(Op::Expand(op)) => place(node.shape, |[n, h, w, c]| {
                let square = h % op.gain * op.gain + w % op.gain;
                inputs[0][at(shapes[0], [n, h / op.gain, w / op.gain, square * node.shape.c + c])]
            }),
            Some(Op::ShuffleChannels(op)) => place(node.shape, |[n, h, w, c]| {
                let from = c % op.groups * (node.shape.c / op.groups) + c / op.groups;
                inputs[0][at(node.shape, [n, h, w, from])]
            }),
            Some(Op::SliceChannels(op)) => {
                place(node.shape, |[n, h, w, c]| inputs[0][at(shapes[0], [n, h, w, op.first + c])])
            }
            Some(Op::ConvUnit(op)) => conv_unit(op, &inputs, shapes[0], params),
            Some(Op::MaxPool(op)) => max_pool(op, inputs[0], shapes[0]),
            Some(Op::SpaceToDepth(_)) => focus(inputs[0], shapes[0], node.shape),
            Some(Op::SqueezeExcite(op)) => squeeze_excite(op, inputs[0], shapes[0], params),
            Some(Op::Upsample(op)) => {
                place(node.shape, |[n, h, w, c]| inputs[0][at(shapes[0], [n, h / op.scale, w / op.scale, c])])
            }
            Some(Op::ZeroPad(op)) => {
                let [left, _, top, _] = op.border;
                place(node.shape, |[n, h, w, c]| match (h.checked_sub(top), w.checked_sub(left)) {
                    (Some(h), Some(w)) if h < shapes[0].h && w < shapes[0].w => inputs[0][at(shapes[0], [n, h, w, c])],
                    _ => 0.0,
                })
            }
        };
        assert_eq!(value.len(), node.shape.len(), "{:?}", node.op);
        values.push(value);
    }
    graph.outputs().iter().map(|v| values[v.index()].clone()).collect()
}

fn at(s: Shape, [n, h, w, c]: [usize; 4]) -> usize {
    ((n * s.h + h) * s.w + w) * s.c + c
}

/// A tensor from a rule for each place.
fn place(s: Shape, rule: impl Fn([usize; 4]) -> f64) -> Vec<f64> {
    (0..s.len()).map(|i| rule([i / s.c / s.w / s.h, i / s.c / s.w % s.h, i / s.c % s.w, i % s.c])).collect()
}

fn of(params: &Values, id: ParamId) -> &[f64] {
    &params[id.index()]
}

fn activate(a: Activation, x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| activation::apply(a, x)).collect()
}

fn normalise(norm: &Norm, a: Activation, z: &[f64], params: &Values) -> Vec<f64> {
    batchnorm::forward_training(z, of(params, norm.weight), of(params, norm.bias), f64::from(norm.eps), a)
}

fn concat(inputs: &[&[f64]], shapes: &[Shape]) -> Vec<f64> {
    let pixel = |row: usize| inputs.iter().zip(shapes).flat_map(move |(x, s)| x[row * s.c..(row + 1) * s.c].to_vec());
    (0..shapes[0].rows()).flat_map(pixel).collect()
}

fn conv_unit(op: &ConvUnit, inputs: &[&[f64]], shape: Shape, params: &Values) -> Vec<f64> {
    let s = op.geometry(shape);
    let mut z = vec![0.0; s.batch * s.output[0] * s.output[1] * s.c_out];
    conv::forward(&s, inputs[0], of(params, op.weight), op.bias.map(|b| of(params, b)), &mut z);
    let mut y = match &op.norm {
        Some(norm) => normalise(norm, op.activation, &z, params),
        None => activate(op.activation, &z),
    };
    if let Some(residual) = inputs.get(1) {
        y.iter_mut().zip(*residual).for_each(|(y, r)| *y += r);
    }
    y
}

/// Each input pixel adds its multiple of the kernel to the output.
fn conv_transpose(op: &ConvTranspose, x: &[f64], from: Shape, to: Shape, params: &Values) -> Vec<f64> {
    let mut y = place(to, |[_, _, _, c]| op.bias.map_or(0.0, |b| of(params, b)[c]));
    let (weight, k) = (of(params, op.weight), op.kernel);
    let (per_in, per_out) = (from.c / op.groups, to.c / op.groups);
    for (i, v) in x.iter().enumerate() {
        let [n, h, w, c] =
            [i / from.c / from.w / from.h, i / from.c / from.w % from.h, i / from.c % from.w, i % from.c];
        for tap in 0..k * k {
            let row = (h * op.stride + tap / k * op.dilation).wrapping_sub(op.padding);
            let column = (w * op.stride + tap % k * op.dilation).wrapping_sub(op.padding);
            if row < to.h && column < to.w {
                for o in 0..per_out {
                    let out = at(to, [n, row, column, c / per_in * per_out + o]);
                    y[out] += v * weight[(c * per_out + o) * k * k + tap];
                }
            }
        }
    }
    y
}

fn attend(op: &Attention, inputs: &[&[f64]], shape: Shape, params: &Values) -> Vec<f64> {
    let weights = Projections {
        in_weight: of(params, op.projection[0]),
        in_bias: of(params, op.projection[1]),
        out_weight: of(params, op.output[0]),
        out_bias: of(params, op.output[1]),
    };
    attention::forward(op.geometry(shape), [inputs[0], inputs[1], inputs[2]], &weights)
}

fn max_pool(op: &MaxPool, x: &[f64], s: Shape) -> Vec<f64> {
    let shape = PoolShape { input: [s.n, s.h, s.w, s.c], kernel: op.kernel, stride: op.stride, padding: op.padding };
    pooling::max_pool(&shape, x).0
}

/// Channel groups: (even row, even column), (odd, even), (even, odd), (odd, odd).
fn focus(x: &[f64], from: Shape, to: Shape) -> Vec<f64> {
    place(to, |[n, h, w, c]| {
        let (group, c) = (c / from.c, c % from.c);
        x[at(from, [n, 2 * h + group % 2, 2 * w + group / 2, c])]
    })
}

fn linear(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let rows = weight.chunks_exact(x.len()).zip(bias);
    rows.map(|(row, b)| b + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()
}

fn squeeze_excite(op: &SqueezeExcite, x: &[f64], s: Shape, params: &Values) -> Vec<f64> {
    let image = s.pixels() * s.c;
    let gate: Vec<f64> = x
        .chunks_exact(image)
        .flat_map(|x| {
            let squeezed = pooling::global_avg_pool(x, [1, s.pixels(), s.c]);
            let [reduce, expand] = [op.reduce, op.expand].map(|ids| ids.map(|id| of(params, id)));
            let hidden = activate(Activation::Relu, &linear(&squeezed, reduce[0], reduce[1]));
            activate(Activation::HardSigmoid, &linear(&hidden, expand[0], expand[1]))
        })
        .collect();
    place(s, |[n, h, w, c]| activation::apply(op.activation, x[at(s, [n, h, w, c])] * gate[n * s.c + c]))
}
