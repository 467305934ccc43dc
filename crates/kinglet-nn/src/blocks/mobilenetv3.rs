//! The tutorial's MobileNetV3 block: an inverted residual that squeezes before it activates.
//!
//! Source: Howard et al. 2019, arXiv:1905.02244, as the tutorial writes it. It differs from the paper in the squeeze
//! width (hidden / 4, not rounded to 8) and in the place of squeeze-and-excite; `InvertedResidual` is the paper's.
//! Parameters: `conv.K` numbered as in the tutorial's `nn.Sequential`, so that its checkpoints load.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// An inverted residual; without the expanding 1x1 where `hidden` equals the input channels.
#[derive(Debug)]
pub struct MobileNetV3 {
    c_out: usize,
    hidden: usize,
    kernel: usize,
    stride: usize,
    squeeze: bool,
    activation: Activation,
}

/// Arguments of both inverted residuals.
pub(super) const ARGUMENTS: &str = "c_out, hidden, kernel, stride (1 or 2), squeeze (0 or 1), h_swish (0 or 1)";

/// What both inverted residuals read: c_out, hidden, kernel, stride, squeeze, h-swish.
pub(super) fn read(args: &mut ArgCursor<'_>) -> Result<(usize, usize, usize, usize, bool, bool), SpecErrorKind> {
    let c_out = args.positive_arg("c_out")?;
    let hidden = args.positive_arg("hidden")?;
    let kernel = args.positive_arg("kernel")?;
    let stride = args.positive_arg("stride")?;
    super::odd_kernel_and_stride(kernel, stride)?;
    Ok((c_out, hidden, kernel, stride, args.bool_arg("squeeze")?, args.bool_arg("h_swish")?))
}

impl Block for MobileNetV3 {
    const NAME: &'static str = "MobileNetv3";
    const ALIASES: &'static [&'static str] = &["MobileNetV3", "MobileNet_Block"];
    const ARGUMENTS: &'static str = ARGUMENTS;
    const SUMMARY: &'static str = "The tutorial's inverted residual: squeeze width hidden / 4, before the activation";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let (c_out, hidden, kernel, stride, squeeze, h_swish) = read(args)?;
        if squeeze && hidden < 4 {
            return Err(SpecErrorKind::Inputs { message: format!("needs hidden >= 4 to squeeze, found {hidden}") });
        }
        let depthwise = Conv::depthwise(hidden, kernel, stride).plan(Shape { channels: hidden, ..x })?;
        let activation = super::mobile_activation(h_swish);
        let block = MobileNetV3 { c_out, hidden, kernel, stride, squeeze, activation };
        Ok((block, Shape { channels: c_out, ..depthwise }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let c_in = m.shape(inputs[0]).c;
        let residual = (self.stride == 1 && c_in == self.c_out).then_some(inputs[0]);
        let depthwise = Conv::depthwise(self.hidden, self.kernel, self.stride);
        let project = Conv::new(self.c_out, 1, 1);
        let mut m = m.scope("conv");
        if self.hidden == c_in {
            let y = m.conv_norm(["0", "1"], inputs[0], depthwise, self.activation, None);
            let y = if self.squeeze { self.squeeze(&mut m.scope(3), y, Activation::Identity) } else { y };
            return m.conv_norm(["4", "5"], y, project, Activation::Identity, residual);
        }
        let y = m.conv_norm(["0", "1"], inputs[0], Conv::new(self.hidden, 1, 1), self.activation, None);
        let y = if self.squeeze {
            let y = m.conv_norm(["3", "4"], y, depthwise, Activation::Identity, None);
            self.squeeze(&mut m.scope(5), y, self.activation)
        } else {
            m.conv_norm(["3", "4"], y, depthwise, self.activation, None)
        };
        m.conv_norm(["7", "8"], y, project, Activation::Identity, residual)
    }
}

impl MobileNetV3 {
    fn squeeze(&self, m: &mut Recorder<'_>, x: Var, activation: Activation) -> Var {
        let narrow = self.hidden / 4;
        let reduce = m.weight_and_bias("fc.0", &[narrow, self.hidden]);
        let expand = m.weight_and_bias("fc.2", &[self.hidden, narrow]);
        m.push(ops::SqueezeExcite { reduce, expand, hidden: narrow, activation }, &[x])
    }
}
