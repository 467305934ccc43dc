//! `nn.ZeroPad2d`.

use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, Width, one_input};
use kinglet_tensor::{Var, ops};

/// A border of zeros.
#[derive(Debug)]
pub struct ZeroPad2d {
    border: [usize; 4],
}

impl Block for ZeroPad2d {
    const NAME: &'static str = "nn.ZeroPad2d";
    const ALIASES: &'static [&'static str] = &["ZeroPad2d"];
    const ARGUMENTS: &'static str = "[left, right, top, bottom] or one number for all";
    const SUMMARY: &'static str = "Adds a border of zeros";
    const WIDTH: Width = Width::Unscaled;

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let border = args.opt_usize_list("border", &[])?;
        let border: [usize; 4] = match *border.as_slice() {
            [all] => [all; 4],
            [left, right, top, bottom] => [left, right, top, bottom],
            _ => {
                let message =
                    format!("needs one border width or four (left, right, top, bottom), found {}", border.len());
                return Err(SpecErrorKind::Inputs { message });
            }
        };
        let [left, right, top, bottom] = border;
        let shape = Shape { height: x.height + top + bottom, width: x.width + left + right, ..x };
        Ok((ZeroPad2d { border }, shape))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        m.push(ops::ZeroPad { border: self.border }, inputs)
    }
}
