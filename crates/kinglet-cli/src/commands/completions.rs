//! `kinglet completions`: what a shell needs to complete command lines.

use crate::args::{Cli, CompletionsArgs};
use crate::errors::CliError;
use crate::printer::Printer;
use clap::CommandFactory;
use std::process::ExitCode;

/// Prints the script for a shell.
///
/// # Errors
/// None.
pub fn run(args: CompletionsArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kinglet", &mut script);
    printer.result(String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}
