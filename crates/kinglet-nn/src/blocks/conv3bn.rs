//! The tutorial's stem: a 3x3 convolution with BatchNorm and h-swish.
//!
//! Source: Howard et al. 2019, arXiv:1905.02244, as the tutorial writes it.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var};

/// 3x3 convolution, padding 1, BatchNorm, h-swish.
#[derive(Debug)]
pub struct Conv3Bn {
    conv: Conv,
}

impl Block for Conv3Bn {
    const NAME: &'static str = "Conv3BN";
    const ALIASES: &'static [&'static str] = &["conv_3x3_bn"];
    const ARGUMENTS: &'static str = "c_out, stride";
    const SUMMARY: &'static str = "3x3 convolution, BatchNorm and h-swish: MobileNetV3's stem";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let conv = Conv::new(args.positive_arg("c_out")?, 3, args.positive_arg("stride")?);
        let shape = conv.plan(one_input(inputs)?)?;
        Ok((Conv3Bn { conv }, shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        m.conv_norm(["conv", "bn"], inputs[0], self.conv, Activation::HardSwish, None)
    }
}
