//! What a block tells this crate about itself: its name, its arguments and its shape rule.
//!
//! Shapes: of one image's feature map, before batching.

use crate::cursor::ArgCursor;
use crate::error::SpecErrorKind;
use std::any::Any;
use std::fmt;

/// Shape of one image's feature map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.channels, self.height, self.width)
    }
}

/// What the width multiple does to a block's first argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// The first argument is c_out: scaled by `width_multiple` and rounded up to 8 (unless equal to na * (nc + 5)).
    Scaled,
    /// Arguments are taken as they are.
    Unscaled,
}

/// What a repeat count above one means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeats {
    /// That many layers one after another.
    Stacked,
    /// One layer that repeats a part of itself (the C3 family). The count is in [`Context::repeats`], never among
    /// the arguments of the cursor; only the printed argument list shows it after c_out, as YOLOv5's does.
    Inside,
}

/// An activation function that a model file may name.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Activation {
    /// x * sigmoid(x), YOLOv5's default.
    #[default]
    Silu,
    /// max(x, slope * x).
    LeakyRelu(f32),
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x * relu6(x + 3) / 6.
    Hardswish,
    /// x * tanh(softplus(x)).
    Mish,
    /// x.
    Identity,
}

impl Activation {
    /// Every way a model file may write one.
    pub const WRITTEN: &'static [&'static str] =
        &["nn.SiLU()", "nn.LeakyReLU(0.1)", "nn.ReLU()", "nn.ReLU6()", "nn.Hardswish()", "nn.Mish()", "nn.Identity()"];

    /// Reads `nn.SiLU()`, `nn.LeakyReLU(0.1)` and the like; `inplace=True` is accepted and has no meaning here.
    pub fn from_written(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("torch.").unwrap_or(text);
        let (name, inside) = text.strip_prefix("nn.")?.strip_suffix(')')?.split_once('(')?;
        let mut slope = None;
        for argument in inside.split(',').map(str::trim).filter(|a| !a.is_empty()) {
            let compact: String = argument.chars().filter(|c| !c.is_whitespace()).collect();
            if matches!(compact.as_str(), "inplace=True" | "inplace=False" | "True" | "False") {
                continue;
            }
            let number = compact.strip_prefix("negative_slope=").unwrap_or(&compact);
            if name != "LeakyReLU" || slope.is_some() {
                return None;
            }
            slope = Some(number.parse::<f32>().ok().filter(|s| s.is_finite())?);
        }
        match name {
            "SiLU" => Some(Self::Silu),
            // 0.01 is PyTorch's default slope.
            "LeakyReLU" => Some(Self::LeakyRelu(slope.unwrap_or(0.01))),
            "ReLU" => Some(Self::Relu),
            "ReLU6" => Some(Self::Relu6),
            "Hardswish" => Some(Self::Hardswish),
            "Mish" => Some(Self::Mish),
            "Identity" => Some(Self::Identity),
            _ => None,
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silu => f.write_str("nn.SiLU()"),
            Self::LeakyRelu(slope) => write!(f, "nn.LeakyReLU({slope})"),
            Self::Relu => f.write_str("nn.ReLU()"),
            Self::Relu6 => f.write_str("nn.ReLU6()"),
            Self::Hardswish => f.write_str("nn.Hardswish()"),
            Self::Mish => f.write_str("nn.Mish()"),
            Self::Identity => f.write_str("nn.Identity()"),
        }
    }
}

/// What a block may know beyond its own row.
#[derive(Clone, Debug)]
pub struct Context {
    /// Classes, after the data set's number has replaced the file's.
    pub nc: usize,
    /// Anchors in pixels, one list a head level, in the order of the head's inputs. The file's order, except where
    /// that disagrees with the strides of the head (then reversed, with a warning). Only complete for a head.
    pub anchors: Vec<Vec<[f32; 2]>>,
    /// Input pixels a cell, for each input of this row (image height / map height).
    pub strides: Vec<usize>,
    /// What `activation:` in the file says; SiLU where it says nothing.
    pub default_activation: Activation,
    /// The repeat count after the depth multiple, for [`Repeats::Inside`]; 1 otherwise.
    pub repeats: usize,
    /// For [`Width::Scaled`]: the channels after scaling, which are also the cursor's first argument.
    pub c_out: Option<usize>,
}

/// A kind of layer that a model file may name.
pub trait BlockKind: Sync {
    /// As in a model file, e.g. `MobileNetv3`.
    fn name(&self) -> &'static str;
    /// Other spellings, e.g. `nn.Upsample`.
    fn aliases(&self) -> &'static [&'static str];
    /// The argument list as help shows it, e.g. `c_out, kernel = 1, stride = 1`.
    fn arguments(&self) -> &'static str;
    /// One sentence for `kinglet blocks`.
    fn summary(&self) -> &'static str;
    /// What the width multiple does to the first argument.
    fn width(&self) -> Width;
    /// What a repeat count means.
    fn repeats(&self) -> Repeats;
    /// True for a detection head, of which a model has exactly one, as its last row.
    fn is_head(&self) -> bool {
        false
    }
    /// Parses the row's arguments and checks them against the inputs; gives the planned layer and its output shape.
    ///
    /// # Errors
    /// The kind only; layer numbers, shapes, the position and hints are added by [`crate::resolve`].
    fn plan(
        &self,
        args: &mut ArgCursor<'_>,
        inputs: &[Shape],
        context: &Context,
    ) -> Result<(Box<dyn Any + Send + Sync>, Shape), SpecErrorKind>;
}

impl fmt::Debug for dyn BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Finds the block that a model file names: its name or one of its aliases, exactly.
pub fn find_block(registry: &[&'static dyn BlockKind], written: &str) -> Option<&'static dyn BlockKind> {
    registry.iter().copied().find(|b| b.name() == written || b.aliases().contains(&written))
}

/// The only input of a block that takes one.
///
/// # Errors
/// [`SpecErrorKind::InputCount`] for any other number of inputs.
pub fn one_input(inputs: &[Shape]) -> Result<Shape, SpecErrorKind> {
    match inputs {
        [one] => Ok(*one),
        _ => Err(SpecErrorKind::InputCount { expected: "one input".into(), found: inputs.len() }),
    }
}
