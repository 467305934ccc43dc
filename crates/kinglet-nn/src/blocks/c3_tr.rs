//! YOLOv5's C3TR: C3 with a transformer.
//!
//! Source: Vaswani et al. 2017, arXiv:1706.03762, in YOLOv5's form: see `transformer`.

use super::bottleneck::{TAIL_ARGUMENTS, Tail, tail};
use super::c3::CrossStage;
use super::transformer::{self, HEADS};
use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Repeats, Shape, SpecErrorKind, one_input};
use kinglet_tensor::Var;

/// C3 around n transformer layers; shortcut and groups have no meaning for them.
#[derive(Debug)]
pub struct C3Tr {
    partial: CrossStage,
    layers: usize,
}

impl Block for C3Tr {
    const NAME: &'static str = "C3TR";
    const ARGUMENTS: &'static str = TAIL_ARGUMENTS;
    const SUMMARY: &'static str = "C3 with n transformer layers of four heads in place of bottlenecks";
    const REPEATS: Repeats = Repeats::Inside;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let Tail { c_out, hidden, activation, .. } = tail(args, cx)?;
        if !hidden.is_multiple_of(HEADS) {
            let message = format!("needs a hidden width (c_out x expansion) for {HEADS} heads, found {hidden}");
            return Err(SpecErrorKind::Inputs { message });
        }
        let partial = CrossStage { c_out, hidden, activation };
        Ok((C3Tr { partial, layers: cx.repeats }, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        self.partial.record(m, inputs[0], |m, y| transformer::record(m, y, self.layers))
    }
}
