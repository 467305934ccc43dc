//! A slow, plain interpreter of the operators that exports use, NCHW, written from the ONNX specification.

use kinglet_onnx::proto::{AttributeValue, Graph, Node, TensorData};
use std::collections::HashMap;

/// A tensor of floats.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub dims: Vec<usize>,
    pub data: Vec<f32>,
}

/// Row-major strides.
fn strides(dims: &[usize]) -> Vec<usize> {
    let mut out = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        out[i - 1] = out[i] * dims[i];
    }
    out
}

fn unravel(mut at: usize, dims: &[usize]) -> Vec<usize> {
    strides(dims)
        .into_iter()
        .map(|s| {
            let i = at / s;
            at %= s;
            i
        })
        .collect()
}

impl Value {
    /// A tensor whose value at each index is given.
    fn build(dims: &[usize], mut f: impl FnMut(&[usize]) -> f32) -> Self {
        let data = (0..dims.iter().product()).map(|at| f(&unravel(at, dims))).collect();
        Value { dims: dims.to_vec(), data }
    }

    fn at(&self, index: &[usize]) -> f32 {
        self.data[index.iter().zip(strides(&self.dims)).map(|(i, s)| i * s).sum::<usize>()]
    }

    /// The value at signed spatial places of a map, or `outside`.
    fn pixel(&self, n: usize, c: usize, y: isize, x: isize, outside: f32) -> f32 {
        if y < 0 || x < 0 || y as usize >= self.dims[2] || x as usize >= self.dims[3] {
            return outside;
        }
        self.at(&[n, c, y as usize, x as usize])
    }

    fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        Value { dims: self.dims.clone(), data: self.data.iter().map(|&v| f(v)).collect() }
    }

    /// Numpy's broadcasting, as ONNX has it.
    fn zip(&self, other: &Value, f: impl Fn(f32, f32) -> f32) -> Self {
        let rank = self.dims.len().max(other.dims.len());
        let padded = |d: &[usize]| [vec![1; rank - d.len()], d.to_vec()].concat();
        let (a, b) = (padded(&self.dims), padded(&other.dims));
        let dims: Vec<usize> = a.iter().zip(&b).map(|(&x, &y)| if x == 1 { y } else { x }).collect();
        let pick = |v: &Value, d: &[usize], i: &[usize]| {
            let index: Vec<usize> = i.iter().zip(d).map(|(&i, &d)| if d == 1 { 0 } else { i }).collect();
            v.at(&index[rank - v.dims.len()..])
        };
        Value::build(&dims, |i| f(pick(self, &a, i), pick(other, &b, i)))
    }
}

fn ints(node: &Node, name: &str) -> Vec<usize> {
    match node.attributes.iter().find(|(n, _)| *n == name) {
        Some((_, AttributeValue::Ints(v))) => v.iter().map(|&i| i as usize).collect(),
        other => panic!("{}: {name} is {other:?}", node.name),
    }
}

fn int(node: &Node, name: &str) -> usize {
    match node.attributes.iter().find(|(n, _)| *n == name) {
        Some((_, AttributeValue::Int(v))) => *v as usize,
        other => panic!("{}: {name} is {other:?}", node.name),
    }
}

fn float(node: &Node, name: &str) -> f32 {
    match node.attributes.iter().find(|(n, _)| *n == name) {
        Some((_, AttributeValue::Float(v))) => *v,
        other => panic!("{}: {name} is {other:?}", node.name),
    }
}

fn out_side(side: usize, [before, after]: [usize; 2], reach: usize, stride: usize) -> usize {
    (side + before + after - reach) / stride + 1
}

fn conv(node: &Node, x: &Value, w: &Value, bias: Option<&Value>) -> Value {
    let (kernel, strides, pads) = (ints(node, "kernel_shape"), ints(node, "strides"), ints(node, "pads"));
    let (dilations, groups) = (ints(node, "dilations"), int(node, "group"));
    assert_eq!(kernel, w.dims[2..]);
    let side = |axis: usize| {
        let reach = dilations[axis] * (kernel[axis] - 1) + 1;
        out_side(x.dims[2 + axis], [pads[axis], pads[axis + 2]], reach, strides[axis])
    };
    let (per_in, per_out) = (x.dims[1] / groups, w.dims[0] / groups);
    Value::build(&[x.dims[0], w.dims[0], side(0), side(1)], |i| {
        let mut sum = bias.map_or(0.0, |b| f64::from(b.data[i[1]]));
        for c in 0..per_in {
            for ky in 0..kernel[0] {
                for kx in 0..kernel[1] {
                    let y = (i[2] * strides[0] + ky * dilations[0]) as isize - pads[0] as isize;
                    let xx = (i[3] * strides[1] + kx * dilations[1]) as isize - pads[1] as isize;
                    let v = x.pixel(i[0], i[1] / per_out * per_in + c, y, xx, 0.0);
                    sum += f64::from(v) * f64::from(w.at(&[i[1], c, ky, kx]));
                }
            }
        }
        sum as f32
    })
}

