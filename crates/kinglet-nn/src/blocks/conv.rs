//! YOLOv5's standard convolution.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var};

/// Convolution without bias, BatchNorm, activation.
#[derive(Debug)]
pub struct ConvBlock {
    conv: Conv,
    activation: Activation,
}

impl Block for ConvBlock {
    const NAME: &'static str = "Conv";
    const ARGUMENTS: &'static str =
        "c_out, kernel = 1, stride = 1, padding = None (kernel / 2), groups = 1, dilation = 1, activation = True";
    const SUMMARY: &'static str = "Convolution, BatchNorm and activation (SiLU unless the file says otherwise)";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let c_out = args.positive_arg("c_out")?;
        let kernel = args.opt_positive("kernel", 1)?;
        let stride = args.opt_positive("stride", 1)?;
        let padding = args.opt_usize_or_none("padding")?;
        let groups = args.opt_positive("groups", 1)?;
        let dilation = args.opt_positive("dilation", 1)?;
        let activation = super::activation(args.opt_activation("activation", cx.default_activation)?);
        // "Same" padding reckons with the dilated kernel.
        let padding = padding.unwrap_or((dilation * (kernel - 1)).div_ceil(2));
        let conv = Conv { c_out, kernel, stride, padding, dilation, groups };
        let shape = conv.plan(one_input(inputs)?)?;
        Ok((ConvBlock { conv, activation }, shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        m.conv_norm(["conv", "bn"], inputs[0], self.conv, self.activation, None)
    }
}
