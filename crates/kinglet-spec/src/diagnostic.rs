//! Messages about a place in a file, rendered as rustc renders them.
//!
//! Units: lines and columns count from 1, in characters.

use std::fmt;
use std::sync::Arc;

/// A place in a model file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// The name the caller gave the text.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters to underline, at least 1.
    pub length: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Worth knowing; what was asked for is done.
    Note,
    /// Probably not what was meant.
    Warning,
    /// Cannot be done.
    Error,
}

/// A message with its place, the line it is about, facts and advice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// One line, lower-case, no full stop.
    pub message: String,
    /// Where, if it is about a place.
    pub location: Option<Location>,
    /// The text of that line.
    pub excerpt: Option<String>,
    /// Facts, such as the shapes involved.
    pub notes: Vec<String>,
    /// What to change.
    pub hints: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), location: None, excerpt: None, notes: Vec::new(), hints: Vec::new() }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Longest part of a line that an excerpt shows.
const EXCERPT: usize = 160;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}", self.message)?;
        let digits = self.location.as_ref().map_or(1, |l| l.line.to_string().len());
        if let Some(location) = &self.location {
            write!(f, "\n{:digits$}--> {location}", "")?;
            if let Some(excerpt) = &self.excerpt {
                // Control characters would upset a terminal; tabs become one space so that the underline fits.
                let line: String =
                    excerpt.chars().take(EXCERPT).map(|c| if c.is_control() { ' ' } else { c }).collect();
                let shown = line.chars().count();
                let start = location.column.saturating_sub(1).min(shown);
                let marks = location.length.clamp(1, (shown - start).max(1));
                write!(f, "\n{:digits$} |\n{} |", "", location.line)?;
                if !line.trim().is_empty() {
                    write!(f, " {}", line.trim_end())?;
                }
                write!(f, "\n{:digits$} | {:start$}{}", "", "", "^".repeat(marks))?;
                if !(self.notes.is_empty() && self.hints.is_empty()) {
                    write!(f, "\n{:digits$} |", "")?;
                }
            }
        }
        for note in &self.notes {
            write!(f, "\n{:digits$} = {note}", "")?;
        }
        for hint in &self.hints {
            write!(f, "\n{:digits$} = hint: {hint}", "")?;
        }
        Ok(())
    }
}
