//! Arguments of `kinglet bench`.

use super::export::ModelChoice;
use super::{ImageSize, Machine, positive, side, whole};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `kinglet bench`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  \
        kinglet bench --weights best.safetensors --source photo.jpg\n  \
        kinglet bench --cfg yolov5n --img 320 --threads 1 --per-layer\n  \
        kinglet bench train --cfg yolov5n --img 320 --batch 8 --per-op\n\n\
        Times are of whole batches. Other programs at work on the machine show in them: look at p95."
)]
pub struct BenchArgs {
    /// What else can be timed.
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    /// Detection.
    #[command(flatten)]
    pub detection: DetectionBench,
}

/// What else can be timed.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time training steps instead: forward, loss, backward, clipping, update, average
    Train(TrainBench),
}

/// What every measurement needs.
#[derive(Debug, Clone, Args)]
pub struct Runs {
    /// Runs before the measurement begins
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true, default_value = "3",
          help_heading = "Measurement")]
    pub warmup: usize,
    /// Runs to measure
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, default_value = "20",
          help_heading = "Measurement")]
    pub repeats: usize,
}

/// Timing detection, stage by stage.
#[derive(Debug, Clone, Args)]
pub struct DetectionBench {
    /// The model.
    #[command(flatten)]
    pub model: ModelChoice,
    /// The image size.
    #[command(flatten, next_help_heading = "Input")]
    pub size: ImageSize,
    /// Images per batch
    #[arg(long, visible_alias = "batch", value_name = "N", value_parser = positive, allow_negative_numbers = true,
          default_value = "1", help_heading = "Input")]
    pub batch_size: usize,
    /// An image [default: a drawn JPEG of 640x480]
    #[arg(long, value_name = "IMAGE", help_heading = "Input")]
    pub source: Option<PathBuf>,
    /// Runs.
    #[command(flatten)]
    pub runs: Runs,
    /// Time every step of the network, too
    #[arg(long, help_heading = "Measurement")]
    pub per_layer: bool,
    /// Compute the class scores of all cells, not only of those whose objectness passes the threshold of 0.25
    #[arg(long, help_heading = "Measurement")]
    pub all_scores: bool,
    /// Time the network alone, again and again on one picture, as other engines' benchmarks do
    #[arg(long, help_heading = "Measurement")]
    pub infer_only: bool,
    /// The machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `kinglet bench train`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    kinglet bench train --cfg yolov5n --img 320 --batch 8 --per-op\n  \
    kinglet bench train --weights best.safetensors --threads 1 --json\n\n\
    Images and boxes are drawn. Other programs at work on the machine show in the times: look at p95.")]
pub struct TrainBench {
    /// The model.
    #[command(flatten)]
    pub model: ModelChoice,
    /// Image side in pixels
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_name = "PIXELS", value_parser = side,
          allow_negative_numbers = true, default_value = "320", help_heading = "Input")]
    pub imgsz: usize,
    /// Images per step
    #[arg(long, visible_alias = "batch", value_name = "N", value_parser = positive, allow_negative_numbers = true,
          default_value = "8", help_heading = "Input")]
    pub batch_size: usize,
    /// Runs.
    #[command(flatten)]
    pub runs: Runs,
    /// Time every operation, too
    #[arg(long, help_heading = "Measurement")]
    pub per_op: bool,
    /// The machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Write batch, first weights and losses as safetensors, for comparison with other programs
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub save_case: Option<PathBuf>,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
