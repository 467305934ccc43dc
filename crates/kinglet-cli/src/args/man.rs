//! Arguments of `kinglet man`.

use clap::Args;
use std::path::PathBuf;

/// `kinglet man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet man | man -l -\n  \
    kinglet man ~/.local/share/man/man1                       # then `man kinglet-train`")]
pub struct ManArgs {
    /// Folder for kinglet.1, kinglet-train.1 and so on; without it, kinglet.1 goes to standard output
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}
