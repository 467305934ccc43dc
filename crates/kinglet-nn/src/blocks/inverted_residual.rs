//! The canonical MobileNetV3 block: squeeze width rounded to 8, squeeze-and-excite after the activation.
//!
//! Source: Howard et al. 2019, arXiv:1905.02244, sections 5.2 and 6.1 and tables 1 and 2.
//! Parameters: `block.K` numbered as torchvision's `features.K`, so that its weights map by structure.

use super::mobilenetv3::{ARGUMENTS, read};
use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input, round_channels_mobilenet};
use kinglet_tensor::{Activation, Var, ops};

/// An inverted residual; without the expanding 1x1 where `hidden` equals the input channels.
#[derive(Debug)]
pub struct InvertedResidual {
    c_out: usize,
    hidden: usize,
    kernel: usize,
    stride: usize,
    squeeze: Option<usize>,
    activation: Activation,
}

impl Block for InvertedResidual {
    const NAME: &'static str = "InvertedResidual";
    const ARGUMENTS: &'static str = ARGUMENTS;
    const SUMMARY: &'static str = "The paper's MobileNetV3 block: squeeze width rounded to 8, after the activation";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let (c_out, hidden, kernel, stride, squeeze, h_swish) = read(args)?;
        let depthwise = Conv::depthwise(hidden, kernel, stride).plan(Shape { channels: hidden, ..x })?;
        let squeeze = squeeze.then(|| round_channels_mobilenet(hidden as f64 / 4.0));
        let activation = super::mobile_activation(h_swish);
        let block = InvertedResidual { c_out, hidden, kernel, stride, squeeze, activation };
        Ok((block, Shape { channels: c_out, ..depthwise }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let c_in = m.shape(inputs[0]).c;
        let residual = (self.stride == 1 && c_in == self.c_out).then_some(inputs[0]);
        let mut m = m.scope("block");
        let (mut y, mut next) = (inputs[0], 0);
        if self.hidden != c_in {
            y = m.scope(next).conv_norm(["0", "1"], y, Conv::new(self.hidden, 1, 1), self.activation, None);
            next += 1;
        }
        let depthwise = Conv::depthwise(self.hidden, self.kernel, self.stride);
        y = m.scope(next).conv_norm(["0", "1"], y, depthwise, self.activation, None);
        next += 1;
        if let Some(narrow) = self.squeeze {
            let mut m = m.scope(next);
            let reduce = m.weight_and_bias("fc1", &[narrow, self.hidden, 1, 1]);
            let expand = m.weight_and_bias("fc2", &[self.hidden, narrow, 1, 1]);
            y = m.push(ops::SqueezeExcite { reduce, expand, hidden: narrow, activation: Activation::Identity }, &[y]);
            next += 1;
        }
        m.scope(next).conv_norm(["0", "1"], y, Conv::new(self.c_out, 1, 1), Activation::Identity, residual)
    }
}
