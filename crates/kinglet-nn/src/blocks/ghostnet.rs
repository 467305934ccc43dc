//! The bottleneck of GhostNet. YOLOv5's `GhostBottleneck` is another: its channels and kernels differ.
//!
//! Source: Han et al. 2020, arXiv:1911.11907, figure 3 and table 1.
//! Parameters: `ghost1`, `conv_dw`, `se`, `ghost2`, `shortcut` as in the paper's own code and timm.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// Ghost module to `hidden`, at stride 2 a depthwise convolution, squeeze-and-excite, ghost module to c_out, shortcut.
#[derive(Debug)]
pub struct GhostNet {
    c_out: usize,
    hidden: usize,
    kernel: usize,
    stride: usize,
    squeeze: bool,
}

/// The squeeze width: hidden / 4, to the nearest multiple of 4.
fn squeezed(hidden: usize) -> usize {
    ((hidden + 8) / 16 * 4).max(4)
}

/// Half of `c_out` by a 1x1 convolution, half from these by a depthwise 3x3.
fn ghost_module(m: &mut Recorder<'_>, x: Var, c_out: usize, activation: Activation) -> Var {
    let half = m.scope("primary_conv").conv_norm(["0", "1"], x, Conv::new(c_out / 2, 1, 1), activation, None);
    let depthwise = Conv::depthwise(c_out / 2, 3, 1);
    let cheap = m.scope("cheap_operation").conv_norm(["0", "1"], half, depthwise, activation, None);
    m.push(ops::Concat, &[half, cheap])
}

impl Block for GhostNet {
    const NAME: &'static str = "GhostNet";
    const ARGUMENTS: &'static str = "c_out, hidden, kernel, stride (1 or 2), squeeze (0 or 1)";
    const SUMMARY: &'static str = "GhostNet's bottleneck: two ghost modules with a shortcut";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let hidden = args.positive_arg("hidden")?;
        let kernel = args.positive_arg("kernel")?;
        let stride = args.positive_arg("stride")?;
        let squeeze = args.bool_arg("squeeze")?;
        super::odd_kernel_and_stride(kernel, stride)?;
        if c_out % 2 != 0 || hidden % 2 != 0 {
            let message = format!("needs an even c_out and hidden, found {c_out} and {hidden}");
            return Err(SpecErrorKind::Inputs { message });
        }
        let shape = if stride == 2 { Conv::depthwise(x.channels, kernel, stride).plan(x)? } else { x };
        Ok((GhostNet { c_out, hidden, kernel, stride, squeeze }, Shape { channels: c_out, ..shape }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let (x, linear) = (inputs[0], Activation::Identity);
        let c_in = m.shape(x).c;
        let mut y = ghost_module(&mut m.scope("ghost1"), x, self.hidden, Activation::Relu);
        if self.stride == 2 {
            let depthwise = Conv::depthwise(self.hidden, self.kernel, 2);
            y = m.conv_norm(["conv_dw", "bn_dw"], y, depthwise, linear, None);
        }
        if self.squeeze {
            let hidden = squeezed(self.hidden);
            let mut m = m.scope("se");
            let reduce = m.weight_and_bias("conv_reduce", &[hidden, self.hidden, 1, 1]);
            let expand = m.weight_and_bias("conv_expand", &[self.hidden, hidden, 1, 1]);
            y = m.push(ops::SqueezeExcite { reduce, expand, hidden, activation: linear }, &[y]);
        }
        let y = ghost_module(&mut m.scope("ghost2"), y, self.c_out, linear);
        let shortcut = if self.stride == 1 && c_in == self.c_out {
            x
        } else {
            let mut m = m.scope("shortcut");
            let depthwise = Conv::depthwise(c_in, self.kernel, self.stride);
            let reduced = m.conv_norm(["0", "1"], x, depthwise, linear, None);
            m.conv_norm(["2", "3"], reduced, Conv::new(self.c_out, 1, 1), linear, None)
        };
        m.push(ops::Add, &[y, shortcut])
    }
}
