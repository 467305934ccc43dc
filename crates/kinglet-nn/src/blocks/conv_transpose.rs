//! `nn.ConvTranspose2d`, and YOLOv5's depthwise form of it.

use super::dwconv::greatest_common_divisor;
use crate::recorder::{check_weights, init_bound};
use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Init, ParamKind, Var, ops};

/// A transposed convolution's geometry.
#[derive(Debug)]
struct Transposed {
    c_out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    output_padding: usize,
    dilation: usize,
    groups: usize,
    bias: bool,
}

impl Transposed {
    fn plan(&self, x: Shape) -> Result<Shape, SpecErrorKind> {
        let Transposed { c_out, kernel, stride, padding, output_padding, dilation, groups, .. } = *self;
        let wrong = |message: String| Err(SpecErrorKind::Inputs { message });
        if output_padding >= stride {
            return wrong(format!("needs an output padding below the stride {stride}, found {output_padding}"));
        }
        if !x.channels.is_multiple_of(groups) || !c_out.is_multiple_of(groups) {
            return wrong(format!(
                "needs input and output channels divisible by groups = {groups}, found {} and {c_out}",
                x.channels
            ));
        }
        check_weights(&[x.channels, c_out / groups, kernel, kernel])?;
        let side = |side: usize| {
            let whole = side.checked_sub(1)? * stride + dilation * (kernel - 1) + output_padding + 1;
            whole.checked_sub(2 * padding).filter(|&side| side > 0)
        };
        match (side(x.height), side(x.width)) {
            (Some(height), Some(width)) => Ok(Shape { channels: c_out, height, width }),
            _ => wrong(format!("with padding {padding} needs a larger map than {x}")),
        }
    }

    fn record(&self, m: &mut Recorder<'_>, x: Var) -> Var {
        let Transposed { c_out, kernel, stride, padding, output_padding, dilation, groups, bias } = *self;
        let shape = [m.shape(x).c, c_out / groups, kernel, kernel];
        let bound = Init::Uniform(init_bound(&shape));
        let weight = m.declare("weight", &shape, ParamKind::Weight, bound.clone());
        let bias = bias.then(|| m.declare("bias", &[c_out], ParamKind::Bias, bound));
        let op = ops::ConvTranspose { weight, bias, c_out, kernel, stride, padding, output_padding, dilation, groups };
        m.push(op, &[x])
    }
}

/// PyTorch's transposed convolution: no BatchNorm, no activation.
#[derive(Debug)]
pub struct ConvTranspose2d(Transposed);

impl Block for ConvTranspose2d {
    const NAME: &'static str = "nn.ConvTranspose2d";
    const ALIASES: &'static [&'static str] = &["ConvTranspose2d"];
    const ARGUMENTS: &'static str =
        "c_out, kernel, stride = 1, padding = 0, output padding = 0, groups = 1, bias = True, dilation = 1";
    const SUMMARY: &'static str = "Transposed convolution: enlarges a map by learnt kernels";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let transposed = Transposed {
            c_out: args.positive_arg("c_out")?,
            kernel: args.positive_arg("kernel")?,
            stride: args.opt_positive("stride", 1)?,
            padding: args.opt_usize("padding", 0)?,
            output_padding: args.opt_usize("output padding", 0)?,
            groups: args.opt_positive("groups", 1)?,
            bias: args.opt_bool("bias", true)?,
            dilation: args.opt_positive("dilation", 1)?,
        };
        let shape = transposed.plan(one_input(inputs)?)?;
        Ok((ConvTranspose2d(transposed), shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        self.0.record(m, inputs[0])
    }
}

/// A transposed convolution with as many groups as input and output channels have as common divisor.
#[derive(Debug)]
pub struct DwConvTranspose2d(Transposed);

impl Block for DwConvTranspose2d {
    const NAME: &'static str = "DWConvTranspose2d";
    const ARGUMENTS: &'static str = "c_out, kernel = 1, stride = 1, padding = 0, output padding = 0";
    const SUMMARY: &'static str = "nn.ConvTranspose2d with gcd(c_in, c_out) groups";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let transposed = Transposed {
            c_out,
            kernel: args.opt_positive("kernel", 1)?,
            stride: args.opt_positive("stride", 1)?,
            padding: args.opt_usize("padding", 0)?,
            output_padding: args.opt_usize("output padding", 0)?,
            groups: greatest_common_divisor(x.channels, c_out),
            bias: true,
            dilation: 1,
        };
        let shape = transposed.plan(x)?;
        Ok((DwConvTranspose2d(transposed), shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        self.0.record(m, inputs[0])
    }
}
