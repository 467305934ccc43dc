//! Arguments of `kinglet val`.

use super::{Machine, RunFolder, Suppression, Tiles, fraction, positive, side, whole};
use clap::{Args, ValueEnum};
use kinglet_data::Split;
use std::path::PathBuf;

/// Which images to measure on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// The training images
    Train,
    /// The validation images
    Val,
    /// The test images
    Test,
    /// The time an image takes, on the validation images at full squares
    Speed,
    /// mAP and time at several image sides; each of --weights by itself
    Study,
}

impl Task {
    /// The split.
    pub fn split(self) -> Split {
        match self {
            Task::Train => Split::Train,
            Task::Val | Task::Speed | Task::Study => Split::Val,
            Task::Test => Split::Test,
        }
    }
}

/// `kinglet val`.
#[derive(Debug, Args)]
#[command(
    mut_arg("conf_thres", |arg| arg.default_value("0.001").help("Lowest score of a detection, 0 to 1; mAP needs the default")),
    mut_arg("iou_thres", |arg| arg.default_value("0.6")),
    mut_arg("max_det", |arg| arg.default_value("300")),
    mut_arg("project", |arg| arg.default_value("runs/val")),
    after_help = "Examples:\n  \
    kinglet val --weights runs/train/exp/weights/best.safetensors --data data.yaml\n  \
    kinglet val --weights best.safetensors --data data.yaml --task test --min-map 0.6\n  \
    kinglet val --weights a.safetensors b.safetensors --data data.yaml --augment\n  \
    kinglet val --weights best.safetensors --data data.yaml --task study --img 256 320 416 640\n\n\
    Results are saved to runs/val/exp, exp2, ... Exit code 1 where mAP50-95 is below --min-map."
)]
pub struct ValArgs {
    /// Weights, as `kinglet train` writes them, or a checkpoint of YOLOv5 (.pt); several answer together
    #[arg(long, value_name = "FILE", num_args = 1.., required = true, help_heading = "Model and data")]
    pub weights: Vec<PathBuf>,
    /// A data.yaml, COCO .json, or a folder of VOC, CVAT, Roboflow, Label Studio or LabelImg
    #[arg(long, value_name = "DATA", help_heading = "Model and data")]
    pub data: PathBuf,
    /// Which images, or what else to measure
    #[arg(long, value_enum, default_value = "val", help_heading = "Model and data")]
    pub task: Task,
    /// Treat all classes as one
    #[arg(long, help_heading = "Model and data")]
    pub single_cls: bool,

    /// Images per batch; they share one padded shape, so mAP depends on it a little
    #[arg(long, visible_alias = "batch", value_name = "N", value_parser = positive, allow_negative_numbers = true, default_value = "16",
          help_heading = "Detection")]
    pub batch_size: usize,
    /// Image side in pixels [default: that of the training]; several with --task study
    /// [default there: 256 to 1536 in steps of 128]
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_name = "PIXELS", value_parser = side, allow_negative_numbers = true,
          num_args = 1.., help_heading = "Detection")]
    pub imgsz: Vec<usize>,
    /// Look at each image at three scales, once mirrored: finds more, takes two to three times as long
    #[arg(long, help_heading = "Detection")]
    pub augment: bool,
    /// Which boxes are kept.
    #[command(flatten)]
    pub suppression: Suppression,
    /// Tiles.
    #[command(flatten)]
    pub tiles: Tiles,

    /// Threads that load images; 0 for as many as the machine has
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true, default_value = "0",
          help_heading = "Machine")]
    pub workers: usize,
    /// Threads and device.
    #[command(flatten)]
    pub machine: Machine,

    /// Exit with code 1 where mAP50-95 is below this
    #[arg(long, value_name = "MAP", value_parser = fraction, allow_negative_numbers = true, help_heading = "Output")]
    pub min_map: Option<f32>,
    /// A row for each class, however many there are
    #[arg(long, help_heading = "Output")]
    pub verbose: bool,
    /// Write detections as label files to `labels/`
    #[arg(long, help_heading = "Output")]
    pub save_txt: bool,
    /// Scores as sixth column of the label files
    #[arg(long, help_heading = "Output")]
    pub save_conf: bool,
    /// Write detections as COCO results, `WEIGHTS_predictions.json`
    #[arg(long, help_heading = "Output")]
    pub save_json: bool,
    /// Where the files go.
    #[command(flatten)]
    pub run: RunFolder,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
