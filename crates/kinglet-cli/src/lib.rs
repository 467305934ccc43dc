//! The `kinglet` command: arguments, settings, printing and files. All arithmetic is in the other crates.
//!
//! A command is a plain function in `commands` that takes its parsed arguments and a [`printer::Printer`] and returns an
//! exit code. Results go to standard output, everything for people to standard error.
//! Exit codes: 0 done; 1 the input is bad or a check that was asked for failed; 2 wrong use, or a failure of our own;
//! 130 a training or a video that Ctrl-C stopped.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod args;
pub mod commands;
pub mod console;
pub mod demo;
pub mod errors;
pub mod event_log;
pub mod findings;
pub mod gallery;
pub mod interrupt;
pub mod live;
pub mod output;
pub mod page;
pub mod printer;
pub mod progress;
pub mod recorder;
pub mod report;
pub mod results;
pub mod run_dir;
pub mod sources;
mod table;
pub mod tensorboard;
pub mod zoo;

use args::{Cli, Command};
use errors::CliError;
use printer::Printer;
use std::process::ExitCode;

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let argv: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let printer = Printer::new();
    let (argv, warnings) = match args::legacy::sift(argv) {
        Ok(sifted) => sifted,
        Err(error) => return fail(&printer, &error),
    };
    // clap prints help and usage errors itself, with the codes 0 and 2.
    let cli = Cli::given_by(argv);
    let printer = printer.quiet(cli.quiet);
    warnings.iter().for_each(|text| printer.warn(text));
    run(cli, &printer).unwrap_or_else(|error| fail(&printer, &error))
}

fn run(cli: Cli, printer: &Printer) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Train(args) => commands::train::run(*args, printer),
        Command::Evolve(args) => commands::evolve::run(*args, printer),
        Command::Val(args) => commands::val::run(*args, printer),
        Command::Detect(args) => commands::detect::run(*args, printer),
        Command::Serve(args) => commands::serve::run(*args, printer),
        Command::Ui(args) => commands::ui::run(args, printer),
        Command::Data(args) => commands::data::run(*args, printer),
        Command::Import(args) => commands::import::run(args, printer),
        Command::Export(args) => commands::export::run(*args, printer),
        Command::Bench(args) => commands::bench::run(*args, printer),
        Command::Inspect(args) => commands::inspect::run(args, printer),
        Command::Blocks(args) => commands::blocks::run(args, printer),
        Command::Zoo(args) => commands::zoo::run(args, printer),
        Command::Swap(args) => commands::swap::run(args, printer),
        Command::Completions(args) => commands::completions::run(args, printer),
        Command::Man(args) => commands::man::run(args, printer),
    }
}

fn fail(printer: &Printer, error: &CliError) -> ExitCode {
    printer.error(&error.to_string());
    ExitCode::from(error.code())
}
