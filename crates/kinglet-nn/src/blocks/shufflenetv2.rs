//! The unit of ShuffleNetV2: work on half of the channels, then a shuffle.
//!
//! Source: Ma et al. 2018, arXiv:1807.11164, figure 3 (c) and (d).
//! Parameters: `branch1.K` and `branch2.K` numbered as torchvision's, so that its weights map by structure.

use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// At stride 1 the first half of the channels passes unchanged; at stride 2 both branches see all of them.
#[derive(Debug)]
pub struct ShuffleNetV2 {
    c_out: usize,
    stride: usize,
}

const DEPTHWISE_KERNEL: usize = 3;

impl Block for ShuffleNetV2 {
    const NAME: &'static str = "ShuffleNetv2";
    const ALIASES: &'static [&'static str] = &["ShuffleNetV2"];
    const ARGUMENTS: &'static str = "c_out, stride (1 or 2)";
    const SUMMARY: &'static str = "ShuffleNetV2's unit: half of the channels worked on, then channels shuffled";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let stride = args.positive_arg("stride")?;
        super::odd_kernel_and_stride(DEPTHWISE_KERNEL, stride)?;
        let fits = c_out.is_multiple_of(2) && (stride == 2 || x.channels == c_out);
        if !fits {
            let message = format!(
                "needs an even c_out, at stride 1 that of the input ({}); found c_out = {c_out} at stride {stride}",
                x.channels
            );
            return Err(SpecErrorKind::Inputs { message });
        }
        let shape = Conv::depthwise(x.channels, DEPTHWISE_KERNEL, stride).plan(x)?;
        Ok((ShuffleNetV2 { c_out, stride }, Shape { channels: c_out, ..shape }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let (x, half) = (inputs[0], self.c_out / 2);
        let pointwise = Conv::new(half, 1, 1);
        let depthwise = |channels: usize| Conv::depthwise(channels, DEPTHWISE_KERNEL, self.stride);
        let (first, second) = if self.stride == 1 {
            let [kept, worked] = [0, half].map(|first| m.push(ops::SliceChannels { first, count: half }, &[x]));
            (kept, worked)
        } else {
            let c_in = m.shape(x).c;
            let mut m = m.scope("branch1");
            let y = m.conv_norm(["0", "1"], x, depthwise(c_in), Activation::Identity, None);
            (m.conv_norm(["2", "3"], y, pointwise, Activation::Relu, None), x)
        };
        let mut branch = m.scope("branch2");
        let y = branch.conv_norm(["0", "1"], second, pointwise, Activation::Relu, None);
        let y = branch.conv_norm(["3", "4"], y, depthwise(half), Activation::Identity, None);
        let y = branch.conv_norm(["5", "6"], y, pointwise, Activation::Relu, None);
        let joined = m.push(ops::Concat, &[first, y]);
        m.push(ops::ShuffleChannels { groups: 2 }, &[joined])
    }
}
