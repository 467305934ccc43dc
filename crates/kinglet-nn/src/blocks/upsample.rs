//! `nn.Upsample`, nearest neighbour.

use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, Width, one_input};
use kinglet_tensor::{Var, ops};

/// Repeats each pixel.
#[derive(Debug)]
pub struct UpsampleBlock {
    scale: usize,
}

impl Block for UpsampleBlock {
    const NAME: &'static str = "nn.Upsample";
    const ALIASES: &'static [&'static str] = &["Upsample"];
    const ARGUMENTS: &'static str = "None, scale, 'nearest'";
    const SUMMARY: &'static str = "Enlarges a map by a whole factor, nearest neighbour";
    const WIDTH: Width = Width::Unscaled;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        args.none_arg("size")?;
        let scale = args.positive_arg("scale")?;
        args.opt_str("mode", &["nearest"], "nearest")?;
        Ok((UpsampleBlock { scale }, Shape { height: x.height * scale, width: x.width * scale, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        m.push(ops::Upsample { scale: self.scale }, inputs)
    }
}
