//! `data.yaml`: where the images of each split are and what the classes are called.
//!
//! Keys: `path`, `train`, `val`, `test` (a folder, a `.txt` list, COCO JSON, or a sequence of those), `names` (a sequence or
//! a map from class number), legacy `nc`. `download` is noted and never run; unknown keys are left alone. The trees of
//! Roboflow, FiftyOne and CVAT ("Ultralytics YOLO") are data YAMLs.

use super::{Format, coco, find_split_folders};
use crate::error::DataError;
use crate::source::{Source, Split, SplitEntry, folder_of, read_text};
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Most classes, as in model files.
const MOST_CLASSES: usize = 16_384;
/// Longest `data.yaml`.
const MOST_BYTES: usize = 1 << 20;

struct Reader<'a> {
    file: &'a Path,
    source: &'a str,
    /// The byte at which each character begins, since nodes know their places in characters.
    starts: Vec<usize>,
}

type Node<'i> = MarkedYaml<'i>;

impl Reader<'_> {
    fn error(&self, node: Option<&Node<'_>>, message: String) -> DataError {
        let (line, column) = node.map_or((1, 1), |n| (n.span.start.line(), n.span.start.col() + 1));
        DataError::Malformed { file: self.file.to_path_buf(), line, column, message }
    }

    /// A scalar as the user wrote it: `1`, `yes` and `1.0` are good class names.
    fn text(&self, node: &Node<'_>) -> Option<String> {
        match &node.data {
            YamlData::Value(Scalar::String(s)) => Some(s.to_string()),
            YamlData::Value(Scalar::Null) => None,
            YamlData::Value(_) => {
                let (start, end) = (node.span.start.index(), node.span.end.index());
                let byte = |at: usize| self.starts.get(at).copied().unwrap_or(self.source.len());
                self.source.get(byte(start)..byte(end)).map(|raw| raw.trim().to_string())
            }
            YamlData::Tagged(_, inner) => self.text(inner),
            _ => None,
        }
    }

    fn integer(node: &Node<'_>) -> Option<i64> {
        match &node.data {
            YamlData::Value(Scalar::Integer(i)) => Some(*i),
            YamlData::Value(Scalar::String(s)) => s.trim().parse().ok(),
            _ => None,
        }
    }

    fn names(&self, node: &Node<'_>) -> Result<Vec<String>, DataError> {
        let count = match &node.data {
            YamlData::Sequence(items) => items.len(),
            YamlData::Mapping(map) => map.len(),
            _ => 1,
        };
        if count > MOST_CLASSES {
            let message = format!("`names` has {count} classes, more than the {MOST_CLASSES} that a detector may have");
            return Err(self.error(Some(node), message));
        }
        let names: Vec<String> = match &node.data {
            YamlData::Sequence(items) => items
                .iter()
                .map(|n| self.text(n).ok_or_else(|| self.error(Some(n), "expected a class name".into())))
                .collect::<Result<_, _>>()?,
            YamlData::Mapping(map) => {
                let mut by_class = BTreeMap::new();
                for (key, value) in map {
                    let class = Self::integer(key).and_then(|i| usize::try_from(i).ok()).ok_or_else(|| {
                        let found = self.text(key).unwrap_or_default();
                        self.error(Some(key), format!("expected a class number from 0 in `names`, found `{found}`"))
                    })?;
                    let name = self
                        .text(value)
                        .ok_or_else(|| self.error(Some(value), format!("expected a name for class {class}")))?;
                    if by_class.insert(class, (name, key)).is_some() {
                        return Err(self.error(Some(key), format!("class {class} is named already; number each once")));
                    }
                }
                for (expected, (class, (_, key))) in by_class.iter().enumerate() {
                    if expected != *class {
                        let message = format!("class {expected} has no name: `names` jumps to {class}; number from 0");
                        return Err(self.error(Some(key), message));
                    }
                }
                by_class.into_values().map(|(name, _)| name).collect()
            }
            YamlData::Value(Scalar::String(s)) => {
                return Err(
                    self.error(Some(node), format!("expected a list of names, found `{s}`; write `names: [{s}]`"))
                );
            }
            _ => return Err(self.error(Some(node), "expected `names: [first, second]` or a map `0: first`".into())),
        };
        if names.is_empty() {
            return Err(self.error(Some(node), "`names` is empty; a detector needs at least one class".into()));
        }
        Ok(names)
    }

    fn entry(&self, key: &str, node: &Node<'_>) -> Result<Option<SplitEntry>, DataError> {
        if matches!(node.data, YamlData::Value(Scalar::Null)) {
            return Ok(None);
        }
        let value = self.text(node).ok_or_else(|| {
            self.error(Some(node), format!("expected a folder, a .txt list, or a sequence of those for `{key}`"))
        })?;
        if value.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(SplitEntry { value, line: node.span.start.line(), column: node.span.start.col() + 1 }))
    }

    fn entries(&self, key: &str, node: &Node<'_>) -> Result<Vec<SplitEntry>, DataError> {
        let entries: Result<Vec<_>, _> = match &node.data {
            YamlData::Sequence(items) => items.iter().map(|item| self.entry(key, item)).collect(),
            _ => self.entry(key, node).map(|entry| vec![entry]),
        };
        Ok(entries?.into_iter().flatten().collect())
    }
}

