//! The texts that make up a model, for turning places into messages.

use crate::diagnostic::{Diagnostic, Location, Severity};
use crate::error::SpecError;
use crate::yaml::{Place, Trouble, lines};
use std::sync::Arc;

/// One text with its name.
pub(crate) struct Page<'a> {
    pub file: Arc<str>,
    pub text: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Page<'a> {
    pub(crate) fn new(file: &str, text: &'a str) -> Self {
        Self { file: file.into(), text, lines: lines(text) }
    }
}

/// A model file, and what is put into it from elsewhere.
pub(crate) struct Pages<'a>(pub Vec<Page<'a>>);

impl Pages<'_> {
    /// The comments that belong to a list item on lines of its own: those right above it, and the one behind it, without
    /// their `#`.
    pub(crate) fn comments(&self, place: Place) -> (Vec<&str>, Option<&str>) {
        fn comment(line: &str) -> Option<&str> {
            line.trim_start().strip_prefix('#').map(str::trim)
        }
        let lines = &self.0[place.page].lines;
        let mut above: Vec<&str> = lines[..place.line - 1].iter().rev().map_while(|l| comment(l)).collect();
        above.reverse();
        let end = (place.column - 1).saturating_add(place.length);
        let behind = lines.get(place.line - 1).and_then(|line| Some(&line[line.char_indices().nth(end)?.0..]));
        // In a list in brackets, a comma or the list's own bracket follows.
        let behind = behind.map(|rest| rest.trim_start_matches([' ', '\t', ',', ']']));
        (above, behind.and_then(comment))
    }

    pub(crate) fn location(&self, place: Place) -> Location {
        let page = &self.0[place.page];
        // A value that goes on in further lines is marked to the end of its first line.
        let line = page.lines.get(place.line - 1).map_or(0, |l| l.trim_end().chars().count());
        let rest = line.saturating_sub(place.column - 1).max(1);
        Location { file: page.file.clone(), line: place.line, column: place.column, length: place.length.min(rest) }
    }

    pub(crate) fn put(&self, diagnostic: &mut Diagnostic, place: Place) {
        diagnostic.excerpt = self.0[place.page].lines.get(place.line - 1).map(|l| (*l).to_owned());
        diagnostic.location = Some(self.location(place));
    }

    pub(crate) fn error(&self, trouble: Trouble) -> SpecError {
        let mut diagnostic = Diagnostic::new(Severity::Error, trouble.kind.to_string());
        match trouble.place {
            Some(place) => self.put(&mut diagnostic, place),
            // Without a place the file is named all the same.
            None => diagnostic.notes.push(format!("in {}", self.0[0].file)),
        }
        diagnostic.notes.extend(trouble.notes);
        diagnostic.hints = trouble.hints;
        if let Some(name) = trouble.block {
            diagnostic.message = format!("{name} {}", diagnostic.message);
        }
        SpecError { kind: *trouble.kind, diagnostic: Box::new(diagnostic) }
    }
}
