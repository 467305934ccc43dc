//! Arguments of `kinglet ui`.

use super::address;
use clap::Args;
use std::path::PathBuf;

/// `kinglet ui`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet ui                                # all runs below runs/\n  \
    kinglet ui runs/train --at 8080\n\n\
    A run is a folder with a results.csv; those of YOLOv5 work as well. A training shows itself with `kinglet train --ui`.")]
pub struct UiArgs {
    /// Folder of the runs
    #[arg(value_name = "FOLDER", default_value = "runs")]
    pub folder: PathBuf,
    /// Where to listen: HOST:PORT, or a port of this machine alone; host 0.0.0.0 lets others in, port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1:6060", help_heading = "Network")]
    pub at: (String, u16),
}
