//! YOLOv5's C3Ghost: C3 with ghost bottlenecks.
//!
//! Source: Han et al. 2020, arXiv:1911.11907, in YOLOv5's form.

use super::GhostBottleneck;
use super::bottleneck::{TAIL_ARGUMENTS, Tail, tail};
use super::c3::{CrossStage, chain};
use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Repeats, Shape, SpecErrorKind, one_input};
use kinglet_tensor::Var;

/// C3 around GhostBottlenecks; shortcut and groups have no meaning for them.
#[derive(Debug)]
pub struct C3Ghost {
    partial: CrossStage,
    repeats: usize,
    inner: GhostBottleneck,
}

impl Block for C3Ghost {
    const NAME: &'static str = "C3Ghost";
    const ARGUMENTS: &'static str = TAIL_ARGUMENTS;
    const SUMMARY: &'static str = "C3 with n GhostBottlenecks in place of bottlenecks";
    const REPEATS: Repeats = Repeats::Inside;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let Tail { c_out, hidden, activation, .. } = tail(args, cx)?;
        let inner = GhostBottleneck::inner(hidden, activation)?;
        let partial = CrossStage { c_out, hidden, activation };
        Ok((C3Ghost { partial, repeats: cx.repeats, inner }, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        self.partial.record(m, inputs[0], |m, y| chain(m, y, self.repeats, &self.inner))
    }
}
