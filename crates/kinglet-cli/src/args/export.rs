//! Arguments of `kinglet export`.

use super::{positive, side};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// File formats by the names people type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// ONNX
    Onnx,
    /// The weights under PyTorch's names, with model file, class names and anchors
    Safetensors,
}

/// Which model: weights, or a model file with random parameters.
#[derive(Debug, Clone, Args)]
pub struct ModelChoice {
    /// Weights, as `kinglet train` writes them, or a checkpoint of YOLOv5 (.pt)
    #[arg(long, value_name = "FILE", conflicts_with = "cfg", help_heading = "Model")]
    pub weights: Option<PathBuf>,
    /// A model file or the name of a built-in model, with random parameters
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub cfg: Option<String>,
    /// Number of classes, instead of the model file's
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, conflicts_with = "weights",
          help_heading = "Model")]
    pub nc: Option<usize>,
}

/// `kinglet export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet export --weights runs/train/exp/weights/best.safetensors --include onnx\n  \
    kinglet export --weights best.safetensors --img 320 --opset 12 --output exported\n  \
    kinglet export --weights yolov5n.pt --include onnx safetensors\n\n\
    The ONNX file takes `images` [batch, 3, height, width], RGB from 0 to 1, and gives `output0` [batch, cells, 5 + classes]: \
    centre, size (pixels), objectness, class scores. Suppression is left to the program that runs it.")]
pub struct ExportArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelChoice,

    /// Formats to write
    #[arg(long, value_name = "FORMAT", num_args = 1.., default_value = "onnx", help_heading = "Export")]
    pub include: Vec<Format>,
    /// Image side in pixels, or height and width [default: that of the training, or 640]
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_name = "PIXELS", value_parser = side,
          allow_negative_numbers = true, num_args = 1..=2, help_heading = "Export")]
    pub imgsz: Vec<usize>,
    /// Images at once
    #[arg(long, visible_alias = "batch", value_name = "N", value_parser = positive, allow_negative_numbers = true,
          default_value = "1", help_heading = "Export")]
    pub batch_size: usize,
    /// ONNX operator set, 12 to 17
    #[arg(long, value_name = "N", default_value_t = kinglet_onnx::MAX_OPSET, help_heading = "Export")]
    pub opset: u32,
    /// The head's raw levels as outputs, `raw0`, `raw1`, ..., instead of decoded boxes
    #[arg(long, help_heading = "Export")]
    pub raw: bool,

    /// Folder for the files [default: beside the weights, or here]
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
