//! YOLOv5's C3: a cross-stage partial block with three convolutions. C3x, C3Ghost, C3SPP and C3TR are the same around
//! other inner parts.
//!
//! Source: Wang et al. 2019, arXiv:1911.11929 (CSPNet), in YOLOv5's form.

use super::bottleneck::{Bottleneck, TAIL_ARGUMENTS, Tail, tail};
use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Repeats, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// Two 1x1 branches, one through n bottlenecks; joined by a third 1x1.
#[derive(Debug)]
pub struct C3 {
    partial: CrossStage,
    repeats: usize,
    inner: Bottleneck,
}

/// The two branches and what joins them.
#[derive(Debug)]
pub(super) struct CrossStage {
    pub c_out: usize,
    pub hidden: usize,
    pub activation: Activation,
}

impl CrossStage {
    /// Records the block around `inner`, which is called with the first branch.
    pub(super) fn record(
        &self,
        m: &mut Recorder<'_>,
        x: Var,
        inner: impl FnOnce(&mut Recorder<'_>, Var) -> Var,
    ) -> Var {
        let narrow = Conv::new(self.hidden, 1, 1);
        let y = m.conv("cv1", x, narrow, self.activation, None);
        let y = inner(&mut m.scope("m"), y);
        let beside = m.conv("cv2", x, narrow, self.activation, None);
        let joined = m.push(ops::Concat, &[y, beside]);
        m.conv("cv3", joined, Conv::new(self.c_out, 1, 1), self.activation, None)
    }
}

/// A block several times, numbered from 0.
pub(super) fn chain(m: &mut Recorder<'_>, x: Var, repeats: usize, block: &impl Block) -> Var {
    (0..repeats).fold(x, |y, i| block.record(&mut m.scope(i), &[y]))
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
        let partial = CrossStage { c_out, hidden, activation };
        Ok((C3 { partial, repeats: cx.repeats, inner }, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        self.partial.record(m, inputs[0], |m, y| chain(m, y, self.repeats, &self.inner))
    }
}
