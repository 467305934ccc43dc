//! Arguments of `kinglet swap`.

use super::{positive, whole};
use clap::{ArgGroup, Args};
use std::path::PathBuf;

/// `kinglet swap`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("change").required(true).args(["backbone", "replace", "insert_at"]),
    after_help = "Examples:\n  \
        kinglet swap --cfg yolov5s --backbone mobilenetv3_large > new.yaml\n  \
        kinglet swap --cfg yolov5n --replace-c3 6 --with \"MobileNetv3 [512, 1024, 5, 1, 1, 1]\"\n  \
        kinglet swap --cfg yolov5n --insert-at 9 --with \"MobileNetv3 [1024, 960, 3, 1, 1, 1]\"\n\n\
        All row numbers in `from` move along. `kinglet inspect MODEL` shows the numbers of the rows, `kinglet blocks` what \
        blocks there are. Comments above and behind rows stay with them; other comments are not kept."
)]
pub struct SwapArgs {
    /// A model file, or the name of a built-in model
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub cfg: String,
    /// Number of classes, instead of the model file's
    #[arg(long, value_parser = positive, value_name = "N", help_heading = "Model")]
    pub nc: Option<usize>,
    /// Take the backbone of this model; the head takes the same levels (strides) as before
    #[arg(long, value_name = "MODEL", help_heading = "Change")]
    pub backbone: Option<String>,
    /// Put another block in place of this row's
    #[arg(long, visible_alias = "replace-c3", value_name = "ROW", value_parser = whole, requires = "with",
          help_heading = "Change")]
    pub replace: Option<usize>,
    /// Add a row, which then has this number
    #[arg(long, value_name = "ROW", value_parser = whole, requires = "with", help_heading = "Change")]
    pub insert_at: Option<usize>,
    /// The new row's block and arguments, e.g. "C3 [512, False]"
    #[arg(long, value_name = "BLOCK [ARGS]", conflicts_with = "backbone", help_heading = "Change")]
    pub with: Option<String>,
    /// The new row's repeats, before the depth multiple
    #[arg(long, value_name = "N", value_parser = positive, default_value = "1", conflicts_with = "backbone",
          help_heading = "Change")]
    pub number: usize,
    /// Write the model file here instead of to standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
