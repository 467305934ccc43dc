//! YAML text to a tree of nodes with positions, within limits.
//!
//! Source: YAML 1.2 events of saphyr-parser. Scalars keep their text: what a text means is decided where it is used.
//! Anchors, aliases and tags have no use in a model file and are refused: an alias can make a small text huge.

use crate::error::SpecErrorKind;
use crate::limits;
use crate::value::quoted;
use saphyr_parser::{Event, Marker, Parser, ScanError, Span};
use std::borrow::Cow;

/// Where a node is; characters from 1, as in [`crate::Location`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Which of the texts that make up a model.
    pub page: usize,
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub place: Place,
    pub data: Data<'a>,
}

#[derive(Debug)]
pub(crate) enum Data<'a> {
    Scalar(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// Keys in order; duplicates are refused when the tree is built.
    Map(Vec<(Key, Node<'a>)>),
}

#[derive(Debug)]
pub(crate) struct Key {
    pub name: String,
    pub place: Place,
}

/// What went wrong, where, and advice.
pub(crate) struct Trouble {
    pub kind: Box<SpecErrorKind>,
    pub place: Option<Place>,
    pub notes: Vec<String>,
    pub hints: Vec<String>,
    /// Named in front of the kind's sentence.
    pub block: Option<&'static str>,
}

impl Trouble {
    pub(crate) fn at(place: Place, kind: SpecErrorKind) -> Self {
        Self { kind: Box::new(kind), place: Some(place), notes: Vec::new(), hints: Vec::new(), block: None }
    }

    pub(crate) fn nowhere(kind: SpecErrorKind) -> Self {
        Self { kind: Box::new(kind), place: None, notes: Vec::new(), hints: Vec::new(), block: None }
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

impl Node<'_> {
    /// What kind of value this is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.data {
            Data::Scalar(text) if text.is_empty() => "nothing".into(),
            Data::Scalar(text) => quoted(text),
            Data::List(items) if items.is_empty() => "an empty list".into(),
            Data::List(items) => format!("a list of {}", items.len()),
            Data::Map(_) => "a mapping".into(),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Data::Scalar(text) = &self.data { Some(text) } else { None }
    }

    pub(crate) fn list(&self) -> Option<&[Node<'_>]> {
        if let Data::List(items) = &self.data { Some(items) } else { None }
    }
}

enum Open<'a> {
    List(Marker, Vec<Node<'a>>),
    Map(Marker, Vec<(Key, Node<'a>)>, Option<Key>),
}

fn place(page: usize, start: Marker, end: Marker) -> Place {
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { usize::MAX };
    Place { page, line: start.line().max(1), column: start.col() + 1, length: length.max(1) }
}

/// From a collection's first character to its closing bracket.
fn collection(page: usize, start: Marker, end: Span) -> Place {
    let mut place = place(page, start, end.start);
    // The parser's end takes in the blanks and the comment behind a bracket; an end without bracket is empty.
    if !end.is_empty() && place.length != usize::MAX {
        place.length = end.start.col() + 1 - start.col();
    }
    place
}

/// Parses the one document in `text`, which is that page; nothing for an empty one.
pub(crate) fn parse(text: &str, page: usize) -> Result<Option<Node<'_>>, Trouble> {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut root: Option<Node<'_>> = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| syntax(text, page, &e))?;
        let here = place(page, span.start, span.end);
        let refuse = |message: &str| Err(Trouble::at(here, SpecErrorKind::Syntax { message: message.into() }));
        let done = match event {
            Event::Alias(_) => return refuse("aliases are not allowed in a model file"),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return refuse("YAML anchors (`&name`) are not allowed in a model file");
            }
            Event::Scalar(.., Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return refuse("tags (`!name`) are not allowed in a model file");
            }
            Event::DocumentStart(_) if root.is_some() => return refuse("only one document is allowed"),
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= limits::NESTING => {
                return Err(Trouble::at(
                    here,
                    SpecErrorKind::Limit { what: "nesting of lists".into(), limit: limits::NESTING },
                ));
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(span.start, Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(span.start, Vec::new(), None));
                continue;
            }
            Event::Scalar(value, ..) => Node { place: here, data: Data::Scalar(value) },
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(start, items)) => {
                    Node { place: collection(page, start, span), data: Data::List(items) }
                }
                Some(Open::Map(start, items, _)) => {
                    Node { place: collection(page, start, span), data: Data::Map(items) }
                }
                None => return refuse("a list ends that has not begun"),
            },
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(done),
            Some(Open::List(_, items)) => items.push(done),
            Some(Open::Map(_, items, key @ None)) => {
                let Some(name) = done.text() else { return refuse("a key must be a name") };
                if let Some((first, _)) = items.iter().find(|(k, _)| k.name == name) {
                    let kind = SpecErrorKind::DuplicateKey { key: name.to_owned() };
                    let note = format!("first given in line {}", first.place.line);
                    let hint = match name {
                        "backbone" => "a backbone is either the name of a model or a list of rows: keep one of the two",
                        _ => "remove one of the two",
                    };
                    return Err(Trouble::at(done.place, kind).note(note).hint(hint));
                }
                // The search above is quadratic in the number of keys.
                if items.len() >= limits::LIST {
                    let what = "the number of keys".into();
                    return Err(Trouble::at(done.place, SpecErrorKind::Limit { what, limit: limits::LIST }));
                }
                *key = Some(Key { name: name.to_owned(), place: done.place });
            }
            Some(Open::Map(_, items, key)) => {
                if let Some(key) = key.take() {
                    items.push((key, done));
                }
            }
        }
    }
    Ok(root.filter(|n| n.text() != Some("")))
}

