//! `nn.MaxPool2d`.

use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, Width, one_input};
use kinglet_tensor::{Var, ops};

/// Maximum over a window.
#[derive(Debug)]
pub struct MaxPool2d {
    pool: ops::MaxPool,
}

impl Block for MaxPool2d {
    const NAME: &'static str = "nn.MaxPool2d";
    const ALIASES: &'static [&'static str] = &["MaxPool2d"];
    const ARGUMENTS: &'static str = "kernel, stride = kernel, padding = 0";
    const SUMMARY: &'static str = "Maximum over a window";
    const WIDTH: Width = Width::Unscaled;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let kernel = args.positive_arg("kernel")?;
        let stride = args.opt_usize_or_none("stride")?.unwrap_or(kernel).max(1);
        let padding = args.opt_usize("padding", 0)?;
        if padding > kernel / 2 {
            let message = format!("needs padding of at most half the kernel ({}), found {padding}", kernel / 2);
            return Err(SpecErrorKind::Inputs { message });
        }
        let out = |side: usize| (side + 2 * padding).checked_sub(kernel).map(|free| free / stride + 1);
        let (Some(height), Some(width)) = (out(x.height), out(x.width)) else {
            return Err(SpecErrorKind::Inputs { message: format!("with kernel {kernel} needs a larger map than {x}") });
        };
        Ok((MaxPool2d { pool: ops::MaxPool { kernel, stride, padding } }, Shape { height, width, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        m.push(self.pool.clone(), inputs)
    }
}
