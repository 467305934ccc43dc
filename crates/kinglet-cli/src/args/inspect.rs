//! Arguments of `kinglet inspect` and `kinglet blocks`.

use super::{positive, side};
use clap::Args;

/// `kinglet inspect`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kinglet inspect kinglet_small\n  kinglet inspect my-model.yaml --nc 3 --img 320\n  \
                        kinglet inspect runs/train/exp/weights/best.safetensors --json"
)]
pub struct InspectArgs {
    /// A model file, the name of a built-in model, or weights
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Number of classes, instead of the model file's
    #[arg(long, value_parser = positive, value_name = "N")]
    pub nc: Option<usize>,
    /// Image side in pixels, for shapes and arithmetic [default: that of the training, else 640]
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_parser = side, value_name = "PIXELS")]
    pub img: Option<usize>,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `kinglet blocks`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kinglet blocks\n  kinglet blocks InvertedResidual")]
pub struct BlocksArgs {
    /// Only this block
    #[arg(value_name = "BLOCK")]
    pub name: Option<String>,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
