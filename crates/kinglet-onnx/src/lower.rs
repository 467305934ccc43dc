//! Recorded operations to ONNX nodes.
//!
//! Shapes: Kinglet's maps are `[n, h, w, c]`, ONNX's are `[n, c, h, w]`; weights have the same order in both.
//! BatchNorm folds into the convolution before it. Where sizes are free, no node may depend on those of the recording.
//! Oracle: ONNX Runtime against reference numbers, and rten against Kinglet's own engine.

use crate::proto::AttributeValue::{Float, Int, Ints, Text};
use crate::proto::{AttributeValue, ElementType, Graph, Node, Tensor, TensorData};
use kinglet_tensor::ops::{BatchNorm, ConvTranspose, ConvUnit, MaxPool, Op, SqueezeExcite};
use kinglet_tensor::{Activation, ParamId, Params, Shape, Var};
use std::collections::HashSet;

/// Slices to the end of an axis name this.
pub(crate) const TO_THE_END: i64 = i64::MAX;

/// Slope and offset of hard-sigmoid in this family.
const SIXTH_AND_HALF: [f32; 2] = [1.0 / 6.0, 0.5];

/// Writes nodes and constants; names are unique.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub(crate) graph: Graph,
    pub(crate) params: &'a Params,
    pub(crate) opset: u32,
    /// Whether batch, height and width are the caller's to choose.
    pub(crate) dynamic: bool,
    taken: HashSet<String>,
    /// The name of each recorded value that has been lowered.
    values: Vec<String>,
}

impl<'a> Builder<'a> {
    /// A graph whose input is called `input`.
    pub(crate) fn new(name: &str, input: &str, params: &'a Params, opset: u32, dynamic: bool) -> Self {
        let graph = Graph { name: name.to_owned(), ..Graph::default() };
        let taken = HashSet::from([input.to_owned()]);
        Builder { graph, params, opset, dynamic, taken, values: vec![input.to_owned()] }
    }

    /// The value that the network reads, where it is not the graph's input.
    pub(crate) fn set_network_input(&mut self, name: String) {
        self.values[0] = name;
    }