/// Reads and checks `file`.
///
/// # Errors
/// Empty or malformed file; no `names` (nor legacy `nc`, nor COCO JSON to take them from); `nc` and `names` that disagree.
pub(crate) fn load(file: &Path) -> Result<Source, DataError> {
    let mut source = parse(&read_text(file)?, file)?;
    // Roboflow's library writes the names only, beside the folders of the splits.
    if source.path.is_none()
        && source.splits.iter().all(Vec::is_empty)
        && find_split_folders(&mut source, &folder_of(file), &["images"])?
    {
        let found = Split::ALL.into_iter().flat_map(|split| source.entries(split)).map(|entry| entry.value.as_str());
        let found = found.collect::<Vec<_>>().join("`, `");
        source.notes.push(format!("{}: no split is named; `{found}` are taken", file.display()));
    }
    Ok(source)
}

/// Reads the text of `file`, whose folder relative paths start from.
///
/// # Errors
/// A place in the file, and what is wrong there.
pub fn parse(text: &str, file: &Path) -> Result<Source, DataError> {
    if text.len() > MOST_BYTES {
        let message = format!("the file has {} bytes, more than the {MOST_BYTES} of any data file", text.len());
        return Err(DataError::malformed(file, 1, 1, message));
    }
    let reader = Reader { file, source: text, starts: text.char_indices().map(|(at, _)| at).collect() };
    let documents = MarkedYaml::load_from_str(text).map_err(|e| {
        let (file, line, column) = (file.to_path_buf(), e.marker().line(), e.marker().col() + 1);
        // The YAML reader points at the scalar before the tab.
        let indent = |line: &str| line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t');
        match text.lines().enumerate().find_map(|(i, text)| Some((i, indent(text)?))) {
            Some((i, at)) => {
                let message = "the line is indented with a tab; YAML wants spaces".to_owned();
                DataError::Malformed { file, line: i + 1, column: at + 1, message }
            }
            None => DataError::Malformed { file, line, column, message: format!("not valid YAML: {}", e.info()) },
        }
    })?;
    const SHAPE: &str = "expected keys `train`, `val` and `names`";
    let root = match documents.first() {
        None => return Err(reader.error(None, format!("the file is empty; {SHAPE}"))),
        Some(node) if matches!(node.data, YamlData::Value(Scalar::Null)) => {
            return Err(reader.error(None, format!("the file is empty; {SHAPE}")));
        }
        Some(node) => node,
    };
    let YamlData::Mapping(map) = &root.data else {
        return Err(reader.error(Some(root), format!("{SHAPE}, found no `key: value` lines")));
    };
    let (mut names, mut nc) = (None, None);
    let mut source = Source::empty(file, Format::YoloYaml);
    for (key, value) in map {
        match reader.text(key).as_deref() {
            Some("path") => source.path = reader.text(value).filter(|p| !p.trim().is_empty()),
            Some("train") => source.splits[0] = reader.entries("train", value)?,
            Some("val" | "valid" | "validation") => source.splits[1] = reader.entries("val", value)?,
            Some("test") => source.splits[2] = reader.entries("test", value)?,
            Some("names") => names = Some((reader.names(value)?, value)),
            Some("nc") => {
                let count = Reader::integer(value).and_then(|i| usize::try_from(i).ok());
                let count = count.filter(|n| (1..=MOST_CLASSES).contains(n)).ok_or_else(|| {
                    reader.error(Some(value), format!("expected a number of classes from 1 to {MOST_CLASSES}"))
                })?;
                nc = Some((count, value));
            }
            Some("download") if !matches!(value.data, YamlData::Value(Scalar::Null)) => {
                source.notes.push(format!("{}: `download` is ignored; fetch the data yourself", file.display()));
            }
            _ => {}
        }
    }
    let names = match (names, nc) {
        (Some((names, _)), Some((nc, node))) if names.len() != nc => {
            let message = format!("`nc` is {nc} but `names` has {}; correct one, or remove `nc`", names.len());
            return Err(reader.error(Some(node), message));
        }
        (Some((names, _)), _) => names,
        (None, Some((nc, _))) => {
            source.notes.push(format!("{}: no `names`; classes are called class0 to class{}", file.display(), nc - 1));
            (0..nc).map(|i| format!("class{i}")).collect()
        }
        (None, None) => match coco_names(&source)? {
            Some(names) => names,
            None => return Err(reader.error(None, "no `names`; add for example `names: [cat, dog]`".into())),
        },
    };
    let mut known = HashSet::new();
    let repeated = names.iter().enumerate().find(|(_, name)| !known.insert(*name));
    if let Some((class, name)) = repeated {
        source.notes.push(format!("{}: class {class} is called `{name}`, as an earlier one is", file.display()));
    }
    source.names = names;
    Ok(source)
}

