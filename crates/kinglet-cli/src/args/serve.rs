//! Arguments of `kinglet serve`.

use super::{ImageSize, Machine, Suppression, address, positive, within};
use clap::Args;
use std::path::PathBuf;

/// `kinglet serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet serve --weights best.safetensors                # then open http://127.0.0.1:5000/\n  \
    curl -F image=@photo.jpg http://127.0.0.1:5000/v1/object-detection/best\n  \
    curl -F image=@a.jpg -F image=@b.jpg -F conf=0.4 http://127.0.0.1:5000/v2/detect\n\n\
    A request may bring a score, an overlap and a number of detections of its own. docs/server.md describes routes and \
    limits. Ctrl-C finishes what is under way and stops.")]
pub struct ServeArgs {
    /// Weights, as `kinglet train` writes them, or a checkpoint of YOLOv5 (.pt); several answer together
    #[arg(long, value_name = "FILE", num_args = 1.., required = true, help_heading = "Model")]
    pub weights: Vec<PathBuf>,
    /// The model's name in the routes [default: the file's, without its extension]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub name: Option<String>,
    /// The image size.
    #[command(flatten, next_help_heading = "Model")]
    pub size: ImageSize,
    /// Which boxes are kept.
    #[command(flatten)]
    pub suppression: Suppression,

    /// Where to listen: HOST:PORT, or a port of this machine alone; host 0.0.0.0 lets others in, port 0 takes a free one
    #[arg(long, visible_alias = "port", value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1:5000", help_heading = "Network")]
    pub at: (String, u16),
    /// File with the key that clients must send as X-API-Key; KINGLET_API_KEY in the environment does the same
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub api_key_file: Option<PathBuf>,
    /// Answer requests for any host name, as a proxy may pass them on
    #[arg(long, help_heading = "Network")]
    pub any_host: bool,

    /// Most bytes of a request
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, default_value = "16777216", help_heading = "Limits")]
    pub max_bytes: usize,
    /// Most pixels of an image
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, default_value = "50000000", help_heading = "Limits")]
    pub max_pixels: usize,
    /// Most images of a request
    #[arg(long, value_name = "N", value_parser = within::<1, 1_000_000>, allow_negative_numbers = true, default_value = "16", help_heading = "Limits")]
    pub max_images: usize,
    /// Most images received and not yet answered; further ones are refused with 429
    #[arg(long, value_name = "N", value_parser = within::<1, 1_000_000>, allow_negative_numbers = true, default_value = "32", help_heading = "Limits")]
    pub queue: usize,
    /// Seconds for a request, from its head to its answer
    #[arg(long, value_name = "SECONDS", value_parser = within::<1, 86_400>, allow_negative_numbers = true, default_value = "30", help_heading = "Limits")]
    pub timeout: usize,

    /// Most images computed together
    #[arg(long, value_name = "N", value_parser = within::<1, 1024>, allow_negative_numbers = true, default_value = "4", help_heading = "Machine")]
    pub max_batch: usize,
    /// Milliseconds to wait for images that are on their way
    #[arg(long, value_name = "MS", value_parser = within::<0, 60_000>, allow_negative_numbers = true, default_value = "2", help_heading = "Machine")]
    pub batch_window: usize,
    /// Threads and device.
    #[command(flatten)]
    pub machine: Machine,
}
