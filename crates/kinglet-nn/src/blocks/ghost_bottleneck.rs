//! YOLOv5's GhostBottleneck, also the repeated part of C3Ghost.
//!
//! Source: Han et al. 2020, arXiv:1911.11907, section 3.2, in YOLOv5's form: the second GhostConv widens, not the first.

use super::GhostConv;
use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// GhostConv to c_out / 2, at stride 2 a depthwise convolution, GhostConv to c_out, and a shortcut.
#[derive(Debug)]
pub struct GhostBottleneck {
    c_out: usize,
    kernel: usize,
    stride: usize,
    activation: Activation,
}

/// Checks that c_out can be halved twice.
fn quarters(c_out: usize) -> Result<(), SpecErrorKind> {
    if c_out.is_multiple_of(4) {
        return Ok(());
    }
    Err(SpecErrorKind::Inputs { message: format!("needs bottlenecks of a multiple of 4 channels, found {c_out}") })
}

impl GhostBottleneck {
    /// The part that C3Ghost repeats.
    pub(super) fn inner(channels: usize, activation: Activation) -> Result<Self, SpecErrorKind> {
        quarters(channels)?;
        Ok(GhostBottleneck { c_out: channels, kernel: 3, stride: 1, activation })
    }
}

impl Block for GhostBottleneck {
    const NAME: &'static str = "GhostBottleneck";
    const ARGUMENTS: &'static str = "c_out, kernel = 3, stride = 1 (1 or 2)";
    const SUMMARY: &'static str =
        "Two GhostConvs with a shortcut, and a depthwise convolution between them at stride 2";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let kernel = args.opt_positive("kernel", 3)?;
        let stride = args.opt_positive("stride", 1)?;
        quarters(c_out)?;
        let fits = stride == 2 && kernel % 2 == 1 || stride == 1 && x.channels == c_out;
        if !fits {
            let message = format!(
                "needs stride 2 and an odd kernel, or stride 1 and as many output as input channels ({}); found stride \
                 {stride}, kernel {kernel} and c_out = {c_out}",
                x.channels
            );
            return Err(SpecErrorKind::Inputs { message });
        }
        let activation = super::activation(cx.default_activation);
        let shape = if stride == 2 { Conv::depthwise(x.channels, kernel, stride).plan(x)? } else { x };
        Ok((GhostBottleneck { c_out, kernel, stride, activation }, Shape { channels: c_out, ..shape }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let (x, linear) = (inputs[0], Activation::Identity);
        let depthwise = |channels: usize| Conv::depthwise(channels, self.kernel, self.stride);
        let narrow = GhostConv::pointwise(self.c_out / 2, self.activation);
        let mut y = narrow.record(&mut m.scope("conv.0"), &[x]);
        if self.stride == 2 {
            y = m.conv("conv.1", y, depthwise(self.c_out / 2), linear, None);
        }
        let y = GhostConv::pointwise(self.c_out, linear).record(&mut m.scope("conv.2"), &[y]);
        let shortcut = if self.stride == 2 {
            let c_in = m.shape(x).c;
            let reduced = m.conv("shortcut.0", x, depthwise(c_in), linear, None);
            m.conv("shortcut.1", reduced, Conv::new(self.c_out, 1, 1), linear, None)
        } else {
            x
        };
        m.push(ops::Add, &[y, shortcut])
    }
}
