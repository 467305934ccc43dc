//! Arguments of `kinglet zoo`.

use super::{Machine, side};
use clap::Args;

/// `kinglet zoo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet zoo --no-latency\n  \
    kinglet zoo --models 'mobilenet*' --img 320 --threads 1\n\n\
    Latency is the median time of the network alone, for one image. Other programs at work on the machine show in it.")]
pub struct ZooArgs {
    /// Only models whose names match; `*` stands for anything
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    pub models: String,
    /// Image side in pixels
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_parser = side, value_name = "PIXELS",
          default_value = "640")]
    pub img: usize,
    /// Leave out what has to be measured: latency and memory
    #[arg(long)]
    pub no_latency: bool,
    /// The machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
