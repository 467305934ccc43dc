//! `kinglet ui`: runs side by side, in a browser.

use super::serve::stop_on_signal;
use crate::args::UiArgs;
use crate::errors::CliError;
use crate::printer::{Printer, counted};
use kinglet_server::{HttpOptions, Server, http, runs};
use std::process::ExitCode;

/// Serves the comparison until it is stopped.
///
/// # Errors
/// No such folder; an address that cannot be used.
pub fn run(args: UiArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let shown = args.folder.display();
    if !args.folder.is_dir() {
        return Err(CliError::input(format!(
            "`{shown}` is no folder; name the folder of your runs, as `kinglet train` makes it (runs/train)"
        )));
    }
    let listener = http::listen(&args.at.0, args.at.1).map_err(|e| CliError::input(format!("{e}: --at HOST:PORT")))?;
    let stop = stop_on_signal(printer)?;
    let server = Server::start(listener, runs::router(args.folder.clone()), stop, HttpOptions::default())
        .map_err(CliError::input)?;
    let found = counted(runs::count(&args.folder), "run");
    printer.result(&format!("{found} of `{shown}` at {}", server.url()));
    server.join();
    Ok(ExitCode::SUCCESS)
}
