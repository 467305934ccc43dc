//! Arguments of `kinglet import`.

use clap::Args;
use std::path::PathBuf;

/// `kinglet import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kinglet import yolov5n.pt\n  kinglet import best.pt --output plates.safetensors\n\n\
    Every command takes a .pt file as weights as well, so importing is needed only to keep the weights in a file that any \
    program can read safely. The file is parsed, not run: one that asks for more than a model is refused.\n\n\
    Tensors without a model, such as torchvision's and timm's MobileNetV3 (.pth), go into the backbone of the model file that you train: \
    `kinglet train --weights mobilenet_v3_small.pth --cfg kinglet_small`."
)]
pub struct ImportArgs {
    /// A checkpoint of YOLOv5
    #[arg(value_name = "WEIGHTS")]
    pub weights: PathBuf,
    /// The file to write [default: beside the checkpoint, with the ending .safetensors]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
