//! `data.yaml`: where the images of each split are and what the classes are called.
//!
//! Keys: `path`, `train`, `val`, `test` (a folder, a `.txt` list, or a sequence of those), `names` (a sequence or a map
//! from class number), legacy `nc`. `download` is noted and never run; unknown keys are left alone.
//! Rule for paths: relative to the YAML's own folder first, then to the current folder, then to the parents of both; a
//! `../x` that does not exist is tried as `x`; `\` counts as `/`. Nothing is guessed silently: errors list every path.

use crate::error::DataError;
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// For training.
    Train,
    /// For validation after each epoch.
    Val,
    /// For a last measurement.
    Test,
}

impl Split {
    /// The key in the data YAML.
    pub fn key(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}

/// One entry of a split as written, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitEntry {
    /// Folder, list or image, as written.
    pub value: String,
    /// Line from 1.
    pub line: usize,
    /// Column from 1.
    pub column: usize,
}

/// A parsed data YAML.
#[derive(Debug, Clone)]
pub struct DataYaml {
    /// The file itself.
    pub file: PathBuf,
    /// `path:` as written, if any.
    pub path: Option<String>,
    /// Class names; their number is nc.
    pub names: Vec<String>,
    /// Things worth telling the user.
    pub notes: Vec<String>,
    splits: [Vec<SplitEntry>; 3],
    /// Folder that stands for the current one: fixed here so that tests need not change it.
    working_dir: PathBuf,
}

/// Text of a data file with its byte order mark, if any, removed.
pub(crate) fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = std::fs::read(path).map_err(|e| DataError::io("read", path, e))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    String::from_utf8(bytes.to_vec()).map_err(|e| {
        let message = "the file is not UTF-8; save it as UTF-8";
        DataError::io("read", path, std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{message} ({e})")))
    })
}

/// A path as written by the user: `\` counts as a separator everywhere.
pub(crate) fn user_path(text: &str) -> PathBuf {
    PathBuf::from(text.trim().replace('\\', "/"))
}

/// `base` joined with `tail`, with `.` and inner `..` resolved by name, for readable messages.
pub(crate) fn join(base: &Path, tail: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in base.join(tail).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// Most classes, as in model files.
const MOST_CLASSES: usize = 16_384;
/// Longest `data.yaml`.
const MOST_BYTES: usize = 1 << 20;

struct Reader<'a> {
    file: &'a Path,
    source: &'a str,
}

type Node<'i> = MarkedYaml<'i>;

