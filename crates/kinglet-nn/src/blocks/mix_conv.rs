//! YOLOv5's MixConv2d: convolutions of several kernels side by side.
//!
//! Source: Tan and Le 2019, arXiv:1907.09595 (MixNet), in YOLOv5's form: every kernel sees all input channels, in as many
//! groups as its input and output channels have as common divisor.

use super::dwconv::greatest_common_divisor;
use crate::{Block, Conv, Recorder};
use kinglet_spec::{ArgCursor, Context, Shape, SpecErrorKind, one_input};
use kinglet_tensor::{Activation, Var, ops};

/// Bare convolutions joined, then BatchNorm and SiLU.
#[derive(Debug)]
pub struct MixConv2d {
    parts: Vec<Conv>,
    c_out: usize,
}

/// Output channels of each kernel: equally many, or so many that all have about equally many weights, c ~ 1 / k^2.
fn share(c_out: usize, kernels: &[usize], equal_channels: bool) -> Vec<usize> {
    if equal_channels {
        // Channel i belongs to the part that i / (c_out - 1) of the way from the first to the last leads to.
        let count = kernels.len();
        let before = |part: usize| match part {
            0 => 0,
            _ if part == count => c_out,
            _ => part * (c_out - 1) / count + 1,
        };
        return (0..count).map(|part| before(part + 1) - before(part)).collect();
    }
    let inverse = |k: &usize| 1.0 / (k * k) as f64;
    let total: f64 = kernels.iter().map(inverse).sum();
    let mut channels: Vec<usize> =
        kernels.iter().map(|k| (c_out as f64 * inverse(k) / total).round_ties_even() as usize).collect();
    // What rounding leaves over or takes too much is the largest share's.
    let others = |channels: &[usize], largest: usize| channels.iter().sum::<usize>() - channels[largest];
    if let Some(largest) = (0..channels.len()).max_by_key(|&i| channels[i]) {
        channels[largest] = c_out.saturating_sub(others(&channels, largest));
    }
    channels
}

impl Block for MixConv2d {
    const NAME: &'static str = "MixConv2d";
    const ARGUMENTS: &'static str = "c_out, kernels = [1, 3], stride = 1, equal channels = True";
    const SUMMARY: &'static str = "Convolutions of several kernels side by side, then BatchNorm and SiLU";

    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], _cx: &Context) -> Result<(Self, Shape), SpecErrorKind> {
        let x = one_input(inputs)?;
        let c_out = args.positive_arg("c_out")?;
        let kernels = args.opt_usize_list("kernels", &[1, 3])?;
        let stride = args.opt_positive("stride", 1)?;
        let equal_channels = args.opt_bool("equal channels", true)?;
        let wrong = |message: String| Err(SpecErrorKind::Inputs { message });
        if kernels.is_empty() || kernels.iter().any(|k| k % 2 == 0) {
            return wrong(format!("needs odd kernels, found {kernels:?}"));
        }
        let channels = share(c_out, &kernels, equal_channels);
        if channels.contains(&0) {
            return wrong(format!("needs a channel for each of {kernels:?}; {c_out} channels give {channels:?}"));
        }
        let part = |(&kernel, c)| {
            let groups = greatest_common_divisor(x.channels, c);
            Conv { groups, ..Conv::new(c, kernel, stride) }
        };
        let parts: Vec<Conv> = kernels.iter().zip(channels).map(part).collect();
        let mut shape = x;
        for conv in &parts {
            shape = conv.plan(x)?;
        }
        Ok((MixConv2d { parts, c_out }, Shape { channels: c_out, ..shape }))
    }

    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        let parts: Vec<Var> =
            (0..).zip(&self.parts).map(|(i, conv)| m.conv_bare(&format!("m.{i}"), inputs[0], *conv)).collect();
        let joined = m.push(ops::Concat, &parts);
        let norm = m.norm("bn", self.c_out);
        m.push(ops::BatchNorm { norm, activation: Activation::Silu }, &[joined])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_shared_equally_or_by_the_size_of_the_kernels() {
        // 7 positions spread over 0..2 and cut off: 0 0 0 0 | 1 1 1.
        assert_eq!(share(7, &[1, 3], true), [4, 3]);
        // 8 positions in steps of 3 / 7: 0, 3, 6 | 9, 12 | 15, 18, 21 sevenths.
        assert_eq!(share(8, &[1, 3, 5], true), [3, 2, 3]);
        assert_eq!(share(64, &[1, 3, 5, 7], true), [16; 4]);
        // c + c / 9 = 100: 90 and 10, so 90 and 90 weights for each input channel.
        assert_eq!(share(100, &[1, 3], false), [90, 10]);
        assert_eq!(share(64, &[3, 3, 3], false).iter().sum::<usize>(), 64);
    }
}
