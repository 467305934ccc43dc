//! YOLOv5's Bottleneck, also the repeated part of C3 and BottleneckCSP.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, limits, one_input};
use kinglet_tensor::{Activation, Var};

/// 1x1 to the hidden width, 3x3 to c_out; the input is added where its channels allow.
#[derive(Debug, Clone)]
pub struct Bottleneck {
    c_out: usize,
    hidden: usize,
    groups: usize,
    shortcut: bool,
    activation: Activation,
}

impl Bottleneck {
    /// The part that C3 and BottleneckCSP repeat: as wide inside as outside.
    pub(super) fn inner(channels: usize, shortcut: bool, groups: usize, activation: Activation) -> Self {
        Bottleneck { c_out: channels, hidden: channels, groups, shortcut, activation }
    }
}

/// Arguments that Bottleneck, C3 and BottleneckCSP share after c_out: shortcut, groups, expansion (hidden / c_out).
pub(super) struct Tail {
    pub c_out: usize,
    pub shortcut: bool,
    pub groups: usize,
    pub hidden: usize,
    pub activation: Activation,
}

pub(super) const TAIL_ARGUMENTS: &str = "c_out, shortcut = True, groups = 1, expansion = 0.5";

/// `c_out` times the expansion, truncated as by Python's int().
///
/// # Errors
/// More channels than a map may have.
pub(super) fn hidden_width(c_out: usize, expansion: f32) -> Result<usize, SpecErrorKind> {
    let hidden = (c_out as f32 * expansion) as usize;
    if hidden > limits::CHANNELS {
        return Err(SpecErrorKind::Limit { what: "the hidden width".into(), limit: limits::CHANNELS });
    }
    Ok(hidden)
}

pub(super) fn tail(args: &mut ArgCursor<'_>, cx: &Context) -> Result<Tail, SpecErrorKind> {
    let c_out = args.positive_arg("c_out")?;
    let shortcut = args.opt_bool("shortcut", true)?;
    let groups = args.opt_positive("groups", 1)?;
    let expansion = args.opt_f32("expansion", 0.5)?;
    let hidden = hidden_width(c_out, expansion)?;
    if hidden == 0 || !hidden.is_multiple_of(groups) || !c_out.is_multiple_of(groups) {
        let message = format!(
            "needs a hidden width (c_out x expansion = {c_out} x {expansion} = {hidden}) and c_out that are \
             positive multiples of groups = {groups}"
        );
        return Err(SpecErrorKind::Inputs { message });
    }
    Ok(Tail { c_out, shortcut, groups, hidden, activation: super::activation(cx.default_activation) })
}

impl Block for Bottleneck {
    const NAME: &'static str = "Bottleneck";
    const ARGUMENTS: &'static str = TAIL_ARGUMENTS;
    const SUMMARY: &'static str = "1x1 and 3x3 convolution with an optional shortcut";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let Tail { c_out, shortcut, groups, hidden, activation } = tail(args, cx)?;
        let block = Bottleneck { c_out, hidden, groups, shortcut: shortcut && x.channels == c_out, activation };
        Ok((block, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let x = inputs[0];
        let y = m.conv("cv1", x, Conv::new(self.hidden, 1, 1), self.activation, None);
        let second = Conv { groups: self.groups, ..Conv::new(self.c_out, 3, 1) };
        m.conv("cv2", y, second, self.activation, self.shortcut.then_some(x))
    }
}
