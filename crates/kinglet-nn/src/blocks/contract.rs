//! YOLOv5's Contract: pixels to channels.

use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, Width, one_input};
use kinglet_tensor::{Var, ops};

/// Pixels to channels.
#[derive(Debug)]
pub struct ContractBlock {
    gain: usize,
}

impl Block for ContractBlock {
    const NAME: &'static str = "Contract";
    const ARGUMENTS: &'static str = "gain = 2";
    const SUMMARY: &'static str = "Squares of gain x gain pixels to the channels of one";
    const WIDTH: Width = Width::Unscaled;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let gain = args.opt_positive("gain", 2)?;
        if !x.height.is_multiple_of(gain) || !x.width.is_multiple_of(gain) {
            let message = format!("needs a height and width that are multiples of gain = {gain}, found {x}");
            return Err(SpecErrorKind::Inputs { message });
        }
        let shape = Shape { channels: x.channels * gain * gain, height: x.height / gain, width: x.width / gain };
        Ok((ContractBlock { gain }, shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        m.push(ops::Contract { gain: self.gain }, inputs)
    }
}
