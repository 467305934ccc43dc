//! A block of one's own, in a registry of one's own: the example of `docs/add-a-block.md`.
//!
//! Source: Iandola et al. 2016, arXiv:1602.07360.

use kinglet::nn::{Block, Conv, Entry, Model, REGISTRY, Recorder, Summary};
use kinglet::spec::{
    ArgCursor, BlockKind, Context, ResolveOptions, Shape, SpecError, SpecErrorKind, one_input, resolve,
};
use kinglet::tensor::{Activation, Var, ops};

/// A convolution to few channels, then a 1x1 and a 3x3 of them, side by side.
#[derive(Debug)]
pub struct Fire {
    squeeze: Conv,
    half: usize,
}

impl Block for Fire {
    const NAME: &'static str = "Fire";
    const ARGUMENTS: &'static str = "c_out, squeezed, stride = 1";
    const SUMMARY: &'static str = "SqueezeNet's module: few channels, then half by a 1x1 and half by a 3x3 convolution";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let c_out = args.positive_arg("c_out")?;
        let squeezed = args.positive_arg("squeezed")?;
        let stride = args.opt_positive("stride", 1)?;
        if c_out % 2 != 0 {
            return Err(SpecErrorKind::Inputs { message: format!("needs an even c_out, found {c_out}") });
        }
        let squeeze = Conv::new(squeezed, 1, stride);
        let narrow = squeeze.plan(one_input(inputs)?)?;
        Ok((Fire { squeeze, half: c_out / 2 }, Shape { channels: c_out, ..narrow }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let narrow = m.conv("squeeze", inputs[0], self.squeeze, Activation::Relu, None);
        let small = m.conv("expand1x1", narrow, Conv::new(self.half, 1, 1), Activation::Relu, None);
        let large = m.conv("expand3x3", narrow, Conv::new(self.half, 3, 1), Activation::Relu, None);
        m.push(ops::Concat, &[small, large])
    }
}

const MODEL: &str = "
nc: 2
depth_multiple: 1.0
width_multiple: 1.0
anchors: [[10, 13, 16, 30, 33, 23]]
backbone:
  - [-1, 1, Conv, [16, 3, 2]] # 0
  - [-1, 1, Fire, [32, 8, 2]] # 1
  - [-1, 1, Fire, [64, 16, 2]] # 2
head:
  - [[2], 1, Detect, [nc, anchors]]
";

fn main() -> Result<(), SpecError> {
    let mut registry: Vec<&'static dyn BlockKind> = REGISTRY.to_vec();
    registry.push(&Entry::<Fire>::NEW);
    let options = ResolveOptions { image: [64, 64], ..Default::default() };
    let model = Model::new(resolve(MODEL, "fire.yaml", &registry, &options)?);
    for layer in Summary::new(&model).layers {
        println!("{:>3} {:<10} {:>6} parameters", layer.index, layer.module, layer.params);
    }
    Ok(())
}