/// The lines of a YAML text as its readers count them: a carriage return alone ends one, too.
pub(crate) fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n')
        .flat_map(|line| {
            let line = line.strip_suffix('\n').unwrap_or(line);
            line.strip_suffix('\r').unwrap_or(line).split('\r')
        })
        .collect()
}

fn syntax(text: &str, page: usize, error: &ScanError) -> Trouble {
    let mark = error.marker();
    let lines = lines(text);
    // An error at the end of the text is shown where the text stops.
    let mut here = Place { page, line: mark.line().max(1), column: mark.col() + 1, length: 1 };
    if (here.line > lines.len() || lines.get(here.line - 1).is_some_and(|l| l.trim().is_empty()))
        && let Some(last) = lines.iter().take(here.line).rposition(|l| !l.trim().is_empty())
    {
        here = Place { page, line: last + 1, column: lines[last].chars().count().max(1), length: 1 };
    }
    let indented = |l: &&str| l.trim_start_matches([' ', '\t']).len() < l.len() && !l.trim().is_empty();
    let leading_tab = |l: &&str| l.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    let near = lines.iter().enumerate().take(here.line).skip(here.line.saturating_sub(3));
    let hint = match near.rev().find(|(_, l)| indented(l) && leading_tab(l)) {
        Some((i, _)) => format!("line {} is indented with a tab; YAML wants spaces", i + 1),
        None => unclosed(text, here.line)
            .unwrap_or_else(|| "look for a missing comma, colon, quote or bracket just before this place".into()),
    };
    Trouble::at(here, SpecErrorKind::Syntax { message: error.info().to_owned() }).hint(hint)
}

/// The quote or bracket before `line` that most likely lacks its partner; a guess for a hint.
///
/// A list that goes on over lines opens in one that has more `[` than `]`. If brackets do not balance over the whole
/// text, the last such line is either where one is missing or where the list that is never closed begins.
fn unclosed(text: &str, line: usize) -> Option<String> {
    let (mut balance, mut last) = (0i64, None);
    for (number, content) in lines(text).into_iter().enumerate() {
        let (mut quote, mut before, start) = (None, ' ', balance);
        for c in content.chars() {
            match (quote, c) {
                (Some(q), _) if c == q => quote = None,
                // Within a word it is an apostrophe.
                (None, '\'' | '"') if !before.is_alphanumeric() => quote = Some(c),
                (None, '#') if before.is_whitespace() => break,
                (None, '[') => balance += 1,
                (None, ']') => balance -= 1,
                _ => {}
            }
            before = c;
        }
        if number < line {
            if let Some(quote) = quote {
                return Some(format!("a {quote} of line {} is never closed", number + 1));
            }
            if balance > start {
                last = Some(number + 1);
            }
        }
    }
    last.filter(|_| balance > 0).map(|line| format!("a `[` of line {line} is never closed"))
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn every_line_end_counts_once() {
        assert_eq!(lines("a\nb\r\nc\rd\r\r\n\ne"), ["a", "b", "c", "d", "", "", "e"]);
        assert_eq!(lines("a\n"), ["a"]);
        assert!(lines("").is_empty());
    }
}
