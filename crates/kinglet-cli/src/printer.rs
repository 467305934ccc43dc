//! Where words go: results to standard output, everything for people to standard error.
//!
//! With `--json` standard output holds the JSON alone, so results for people move to standard error. A closed pipe is
//! no failure. Colours only where standard error is a terminal and `NO_COLOR` is not set.

use std::io::{IsTerminal, Write};

/// `1 image`, `3 images`: for words whose plural ends in an s.
pub fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Prints for one command.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    quiet: bool,
    json: bool,
    colour: bool,
    terminal: bool,
}

impl Default for Printer {
    fn default() -> Self {
        Self::new()
    }
}

impl Printer {
    /// A printer that knows whether it faces a terminal.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Printer { quiet: false, json: false, colour, terminal }
    }

    /// Without the words that are neither results nor warnings.
    #[must_use]
    pub fn quiet(self, quiet: bool) -> Self {
        Printer { quiet, ..self }
    }

    /// With standard output reserved for JSON.
    #[must_use]
    pub fn json(self, json: bool) -> Self {
        Printer { json, ..self }
    }

    /// Whether progress bars make sense.
    pub fn animates(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// A result: standard output, or standard error beside JSON.
    pub fn result(&self, text: &str) {
        if !self.json {
            // A reader that has gone away is no failure of ours, here and below.
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        } else if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Machine-readable output.
    pub fn data(&self, value: &serde_json::Value) {
        let text = serde_json::to_string_pretty(value).expect("JSON values serialise");
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Machine-readable output of which more follows: one line.
    pub fn line(&self, value: &serde_json::Value) {
        let _ = writeln!(std::io::stdout().lock(), "{value}");
    }

    /// Words for people.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Something that is probably not what was meant.
    pub fn warn(&self, text: &str) {
        let prefix = if self.colour { "\u{1b}[33mwarning:\u{1b}[0m" } else { "warning:" };
        let text = text.strip_prefix("warning:").map_or(text, str::trim_start);
        let _ = writeln!(std::io::stderr().lock(), "{prefix} {text}");
    }

    /// Why the command ends here.
    pub fn error(&self, text: &str) {
        let prefix = if self.colour { "\u{1b}[31merror:\u{1b}[0m" } else { "error:" };
        // Messages about model files bring the word along.
        let text = text.strip_prefix("error:").map_or(text, str::trim_start);
        let _ = writeln!(std::io::stderr().lock(), "{prefix} {text}");
    }
}
