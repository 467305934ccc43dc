//! Arguments that several commands have in common.
//!
//! Where a command's default is another, its arguments say so with `mut_arg`.

use super::{device, fraction, overlap, positive, side, whole};
use clap::Args;
use kinglet_runtime::Tiling;
use kinglet_vision::NmsOptions;
use serde::Serialize;
use std::path::PathBuf;

/// What the commands that compute have in common.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Machine {
    /// Threads that compute; 0 for as many as the machine has. Results do not depend on their number
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true, default_value = "0",
          help_heading = "Machine")]
    pub threads: usize,
    /// Where to compute; the CPU is the only device [default: cpu]
    #[arg(long, value_name = "cpu", value_parser = device, help_heading = "Machine")]
    pub device: Option<String>,
}

/// How large images are cut.
#[derive(Debug, Clone, Args)]
pub struct Tiles {
    /// Look at large images in overlapping tiles as well, of this side in pixels [default: that of the network's input]
    #[arg(long, value_name = "PIXELS", value_parser = side, allow_negative_numbers = true, num_args = 0..=1,
          help_heading = "Detection")]
    pub tile: Option<Option<usize>>,
    /// Share of a tile that the next one covers as well, up to 0.9
    #[arg(long, value_name = "SHARE", value_parser = overlap, allow_negative_numbers = true, default_value = "0.2",
          help_heading = "Detection")]
    pub tile_overlap: f32,
}

impl Tiles {
    /// The tiling that was asked for, with tiles of `default` pixels where no side was given.
    pub(crate) fn tiling(&self, default: usize) -> Option<Tiling> {
        Some(Tiling { side: self.tile?.unwrap_or(default), overlap: self.tile_overlap })
    }
}

/// Height and width of the images that a network sees.
#[derive(Debug, Clone, Args)]
pub struct ImageSize {
    /// Image side in pixels, or height and width [default: that of the training, else 640]
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_name = "PIXELS", value_parser = side,
          allow_negative_numbers = true, num_args = 1..=2)]
    pub imgsz: Vec<usize>,
}

/// Which boxes are detections.
#[derive(Debug, Clone, Args)]
pub struct Suppression {
    /// Lowest score of a detection, 0 to 1
    #[arg(long, visible_alias = "conf", value_name = "SCORE", value_parser = fraction, allow_negative_numbers = true,
          default_value = "0.25", help_heading = "Detection")]
    pub conf_thres: f32,
    /// A box whose IoU with a better one is above this is dropped
    #[arg(long, visible_alias = "iou", value_name = "IOU", value_parser = fraction, allow_negative_numbers = true,
          default_value = "0.45", help_heading = "Detection")]
    pub iou_thres: f32,
    /// Most detections per image
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, default_value = "1000",
          help_heading = "Detection")]
    pub max_det: usize,
}

impl Suppression {
    /// What to keep; of `usual` all that has no flag.
    pub(crate) fn options(&self, usual: NmsOptions) -> NmsOptions {
        NmsOptions { conf: self.conf_thres, iou: self.iou_thres, max_det: self.max_det, ..usual }
    }
}

/// Where a run's files go.
#[derive(Debug, Clone, Args)]
pub struct RunFolder {
    /// Folder of the runs
    #[arg(long, value_name = "FOLDER", default_value = "runs/detect", help_heading = "Output")]
    pub project: PathBuf,
    /// Name of this run's folder
    #[arg(long, value_name = "NAME", default_value = "exp", help_heading = "Output")]
    pub name: String,
    /// Use the run's folder even if it exists
    #[arg(long, help_heading = "Output")]
    pub exist_ok: bool,
}
