//! YOLOv5's Expand: channels to pixels.

use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, Width, one_input};
use kinglet_tensor::{Var, ops};

/// Channels to pixels.
#[derive(Debug)]
pub struct ExpandBlock {
    gain: usize,
}

impl Block for ExpandBlock {
    const NAME: &'static str = "Expand";
    const ARGUMENTS: &'static str = "gain = 2";
    const SUMMARY: &'static str = "Channels to squares of gain x gain pixels";
    const WIDTH: Width = Width::Unscaled;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let gain = args.opt_positive("gain", 2)?;
        if !x.channels.is_multiple_of(gain * gain) {
            let message = format!("needs channels that are a multiple of gain x gain = {}, found {x}", gain * gain);
            return Err(SpecErrorKind::Inputs { message });
        }
        let shape = Shape { channels: x.channels / (gain * gain), height: x.height * gain, width: x.width * gain };
        Ok((ExpandBlock { gain }, shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        m.push(ops::Expand { gain: self.gain }, inputs)
    }
}
