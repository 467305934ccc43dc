//! Arguments of `kinglet export`.

use super::{ImageSize, fraction, positive};
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
    /// A model file, or the name of a built-in model, with random parameters
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
    kinglet export --weights best.safetensors --dynamic --nms --preprocess --source photos/\n  \
    kinglet export --weights yolov5n.pt --include onnx safetensors\n\n\
    The ONNX file takes `images` [batch, 3, height, width], RGB from 0 to 1, and gives `output0` [batch, cells, 5 + classes]: \
    centre, size (pixels), objectness, class scores. With --nms it gives [batch, max-det, 6]: left, top, right, bottom, \
    score, class. Every file is run in a second engine and compared before it takes its name; exit code 1 where they \
    disagree. docs/export.md shows how to use it from Python and C++.")]
pub struct ExportArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelChoice,

    /// Formats to write
    #[arg(long, value_name = "FORMAT", num_args = 1.., default_value = "onnx", help_heading = "Export")]
    pub include: Vec<Format>,
    /// The image size.
    #[command(flatten, next_help_heading = "Export")]
    pub size: ImageSize,
    /// Images per batch
    #[arg(long, visible_alias = "batch", value_name = "N", value_parser = positive, allow_negative_numbers = true,
          default_value = "1", help_heading = "Export")]
    pub batch_size: usize,
    /// Leave batch, height and width to the program that runs the file
    #[arg(long, help_heading = "Export")]
    pub dynamic: bool,
    /// ONNX operator set, 12 to 17
    #[arg(long, value_name = "N", default_value_t = kinglet_onnx::MAX_OPSET, help_heading = "Export")]
    pub opset: u32,
    /// The head's raw levels as outputs, `raw0`, `raw1`, ..., instead of decoded boxes
    #[arg(long, conflicts_with = "nms", help_heading = "Export")]
    pub raw: bool,
    /// Take pictures as bytes [batch, height, width, 3] and letterbox them in the graph: of this height and width
    /// [default: --imgsz], or of any size with --dynamic. Boxes are in pixels of the picture
    #[arg(long, value_name = "PIXELS", value_parser = positive, allow_negative_numbers = true, num_args = 0..=2,
          help_heading = "Export")]
    pub preprocess: Option<Vec<usize>>,
    /// Text for the file's entry `author`
    #[arg(long, value_name = "TEXT", help_heading = "Export")]
    pub author: Option<String>,
    /// Text for the file's entry `license`: that of the weights
    #[arg(long, value_name = "TEXT", help_heading = "Export")]
    pub license: Option<String>,

    /// Suppress overlapping boxes in the graph
    #[arg(long, help_heading = "Suppression")]
    pub nms: bool,
    /// Lowest score of a detection, 0 to 1; with --nms
    #[arg(long, visible_alias = "conf", value_name = "SCORE", value_parser = fraction, allow_negative_numbers = true,
          default_value = "0.25", requires = "nms", help_heading = "Suppression")]
    pub conf_thres: f32,
    /// A box whose IoU with a better one is above this is dropped; with --nms
    #[arg(long, visible_alias = "iou", value_name = "IOU", value_parser = fraction, allow_negative_numbers = true,
          default_value = "0.45", requires = "nms", help_heading = "Suppression")]
    pub iou_thres: f32,
    /// Most detections per image, the rows of the output; with --nms
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, default_value = "300",
          requires = "nms", help_heading = "Suppression")]
    pub max_det: usize,
    /// Drop overlapping boxes of different classes, too; with --nms
    #[arg(long, requires = "nms", help_heading = "Suppression")]
    pub agnostic_nms: bool,

    /// Run the ONNX file in a second engine and compare; this is the default
    #[arg(long, overrides_with = "no_verify", help_heading = "Verification")]
    pub verify: bool,
    /// Write the ONNX file without running it
    #[arg(long, help_heading = "Verification")]
    pub no_verify: bool,
    /// Images to compare with: an image, a folder, a pattern or a .txt list [default: validation images of the training, or drawn ones]
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["data", "no_verify"], help_heading = "Verification")]
    pub source: Option<String>,
    /// A data set whose validation images to compare with
    #[arg(long, value_name = "DATA", conflicts_with = "no_verify", help_heading = "Verification")]
    pub data: Option<PathBuf>,

    /// Folder for the files [default: beside the weights, or here]
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
