//! Joins maps along the channels.

use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, Width};
use kinglet_tensor::{Var, ops};

/// Concatenation along the channels.
#[derive(Debug)]
pub struct Concat;

impl Block for Concat {
    const NAME: &'static str = "Concat";
    const ARGUMENTS: &'static str = "dimension = 1";
    const SUMMARY: &'static str = "Joins maps of equal size along the channels";
    const WIDTH: Width = Width::Unscaled;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let dimension = args.opt_usize("dimension", 1)?;
        if dimension != 1 {
            let message = format!("joins along dimension 1, the channels; found {dimension}");
            return Err(SpecErrorKind::Inputs { message });
        }
        let Some(first) = inputs.first() else {
            return Err(SpecErrorKind::InputCount { expected: "at least one input".into(), found: 0 });
        };
        if inputs.iter().any(|s| (s.height, s.width) != (first.height, first.width)) {
            return Err(SpecErrorKind::SizesDiffer);
        }
        Ok((Concat, Shape { channels: inputs.iter().map(|s| s.channels).sum(), ..*first }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        m.push(ops::Concat, inputs)
    }
}