/// Every input value adds its multiple of the kernel, as the specification defines the operator.
fn conv_transpose(node: &Node, x: &Value, w: &Value, bias: Option<&Value>) -> Value {
    let [kernel, strides, pads, dilations, extra] =
        ["kernel_shape", "strides", "pads", "dilations", "output_padding"].map(|name| ints(node, name));
    let groups = int(node, "group");
    let side = |a: usize| {
        strides[a] * (x.dims[2 + a] - 1) + extra[a] + (kernel[a] - 1) * dilations[a] + 1 - pads[a] - pads[a + 2]
    };
    let (per_in, per_out) = (x.dims[1] / groups, w.dims[1]);
    let dims = [x.dims[0], groups * per_out, side(0), side(1)];
    let mut y = Value::build(&dims, |i| bias.map_or(0.0, |b| b.data[i[1]]));
    for (at, v) in x.data.iter().enumerate() {
        let i = unravel(at, &x.dims);
        for tap in unravel_all(&[per_out, kernel[0], kernel[1]]) {
            let row = (i[2] * strides[0] + tap[1] * dilations[0]).wrapping_sub(pads[0]);
            let column = (i[3] * strides[1] + tap[2] * dilations[1]).wrapping_sub(pads[1]);
            if row < dims[2] && column < dims[3] {
                let channel = i[1] / per_in * per_out + tap[0];
                let out = ((i[0] * dims[1] + channel) * dims[2] + row) * dims[3] + column;
                y.data[out] += v * w.at(&[i[1], tap[0], tap[1], tap[2]]);
            }
        }
    }
    y
}

fn unravel_all(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0..dims.iter().product()).map(|at| unravel(at, dims))
}

/// The last two dimensions are matrices.
fn matmul(a: &Value, b: &Value) -> Value {
    let rank = a.dims.len();
    let mut dims = a.dims.clone();
    dims[rank - 1] = b.dims[rank - 1];
    Value::build(&dims, |i| {
        let (mut left, mut right) = (i.to_vec(), i.to_vec());
        let products = (0..a.dims[rank - 1]).map(|k| {
            (left[rank - 1], right[rank - 2]) = (k, k);
            f64::from(a.at(&left)) * f64::from(b.at(&right))
        });
        products.sum::<f64>() as f32
    })
}

/// Over the last dimension.
fn softmax(node: &Node, x: &Value) -> Value {
    assert_eq!(int(node, "axis"), x.dims.len() - 1, "{}", node.name);
    let row = |row: &[f32]| {
        let largest = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
        let shares: Vec<f64> = row.iter().map(|v| f64::from(v - largest).exp()).collect();
        let total: f64 = shares.iter().sum();
        shares.into_iter().map(|s| (s / total) as f32).collect::<Vec<f32>>()
    };
    let columns = x.dims[x.dims.len() - 1];
    Value { dims: x.dims.clone(), data: x.data.chunks_exact(columns).flat_map(row).collect() }
}

fn space_to_depth(size: usize, x: &Value) -> Value {
    let [n, c, h, w] = [0, 1, 2, 3].map(|a| x.dims[a]);
    Value::build(&[n, c * size * size, h / size, w / size], |i| {
        let (square, channel) = (i[1] / c, i[1] % c);
        x.at(&[i[0], channel, i[2] * size + square / size, i[3] * size + square % size])
    })
}

/// Mode DCR.
fn depth_to_space(size: usize, x: &Value) -> Value {
    let [n, c, h, w] = [0, 1, 2, 3].map(|a| x.dims[a]);
    let c = c / size / size;
    Value::build(&[n, c, h * size, w * size], |i| {
        let square = i[2] % size * size + i[3] % size;
        x.at(&[i[0], square * c + i[1], i[2] / size, i[3] / size])
    })
}

fn max_pool(node: &Node, x: &Value) -> Value {
    let (kernel, strides, pads) = (ints(node, "kernel_shape"), ints(node, "strides"), ints(node, "pads"));
    let side = |a: usize| out_side(x.dims[2 + a], [pads[a], pads[a + 2]], kernel[a], strides[a]);
    Value::build(&[x.dims[0], x.dims[1], side(0), side(1)], |i| {
        let mut best = f32::NEG_INFINITY;
        for ky in 0..kernel[0] {
            for kx in 0..kernel[1] {
                let (y, xx) = ((i[2] * strides[0] + ky) as isize, (i[3] * strides[1] + kx) as isize);
                best = best.max(x.pixel(i[0], i[1], y - pads[0] as isize, xx - pads[1] as isize, f32::NEG_INFINITY));
            }
        }
        best
    })
}

