//! Ctrl-C: the first one asks for an orderly end, the second one ends at once.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code after Ctrl-C, as shells expect it.
pub(crate) const CODE: u8 = 130;

/// Set by Ctrl-C.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Listens from now on; `soon` says what is finished first.
pub fn listen(soon: &'static str) {
    let handler = move || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(CODE));
        }
        eprintln!("\nstopping after {soon}; once more to stop at once");
    };
    // Without a handler Ctrl-C ends the program at once, which loses no more than what is unfinished.
    let _ = ctrlc::set_handler(handler);
}

/// Whether to end.
pub fn is_asked() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// The exit code then.
pub fn exit_code() -> ExitCode {
    ExitCode::from(CODE)
}
