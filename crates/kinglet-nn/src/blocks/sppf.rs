//! YOLOv5's SPPF: SPP with equal result from chained pools.
//!
//! Source: He et al. 2014, arXiv:1406.4729, in YOLOv5's form.

use super::spp::odd_window;
use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// 1x1 to half the channels, three chained max-pools, joined by a 1x1.
#[derive(Debug)]
pub struct Sppf {
    c_out: usize,
    window: usize,
    activation: Activation,
}

impl Block for Sppf {
    const NAME: &'static str = "SPPF";
    const ARGUMENTS: &'static str = "c_out, window = 5";
    const SUMMARY: &'static str = "Spatial pyramid pooling by three chained max-pools between two 1x1 convolutions";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let window = odd_window(args.opt_positive("window", 5)?)?;
        let activation = super::activation(cx.default_activation);
        if x.channels < 2 {
            return Err(SpecErrorKind::Inputs {
                message: format!("needs at least two input channels, found {}", x.channels),
            });
        }
        Ok((Sppf { c_out, window, activation }, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let hidden = m.shape(inputs[0]).c / 2;
        let mut parts = vec![m.conv("cv1", inputs[0], Conv::new(hidden, 1, 1), self.activation, None)];
        for i in 0..3 {
            let pool = ops::MaxPool { kernel: self.window, stride: 1, padding: self.window / 2 };
            parts.push(m.push(pool, &[parts[i]]));
        }
        let joined = m.push(ops::Concat, &parts);
        m.conv("cv2", joined, Conv::new(self.c_out, 1, 1), self.activation, None)
    }
}