impl Reader<'_> {
    fn error(&self, node: Option<&Node<'_>>, message: String) -> DataError {
        let (line, column) = node.map_or((1, 1), |n| (n.span.start.line(), n.span.start.col() + 1));
        DataError::Yaml { file: self.file.to_path_buf(), line, column, message }
    }

    /// A scalar as the user wrote it: `1`, `yes` and `1.0` are good class names.
    fn text(&self, node: &Node<'_>) -> Option<String> {
        match &node.data {
            YamlData::Value(Scalar::String(s)) => Some(s.to_string()),
            YamlData::Value(Scalar::Null) => None,
            YamlData::Value(_) => {
                let (start, end) = (node.span.start.index(), node.span.end.index());
                let raw: String = self.source.chars().skip(start).take(end.saturating_sub(start)).collect();
                Some(raw.trim().to_string())
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
                    by_class.insert(class, (name, key));
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
        if names.len() > MOST_CLASSES {
            let message =
                format!("`names` has {} classes, more than the {MOST_CLASSES} that a detector may have", names.len());
            return Err(self.error(Some(node), message));
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

impl DataYaml {
    /// Reads and checks `file`.
    ///
    /// # Errors
    /// Missing, empty or malformed file; no `names` (nor legacy `nc`); `nc` and `names` that disagree.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, DataError> {
        let file = file.as_ref();
        let what = if file.is_dir() { "is a folder, not a file" } else { "does not exist" };
        if file.is_dir() || !file.exists() {
            return Err(DataError::NoYaml { file: file.to_path_buf(), what });
        }
        Self::parse(&read_text(file)?, file)
    }

    /// Parses the text of `file`.
    ///
    /// # Errors
    /// As [`DataYaml::load`].
    pub fn parse(source: &str, file: &Path) -> Result<Self, DataError> {
        let reader = Reader { file, source };
        if source.len() > MOST_BYTES {
            let message = format!("the file has {} bytes, more than the {MOST_BYTES} of any data file", source.len());
            return Err(reader.error(None, message));
        }
        let documents = MarkedYaml::load_from_str(source).map_err(|e| {
            let (file, line, column) = (file.to_path_buf(), e.marker().line(), e.marker().col() + 1);
            // The YAML reader points at the scalar before the tab.
            let indent = |line: &str| line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t');
            match source.lines().enumerate().find_map(|(i, text)| Some((i, indent(text)?))) {
                Some((i, at)) => {
                    let message = "the line is indented with a tab; YAML wants spaces".to_owned();
                    DataError::Yaml { file, line: i + 1, column: at + 1, message }
                }
                None => DataError::Yaml { file, line, column, message: format!("not valid YAML: {}", e.info()) },
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
        let (mut path, mut names, mut nc) = (None, None, None);
        let mut splits = [Vec::new(), Vec::new(), Vec::new()];
        let mut notes = Vec::new();
        for (key, value) in map {
            match reader.text(key).as_deref() {
                Some("path") => path = reader.text(value).filter(|p| !p.trim().is_empty()),
                Some("train") => splits[0] = reader.entries("train", value)?,
                Some("val" | "valid" | "validation") => splits[1] = reader.entries("val", value)?,
                Some("test") => splits[2] = reader.entries("test", value)?,
                Some("names") => names = Some((reader.names(value)?, value)),
                Some("nc") => {
                    let count = Reader::integer(value).and_then(|i| usize::try_from(i).ok());
                    let count = count.filter(|n| (1..=MOST_CLASSES).contains(n)).ok_or_else(|| {
                        reader.error(Some(value), format!("expected a number of classes from 1 to {MOST_CLASSES}"))
                    })?;
                    nc = Some((count, value));
                }
                Some("download") if !matches!(value.data, YamlData::Value(Scalar::Null)) => {
                    notes.push(format!("{}: `download` is ignored; fetch the data yourself", file.display()));
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
                notes.push(format!("{}: no `names`; classes are called class0 to class{}", file.display(), nc - 1));
                (0..nc).map(|i| format!("class{i}")).collect()
            }
            (None, None) => {
                return Err(reader.error(None, "no `names`; add for example `names: [cat, dog]`".into()));
            }
        };
        let repeated = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
        if let Some((class, name)) = repeated {
            notes.push(format!("{}: class {class} is called `{name}`, as an earlier one is", file.display()));
        }
        let working_dir = PathBuf::from(".");
        Ok(DataYaml { file: file.to_path_buf(), path, names, notes, splits, working_dir })
    }

    /// The entries of a split as written; empty where the YAML has none.
    pub fn entries(&self, split: Split) -> &[SplitEntry] {
        &self.splits[split as usize]
    }

    /// Whether the YAML names this split.
    pub fn has(&self, split: Split) -> bool {
        !self.entries(split).is_empty()
    }

    /// The folder of the YAML file.
    pub fn folder(&self) -> PathBuf {
        match self.file.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
            _ => PathBuf::from("."),
        }
    }

    /// Folders that entries may be relative to, most likely first.
    pub fn roots(&self) -> Vec<PathBuf> {
        let tail = user_path(self.path.as_deref().unwrap_or("."));
        let folder = self.folder();
        let mut roots: Vec<PathBuf> = Vec::new();
        let mut add = |root: PathBuf| {
            if !roots.contains(&root) {
                roots.push(root);
            }
        };
        if tail.is_absolute() {
            add(join(&tail, Path::new("")));
        } else {
            // The fourth is where a YAML in `repo/data/` means `../datasets/x` as seen from `repo/`.
            for base in [
                folder.clone(),
                self.working_dir.clone(),
                join(&self.working_dir, Path::new("..")),
                join(&folder, Path::new("..")),
            ] {
                add(join(&base, &tail));
            }
        }
        // A `path` from another machine: the images often lie beside the YAML all the same.
        add(join(&folder, Path::new("")));
        roots
    }

    /// The files and folders of a split that exist, in the order written.
    ///
    /// # Errors
    /// No such split, or an entry that no rule can find: the error lists every path tried.
    pub fn resolve(&self, split: Split) -> Result<Vec<PathBuf>, DataError> {
        if !self.has(split) {
            return Err(DataError::NoSuchSplit { file: self.file.clone(), split: split.key() });
        }
        let roots = self.roots();
        self.entries(split).iter().map(|entry| self.resolve_entry(split, entry, &roots)).collect()
    }

    fn resolve_entry(&self, split: Split, entry: &SplitEntry, roots: &[PathBuf]) -> Result<PathBuf, DataError> {
        let written = user_path(&entry.value);
        let mut tried: Vec<PathBuf> = Vec::new();
        let mut exists = |candidate: PathBuf| {
            let found = candidate.exists();
            if !tried.contains(&candidate) {
                tried.push(candidate.clone());
            }
            found.then_some(candidate)
        };
        let tails = match written.strip_prefix("..") {
            Ok(rest) => vec![written.clone(), rest.to_path_buf()],
            Err(_) => vec![written.clone()],
        };
        for root in roots {
            for tail in &tails {
                if let Some(found) = exists(join(root, tail)) {
                    return Ok(found);
                }
            }
        }
        Err(DataError::SplitNotFound {
            file: self.file.clone(),
            line: entry.line,
            column: entry.column,
            key: split.key().to_string(),
            value: entry.value.clone(),
            tried,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parse(text: &str) -> Result<DataYaml, DataError> {
        DataYaml::parse(text, Path::new("d/data.yaml"))
    }

    #[test]
    fn names_may_be_a_list_or_a_map_quoted_or_not() {
        for text in ["names: [a b, 'c', \"1\"]", "names:\n  - a b\n  - c\n  - 1", "names:\n  1: c\n  0: a b\n  '2': 1"]
        {
            assert_eq!(parse(text).unwrap().names, ["a b", "c", "1"], "{text}");
        }
        assert_eq!(parse("names: [true, no, 1.50, größe]").unwrap().names, ["true", "no", "1.50", "größe"]);
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

    #[test]
    fn splits_resolve_from_the_yamls_folder_with_the_dotdot_retry_and_backslashes() {
        let dir = tempfile::tempdir().unwrap();
        let set = dir.path().join("set");
        for sub in ["images/train", "images/val", "extra dir"] {
            fs::create_dir_all(set.join(sub)).unwrap();
        }
        let text = "train: [../images/train, extra dir]\nval: images\\val\nnames: [a]\ntest: images/none\n";
        fs::write(set.join("data.yaml"), text).unwrap();
        let yaml = DataYaml::load(set.join("data.yaml")).unwrap();
        assert_eq!(yaml.resolve(Split::Train).unwrap(), [set.join("images/train"), set.join("extra dir")]);
        assert_eq!(yaml.resolve(Split::Val).unwrap(), [set.join("images/val")]);
        let message = yaml.resolve(Split::Test).unwrap_err().to_string();
        assert!(message.contains("data.yaml:4:7: `test: images/none` not found; tried:"), "{message}");
        assert!(message.contains(&set.join("images/none").display().to_string()), "{message}");
    }

    #[test]
    fn path_is_relative_to_the_yaml_then_its_parent_then_falls_back_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |sub: &str| dir.path().join(sub);
        for sub in ["repo/data/images/val", "datasets/coco/images/train"] {
            fs::create_dir_all(at(sub)).unwrap();
        }
        let text = "path: ../datasets/coco\ntrain: images/train\nval: images/val\nnames: [a]";
        fs::write(at("repo/data/coco.yaml"), text).unwrap();
        let yaml = DataYaml::load(at("repo/data/coco.yaml")).unwrap();
        assert_eq!(yaml.resolve(Split::Train).unwrap(), [at("datasets/coco/images/train")]);
        assert_eq!(yaml.resolve(Split::Val).unwrap(), [at("repo/data/images/val")]);
    }

    #[test]
    fn missing_file_and_split_are_named() {
        let message = DataYaml::load("no/such.yaml").unwrap_err().to_string();
        assert!(message.starts_with("the data YAML `no/such.yaml` does not exist"), "{message}");
        let message = parse("names: [a]").unwrap().resolve(Split::Val).unwrap_err().to_string();
        assert_eq!(message, "`d/data.yaml` has no `val:`; add a line such as `val: images/val`");
    }
}
