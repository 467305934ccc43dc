//! The blocks that model files may name. To add one: a file here, `mod name;` and `&Entry::<Name>::NEW` below.

mod bottleneck;
mod bottleneck_csp;
mod c3;
mod concat;
mod conv;
mod conv3bn;
mod detect;
mod dwconv;
mod focus;
mod inverted_residual;
mod max_pool;
mod mobilenetv3;
mod spp;
mod sppf;
mod upsample;
mod zero_pad;

pub use bottleneck::Bottleneck;
pub use bottleneck_csp::BottleneckCsp;
pub use c3::C3;
pub use concat::Concat;
pub use conv::ConvBlock;
pub use conv3bn::Conv3Bn;
pub use detect::Detect;
pub use dwconv::DwConv;
pub use focus::Focus;
pub use inverted_residual::InvertedResidual;
pub use max_pool::MaxPool2d;
pub use mobilenetv3::MobileNetV3;
pub use spp::Spp;
pub use sppf::Sppf;
pub use upsample::UpsampleBlock;
pub use zero_pad::ZeroPad2d;

use crate::Entry;
use kinglet_spec::{Activation as Named, BlockKind};
use kinglet_tensor::Activation;

/// Every block, in the order in which `kinglet blocks` lists them.
pub static REGISTRY: &[&dyn BlockKind] = &[
    &Entry::<ConvBlock>::NEW,
    &Entry::<DwConv>::NEW,
    &Entry::<Focus>::NEW,
    &Entry::<Bottleneck>::NEW,
    &Entry::<BottleneckCsp>::NEW,
    &Entry::<C3>::NEW,
    &Entry::<Spp>::NEW,
    &Entry::<Sppf>::NEW,
    &Entry::<Conv3Bn>::NEW,
    &Entry::<MobileNetV3>::NEW,
    &Entry::<InvertedResidual>::NEW,
    &Entry::<Concat>::NEW,
    &Entry::<UpsampleBlock>::NEW,
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
