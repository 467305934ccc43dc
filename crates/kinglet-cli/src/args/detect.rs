//! Arguments of `kinglet detect`.

use super::{ImageSize, Machine, RunFolder, Suppression, Tiles, positive, whole};
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
    kinglet detect --weights best.safetensors --source rtsp://camera/live --nosave   # Ctrl-C ends it\n  \
    kinglet detect --weights best.safetensors --source aerial.png --tile\n\n\
    Results are saved to runs/detect/exp, exp2, ... Exit code 1 where a source fails; the others are done.")]
pub struct DetectArgs {
    /// Weights, as `kinglet train` writes them, or a checkpoint of YOLOv5 (.pt); several answer together
    #[arg(long, value_name = "FILE", num_args = 1.., required = true, help_heading = "Model and images")]
    pub weights: Vec<PathBuf>,
    /// An image or video, a folder, a pattern such as 'images/*.jpg', a .txt file with one path per line; a camera (0), a
    /// stream or a video by its address (rtsp://..., https://...), a .streams file with one camera or stream per line,
    /// 'screen' or 'screen N LEFT TOP WIDTH HEIGHT'
    #[arg(long, value_name = "SOURCE", help_heading = "Model and images")]
    pub source: String,

    /// The image size.
    #[command(flatten, next_help_heading = "Detection")]
    pub size: ImageSize,
    /// Which boxes are kept.
    #[command(flatten)]
    pub suppression: Suppression,
    /// Only these classes, by number
    #[arg(long, value_name = "CLASS", value_parser = whole, allow_negative_numbers = true, num_args = 1..,
          help_heading = "Detection")]
    pub classes: Vec<usize>,
    /// Drop overlapping boxes of different classes, too
    #[arg(long, help_heading = "Detection")]
    pub agnostic_nms: bool,
    /// Look at each image at three scales, once mirrored: finds more, takes two to three times as long
    #[arg(long, help_heading = "Detection")]
    pub augment: bool,
    /// Tiles.
    #[command(flatten)]
    pub tiles: Tiles,

    /// Look at every Nth frame only
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, default_value = "1",
          help_heading = "Video")]
    pub vid_stride: usize,
    /// Open a camera or stream that was lost so often again, with a pause of 1 s, then 2, 4 and so on up to a minute
    #[arg(long, value_name = "N", default_value = "5", help_heading = "Video")]
    pub reopen: u32,
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
    /// Write detections as label files to `labels/`
    #[arg(long, help_heading = "Output")]
    pub save_txt: bool,
    /// Boxes in the label files: 0 for centre and size, 1 for corners, both as fractions of the image
    #[arg(long, value_name = "0|1", value_parser = ["0", "1"], default_value = "0", hide_possible_values = true,
          help_heading = "Output")]
    pub save_format: String,
    /// Scores as sixth column of the label files
    #[arg(long, help_heading = "Output")]
    pub save_conf: bool,
    /// Write every detection as an image of its own to `crops/CLASS/`
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
    /// Draw frames without names
    #[arg(long, help_heading = "Output")]
    pub hide_labels: bool,
    /// Draw names without scores
    #[arg(long, help_heading = "Output")]
    pub hide_conf: bool,
    /// Where the files go.
    #[command(flatten)]
    pub run: RunFolder,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
