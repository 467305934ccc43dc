//! `kinglet man`: manual pages in roff, one a command.

use crate::args::{Cli, ManArgs};
use crate::errors::CliError;
use crate::output::write_file;
use crate::printer::Printer;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::process::ExitCode;

/// Prints the program's page, or writes all pages into a folder.
///
/// # Errors
/// A folder that cannot be written.
pub fn run(args: ManArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = args.folder else {
        printer.result(page(&program).1.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let pages = pages(&program);
    for (name, text) in &pages {
        write_file(&folder.join(name), text.as_bytes())?;
    }
    printer.result(&format!("{} pages in {}", pages.len(), folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// The pages of a command and of those below it.
fn pages(command: &Command) -> Vec<(String, String)> {
    std::iter::once(page(command)).chain(command.get_subcommands().flat_map(pages)).collect()
}

/// The name of a page's file, and its text.
fn page(command: &Command) -> (String, String) {
    let (examples, remarks) = after_help(command);
    let man = Man::new(command.clone().after_help(None::<&str>)).manual("Kinglet").date("");
    let mut text = Vec::new();
    man.render(&mut text).expect("memory takes what is written");
    let mut tail = Roff::new();
    if !examples.is_empty() {
        tail.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in &examples {
            tail.text([roman(line.as_str())]);
        }
        tail.control("fi", []);
    }
    if !remarks.is_empty() {
        tail.control("SH", ["NOTES"]);
        for line in &remarks {
            tail.text([roman(line.as_str())]);
            tail.control("PP", []);
        }
    }
    text.extend(tail.render().into_bytes());
    (man.get_filename(), String::from_utf8_lossy(&text).into_owned())
}

/// The lines of the examples below a command's help, and those of the remarks that follow them.
pub fn after_help(command: &Command) -> (Vec<String>, Vec<String>) {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (examples, remarks) = match text.strip_prefix("Examples:\n") {
        Some(rest) => rest.split_once("\n\n").unwrap_or((rest, "")),
        None => ("", text.as_str()),
    };
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect();
    (lines(examples), lines(remarks))
}
