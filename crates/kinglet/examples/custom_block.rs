//! A block of one's own, in a registry of one's own: the example of `docs/add-a-block.md`.
//!
//! Source: Han et al. 2020, arXiv:1911.11907.

use kinglet::nn::{Block, Conv, Entry, Model, REGISTRY, Recorder, Summary};
use kinglet::spec::{
    ArgCursor, BlockKind, Context, ResolveOptions, Shape, SpecError, SpecErrorKind, one_input, resolve,
};
use kinglet::tensor::{Activation, Var, ops};

/// A convolution to c_out / 2, and a depthwise 5x5 of it, side by side.
#[derive(Debug)]
pub struct GhostConv {
    conv: Conv,
}

impl Block for GhostConv {
    const NAME: &'static str = "GhostConv";
    const ARGUMENTS: &'static str = "c_out, kernel = 1, stride = 1";
    const SUMMARY: &'static str = "Half of the channels by a convolution, half from them by a depthwise 5x5";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let c_out = args.positive_arg("c_out")?;
        let kernel = args.opt_positive("kernel", 1)?;
        let stride = args.opt_positive("stride", 1)?;
        if c_out % 2 != 0 {
            return Err(SpecErrorKind::Inputs { message: format!("needs an even c_out, found {c_out}") });
        }
        let conv = Conv::new(c_out / 2, kernel, stride);
        let half = conv.plan(one_input(inputs)?)?;
        Ok((GhostConv { conv }, Shape { channels: c_out, ..half }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let half = m.conv("cv1", inputs[0], self.conv, Activation::Silu, None);
        let cheap = m.conv("cv2", half, Conv::depthwise(self.conv.c_out, 5, 1), Activation::Silu, None);
        m.push(ops::Concat, &[half, cheap])
    }
}

const MODEL: &str = "
nc: 2
depth_multiple: 1.0
width_multiple: 1.0
anchors: [[10, 13, 16, 30, 33, 23]]
backbone:
  - [-1, 1, Conv, [16, 3, 2]] # 0
  - [-1, 1, GhostConv, [32, 3, 2]] # 1
  - [-1, 1, GhostConv, [64, 3, 2]] # 2
head:
  - [[2], 1, Detect, [nc, anchors]]
";

fn main() -> Result<(), SpecError> {
    let mut registry: Vec<&'static dyn BlockKind> = REGISTRY.to_vec();
    registry.push(&Entry::<GhostConv>::NEW);
    let options = ResolveOptions { image: [64, 64], ..Default::default() };
    let model = Model::new(resolve(MODEL, "ghost.yaml", &registry, &options)?);
    for layer in Summary::new(&model).layers {
        println!("{:>3} {:<10} {:>6} parameters", layer.index, layer.module, layer.params);
    }
    Ok(())
}
