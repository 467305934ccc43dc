//! Arguments of `kinglet data`.

use super::{side, whole};
use clap::{Args, Subcommand, ValueEnum};
use kinglet_data::convert::Target;
use kinglet_data::fix::Fix;
use std::path::PathBuf;

/// `kinglet data`.
#[derive(Debug, Args)]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        kinglet data check data.yaml\n  \
        kinglet data convert VOC2012 --to yolo --output voc-yolo\n  \
        kinglet data stats data.yaml --plot stats.png\n\n\
        A data set is a data.yaml, a COCO .json, or a folder as CVAT, Roboflow, Label Studio, LabelImg or VOC have it."
)]
pub struct DataArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// What can be done with a data set.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Look for everything that is wrong; exit code 1 where training should not start
    Check(CheckArgs),
    /// Write a data set in another format
    Convert(ConvertArgs),
    /// Count classes, sizes, positions and boxes per image
    Stats(StatsArgs),
}

/// Formats by the names people type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// YOLO text and a data.yaml
    Yolo,
    /// COCO JSON
    Coco,
    /// Pascal VOC XML
    Voc,
}

impl To {
    /// The library's word.
    pub fn target(self) -> Target {
        match self {
            To::Yolo => Target::Yolo,
            To::Coco => Target::Coco,
            To::Voc => Target::Voc,
        }
    }
}

/// Corrections by the names people type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum How {
    /// Write boxes that reach out of the image as clipped to it
    Clip,
    /// Take wrong lines out
    DropBox,
    /// Move images with wrong labels away
    Quarantine,
}

impl How {
    /// The library's word.
    pub fn fix(self) -> Fix {
        match self {
            How::Clip => Fix::Clip,
            How::DropBox => Fix::DropBox,
            How::Quarantine => Fix::Quarantine,
        }
    }
}

/// Which data set.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// A data.yaml, a COCO .json, or a folder
    #[arg(value_name = "DATA")]
    pub data: PathBuf,
    /// Threads that load images; 0 for as many as the machine has
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true, default_value = "0",
          help_heading = "Machine")]
    pub workers: usize,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `kinglet data check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet data check data.yaml\n  \
    kinglet data check annotations/instances_train.json --json\n  \
    kinglet data check data.yaml --fix clip\n\n\
    Exit code 1 where training should not start. docs/datasets.md lists what is looked for.")]
pub struct CheckArgs {
    /// Correct YOLO label files; the originals are kept in a folder that is named
    #[arg(long, value_enum, value_name = "HOW")]
    pub fix: Option<How>,
    /// The model whose strides and anchors boxes are compared with: a model file, a built-in name, or weights
    #[arg(long, value_name = "MODEL", default_value = "kinglet_small", help_heading = "Model")]
    pub model: String,
    /// Image side of the training in pixels
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_name = "PIXELS", value_parser = side,
          allow_negative_numbers = true, default_value = "640", help_heading = "Model")]
    pub imgsz: usize,
    /// The data set.
    #[command(flatten)]
    pub which: Which,
    /// Print every finding, not the first few of each kind
    #[arg(long, help_heading = "Output")]
    pub verbose: bool,
}

/// `kinglet data convert`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet data convert VOC2012 --to yolo --output voc-yolo\n  \
    kinglet data convert data.yaml --to coco --output coco --link")]
pub struct ConvertArgs {
    /// The format to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub to: To,
    /// Folder to write to; it must be new
    #[arg(long, value_name = "FOLDER")]
    pub output: PathBuf,
    /// Copy the images; this is the default
    #[arg(long, conflicts_with = "link")]
    pub copy: bool,
    /// Link to the images instead
    #[arg(long)]
    pub link: bool,
    /// The data set.
    #[command(flatten)]
    pub which: Which,
}

/// `kinglet data stats`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet data stats data.yaml --plot stats.png\n  \
    kinglet data stats data.yaml --json")]
pub struct StatsArgs {
    /// Image side of the training in pixels, for sizes of boxes
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_name = "PIXELS", value_parser = side,
          allow_negative_numbers = true, default_value = "640")]
    pub imgsz: usize,
    /// The data set.
    #[command(flatten)]
    pub which: Which,
    /// The chart to write, .png or .svg
    #[arg(long, value_name = "FILE", default_value = "data-stats.png", help_heading = "Output")]
    pub plot: PathBuf,
}
