//! YOLOv5's CrossConv, also the repeated part of C3x: a square kernel as a row and a column.

use super::bottleneck::hidden_width;
use crate::recorder::{check_weights, init_bound};
use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::ops::ConvUnit;
use kinglet_tensor::{Activation, Init, ParamKind, Var};

/// Convolution 1 x k, then k x 1, each strided along its kernel; the input is added where its channels allow.
#[derive(Debug)]
pub struct CrossConv {
    c_out: usize,
    hidden: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
    shortcut: bool,
    activation: Activation,
}

impl CrossConv {
    /// The part that C3x repeats: as wide inside as outside.
    pub(super) fn inner(channels: usize, shortcut: bool, groups: usize, activation: Activation) -> Self {
        CrossConv { c_out: channels, hidden: channels, kernel: 3, stride: 1, groups, shortcut, activation }
    }

    /// One of the two convolutions with BatchNorm and activation.
    fn part(
        &self,
        m: &mut Recorder<'_>,
        x: Var,
        c_out: usize,
        [kernel, stride]: [[usize; 2]; 2],
        groups: usize,
        residual: Option<Var>,
    ) -> Var {
        let shape = [c_out, m.shape(x).c / groups, kernel[0], kernel[1]];
        let weight = m.scope("conv").declare("weight", &shape, ParamKind::Weight, Init::Uniform(init_bound(&shape)));
        let unit = ConvUnit {
            weight,
            bias: None,
            norm: Some(m.norm("bn", c_out)),
            activation: self.activation,
            c_out,
            kernel,
            stride,
            padding: kernel.map(|k| k / 2),
            dilation: 1,
            groups,
        };
        m.push(unit, &[Some(x), residual].into_iter().flatten().collect::<Vec<_>>())
    }
}

impl Block for CrossConv {
    const NAME: &'static str = "CrossConv";
    const ARGUMENTS: &'static str = "c_out, kernel = 3, stride = 1, groups = 1, expansion = 1.0, shortcut = False";
    const SUMMARY: &'static str = "A 1 x k and a k x 1 convolution in place of k x k, with an optional shortcut";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let kernel = args.opt_positive("kernel", 3)?;
        let stride = args.opt_positive("stride", 1)?;
        let groups = args.opt_positive("groups", 1)?;
        let expansion = args.opt_f32("expansion", 1.0)?;
        let shortcut = args.opt_bool("shortcut", false)? && x.channels == c_out;
        let hidden = hidden_width(c_out, expansion)?;
        let wrong = |message: String| Err(SpecErrorKind::Inputs { message });
        if kernel % 2 == 0 {
            return wrong(format!("needs an odd kernel, found {kernel}"));
        }
        if shortcut && stride != 1 {
            return wrong(format!(
                "cannot add its input at stride {stride}: leave the shortcut out, or write stride 1"
            ));
        }
        if hidden == 0 || !hidden.is_multiple_of(groups) || !c_out.is_multiple_of(groups) {
            return wrong(format!(
                "needs a hidden width (c_out x expansion = {hidden}) and c_out = {c_out} that are positive multiples of \
                 groups = {groups}"
            ));
        }
        check_weights(&[hidden, x.channels, kernel])?;
        check_weights(&[c_out, hidden / groups, kernel])?;
        let activation = super::activation(cx.default_activation);
        let block = CrossConv { c_out, hidden, kernel, stride, groups, shortcut, activation };
        let [height, width] = [x.height, x.width].map(|side| side.div_ceil(stride));
        Ok((block, Shape { channels: c_out, height, width }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let (k, s) = (self.kernel, self.stride);
        let residual = self.shortcut.then_some(inputs[0]);
        let y = self.part(&mut m.scope("cv1"), inputs[0], self.hidden, [[1, k], [1, s]], 1, None);
        self.part(&mut m.scope("cv2"), y, self.c_out, [[k, 1], [s, 1]], self.groups, residual)
    }
}