fn concat(axis: usize, parts: &[&Value]) -> Value {
    let mut dims = parts[0].dims.clone();
    dims[axis] = parts.iter().map(|p| p.dims[axis]).sum();
    Value::build(&dims, |i| {
        let mut i = i.to_vec();
        for part in parts {
            if i[axis] < part.dims[axis] {
                return part.at(&i);
            }
            i[axis] -= part.dims[axis];
        }
        unreachable!("the extents add up")
    })
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Runs a graph; gives its outputs in order.
pub fn run(graph: &Graph, input: Value) -> Vec<Value> {
    let mut values = HashMap::from([(graph.inputs[0].name.clone(), input)]);
    let mut lists: HashMap<&str, &[i64]> = HashMap::new();
    for tensor in &graph.constants {
        match &tensor.data {
            TensorData::F32(data) => {
                values.insert(tensor.name.clone(), Value { dims: tensor.dims.clone(), data: data.clone() });
            }
            TensorData::I64(data) => {
                lists.insert(&tensor.name, data);
            }
        }
    }
    for node in &graph.nodes {
        let value = |i: usize| &values[&node.inputs[i]];
        let list = |i: usize| lists[node.inputs[i].as_str()];
        let x = value(0);
        let y = match node.op {
            "Conv" => conv(node, x, value(1), (node.inputs.len() > 2).then(|| value(2))),
            "BatchNormalization" => {
                let eps = float(node, "epsilon");
                let [scale, bias, mean, var] = [1, 2, 3, 4].map(|i| value(i).data.clone());
                Value::build(&x.dims, |i| (x.at(i) - mean[i[1]]) / (var[i[1]] + eps).sqrt() * scale[i[1]] + bias[i[1]])
            }
            "ConvTranspose" => conv_transpose(node, x, value(1), (node.inputs.len() > 2).then(|| value(2))),
            "MatMul" => matmul(x, value(1)),
            "Softmax" => softmax(node, x),
            "SpaceToDepth" => space_to_depth(int(node, "blocksize"), x),
            "DepthToSpace" => depth_to_space(int(node, "blocksize"), x),
            "Relu" => x.map(|v| v.max(0.0)),
            "Clip" => x.map(|v| v.max(value(1).data[0]).min(value(2).data[0])),
            "LeakyRelu" => x.map(|v| if v < 0.0 { v * float(node, "alpha") } else { v }),
            "HardSigmoid" => x.map(|v| (float(node, "alpha") * v + float(node, "beta")).clamp(0.0, 1.0)),
            "HardSwish" => x.map(|v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0)),
            "Sigmoid" => x.map(sigmoid),
            "Softplus" => x.map(|v| v.exp().ln_1p()),
            "Tanh" => x.map(f32::tanh),
            "Mul" => x.zip(value(1), |a, b| a * b),
            "Add" => x.zip(value(1), |a, b| a + b),
            "Identity" => x.clone(),
            "Concat" => concat(int(node, "axis"), &(0..node.inputs.len()).map(value).collect::<Vec<_>>()),
            "MaxPool" => max_pool(node, x),
            "GlobalAveragePool" => {
                let pixels = x.dims[2] * x.dims[3];
                let data = x.data.chunks(pixels).map(|m| m.iter().sum::<f32>() / pixels as f32).collect();
                Value { dims: vec![x.dims[0], x.dims[1], 1, 1], data }
            }
            "Resize" => {
                let scales = &value(2).data;
                let dims: Vec<usize> = x.dims.iter().zip(scales).map(|(d, s)| (*d as f32 * s) as usize).collect();
                Value::build(&dims, |i| {
                    let from: Vec<usize> =
                        i.iter().zip(scales).map(|(i, s)| (*i as f32 / s).floor() as usize).collect();
                    x.at(&from)
                })
            }
            "Pad" => {
                let p: Vec<usize> = list(1).iter().map(|&p| p as usize).collect();
                let dims: Vec<usize> = (0..4).map(|a| x.dims[a] + p[a] + p[a + 4]).collect();
                Value::build(&dims, |i| {
                    x.pixel(i[0], i[1], i[2] as isize - p[2] as isize, i[3] as isize - p[3] as isize, 0.0)
                })
            }
            "Slice" => {
                let (starts, ends, axes, steps) = (list(1), list(2), list(3), list(4));
                let mut dims = x.dims.clone();
                for (k, &axis) in axes.iter().enumerate() {
                    let end = (ends[k].min(dims[axis as usize] as i64) - starts[k]) as usize;
                    dims[axis as usize] = end.div_ceil(steps[k] as usize);
                }
                Value::build(&dims, |i| {
                    let mut i = i.to_vec();
                    for (k, &axis) in axes.iter().enumerate() {
                        i[axis as usize] = starts[k] as usize + i[axis as usize] * steps[k] as usize;
                    }
                    x.at(&i)
                })
            }
            "Reshape" => {
                let dims: Vec<usize> = list(1).iter().map(|&d| d as usize).collect();
                assert_eq!(dims.iter().product::<usize>(), x.data.len(), "{}", node.name);
                Value { dims, data: x.data.clone() }
            }
            "Transpose" => {
                let perm = ints(node, "perm");
                let dims: Vec<usize> = perm.iter().map(|&p| x.dims[p]).collect();
                Value::build(&dims, |i| {
                    let mut from = vec![0; i.len()];
                    perm.iter().zip(i).for_each(|(&p, &i)| from[p] = i);
                    x.at(&from)
                })
            }
            other => panic!("no operator `{other}`"),
        };
        values.insert(node.name.clone(), y);
    }
    graph.outputs.iter().map(|v| values[&v.name].clone()).collect()
}
