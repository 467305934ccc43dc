//! `kinglet data convert`: a data set in another format.

use super::open_all;
use crate::args::data::ConvertArgs;
use crate::errors::CliError;
use crate::findings;
use crate::printer::Printer;
use kinglet_data::convert::{Images, convert};
use serde_json::json;
use std::process::ExitCode;

/// Converts, and tells what was lost.
///
/// # Errors
/// See `kinglet_data::convert::convert`.
pub(super) fn run(args: ConvertArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.which.json);
    let sets = open_all(&args.which, printer)?;
    sets.iter().for_each(|set| findings::print(set, printer));
    let images = if args.link { Images::Link } else { Images::Copy };
    let done = convert(&sets, args.to.target(), images, &args.output)?;
    for (split, images, boxes) in &done.splits {
        printer.result(&format!("{split:>8}{images:>9} images{boxes:>9} boxes"));
    }
    if done.lost.is_empty() {
        printer.result("Nothing was lost.");
    } else {
        printer.result("What the new format does not hold:");
        done.lost.iter().for_each(|line| printer.result(&format!("  {line}")));
    }
    printer.say(&format!("Use it with: --data {}", done.data.display()));
    if args.which.json {
        printer.data(&json!(done));
    }
    Ok(ExitCode::SUCCESS)
}
