//! YOLOv5's detection head: one 1x1 convolution a level.
//!
//! Shapes: level l gives `[n, h, w, anchors x (5 + nc)]`, channel `anchor * (5 + nc) + k` with k = x, y, w, h,
//! objectness, classes.

use crate::recorder::init_bound;
use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, Width};
use kinglet_tensor::ops::ConvUnit;
use kinglet_tensor::{Activation, Init, ParamKind, Var};

/// Objects expected in an image of 640 pixels, for the first objectness bias.
const OBJECTS_EXPECTED: f32 = 8.0;
/// Share of the classes expected for an object, for the first class biases.
const CLASS_SHARE: f32 = 0.6;

/// The head.
#[derive(Debug)]
pub struct Detect {
    nc: usize,
    anchors: usize,
    strides: Vec<usize>,
}

impl Block for Detect {
    const NAME: &'static str = "Detect";
    const ARGUMENTS: &'static str = "nc, anchors";
    const SUMMARY: &'static str = "The detection head: boxes, objectness and classes for each anchor of each level";
    const WIDTH: Width = Width::Unscaled;
    const HEAD: bool = true;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let nc = args.positive_arg("nc")?;
        let anchors = args.anchors_arg("anchors")?.first().map_or(0, Vec::len);
        let Some(finest) = inputs.first() else {
            return Err(SpecErrorKind::InputCount { expected: "at least one input".into(), found: 0 });
        };
        let shape = Shape { channels: anchors * (5 + nc), ..*finest };
        Ok((Detect { nc, anchors, strides: cx.strides.clone() }, shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let mut first = None;
        let c_out = self.anchors * (5 + self.nc);
        let mut m = m.scope("m");
        for (level, (&x, &stride)) in inputs.iter().zip(&self.strides).enumerate() {
            let shape = [c_out, m.shape(x).c, 1, 1];
            let bound = init_bound(&shape);
            let mut m = m.scope(level);
            let weight = m.declare("weight", &shape, ParamKind::Weight, Init::Uniform(bound));
            let init = Init::UniformPlus(bound, self.bias_offsets(stride));
            let bias = m.declare("bias", &[c_out], ParamKind::Bias, init);
            let unit = ConvUnit {
                weight,
                bias: Some(bias),
                norm: None,
                activation: Activation::Identity,
                c_out,
                kernel: [1, 1],
                stride: [1, 1],
                padding: [0, 0],
                dilation: 1,
                groups: 1,
            };
            let raw = m.push(unit, &[x]);
            m.output(raw);
            first.get_or_insert(raw);
        }
        first.expect("a head has at least one level")
    }
}

impl Detect {
    /// Objectness and classes start at the rates expected in a picture (RetinaNet's idea, arXiv:1708.02002 section 4.1).
    fn bias_offsets(&self, stride: usize) -> Vec<f32> {
        let cells = (640.0 / stride as f32).powi(2);
        let objectness = (OBJECTS_EXPECTED / cells).ln();
        let class = (CLASS_SHARE / (self.nc as f32 - 0.99999)).ln();
        let anchor = [0.0, 0.0, 0.0, 0.0, objectness].into_iter().chain(std::iter::repeat_n(class, self.nc));
        anchor.collect::<Vec<f32>>().repeat(self.anchors)
    }
}