/// The class names of the first COCO file that a split names, if one does.
fn coco_names(source: &Source) -> Result<Option<Vec<String>>, DataError> {
    for split in Split::ALL {
        let is_json = |entry: &SplitEntry| entry.value.trim().to_lowercase().ends_with(".json");
        if source.entries(split).iter().any(is_json) {
            let place = source.resolve(split)?.into_iter().find(|place| Format::of_file(place) == Some(Format::Coco));
            return place.map(|place| coco::names(&place)).transpose();
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Source, DataError> {
        super::parse(text, Path::new("d/data.yaml"))
    }

    #[test]
    fn names_may_be_a_list_or_a_map_quoted_or_not() {
        for text in ["names: [a b, 'c', \"1\"]", "names:\n  - a b\n  - c\n  - 1", "names:\n  1: c\n  0: a b\n  '2': 1"]
        {
            assert_eq!(parse(text).unwrap().names, ["a b", "c", "1"], "{text}");
        }
        let text = "names: [größe, true, no, 1.50, ü]";
        assert_eq!(parse(text).unwrap().names, ["größe", "true", "no", "1.50", "ü"], "places count characters");
    }

    #[test]
    fn errors_point_at_line_and_column() {
        let cases = [
            ("", "d/data.yaml:1:1: the file is empty; expected keys `train`, `val` and `names`"),
            ("# only a comment\n", "d/data.yaml:1:1: the file is empty; expected keys `train`, `val` and `names`"),
            ("train: x\nval: y\n", "d/data.yaml:1:1: no `names`; add for example `names: [cat, dog]`"),
            ("nc: 3\nnames: [a, b]\n", "d/data.yaml:1:5: `nc` is 3 but `names` has 2; correct one, or remove `nc`"),
            ("names: cat\n", "d/data.yaml:1:8: expected a list of names, found `cat`; write `names: [cat]`"),
            ("names:\n  0: a\n  2: b\n", "d/data.yaml:3:3: class 1 has no name: `names` jumps to 2; number from 0"),
            ("names:\n  x: a\n", "d/data.yaml:2:3: expected a class number from 0 in `names`, found `x`"),
            ("names: {0: cat, \"0\": dog}\n", "d/data.yaml:1:17: class 0 is named already; number each once"),
            ("names: []\n", "d/data.yaml:1:8: `names` is empty; a detector needs at least one class"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        let broken = parse("names: [a, b\ntrain: x: y\n").unwrap_err().to_string();
        assert!(broken.starts_with("d/data.yaml:2:") && broken.contains("not valid YAML"), "{broken}");
    }

    #[test]
    fn legacy_and_unknown_keys_are_taken_without_fuss() {
        let yaml = parse("nc: 2\nroboflow:\n  url: x\ndownload: |\n  import os\ntrain: a").unwrap();
        assert_eq!(yaml.names, ["class0", "class1"]);
        assert_eq!(yaml.notes.len(), 2);
        assert!(yaml.has(Split::Train) && !yaml.has(Split::Val));
    }
}
