//! YOLOv5's depthwise convolution.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var};

/// `Conv` with as many groups as input and output channels have as common divisor.
#[derive(Debug)]
pub struct DwConv {
    conv: Conv,
    activation: Activation,
}

pub(super) fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl Block for DwConv {
    const NAME: &'static str = "DWConv";
    const ARGUMENTS: &'static str = "c_out, kernel = 1, stride = 1, dilation = 1, activation = True";
    const SUMMARY: &'static str = "Conv with gcd(c_in, c_out) groups: depthwise where they are equal";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let kernel = args.opt_positive("kernel", 1)?;
        let stride = args.opt_positive("stride", 1)?;
        let dilation = args.opt_positive("dilation", 1)?;
        let activation = super::activation(args.opt_activation("activation", cx.default_activation)?);
        let groups = greatest_common_divisor(x.channels, c_out);
        let conv = Conv {
            padding: (dilation * (kernel - 1)).div_ceil(2),
            dilation,
            groups,
            ..Conv::new(c_out, kernel, stride)
        };
        let shape = conv.plan(x)?;
        Ok((DwConv { conv, activation }, shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        m.conv_norm(["conv", "bn"], inputs[0], self.conv, self.activation, None)
    }
}
