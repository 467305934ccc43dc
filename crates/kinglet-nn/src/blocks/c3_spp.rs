//! YOLOv5's C3SPP: C3 with spatial pyramid pooling.
//!
//! Source: He et al. 2014, arXiv:1406.4729, inside C3.

use super::Spp;
use super::bottleneck::hidden_width;
use super::c3::CrossStage;
use crate::{Block, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::Var;

/// C3 around one SPP. A row's number stacks the whole block.
#[derive(Debug)]
pub struct C3Spp {
    partial: CrossStage,
    spp: Spp,
}

impl Block for C3Spp {
    const NAME: &'static str = "C3SPP";
    const ARGUMENTS: &'static str = "c_out, windows = [5, 9, 13], n = 1, shortcut = True, groups = 1, expansion = 0.5";
    const SUMMARY: &'static str = "C3 with SPP in place of bottlenecks; n, shortcut and groups have no meaning";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let windows = args.opt_usize_list("windows", &[5, 9, 13])?;
        args.opt_positive("n", 1)?;
        args.opt_bool("shortcut", true)?;
        args.opt_positive("groups", 1)?;
        let expansion = args.opt_f32("expansion", 0.5)?;
        let hidden = hidden_width(c_out, expansion)?;
        let activation = super::activation(cx.default_activation);
        let spp = Spp::new(Shape { channels: hidden, ..x }, hidden, windows, activation)?;
        let partial = CrossStage { c_out, hidden, activation };
        Ok((C3Spp { partial, spp }, Shape { channels: c_out, ..x }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        self.partial.record(m, inputs[0], |m, y| self.spp.record(m, &[y]))
    }
}
