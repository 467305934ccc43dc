//! YOLOv5's SPP: spatial pyramid pooling.
//!
//! Source: He et al. 2014, arXiv:1406.4729.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// 1x1 to half the channels, parallel max-pools of several windows, joined by a 1x1.
#[derive(Debug)]
pub struct Spp {
    c_out: usize,
    windows: Vec<usize>,
    activation: Activation,
}

/// Checks that a pooling window keeps the size: odd.
pub(super) fn odd_window(window: usize) -> Result<usize, SpecErrorKind> {
    if window % 2 == 1 {
        return Ok(window);
    }
    Err(SpecErrorKind::Inputs { message: format!("needs odd pooling windows, found {window}") })
}

impl Spp {
    /// Checks the windows and the input.
    pub(super) fn new(
        x: Shape,
        c_out: usize,
        windows: Vec<usize>,
        activation: Activation,
    ) -> Result<Self, SpecErrorKind> {
        windows.iter().try_for_each(|&k| odd_window(k).map(drop))?;
        if x.channels < 2 {
            return Err(SpecErrorKind::Inputs {
                message: format!("needs at least two input channels, found {}", x.channels),
            });
        }
        Ok(Spp { c_out, windows, activation })
    }
}

impl Block for Spp {
    const NAME: &'static str = "SPP";
    const ARGUMENTS: &'static str = "c_out, windows = [5, 9, 13]";
    const SUMMARY: &'static str = "Spatial pyramid pooling: parallel max-pools between two 1x1 convolutions";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let windows = args.opt_usize_list("windows", &[5, 9, 13])?;
        let spp = Spp::new(x, c_out, windows, super::activation(cx.default_activation))?;
        Ok((spp, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let hidden = m.shape(inputs[0]).c / 2;
        let x = m.conv("cv1", inputs[0], Conv::new(hidden, 1, 1), self.activation, None);
        let pool =
            |m: &mut Recorder<'_>, kernel: usize| m.push(ops::MaxPool { kernel, stride: 1, padding: kernel / 2 }, &[x]);
        let mut parts = vec![x];
        parts.extend(self.windows.iter().map(|&k| pool(m, k)));
        let joined = m.push(ops::Concat, &parts);
        m.conv("cv2", joined, Conv::new(self.c_out, 1, 1), self.activation, None)
    }
}
