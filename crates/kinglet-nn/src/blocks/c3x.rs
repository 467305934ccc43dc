//! YOLOv5's C3x: C3 with cross convolutions.

use super::CrossConv;
use super::bottleneck::{TAIL_ARGUMENTS, Tail, tail};
use super::c3::{CrossStage, chain};
use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Repeats, Shape, SpecErrorKind, one_input};
use kinglet_tensor::Var;

/// C3 around CrossConvs.
#[derive(Debug)]
pub struct C3x {
    partial: CrossStage,
    repeats: usize,
    inner: CrossConv,
}

impl Block for C3x {
    const NAME: &'static str = "C3x";
    const ARGUMENTS: &'static str = TAIL_ARGUMENTS;
    const SUMMARY: &'static str = "C3 with n CrossConvs in place of bottlenecks";
    const REPEATS: Repeats = Repeats::Inside;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let Tail { c_out, shortcut, groups, hidden, activation } = tail(args, cx)?;
        let inner = CrossConv::inner(hidden, shortcut, groups, activation);
        let partial = CrossStage { c_out, hidden, activation };
        Ok((C3x { partial, repeats: cx.repeats, inner }, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        self.partial.record(m, inputs[0], |m, y| chain(m, y, self.repeats, &self.inner))
    }
}
