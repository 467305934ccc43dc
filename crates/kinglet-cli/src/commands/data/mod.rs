//! `kinglet data`: look at a data set, write it in another format, count what it holds.

mod check;
mod convert;
mod stats;

use super::val::ScanBar;
use crate::args::data::{DataArgs, DataCommand, Which};
use crate::errors::CliError;
use crate::printer::Printer;
use crate::progress::Bar;
use kinglet_data::{DataError, Dataset, ScanOptions, Source, Split};
use std::process::ExitCode;

/// Does what is asked.
///
/// # Errors
/// A data set that cannot be read, a folder that cannot be written.
pub fn run(args: DataArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    match args.command {
        DataCommand::Check(args) => check::run(args, printer),
        DataCommand::Convert(args) => convert::run(args, printer),
        DataCommand::Stats(args) => stats::run(args, printer),
    }
}

/// Every split of a data set, and why others cannot be looked at.
struct Opened {
    sets: Vec<Dataset>,
    errors: Vec<(Split, DataError)>,
    /// What is not there and not needed for training.
    absent: Vec<String>,
}

/// Scans all splits, telling what was recognised. Nothing but an unusable split is an error here; a `test` that does not
/// exist is a warning, since Roboflow names one even where it has written none.
fn open(which: &Which, printer: &Printer) -> Result<Opened, CliError> {
    let source = Source::open(&which.data)?;
    printer.say(&source.describe());
    let (mut sets, mut errors, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for split in Split::ALL.into_iter().filter(|split| source.has(*split)) {
        let options =
            ScanOptions { strict: false, need_labels: false, workers: which.workers, ..ScanOptions::default() };
        let mut bar = Bar::new(printer, &format!("scanning {}", split.key()), 1);
        let scanned = Dataset::scan(source.clone(), split, options, &ScanBar(&bar));
        bar.clear();
        match scanned {
            Ok(set) => sets.push(set),
            Err(error @ DataError::SplitNotFound { .. }) if split == Split::Test && !sets.is_empty() => {
                absent.push(error.to_string());
            }
            Err(error) => errors.push((split, error)),
        }
    }
    absent.iter().for_each(|error| printer.warn(&format!("{error}\n  training and validation do without it")));
    if sets.is_empty() && errors.is_empty() {
        return Err(CliError::input(format!(
            "`{}` names no images; add lines such as `train: images/train` and `val: images/val`",
            which.data.display()
        )));
    }
    Ok(Opened { sets, errors, absent })
}

/// The splits that there are, all of which must be readable.
fn open_all(which: &Which, printer: &Printer) -> Result<Vec<Dataset>, CliError> {
    let mut opened = open(which, printer)?;
    match opened.errors.pop() {
        Some((_, error)) => Err(error.into()),
        None => Ok(opened.sets),
    }
}
