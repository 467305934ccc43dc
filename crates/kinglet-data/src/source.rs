//! Where a data set's images are and what its classes are called, whatever describes it.
//!
//! Every format is read into a [`Source`]: a data YAML, COCO JSON, a VOC tree, and the trees that annotation programs
//! write (see `formats`). Places are written in it as the user wrote them and looked for when a split is scanned.
//! Rule for paths: relative to the file's own folder first, then to the current folder, then to the parents of both; a
//! `../x` that does not exist is tried as `x`; `\` counts as `/`. Nothing is guessed silently: errors list every path.

use crate::error::DataError;
use crate::formats::{self, Format};
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
    /// All three.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// The split that a name of a file or folder means, if any: `train2017`, `instances_val`, `valid`, `Test`.
    pub fn of_name(name: &str) -> Option<Split> {
        let word = |part: &str| match part.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "train" | "training" => Some(Split::Train),
            "val" | "valid" | "validation" => Some(Split::Val),
            "test" | "testing" => Some(Split::Test),
            _ => None,
        };
        name.to_lowercase().split(|c: char| !c.is_ascii_alphanumeric()).find_map(word)
    }

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

/// A data set as described by a file or a tree of folders, before its images are looked at.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file that describes it, or the folder where no single one does.
    pub file: PathBuf,
    /// How its labels are stored.
    pub format: Format,
    /// `path:` of a data YAML as written, if any.
    pub path: Option<String>,
    /// Class names; their number is nc.
    pub names: Vec<String>,
    /// Things worth telling the user.
    pub notes: Vec<String>,
    pub(crate) splits: [Vec<SplitEntry>; 3],
    /// Nothing says a split: all images are for training, or for whatever they are asked for.
    pub(crate) unsplit: bool,
    /// Folder that stands for the current one: fixed here so that tests need not change it.
    pub(crate) working_dir: PathBuf,
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

/// A path without its first folder: that of another machine's working folder.
pub(crate) fn without_first(path: &Path) -> PathBuf {
    let rest: PathBuf = path.components().skip(1).collect();
    if rest.as_os_str().is_empty() { path.to_path_buf() } else { rest }
}

/// The folder of a file; `.` for a bare name.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

impl Source {
    /// Recognises what `path` names and reads its description: class names and where the images are.
    ///
    /// # Errors
    /// Nothing there, nothing that is recognised, or a description that is malformed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        formats::recognise(path.as_ref())
    }

    /// A source of this format without names and places.
    pub(crate) fn empty(file: &Path, format: Format) -> Self {
        Source {
            file: file.to_path_buf(),
            format,
            path: None,
            names: Vec::new(),
            notes: Vec::new(),
            splits: [Vec::new(), Vec::new(), Vec::new()],
            unsplit: false,
            working_dir: PathBuf::from("."),
        }
    }

    /// Adds a file or folder to a split; for trees, whose places are found and not written.
    pub(crate) fn add(&mut self, split: Split, place: &Path) {
        let value = place.to_string_lossy().into_owned();
        self.splits[split as usize].push(SplitEntry { value, line: 1, column: 1 });
    }

    /// What was recognised, in a line: `COCO JSON, 80 classes; train: annotations/instances_train.json`.
    pub fn describe(&self) -> String {
        let classes =
            if self.names.len() == 1 { "1 class".to_owned() } else { format!("{} classes", self.names.len()) };
        let mut text = format!("`{}`: {}, {classes}", self.file.display(), self.format.describe());
        for split in Split::ALL.into_iter().filter(|split| self.has(*split)) {
            let places: Vec<&str> = self.entries(split).iter().map(|entry| entry.value.as_str()).collect();
            let whose = if self.unsplit { "all images" } else { split.key() };
            text.push_str(&format!("; {whose}: {}", places.join(", ")));
        }
        text
    }

    /// The entries of a split as written; empty where there are none.
    pub fn entries(&self, split: Split) -> &[SplitEntry] {
        &self.splits[split as usize]
    }

    /// Whether this split is named.
    pub fn has(&self, split: Split) -> bool {
        !self.entries(split).is_empty()
    }

    /// The folder of the describing file, or the tree's own.
    pub fn folder(&self) -> PathBuf {
        if self.file.is_dir() { self.file.clone() } else { folder_of(&self.file) }
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
        let split = if self.unsplit { Split::Train } else { split };
        if !self.has(split) {
            let yaml = self.format == Format::YoloYaml;
            return Err(DataError::NoSuchSplit { file: self.file.clone(), split: split.key(), yaml });
        }
        let roots = self.roots();
        self.entries(split).iter().map(|entry| self.resolve_entry(split.key(), entry, &roots)).collect()
    }

    pub(crate) fn resolve_entry(&self, key: &str, entry: &SplitEntry, roots: &[PathBuf]) -> Result<PathBuf, DataError> {
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
            Err(_) if self.format == Format::Darknet => vec![written.clone(), without_first(&written)],
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
            key: key.to_owned(),
            value: entry.value.clone(),
            tried,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn splits_resolve_from_the_yamls_folder_with_the_dotdot_retry_and_backslashes() {
        let dir = tempfile::tempdir().unwrap();
        let set = dir.path().join("set");
        for sub in ["images/train", "images/val", "extra dir"] {
            fs::create_dir_all(set.join(sub)).unwrap();
        }
        let text = "train: [../images/train, extra dir]\nval: images\\val\nnames: [a]\ntest: images/none\n";
        fs::write(set.join("data.yaml"), text).unwrap();
        let yaml = Source::open(set.join("data.yaml")).unwrap();
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
        let yaml = Source::open(at("repo/data/coco.yaml")).unwrap();
        assert_eq!(yaml.resolve(Split::Train).unwrap(), [at("datasets/coco/images/train")]);
        assert_eq!(yaml.resolve(Split::Val).unwrap(), [at("repo/data/images/val")]);
    }

    #[test]
    fn missing_file_and_split_are_named() {
        let message = Source::open("no/such.yaml").unwrap_err().to_string();
        assert!(message.starts_with("the data set `no/such.yaml` does not exist"), "{message}");
        let source = formats::data_yaml::parse("names: [a]", Path::new("d/data.yaml")).unwrap();
        let message = source.resolve(Split::Val).unwrap_err().to_string();
        assert_eq!(message, "`d/data.yaml` has no `val`; add a line such as `val: images/val`");
    }
}
