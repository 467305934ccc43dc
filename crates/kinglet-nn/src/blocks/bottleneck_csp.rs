//! YOLOv5's BottleneckCSP: the cross-stage partial block with four convolutions.
//!
//! Source: Wang et al. 2019, arXiv:1911.11929 (CSPNet).

use super::bottleneck::{Bottleneck, Tail, tail};
use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Repeats, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// As C3, with bare convolutions ending both branches and BatchNorm on their concatenation.
#[derive(Debug)]
pub struct BottleneckCsp {
    c_out: usize,
    hidden: usize,
    repeats: usize,
    inner: Bottleneck,
    activation: Activation,
    joined: Activation,
}

impl Block for BottleneckCsp {
    const NAME: &'static str = "BottleneckCSP";
    const ARGUMENTS: &'static str = "c_out, shortcut = True, groups = 1, expansion = 0.5, joined activation = True";
    const SUMMARY: &'static str =
        "Cross-stage partial block of four convolutions with BatchNorm on the joined branches";
    const REPEATS: Repeats = Repeats::Inside;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let Tail { c_out, shortcut, groups, hidden, activation } = tail(args, cx)?;
        let inner = Bottleneck::inner(hidden, shortcut, groups, activation);
        let joined = super::activation(args.opt_activation("joined activation", cx.default_activation)?);
        let block = BottleneckCsp { c_out, hidden, repeats: cx.repeats, inner, activation, joined };
        Ok((block, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let narrow = Conv::new(self.hidden, 1, 1);
        let mut y = m.conv("cv1", inputs[0], narrow, self.activation, None);
        for i in 0..self.repeats {
            y = self.inner.record(&mut m.scope("m").scope(i), &[y]);
        }
        let y = m.conv_bare("cv3", y, narrow);
        let beside = m.conv_bare("cv2", inputs[0], narrow);
        let joined = m.push(ops::Concat, &[y, beside]);
        let norm = m.norm("bn", 2 * self.hidden);
        let joined = m.push(ops::BatchNorm { norm, activation: self.joined }, &[joined]);
        m.conv("cv4", joined, Conv::new(self.c_out, 1, 1), self.activation, None)
    }
}