    /// Keeps a name for a value that is looked up by it.
    pub(crate) fn reserve(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// A name that no other value has.
    fn unique(&mut self, wanted: String) -> String {
        let mut name = wanted.clone();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}.{number}");
        }
        name
    }

    /// Appends a node; gives the name of its output.
    pub(crate) fn node(
        &mut self,
        op: &'static str,
        name: impl Into<String>,
        inputs: &[&str],
        attributes: Vec<(&'static str, AttributeValue)>,
    ) -> String {
        let name = self.unique(name.into());
        self.push(op, name, inputs, attributes)
    }

    /// Appends the node that computes an output or another value that is looked up by name, under its reserved name.
    pub(crate) fn output_node(
        &mut self,
        op: &'static str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<(&'static str, AttributeValue)>,
    ) {
        self.push(op, name.to_owned(), inputs, attributes);
    }

    fn push(
        &mut self,
        op: &'static str,
        name: String,
        inputs: &[&str],
        attributes: Vec<(&'static str, AttributeValue)>,
    ) -> String {
        let inputs = inputs.iter().map(|&i| i.to_owned()).collect();
        self.graph.nodes.push(Node { op, name: name.clone(), second: None, inputs, attributes });
        name
    }

    /// Gives the last node a second output; gives its name.
    pub(crate) fn second_output(&mut self, name: String) -> String {
        let name = self.unique(name);
        self.graph.nodes.last_mut().expect("a node was written just now").second = Some(name.clone());
        name
    }

    /// Adds a constant of floats.
    pub(crate) fn floats(&mut self, name: impl Into<String>, dims: &[usize], values: Vec<f32>) -> String {
        self.constant(name.into(), dims, TensorData::F32(values))
    }

    /// Adds a list of integers.
    pub(crate) fn ints(&mut self, name: impl Into<String>, values: &[i64]) -> String {
        self.constant(name.into(), &[values.len()], TensorData::I64(values.to_vec()))
    }

    /// One integer without dimensions.
    pub(crate) fn int(&mut self, name: impl Into<String>, value: i64) -> String {
        self.constant(name.into(), &[], TensorData::I64(vec![value]))
    }

    /// The same values under another shape: 0 keeps an extent, -1 is what remains.
    pub(crate) fn reshape(&mut self, x: &str, name: &str, dims: &[i64]) -> String {
        let shape = self.ints(format!("{name}.shape"), dims);
        self.node("Reshape", name, &[x, &shape], vec![])
    }

    /// Back to the shape of a recorded map `like`: a constant, or read from the map where sizes are free.
    pub(crate) fn reshape_like(&mut self, x: &str, name: &str, like: &str, s: Shape) -> String {
        let shape = format!("{name}.shape");
        let shape = match self.dynamic {
            true => self.node("Shape", shape, &[like], vec![]),
            false => self.ints(shape, &[s.n, s.c, s.h, s.w].map(|d| d as i64)),
        };
        self.node("Reshape", name, &[x, &shape], vec![])
    }

    /// Another element type.
    pub(crate) fn cast(&mut self, x: &str, name: impl Into<String>, to: ElementType) -> String {
        self.node("Cast", name, &[x], vec![("to", Int(to as i64))])
    }

    fn constant(&mut self, name: String, dims: &[usize], data: TensorData) -> String {
        let name = self.unique(name);
        self.graph.constants.push(Tensor { name: name.clone(), dims: dims.to_vec(), data });
        name
    }

    /// The name of a lowered value.
    pub(crate) fn value(&self, var: Var) -> &str {
        &self.values[var.index()]
    }

    /// Lowers the next operation of a recording; operations come in their order.
    pub(crate) fn lower(&mut self, node: &kinglet_tensor::Node, input_shapes: &[Shape]) {
        let Some(op) = &node.op else { return };
        let inputs: Vec<String> = node.inputs.iter().map(|&v| self.value(v).to_owned()).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let place = |what: &str| format!("model.{}.{what}", node.layer);
        let name = match op {
            Op::ConvUnit(unit) => self.conv_unit(unit, &inputs),
            Op::Add(_) => self.node("Add", place("add"), &inputs, vec![]),
            Op::Attention(attention) => self.attention(attention, input_shapes[0], &inputs),
            Op::BatchNorm(norm) => self.batch_norm(norm, inputs[0]),
            Op::Activate(activate) => self.activation(activate.0, inputs[0], &place("act")),
            Op::Concat(_) => self.node("Concat", place("concat"), &inputs, vec![("axis", Int(1))]),
            Op::Contract(op) => {
                // Slices instead of `SpaceToDepth`, which some engines lack.
                let gain = op.gain as i64;
                let from: Vec<[i64; 2]> = (0..gain * gain).map(|i| [i / gain, i % gain]).collect();
                self.space_to_depth(inputs[0], gain, &from, &place("contract"))
            }
            Op::ConvTranspose(op) => self.conv_transpose(op, inputs[0]),
            Op::Expand(op) => {
                let attributes = vec![("blocksize", Int(op.gain as i64)), ("mode", Text("DCR"))];
                self.node("DepthToSpace", place("expand"), &inputs, attributes)
            }
            Op::ShuffleChannels(op) => self.shuffle_channels(op.groups, input_shapes[0], inputs[0], &place("shuffle")),
            Op::SliceChannels(op) => {
                let (from, to) = (op.first as i64, (op.first + op.count) as i64);
                self.slice(inputs[0], &place("slice"), &[1], &[from], &[to], &[1])
            }
            Op::MaxPool(pool) => self.max_pool(pool, inputs[0], &place("pool")),
            Op::Upsample(upsample) => self.resize(upsample.scale, inputs[0], &place("upsample")),
            Op::ZeroPad(pad) => self.zero_pad(pad.border, inputs[0], &place("pad")),
            Op::SpaceToDepth(_) => {
                // The four pixels in YOLOv5's order.
                self.space_to_depth(inputs[0], 2, &[[0, 0], [1, 0], [0, 1], [1, 1]], &place("focus"))
            }
            Op::SqueezeExcite(squeeze) => self.squeeze_excite(squeeze, input_shapes[0], inputs[0]),
        };
        self.values.push(name);
    }

    /// The name of a parameter without its last part: `model.4.cv1.conv`.
    pub(crate) fn owner(&self, id: ParamId) -> String {
        let name = &self.params.param(id).name;
        name.rsplit_once('.').map_or(name.as_str(), |(owner, _)| owner).to_owned()
    }

    /// A 2-D convolution with optional bias; `pads` are height and width.
    pub(crate) fn conv(
        &mut self,
        name: &str,
        x: &str,
        weight: (&[usize], Vec<f32>),
        bias: Option<Vec<f32>>,
        unit: &ConvGeometry,
    ) -> String {
        let mut inputs = vec![x.to_owned(), self.floats(format!("{name}.weight"), weight.0, weight.1)];
        if let Some(bias) = bias {
            inputs.push(self.floats(format!("{name}.bias"), &[weight.0[0]], bias));
        }
        let both = |[a, b]: [usize; 2]| Ints(vec![a as i64, b as i64]);
        let [ph, pw] = unit.padding;
        let attributes = vec![
            ("kernel_shape", both(unit.kernel)),
            ("strides", both(unit.stride)),
            ("pads", Ints([ph, pw, ph, pw].map(|p| p as i64).to_vec())),
            ("dilations", both([unit.dilation; 2])),
            ("group", Int(unit.groups as i64)),
        ];
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.node("Conv", name, &inputs, attributes)
    }

    fn conv_unit(&mut self, unit: &ConvUnit, inputs: &[&str]) -> String {
        let name = self.owner(unit.weight);
        // A linear layer's weight has two dimensions.
        let mut dims = self.params.param(unit.weight).shape.clone();
        dims.resize(4, 1);
        let (weight, bias) = unit.folded(self.params);
        let geometry = ConvGeometry {
            kernel: unit.kernel,
            stride: unit.stride,
            padding: unit.padding,
            dilation: unit.dilation,
            groups: unit.groups,
        };
        let y = self.conv(&name, inputs[0], (&dims, weight), bias, &geometry);
        let y = self.activation(unit.activation, &y, &format!("{name}.act"));
        match inputs.get(1) {
            Some(residual) => self.node("Add", format!("{name}.add"), &[&y, residual], vec![]),
            None => y,
        }
    }

    fn batch_norm(&mut self, op: &BatchNorm, x: &str) -> String {
        let norm = &op.norm;
        let name = self.owner(norm.weight);
        let mut inputs = vec![x.to_owned()];
        for id in [norm.weight, norm.bias, norm.mean, norm.variance] {
            let values = self.params.get(id).to_vec();
            let constant = self.params.param(id).name.clone();
            inputs.push(self.floats(constant, &[values.len()], values));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = self.node("BatchNormalization", name.clone(), &inputs, vec![("epsilon", Float(norm.eps))]);
        self.activation(op.activation, &y, &format!("{name}.act"))
    }

    /// An activation in the operators of this set; composite ones become several nodes.
    pub(crate) fn activation(&mut self, activation: Activation, x: &str, name: &str) -> String {
        match activation {
            Activation::Identity => x.to_owned(),
            Activation::Relu => self.node("Relu", name, &[x], vec![]),
            Activation::Relu6 => self.clip([0.0, 6.0], x, name),
            Activation::LeakyRelu(slope) => self.node("LeakyRelu", name, &[x], vec![("alpha", Float(slope))]),
            Activation::HardSigmoid => self.hard_sigmoid(x, name),
            // The operator of its own came with set 14.
            Activation::HardSwish if self.opset >= 14 => self.node("HardSwish", name, &[x], vec![]),
            Activation::HardSwish => {
                let gate = self.hard_sigmoid(x, &format!("{name}.gate"));
                self.node("Mul", name, &[x, &gate], vec![])
            }
            Activation::Sigmoid => self.node("Sigmoid", name, &[x], vec![]),
            Activation::Silu => {
                let gate = self.node("Sigmoid", format!("{name}.gate"), &[x], vec![]);
                self.node("Mul", name, &[x, &gate], vec![])
            }
            Activation::Mish => {
                let soft = self.node("Softplus", format!("{name}.softplus"), &[x], vec![]);
                let gate = self.node("Tanh", format!("{name}.gate"), &[&soft], vec![]);
                self.node("Mul", name, &[x, &gate], vec![])
            }
        }
    }

    /// The operator's own default slope is 0.2, so it is always written.
    fn hard_sigmoid(&mut self, x: &str, name: &str) -> String {
        let [slope, offset] = SIXTH_AND_HALF;
        self.node("HardSigmoid", name, &[x], vec![("alpha", Float(slope)), ("beta", Float(offset))])
    }

    fn clip(&mut self, [low, high]: [f32; 2], x: &str, name: &str) -> String {
        let low = self.floats(format!("{name}.min"), &[], vec![low]);
        let high = self.floats(format!("{name}.max"), &[], vec![high]);
        self.node("Clip", name, &[x, &low, &high], vec![])
    }

    fn max_pool(&mut self, pool: &MaxPool, x: &str, name: &str) -> String {
        let attributes = vec![
            ("kernel_shape", Ints(vec![pool.kernel as i64; 2])),
            ("strides", Ints(vec![pool.stride as i64; 2])),
            ("pads", Ints(vec![pool.padding as i64; 4])),
        ];
        self.node("MaxPool", name, &[x], attributes)
    }

    fn resize(&mut self, scale: usize, x: &str, name: &str) -> String {
        let region = self.region(name);
        let factor = scale as f32;
        let scales = self.floats(format!("{name}.scales"), &[4], vec![1.0, 1.0, factor, factor]);
        let attributes = vec![
            ("mode", Text("nearest")),
            ("coordinate_transformation_mode", Text("asymmetric")),
            ("nearest_mode", Text("floor")),
        ];
        self.node("Resize", name, &[x, &region, &scales], attributes)
    }

    /// Bilinear, to the extents that the value `sizes` holds.
    pub(crate) fn resize_to(&mut self, x: &str, sizes: &str, name: &str) -> String {
        let region = self.region(name);
        let scales = if self.opset < 13 { self.floats(format!("{name}.scales"), &[0], vec![]) } else { String::new() };
        let attributes = vec![("mode", Text("linear")), ("coordinate_transformation_mode", Text("half_pixel"))];
        self.node("Resize", name, &[x, &region, &scales, sizes], attributes)
    }

    /// The region of interest of `Resize`. Before set 13 it had to be there even where the mode does not use it.
    fn region(&mut self, name: &str) -> String {
        if self.opset < 13 { self.floats(format!("{name}.roi"), &[0], vec![]) } else { String::new() }
    }

    fn zero_pad(&mut self, [left, right, top, bottom]: [usize; 4], x: &str, name: &str) -> String {
        let pads = [0, 0, top, left, 0, 0, bottom, right].map(|p| p as i64);
        let pads = self.ints(format!("{name}.pads"), &pads);
        self.node("Pad", name, &[x, &pads], vec![("mode", Text("constant"))])
    }

    /// Part of a tensor along some axes, with a step.
    pub(crate) fn slice(
        &mut self,
        x: &str,
        name: &str,
        axes: &[i64],
        from: &[i64],
        to: &[i64],
        steps: &[i64],
    ) -> String {
        let constants: Vec<String> = [("starts", from), ("ends", to), ("axes", axes), ("steps", steps)]
            .into_iter()
            .map(|(what, values)| self.ints(format!("{name}.{what}"), values))
            .collect();
        let inputs: Vec<&str> = std::iter::once(x).chain(constants.iter().map(String::as_str)).collect();
        self.node("Slice", name, &inputs, vec![])
    }

    /// Every `gain`th pixel from each (row, column), as channels.
    fn space_to_depth(&mut self, x: &str, gain: i64, from: &[[i64; 2]], name: &str) -> String {
        let parts: Vec<String> = from
            .iter()
            .map(|from| {
                let part = format!("{name}.{}{}", from[0], from[1]);
                self.slice(x, &part, &[2, 3], from, &[TO_THE_END; 2], &[gain; 2])
            })
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.node("Concat", name, &parts, vec![("axis", Int(1))])
    }

    fn conv_transpose(&mut self, op: &ConvTranspose, x: &str) -> String {
        let name = self.owner(op.weight);
        let dims = self.params.param(op.weight).shape.clone();
        let weight = self.params.get(op.weight).to_vec();
        let mut inputs = vec![x.to_owned(), self.floats(format!("{name}.weight"), &dims, weight)];
        if let Some(bias) = op.bias {
            let bias = self.params.get(bias).to_vec();
            inputs.push(self.floats(format!("{name}.bias"), &[op.c_out], bias));
        }
        let both = |v: usize| Ints(vec![v as i64; 2]);
        let attributes = vec![
            ("kernel_shape", both(op.kernel)),
            ("strides", both(op.stride)),
            ("pads", Ints(vec![op.padding as i64; 4])),
            ("output_padding", both(op.output_padding)),
            ("dilations", both(op.dilation)),
            ("group", Int(op.groups as i64)),
        ];
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.node("ConvTranspose", name, &inputs, attributes)
    }

    /// The channels as a matrix `[groups, c / groups]`, transposed.
    fn shuffle_channels(&mut self, groups: usize, s: Shape, x: &str, name: &str) -> String {
        let split = self.reshape(x, &format!("{name}.groups"), &[0, groups as i64, (s.c / groups) as i64, -1]);
        let turned = self.node("Transpose", format!("{name}.t"), &[&split], vec![("perm", Ints(vec![0, 2, 1, 3]))]);
        self.reshape_like(&turned, name, x, s)
    }

    fn squeeze_excite(&mut self, op: &SqueezeExcite, x_shape: Shape, x: &str) -> String {
        let owner = self.owner(op.reduce[0]);
        let name = owner.rsplit_once('.').map_or(owner.as_str(), |(parent, _)| parent).to_owned();
        let mean = self.node("GlobalAveragePool", format!("{name}.pool"), &[x], vec![]);
        let hidden = self.linear(op.reduce, [op.hidden, x_shape.c], &mean, [1.0, 0.0]);
        let hidden = self.activation(Activation::Relu, &hidden, &format!("{name}.act"));
        // h-sigmoid with x / 6 + 1/2 in the layer: OpenCV (4.6, 5.0) takes a `HardSigmoid` of this slope before any product for
        // h-swish, and OpenVINO (2026.4) computes one of another slope as if it had this one.
        let gate = self.linear(op.expand, [x_shape.c, op.hidden], &hidden, SIXTH_AND_HALF);
        let gate = self.clip([0.0, 1.0], &gate, &format!("{name}.gate"));
        let y = self.node("Mul", format!("{name}.scale"), &[x, &gate], vec![]);
        self.activation(op.activation, &y, &format!("{name}.scale.act"))
    }

    /// A linear layer on a map of one pixel, times a factor, and an offset: a 1x1 convolution.
    fn linear(
        &mut self,
        [weight, bias]: [ParamId; 2],
        [rows, columns]: [usize; 2],
        x: &str,
        [factor, offset]: [f32; 2],
    ) -> String {
        let name = self.owner(weight);
        let w = self.params.get(weight).iter().map(|w| w * factor).collect();
        let b = self.params.get(bias).iter().map(|b| b * factor + offset).collect();
        self.conv(&name, x, (&[rows, columns, 1, 1], w), Some(b), &POINTWISE)
    }
}

/// A 1x1 convolution.
pub(crate) const POINTWISE: ConvGeometry =
    ConvGeometry { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: 1, groups: 1 };

/// The geometry that a `Conv` node states.
pub(crate) struct ConvGeometry {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: usize,
    pub(crate) groups: usize,
}
