//! The blocks that model files may name. To add one: a file here, `mod name;` and `&Entry::<Name>::NEW` below.

mod bottleneck;
mod bottleneck_csp;
mod c3;
mod c3_ghost;
mod c3_spp;
mod c3_tr;
mod c3x;
mod concat;
mod contract;
mod conv;
mod conv3bn;
mod conv_transpose;
mod cross_conv;
mod detect;
mod dwconv;
mod expand;
mod focus;
mod ghost_bottleneck;
mod ghost_conv;
mod ghostnet;
mod inverted_residual;
mod max_pool;
mod mix_conv;
mod mobilenetv2;
mod mobilenetv3;
mod shufflenetv2;
mod spp;
mod sppf;
mod transformer;
mod upsample;
mod zero_pad;

pub use bottleneck::Bottleneck;
pub use bottleneck_csp::BottleneckCsp;
pub use c3::C3;
pub use c3_ghost::C3Ghost;
pub use c3_spp::C3Spp;
pub use c3_tr::C3Tr;
pub use c3x::C3x;
pub use concat::Concat;
pub use contract::ContractBlock;
pub use conv::ConvBlock;
pub use conv_transpose::{ConvTranspose2d, DwConvTranspose2d};
pub use conv3bn::Conv3Bn;
pub use cross_conv::CrossConv;
pub use detect::Detect;
pub use dwconv::DwConv;
pub use expand::ExpandBlock;
pub use focus::Focus;
pub use ghost_bottleneck::GhostBottleneck;
pub use ghost_conv::GhostConv;
pub use ghostnet::GhostNet;
pub use inverted_residual::InvertedResidual;
pub use max_pool::MaxPool2d;
pub use mix_conv::MixConv2d;
pub use mobilenetv2::MobileNetV2;
pub use mobilenetv3::MobileNetV3;
pub use shufflenetv2::ShuffleNetV2;
pub use spp::Spp;
pub use sppf::Sppf;
pub use upsample::UpsampleBlock;
pub use zero_pad::ZeroPad2d;

use crate::Entry;
use kinglet_spec::{Activation as Named, BlockKind, SpecErrorKind};
use kinglet_tensor::Activation;

/// Every block, in the order in which `kinglet blocks` lists them.
pub static REGISTRY: &[&dyn BlockKind] = &[
    &Entry::<ConvBlock>::NEW,
    &Entry::<DwConv>::NEW,
    &Entry::<ConvTranspose2d>::NEW,
    &Entry::<DwConvTranspose2d>::NEW,
    &Entry::<GhostConv>::NEW,
    &Entry::<CrossConv>::NEW,
    &Entry::<MixConv2d>::NEW,
    &Entry::<Focus>::NEW,
    &Entry::<Bottleneck>::NEW,
    &Entry::<GhostBottleneck>::NEW,
    &Entry::<BottleneckCsp>::NEW,
    &Entry::<C3>::NEW,
    &Entry::<C3x>::NEW,
    &Entry::<C3Tr>::NEW,
    &Entry::<C3Spp>::NEW,
    &Entry::<C3Ghost>::NEW,
    &Entry::<Spp>::NEW,
    &Entry::<Sppf>::NEW,
    &Entry::<Conv3Bn>::NEW,
    &Entry::<MobileNetV3>::NEW,
    &Entry::<InvertedResidual>::NEW,
    &Entry::<MobileNetV2>::NEW,
    &Entry::<ShuffleNetV2>::NEW,
    &Entry::<GhostNet>::NEW,
    &Entry::<Concat>::NEW,
    &Entry::<UpsampleBlock>::NEW,
    &Entry::<ContractBlock>::NEW,
    &Entry::<ExpandBlock>::NEW,
    &Entry::<MaxPool2d>::NEW,
    &Entry::<ZeroPad2d>::NEW,
    &Entry::<Detect>::NEW,
];

/// The activation that a model file names.
fn activation(named: Named) -> Activation {
    match named {
        Named::Silu => Activation::Silu,
        Named::LeakyRelu(slope) => Activation::LeakyRelu(slope),
        Named::Relu => Activation::Relu,
        Named::Relu6 => Activation::Relu6,
        Named::Hardswish => Activation::HardSwish,
        Named::Identity => Activation::Identity,
        Named::Mish => Activation::Mish,
    }
}

/// h-swish where `hard_swish`, else ReLU: the two activations of MobileNetV3.
fn mobile_activation(hard_swish: bool) -> Activation {
    if hard_swish { Activation::HardSwish } else { Activation::Relu }
}

/// Checks what the blocks of light backbones need of their depthwise convolution.
fn odd_kernel_and_stride(kernel: usize, stride: usize) -> Result<(), SpecErrorKind> {
    if kernel.is_multiple_of(2) {
        return Err(SpecErrorKind::Inputs { message: format!("needs an odd kernel, found {kernel}") });
    }
    if stride > 2 {
        return Err(SpecErrorKind::Inputs { message: format!("needs stride 1 or 2, found {stride}") });
    }
    Ok(())
}
