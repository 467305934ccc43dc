//! Arguments of `kinglet detect`.

use super::{Machine, Tiles, fraction, positive, side, whole};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How tracks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrackFormat {
    /// A table
    Csv,
    /// A JSON object a line
    Jsonl,
}

/// `kinglet detect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet detect --weights best.safetensors --source photo.jpg\n  \
    kinglet detect --weights best.safetensors --source 'images/*.jpg' --conf 0.4 --save-txt --save-csv\n  \
    kinglet detect --weights best.safetensors --source images/ --nosave --json > found.json\n  \
    kinglet detect --weights best.safetensors --source street.mp4 --track --save-tracks csv\n  \
    kinglet detect --weights best.safetensors --source rtsp://camera/live --nosave    Ctrl-C ends it\n  \
    kinglet detect --weights best.safetensors --source aerial.png --tile\n\n\
    Results are saved to runs/detect/exp, exp2, ... Exit code 1 where a source could not be read; the others are done.")]
pub struct DetectArgs {
    /// Weights, as `kinglet train` writes them, or a checkpoint of YOLOv5 (.pt)
    #[arg(long, value_name = "FILE", num_args = 1.., required = true, help_heading = "Model and images")]
    pub weights: Vec<PathBuf>,
    /// An image or video, a folder, a pattern such as 'images/*.jpg', a .txt file with a path a line; a camera (0), a
    /// stream (rtsp://...), a .streams file with one a line, 'screen' or 'screen N LEFT TOP WIDTH HEIGHT'
    #[arg(long, value_name = "SOURCE", help_heading = "Model and images")]
    pub source: String,

    /// Image side in pixels, or height and width [default: that of the training]
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_name = "PIXELS", value_parser = side, allow_negative_numbers = true,
          num_args = 1..=2, help_heading = "Detection")]
    pub imgsz: Vec<usize>,
    /// Lowest score
    #[arg(long, visible_alias = "conf", value_name = "SCORE", value_parser = fraction, allow_negative_numbers = true, default_value = "0.25",
          help_heading = "Detection")]
    pub conf_thres: f32,
    /// A box that overlaps a better one by more than this is dropped
    #[arg(long, visible_alias = "iou", value_name = "IOU", value_parser = fraction, allow_negative_numbers = true, default_value = "0.45",
          help_heading = "Detection")]
    pub iou_thres: f32,
    /// Most detections an image
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, default_value = "1000", help_heading = "Detection")]
    pub max_det: usize,
    /// Only these classes, by number
    #[arg(long, value_name = "CLASS", value_parser = whole, allow_negative_numbers = true, num_args = 1..,
          help_heading = "Detection")]
    pub classes: Vec<usize>,
    /// Drop overlapping boxes of different classes, too
    #[arg(long, help_heading = "Detection")]
    pub agnostic_nms: bool,
    /// Tiles.
    #[command(flatten)]
    pub tiles: Tiles,

    /// Use every n-th frame
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, default_value = "1",
          help_heading = "Video")]
    pub vid_stride: usize,
    /// Follow objects: each keeps a number
    #[arg(long, help_heading = "Video")]
    pub track: bool,
    /// Write the followed objects of each frame to `tracks/`; goes with --track
    #[arg(long, value_enum, value_name = "csv|jsonl", hide_possible_values = true, help_heading = "Video")]
    pub save_tracks: Option<TrackFormat>,
    /// The ffmpeg that reads and writes videos [default: the one on the path]
    #[arg(long, value_name = "PROGRAM", help_heading = "Video")]
    pub ffmpeg: Option<PathBuf>,

    /// Threads and device.
    #[command(flatten)]
    pub machine: Machine,

    /// Draw no images and videos
    #[arg(long, help_heading = "Output")]
    pub nosave: bool,
    /// Write detections as label files
    #[arg(long, help_heading = "Output")]
    pub save_txt: bool,
    /// Boxes in the label files: 0 for centre and size, 1 for corners, both as fractions of the image
    #[arg(long, value_name = "0|1", value_parser = ["0", "1"], default_value = "0", hide_possible_values = true,
          help_heading = "Output")]
    pub save_format: String,
    /// Scores as sixth column of the label files
    #[arg(long, help_heading = "Output")]
    pub save_conf: bool,
    /// Cut out every detection
    #[arg(long, help_heading = "Output")]
    pub save_crop: bool,
    /// Write detections as COCO results, `predictions.json`
    #[arg(long, help_heading = "Output")]
    pub save_json: bool,
    /// Write detections as `predictions.csv`
    #[arg(long, help_heading = "Output")]
    pub save_csv: bool,
    /// Thickness of frames in pixels [default: by the image's size]
    #[arg(long, value_name = "PIXELS", value_parser = positive, allow_negative_numbers = true, help_heading = "Output")]
    pub line_thickness: Option<usize>,
    /// Frames without names
    #[arg(long, help_heading = "Output")]
    pub hide_labels: bool,
    /// Names without scores
    #[arg(long, help_heading = "Output")]
    pub hide_conf: bool,
    /// Folder of the runs
    #[arg(long, value_name = "FOLDER", default_value = "runs/detect", help_heading = "Output")]
    pub project: PathBuf,
    /// Name of this run's folder
    #[arg(long, value_name = "NAME", default_value = "exp", help_heading = "Output")]
    pub name: String,
    /// Use the run's folder even if it exists
    #[arg(long, help_heading = "Output")]
    pub exist_ok: bool,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
