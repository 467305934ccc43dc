//! Small graphs that together use every operation in every form.
//!
//! A graph has one input and gradients are given for parameters only, so tensors to be differentiated are made
//! parameters: the graph's input marks each pixel with a channel of its own (a one there, zeros elsewhere), and a 1x1
//! convolution of it has the weight `[c, pixels]` as its output, transposed. With stride 2 it takes every other pixel.

use kinglet_tensor::ops::{
    Activate, Add, Attention, BatchNorm, Concat, Contract, ConvTranspose, ConvUnit, Expand, MaxPool, Norm,
    ShuffleChannels, SliceChannels, SpaceToDepth, SqueezeExcite, Upsample, ZeroPad,
};
use kinglet_tensor::{Activation, Graph, Init, ParamId, ParamKind, Params, Shape, Var};

pub const ACTIVATIONS: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu(0.1),
    Activation::HardSigmoid,
    Activation::HardSwish,
    Activation::Sigmoid,
    Activation::Silu,
    Activation::Mish,
];

/// A graph under construction with its parameters.
pub struct Builder {
    pub graph: Graph,
    pub params: Params,
}

impl Builder {
    /// An empty graph over an input of this shape.
    pub fn on(input: Shape) -> Self {
        Builder { graph: Graph::new(input), params: Params::default() }
    }

    /// The input that marks the pixels.
    pub fn marks(&self) -> Vec<f32> {
        let pixels = self.graph.shape(self.graph.input()).rows();
        (0..pixels * pixels).map(|i| f32::from(u8::from(i / pixels == i % pixels))).collect()
    }

    fn param(&mut self, name: &str, shape: &[usize], kind: ParamKind, init: Init) -> ParamId {
        let name = format!("{}.{name}", self.params.len());
        self.params.declare(&name, shape, kind, init)
    }

    fn weight(&mut self, shape: &[usize], bound: f32) -> ParamId {
        self.param("weight", shape, ParamKind::Weight, Init::Uniform(bound))
    }

    pub fn bias(&mut self, c: usize) -> ParamId {
        self.param("bias", &[c], ParamKind::Bias, Init::Uniform(0.5))
    }

    /// A tensor of `c` channels to differentiate by, uniform in ± `bound`.
    pub fn variable(&mut self, c: usize, stride: usize, bound: f32) -> Var {
        let pixels = self.graph.shape(self.graph.input()).c;
        let weight = self.weight(&[c, pixels, 1, 1], bound);
        self.graph.push(ConvUnit { stride: [stride; 2], ..plain(weight, c) }, &[self.graph.input()])
    }

    /// A BatchNorm.
    pub fn norm(&mut self, c: usize) -> Norm {
        Norm {
            weight: self.param("gamma", &[c], ParamKind::NormWeight, Init::UniformPlus(0.5, vec![1.0; c])),
            bias: self.bias(c),
            mean: self.param("mean", &[c], ParamKind::Statistic, Init::Constant(0.0)),
            variance: self.param("variance", &[c], ParamKind::Statistic, Init::Constant(1.0)),
            eps: 1e-3,
        }
    }

    /// A convolution of `x` without bias, norm or activation, square with "same" padding. Change it to taste.
    pub fn conv(&mut self, x: Var, c_out: usize, kernel: usize, groups: usize) -> ConvUnit {
        let fan_in = self.graph.shape(x).c / groups * kernel * kernel;
        let weight =
            self.weight(&[c_out, self.graph.shape(x).c / groups, kernel, kernel], (3.0 / fan_in as f32).sqrt());
        ConvUnit { kernel: [kernel; 2], padding: [kernel / 2; 2], groups, ..plain(weight, c_out) }
    }

    /// Convolution, BatchNorm, activation.
    pub fn unit(&mut self, x: Var, c_out: usize, kernel: usize, groups: usize, activation: Activation) -> ConvUnit {
        let conv = self.conv(x, c_out, kernel, groups);
        ConvUnit { norm: Some(self.norm(c_out)), activation, ..conv }
    }

    pub fn squeeze_excite(&mut self, c: usize, hidden: usize, activation: Activation) -> SqueezeExcite {
        let reduce = [self.weight(&[hidden, c], 1.0), self.bias(hidden)];
        let expand = [self.weight(&[c, hidden, 1, 1], 1.0), self.bias(c)];
        SqueezeExcite { reduce, expand, hidden, activation }
    }

    /// A transposed convolution of `x` with kernel and stride `kernel`, and a bias.
    pub fn conv_transpose(&mut self, x: Var, c_out: usize, kernel: usize) -> ConvTranspose {
        let weight = self.weight(&[self.graph.shape(x).c, c_out, kernel, kernel], 0.3);
        let bias = Some(self.bias(c_out));
        ConvTranspose {
            weight,
            bias,
            c_out,
            kernel,
            stride: kernel,
            padding: 0,
            output_padding: 0,
            dilation: 1,
            groups: 1,
        }
    }

