//! YOLOv5's C3: a cross-stage partial block with three convolutions.
//!
//! Source: Wang et al. 2019, arXiv:1911.11929 (CSPNet), in YOLOv5's form.

use super::bottleneck::{Bottleneck, TAIL_ARGUMENTS, Tail, tail};
use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Repeats, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// Two 1x1 branches, one through n bottlenecks; joined by a third 1x1.
#[derive(Debug)]
pub struct C3 {
    c_out: usize,
    hidden: usize,
    repeats: usize,
    inner: Bottleneck,
    activation: Activation,
}

impl Block for C3 {
    const NAME: &'static str = "C3";
    const ARGUMENTS: &'static str = TAIL_ARGUMENTS;
    const SUMMARY: &'static str = "Cross-stage partial block: n bottlenecks beside a 1x1, joined by a 1x1";
    const REPEATS: Repeats = Repeats::Inside;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let Tail { c_out, shortcut, groups, hidden, activation } = tail(args, cx)?;
        let inner = Bottleneck::inner(hidden, shortcut, groups, activation);
        Ok((C3 { c_out, hidden, repeats: cx.repeats, inner, activation }, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let narrow = Conv::new(self.hidden, 1, 1);
        let mut y = m.conv("cv1", inputs[0], narrow, self.activation, None);
        for i in 0..self.repeats {
            y = self.inner.record(&mut m.scope("m").scope(i), &[y]);
        }
        let beside = m.conv("cv2", inputs[0], narrow, self.activation, None);
        let joined = m.push(ops::Concat, &[y, beside]);
        m.conv("cv3", joined, Conv::new(self.c_out, 1, 1), self.activation, None)
    }
}
