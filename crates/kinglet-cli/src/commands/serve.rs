//! `kinglet serve`: a detector behind HTTP.

use super::ensemble::Ensemble;
use super::image_size;
use crate::args::ServeArgs;
use crate::errors::CliError;
use crate::printer::Printer;
use kinglet_server::detection::{self, DetectionOptions};
use kinglet_server::{ApiKey, HttpOptions, Server, Stop, http};
use kinglet_vision::NmsOptions;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The variable that may hold the key.
const KEY_VARIABLE: &str = "KINGLET_API_KEY";

/// Serves until it is stopped.
///
/// # Errors
/// No weights, a key that is none, an address that cannot be used.
pub fn run(args: ServeArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    kinglet_kernels::threads::set_threads(args.machine.threads);
    let api_key = api_key(&args)?;
    if let Some(name) = args.name.as_ref().filter(|name| name.is_empty() || name.contains('/')) {
        return Err(CliError::usage(format!(
            "--name '{name}': it becomes the last part of a route; expected some text without `/`"
        )));
    }
    // The address first: it costs nothing to find out that it is taken.
    let listener = http::listen(&args.at.0, args.at.1).map_err(|e| CliError::input(format!("{e}: --at HOST:PORT")))?;
    let loaded = Ensemble::load(&args.weights, !args.size.imgsz.is_empty(), printer)?;
    let (names, img) = (loaded.names.clone(), loaded.img);
    let detector = loaded.detector(false)?;
    let stride = detector.max_stride();
    let size = image_size(&args.size.imgsz, img, stride, printer);
    let stem = args.weights[0].file_stem().unwrap_or_default().to_string_lossy();
    let name = args.name.clone().unwrap_or_else(|| stem.into_owned());
    let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let has_key = api_key.is_some();
    let timeout = Duration::from_secs(args.timeout as u64);
    let options = DetectionOptions {
        nms: args.suppression.options(NmsOptions::default()),
        max_bytes: args.max_bytes,
        max_pixels: args.max_pixels as u64,
        max_images: args.max_images,
        queue: args.queue,
        max_batch: args.max_batch,
        window: Duration::from_millis(args.batch_window as u64),
        timeout,
        api_key,
        // Other sites cannot send the key, and names of other machines are in use where others may connect.
        local_names_only: is_local && !has_key && !args.any_host,
        ..DetectionOptions::new(name.clone(), names, size)
    };
    let router = detection::router(detector, options).map_err(CliError::input)?;
    let stop = stop_on_signal(printer)?;
    let limits = HttpOptions { drain: timeout, ..HttpOptions::default() };
    let server = Server::start(listener, router, stop, limits).map_err(CliError::input)?;
    let files = args.weights.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    printer.result(&format!("serving {files} as `{name}` at {}", server.url()));
    let url = format!("{}{}", server.url().trim_end_matches('/'), detection::route_of(&name));
    printer.say(&format!("try: curl -F image=@photo.jpg {url}"));
    if !is_local && !has_key {
        printer.warn("others on the network can use this server: set a key with --api-key-file, and put a proxy with TLS before it");
    }
    server.join();
    Ok(ExitCode::SUCCESS)
}

/// The key of the file or the environment, if there is one.
fn api_key(args: &ServeArgs) -> Result<Option<ApiKey>, CliError> {
    let (text, place) = match (&args.api_key_file, std::env::var_os(KEY_VARIABLE)) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).map_err(|error| CliError::read(path, &error))?;
            (text, format!("`{}`", path.display()))
        }
        (None, Some(value)) => (value.to_string_lossy().into_owned(), KEY_VARIABLE.to_owned()),
        (None, None) => return Ok(None),
    };
    ApiKey::new(&text).map(Some).map_err(|error| CliError::input(format!("{place}: {error}")))
}

/// What Ctrl-C or SIGTERM sets, for the server to finish what is under way; a second Ctrl-C ends at once. To be had before
/// the address is told: whoever knows it may already ask the program to end.
pub(crate) fn stop_on_signal(printer: &Printer) -> Result<Stop, CliError> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let stop = Stop::default();
    let (stopping, printer) = (stop.clone(), *printer);
    let handler = move || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(crate::interrupt::CODE));
        }
        printer.say("\nfinishing what is under way; Ctrl-C once more stops at once");
        stopping.stop();
    };
    ctrlc::set_handler(handler).map_err(CliError::input)?;
    Ok(stop)
}