    pub fn attention(&mut self, c: usize, heads: usize) -> Attention {
        let projection = [self.weight(&[3 * c, c], 1.0), self.bias(3 * c)];
        let output = [self.weight(&[c, c], 1.0), self.bias(c)];
        Attention { projection, output, heads }
    }
}

fn plain(weight: ParamId, c_out: usize) -> ConvUnit {
    ConvUnit {
        weight,
        bias: None,
        norm: None,
        activation: Activation::Identity,
        c_out,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
        dilation: 1,
        groups: 1,
    }
}

/// A named graph with initialised parameters.
pub struct Case {
    pub name: String,
    pub builder: Builder,
}

/// What a case differentiates.
type Build = Box<dyn Fn(&mut Builder) -> Var>;

/// Channels that fill no vector, so that the ends of the kernels' loops are used too.
const C: usize = 5;

fn builds() -> Vec<(String, [usize; 3], Build)> {
    let mut all: Vec<(String, [usize; 3], Build)> = Vec::new();
    let mut add = |name: &str, build: Build| all.push((name.to_owned(), [2, 6, 4], build));
    for a in ACTIVATIONS {
        add(
            &format!("activate {a:?}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 9.0);
                b.graph.push(Activate(a), &[x])
            }),
        );
        add(
            &format!("batch norm {a:?}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 2.0);
                let norm = b.norm(C);
                b.graph.push(BatchNorm { norm, activation: a }, &[x])
            }),
        );
        add(
            &format!("conv {a:?}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 3.0);
                let conv = ConvUnit { bias: Some(b.bias(6)), activation: a, ..b.conv(x, 6, 3, 1) };
                b.graph.push(conv, &[x])
            }),
        );
        add(
            &format!("conv, norm {a:?}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 1.0);
                let unit = b.unit(x, 6, 3, 1, a);
                b.graph.push(unit, &[x])
            }),
        );
        add(
            &format!("squeeze-excite {a:?}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 6.0);
                let squeeze = b.squeeze_excite(C, 3, a);
                b.graph.push(squeeze, &[x])
            }),
        );
    }
    // Kernel, stride, padding, dilation, groups.
    let geometries = [
        ("pointwise", [1, 1], [1, 1], [0, 0], 1, 1),
        ("strided", [3, 3], [2, 2], [1, 1], 1, 1),
        ("strided pointwise", [1, 1], [2, 2], [0, 0], 1, 1),
        ("dilated", [3, 3], [1, 1], [2, 2], 2, 1),
        ("oblong", [1, 3], [1, 1], [0, 1], 1, 1),
        ("row, strided along it", [1, 3], [1, 2], [0, 1], 1, 1),
        ("column, strided along it", [3, 1], [2, 1], [1, 0], 1, 2),
        ("column, depthwise, strided along it", [3, 1], [2, 1], [1, 0], 1, 6),
        ("strides that differ", [3, 3], [3, 2], [1, 1], 1, 1),
        ("grouped", [3, 3], [1, 1], [1, 1], 1, 2),
        ("grouped, strided", [3, 3], [2, 2], [1, 1], 1, 3),
        ("depthwise", [3, 3], [1, 1], [1, 1], 1, 6),
        ("depthwise, strided", [5, 5], [2, 2], [2, 2], 1, 6),
        ("depthwise, dilated", [3, 3], [1, 1], [2, 2], 2, 6),
        ("patches", [2, 2], [2, 2], [0, 0], 1, 1),
        ("border wider than needed", [3, 3], [1, 1], [2, 2], 1, 1),
    ];
    for (name, kernel, stride, padding, dilation, groups) in geometries {
        for with_norm in [false, true] {
            add(
                &format!("conv {name}, norm {with_norm}"),
                Box::new(move |b| {
                    let x = b.variable(6, 1, 1.0);
                    let weight = b.weight(&[6, 6 / groups, kernel[0], kernel[1]], 0.5);
                    let (bias, norm) = if with_norm { (None, Some(b.norm(6))) } else { (Some(b.bias(6)), None) };
                    let activation = if with_norm { Activation::Silu } else { Activation::Identity };
                    let conv = ConvUnit {
                        kernel,
                        stride,
                        padding,
                        dilation,
                        groups,
                        bias,
                        norm,
                        activation,
                        ..plain(weight, 6)
                    };
                    b.graph.push(conv, &[x])
                }),
            );
        }
    }
    add(
        "conv with bias and norm",
        Box::new(|b| {
            let x = b.variable(C, 1, 1.0);
            let unit = ConvUnit { bias: Some(b.bias(4)), ..b.unit(x, 4, 3, 1, Activation::HardSwish) };
            b.graph.push(unit, &[x])
        }),
    );
    for (name, with_norm, a) in [
        ("alone", false, Activation::Identity),
        ("activation", false, Activation::Silu),
        ("norm", true, Activation::Identity),
        ("norm, activation", true, Activation::HardSwish),
    ] {
        add(
            &format!("residual, {name}"),
            Box::new(move |b| {
                let (x, residual) = (b.variable(C, 1, 1.0), b.variable(4, 2, 1.0));
                let unit =
                    if with_norm { b.unit(x, 4, 3, 1, a) } else { ConvUnit { activation: a, ..b.conv(x, 4, 3, 1) } };
                b.graph.push(ConvUnit { stride: [2, 2], ..unit }, &[x, residual])
            }),
        );
        add(
            &format!("bottleneck, {name}"),
            Box::new(move |b| {
                let x = b.variable(4, 1, 1.0);
                let inner = b.unit(x, C, 1, 1, Activation::Silu);
                let inner = b.graph.push(inner, &[x]);
                let unit = if with_norm {
                    b.unit(inner, 4, 3, 1, a)
                } else {
                    ConvUnit { activation: a, ..b.conv(inner, 4, 3, 1) }
                };
                b.graph.push(unit, &[inner, x])
            }),
        );
        add(
            &format!("x is its own residual, {name}"),
            Box::new(move |b| {
                let x = b.variable(4, 1, 1.0);
                let unit =
                    if with_norm { b.unit(x, 4, 3, 1, a) } else { ConvUnit { activation: a, ..b.conv(x, 4, 3, 1) } };
                b.graph.push(unit, &[x, x])
            }),
        );
    }
    for (kernel, stride, padding) in [(2, 2, 0), (3, 1, 1), (3, 2, 1), (5, 1, 2), (2, 1, 0)] {
        add(
            &format!("max pool {kernel}, {stride}, {padding}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 1.0);
                b.graph.push(MaxPool { kernel, stride, padding }, &[x])
            }),
        );
    }
    add(
        "space to depth",
        Box::new(|b| {
            let x = b.variable(C, 1, 1.0);
            b.graph.push(SpaceToDepth, &[x])
        }),
    );
    for scale in [1, 2, 3] {
        add(
            &format!("upsample {scale}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 1.0);
                b.graph.push(Upsample { scale }, &[x])
            }),
        );
    }
    for border in [[0, 1, 0, 1], [2, 1, 0, 3], [0; 4]] {
        add(
            &format!("zero pad {border:?}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 1.0);
                b.graph.push(ZeroPad { border }, &[x])
            }),
        );
    }
    for gain in [1, 2] {
        add(
            &format!("contract {gain}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 1.0);
                b.graph.push(Contract { gain }, &[x])
            }),
        );
        add(
            &format!("expand {gain}"),
            Box::new(move |b| {
                let x = b.variable(8, 1, 1.0);
                b.graph.push(Expand { gain }, &[x])
            }),
        );
    }
    for groups in [1, 2, 3, 6] {
        add(
            &format!("shuffle channels {groups}"),
            Box::new(move |b| {
                let x = b.variable(6, 1, 1.0);
                b.graph.push(ShuffleChannels { groups }, &[x])
            }),
        );
    }
    for (first, count) in [(0, 2), (2, 3), (0, 5)] {
        add(
            &format!("slice channels {first}, {count}"),
            Box::new(move |b| {
                let x = b.variable(C, 1, 1.0);
                b.graph.push(SliceChannels { first, count }, &[x])
            }),
        );
    }
    add(
        "add",
        Box::new(|b| {
            let (x, y) = (b.variable(C, 1, 1.0), b.variable(C, 1, 1.0));
            b.graph.push(Add, &[x, y])
        }),
    );
    add(
        "add the same",
        Box::new(|b| {
            let x = b.variable(C, 1, 1.0);
            b.graph.push(Add, &[x, x])
        }),
    );
    // Kernel, stride, padding, output padding, dilation, groups, bias.
    for (name, kernel, stride, padding, output_padding, dilation, groups, with_bias) in [
        ("doubling", 2, 2, 0, 0, 1, 1, true),
        ("overlapping", 3, 2, 1, 1, 1, 1, true),
        ("plain", 3, 1, 1, 0, 1, 1, false),
        ("grouped", 4, 2, 1, 0, 1, 2, true),
        ("depthwise", 3, 2, 0, 1, 1, 6, false),
        ("dilated", 2, 3, 1, 2, 2, 1, true),
    ] {
        add(
            &format!("conv transpose {name}"),
            Box::new(move |b| {
                let x = b.variable(6, 2, 1.0);
                let c_out = if groups == 6 { 6 } else { 4 };
                let weight = b.weight(&[6, c_out / groups, kernel, kernel], 0.7);
                let bias = with_bias.then(|| b.bias(c_out));
                let op =
                    ConvTranspose { weight, bias, c_out, kernel, stride, padding, output_padding, dilation, groups };
                b.graph.push(op, &[x])
            }),
        );
    }
    for (name, heads) in [("one head", 1), ("two heads", 2), ("a channel a head", 4)] {
        add(
            &format!("attention, {name}"),
            Box::new(move |b| {
                let x = [(); 3].map(|()| b.variable(4, 2, 1.5));
                let op = b.attention(4, heads);
                b.graph.push(op, &x)
            }),
        );
    }
    add(
        "self-attention",
        Box::new(|b| {
            let x = b.variable(4, 2, 1.5);
            let op = b.attention(4, 2);
            b.graph.push(op, &[x, x, x])
        }),
    );
    add(
        "shuffle unit",
        Box::new(|b| {
            let x = b.variable(6, 1, 1.0);
            let [kept, worked] = [0, 3].map(|first| b.graph.push(SliceChannels { first, count: 3 }, &[x]));
            let unit = b.unit(worked, 3, 1, 1, Activation::Relu);
            let worked = b.graph.push(unit, &[worked]);
            let joined = b.graph.push(Concat, &[kept, worked]);
            b.graph.push(ShuffleChannels { groups: 2 }, &[joined])
        }),
    );
    add(
        "concat",
        Box::new(|b| {
            let parts = [b.variable(1, 1, 1.0), b.variable(5, 1, 1.0), b.variable(8, 1, 1.0)];
            b.graph.push(Concat, &parts)
        }),
    );
    add(
        "concat of the same",
        Box::new(|b| {
            let (x, y) = (b.variable(C, 1, 1.0), b.variable(3, 1, 1.0));
            let joined = b.graph.push(Concat, &[x, y, x]);
            b.graph.push(Concat, &[joined, joined])
        }),
    );
    add(
        "pooling pyramid",
        Box::new(|b| {
            let x = b.variable(C, 1, 1.0);
            let unit = b.unit(x, 4, 1, 1, Activation::Silu);
            let a = b.graph.push(unit, &[x]);
            let pool = MaxPool { kernel: 3, stride: 1, padding: 1 };
            let p1 = b.graph.push(pool.clone(), &[a]);
            let p2 = b.graph.push(pool, &[p1]);
            let joined = b.graph.push(Concat, &[a, p1, p2]);
            let unit = b.unit(joined, 3, 1, 1, Activation::Silu);
            b.graph.push(unit, &[joined])
        }),
    );
    add(
        "inverted residual",
        Box::new(|b| {
            let x = b.variable(4, 1, 1.0);
            let expand = b.unit(x, 8, 1, 1, Activation::HardSwish);
            let wide = b.graph.push(expand, &[x]);
            let depthwise = b.unit(wide, 8, 3, 8, Activation::Identity);
            let wide = b.graph.push(depthwise, &[wide]);
            let squeeze = b.squeeze_excite(8, 3, Activation::HardSwish);
            let wide = b.graph.push(squeeze, &[wide]);
            let project = b.unit(wide, 4, 1, 1, Activation::Identity);
            b.graph.push(project, &[wide, x])
        }),
    );
    all.push((
        "one pixel".into(),
        [4, 1, 1],
        Box::new(|b| {
            let x = b.variable(C, 1, 1.0);
            let unit = b.unit(x, 3, 3, 1, Activation::Silu);
            let y = b.graph.push(unit, &[x]);
            let squeeze = b.squeeze_excite(3, 2, Activation::Identity);
            b.graph.push(squeeze, &[y])
        }),
    ));
    all
}

/// All cases, each with its result as the only output.
pub fn all() -> Vec<Case> {
    make(false)
}

/// The same with every value that goes into the last operation used once more, as a further output: its gradient then
/// has a part already when the operation adds its own.
pub fn all_shared() -> Vec<Case> {
    make(true)
}

fn make(shared: bool) -> Vec<Case> {
    let build_one = |(name, [n, h, w], build): (String, [usize; 3], Build)| {
        let mut builder = Builder::on(Shape::new(n, h, w, n * h * w));
        let result = build(&mut builder);
        builder.graph.output(result);
        if shared {
            for x in builder.graph.nodes()[result.index()].inputs.clone() {
                builder.graph.output(x);
                let y = builder.graph.push(Activate(Activation::Sigmoid), &[x]);
                builder.graph.output(y);
            }
        }
        builder.params.initialise(3);
        Case { name: if shared { format!("{name}, shared") } else { name }, builder }
    };
    builds().into_iter().map(build_one).collect()
}
