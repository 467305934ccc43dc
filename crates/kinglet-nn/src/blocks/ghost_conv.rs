//! GhostConv: half of the channels by a convolution, the other half from them by a cheap depthwise one.
//!
//! Source: Han et al. 2020, arXiv:1911.11907, in YOLOv5's form.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// A convolution to c_out / 2, and a depthwise 5x5 of it, side by side.
#[derive(Debug)]
pub struct GhostConv {
    conv: Conv,
    activation: Activation,
}

impl GhostConv {
    /// A pointwise one, as a part of another block; `c_out` is even.
    pub(super) fn pointwise(c_out: usize, activation: Activation) -> Self {
        GhostConv { conv: Conv::new(c_out / 2, 1, 1), activation }
    }
}

impl Block for GhostConv {
    const NAME: &'static str = "GhostConv";
    const ARGUMENTS: &'static str = "c_out, kernel = 1, stride = 1, groups = 1, activation = True";
    const SUMMARY: &'static str = "Half of the channels by a convolution, half from them by a depthwise 5x5";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let c_out = args.positive_arg("c_out")?;
        let kernel = args.opt_positive("kernel", 1)?;
        let stride = args.opt_positive("stride", 1)?;
        let groups = args.opt_positive("groups", 1)?;
        let activation = super::activation(args.opt_activation("activation", cx.default_activation)?);
        if !c_out.is_multiple_of(2) {
            return Err(SpecErrorKind::Inputs { message: format!("needs an even c_out, found {c_out}") });
        }
        let conv = Conv { groups, ..Conv::new(c_out / 2, kernel, stride) };
        let half = conv.plan(one_input(inputs)?)?;
        Ok((GhostConv { conv, activation }, Shape { channels: c_out, ..half }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let half = m.conv("cv1", inputs[0], self.conv, self.activation, None);
        let cheap = m.conv("cv2", half, Conv::depthwise(self.conv.c_out, 5, 1), self.activation, None);
        m.push(ops::Concat, &[half, cheap])
    }
}
