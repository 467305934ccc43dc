//! A model file after all rules have been applied.
//!
//! Shapes: computed for one image of [`GraphSpec::image`].

use crate::block::{Activation, BlockKind, Shape};
use crate::diagnostic::{Diagnostic, Location};
use std::any::Any;

/// Where a layer's input comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Source {
    /// The image.
    Image,
    /// The output of an earlier layer.
    Layer(usize),
}

/// One row of the model file.
#[derive(Debug)]
pub struct LayerSpec {
    /// Its number across backbone and head, from 0.
    pub index: usize,
    /// `from` as written, one number where the file has a number; levels are replaced by their rows.
    pub from: Vec<i64>,
    /// The same, resolved.
    pub inputs: Vec<Source>,
    /// Repeat count after the depth multiple.
    pub number: usize,
    /// The first argument where it is channels that the width multiple scales: after that.
    pub c_out: Option<usize>,
    /// The block's own name.
    pub block: &'static str,
    /// The block.
    pub kind: &'static dyn BlockKind,
    /// The module's name as written, e.g. `nn.Upsample`.
    pub written: String,
    /// Arguments as YOLOv5 prints them: input channels first where the block has them, e.g. `[3, 16, 6, 2, 2]`.
    pub args_text: String,
    /// What [`BlockKind::plan`] gave, one for each stacked repeat; opaque here.
    pub planned: Vec<Box<dyn Any + Send + Sync>>,
    /// Shapes of the inputs.
    pub input_shapes: Vec<Shape>,
    /// Shape of the output.
    pub output: Shape,
    /// Image height / output height, rounded up.
    pub stride: usize,
    /// The row.
    pub location: Location,
}

/// A fully checked model.
#[derive(Debug)]
pub struct GraphSpec {
    /// The file's name without folder and suffix.
    pub name: String,
    /// Classes.
    pub nc: usize,
    /// Applied to repeat counts.
    pub depth_multiple: f64,
    /// Applied to channels.
    pub width_multiple: f64,
    /// Pixels, one list a head level, in the order of the head's inputs.
    pub anchors: Vec<Vec<[f32; 2]>>,
    /// True where the file gives a number of anchors only: these are stand-ins until anchors are computed from data.
    pub placeholder_anchors: bool,
    /// Activation of blocks that do not name one.
    pub activation: Activation,
    /// The rows.
    pub layers: Vec<LayerSpec>,
    /// Index of the detection head.
    pub head: usize,
    /// Input pixels a cell, for each head level.
    pub head_strides: Vec<usize>,
    /// Number of rows under `backbone`.
    pub backbone_len: usize,
    /// What the user should know although the model builds.
    pub warnings: Vec<Diagnostic>,
    /// The shape of the image that all shapes were computed for.
    pub image: Shape,
    /// The text as read; with the backbone's rows written out where the file gives its name.
    pub yaml: String,
}

impl GraphSpec {
    /// What an image's sides must be multiples of: the largest stride of any layer. A head may leave out the coarsest
    /// level, and maps are joined there all the same. Strides that are no power of two come of borders, not of steps.
    pub fn size_multiple(&self) -> usize {
        let layers = self.layers.iter().map(|l| l.stride).filter(|s| s.is_power_of_two());
        layers.chain(self.head_strides.iter().copied()).max().unwrap_or(1)
    }
}
