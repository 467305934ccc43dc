//! The block of MobileNetV2, and of EfficientNet-Lite: an inverted residual with ReLU6.
//!
//! Source: Sandler et al. 2018, arXiv:1801.04381, section 3.3. EfficientNet-Lite takes EfficientNet's rows (Tan and Le
//! 2019, arXiv:1905.11946, table 1) without squeeze-and-excite and with ReLU6.
//! Parameters: `conv.K` numbered as torchvision's, so that its weights map by structure.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, limits, one_input};
use kinglet_tensor::{Activation, Var};

/// 1x1 to `expansion` times the input channels (none for 1), depthwise, 1x1 to c_out.
#[derive(Debug)]
pub struct MobileNetV2 {
    c_out: usize,
    expansion: usize,
    kernel: usize,
    stride: usize,
}

impl Block for MobileNetV2 {
    const NAME: &'static str = "MobileNetv2";
    const ALIASES: &'static [&'static str] = &["MobileNetV2"];
    const ARGUMENTS: &'static str = "c_out, expansion, kernel = 3, stride = 1 (1 or 2)";
    const SUMMARY: &'static str = "Inverted residual with ReLU6: MobileNetV2's and EfficientNet-Lite's block";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let expansion = args.positive_arg("expansion")?;
        let kernel = args.opt_positive("kernel", 3)?;
        let stride = args.opt_positive("stride", 1)?;
        super::odd_kernel_and_stride(kernel, stride)?;
        let hidden = x.channels * expansion;
        if hidden > limits::CHANNELS {
            return Err(SpecErrorKind::Limit { what: "the hidden width".into(), limit: limits::CHANNELS });
        }
        let shape = Conv::depthwise(hidden, kernel, stride).plan(Shape { channels: hidden, ..x })?;
        Ok((MobileNetV2 { c_out, expansion, kernel, stride }, Shape { channels: c_out, ..shape }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let c_in = m.shape(inputs[0]).c;
        let residual = (self.stride == 1 && c_in == self.c_out).then_some(inputs[0]);
        let hidden = c_in * self.expansion;
        let mut m = m.scope("conv");
        let (mut y, mut next) = (inputs[0], 0);
        if self.expansion != 1 {
            y = m.scope(next).conv_norm(["0", "1"], y, Conv::new(hidden, 1, 1), Activation::Relu6, None);
            next += 1;
        }
        let depthwise = Conv::depthwise(hidden, self.kernel, self.stride);
        y = m.scope(next).conv_norm(["0", "1"], y, depthwise, Activation::Relu6, None);
        let [conv, norm] = [next + 1, next + 2].map(|k| k.to_string());
        m.conv_norm([&conv, &norm], y, Conv::new(self.c_out, 1, 1), Activation::Identity, residual)
    }
}
