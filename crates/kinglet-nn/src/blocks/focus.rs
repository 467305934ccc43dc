//! YOLOv5's Focus: two-by-two pixels to channels, then a convolution.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// Space-to-depth, then `Conv`.
#[derive(Debug)]
pub struct Focus {
    conv: Conv,
    activation: Activation,
}

impl Block for Focus {
    const NAME: &'static str = "Focus";
    const ARGUMENTS: &'static str =
        "c_out, kernel = 1, stride = 1, padding = None (kernel / 2), groups = 1, activation = True";
    const SUMMARY: &'static str = "Four pixels to the channels of one, then Conv";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let kernel = args.opt_positive("kernel", 1)?;
        let stride = args.opt_positive("stride", 1)?;
        let padding = args.opt_usize_or_none("padding")?.unwrap_or(kernel / 2);
        let groups = args.opt_positive("groups", 1)?;
        let activation = super::activation(args.opt_activation("activation", cx.default_activation)?);
        if x.height % 2 != 0 || x.width % 2 != 0 {
            return Err(SpecErrorKind::Inputs { message: format!("needs an even height and width, found {x}") });
        }
        let conv = Conv { padding, groups, ..Conv::new(c_out, kernel, stride) };
        let shape = conv.plan(Shape { channels: 4 * x.channels, height: x.height / 2, width: x.width / 2 })?;
        Ok((Focus { conv, activation }, shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let x = m.push(ops::SpaceToDepth, inputs);
        m.conv("conv", x, self.conv, self.activation, None)
    }
}
