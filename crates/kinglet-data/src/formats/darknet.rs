//! `obj.data` and `obj.names`: Darknet's description of a data set, as CVAT's "YOLO" export has it.
//!
//! `key = value` a line: `train`, `valid` and `test` are lists of images, `names` is a file with a class name a line.
//! Paths are those of Darknet's working folder, `data/train.txt`: a first folder that does not exist is left out.
//! Labels are YOLO text, beside the images.

use super::{Format, names_of_lines};
use crate::error::DataError;
use crate::source::{Source, Split, SplitEntry, read_text};
use std::path::Path;

/// The usual name.
pub(crate) const FILE: &str = "obj.data";

/// Reads the description.
pub(crate) fn load(file: &Path) -> Result<Source, DataError> {
    let mut source = Source::empty(file, Format::Darknet);
    let (mut names, mut classes) = (None, None);
    for (index, line) in read_text(file)?.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            let message = format!("expected `key = value`, found `{line}`");
            return Err(DataError::malformed(file, index + 1, 1, message));
        };
        let entry = SplitEntry { value: value.to_owned(), line: index + 1, column: 1 };
        match key {
            "train" => source.splits[Split::Train as usize].push(entry),
            "valid" | "val" | "validation" => source.splits[Split::Val as usize].push(entry),
            "test" => source.splits[Split::Test as usize].push(entry),
            "names" => names = Some(entry),
            "classes" => classes = Some((value.parse::<usize>().ok(), index + 1)),
            _ => {}
        }
    }
    let Some(entry) = names else {
        return Err(DataError::malformed(file, 1, 1, "no `names`; add a line such as `names = obj.names`"));
    };
    source.names = names_of_lines(&source.resolve_entry("names", &entry, &source.roots())?)?;
    if let Some((count, line)) = classes
        && count != Some(source.names.len())
    {
        let message = format!(
            "`classes` does not agree with `{}`, which names {}; correct one of them",
            entry.value,
            source.names.len()
        );
        return Err(DataError::malformed(file, line, 1, message));
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists_are_found_without_the_working_folder() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("obj.names", "cat\nbig dog\n");
        write("train.txt", "");
        write("obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n");
        let source = load(&dir.path().join(FILE)).unwrap();
        assert_eq!(source.names, ["cat", "big dog"]);
        assert_eq!(source.resolve(Split::Train).unwrap(), [dir.path().join("train.txt")]);
        assert!(!source.has(Split::Val));
        let told = |text: &str| {
            write("obj.data", text);
            let error = load(&dir.path().join(FILE)).unwrap_err().to_string();
            error.replace(&dir.path().display().to_string(), "DIR")
        };
        assert_eq!(told("train = x\n"), "DIR/obj.data:1:1: no `names`; add a line such as `names = obj.names`");
        assert_eq!(told("\ntrain\n"), "DIR/obj.data:2:1: expected `key = value`, found `train`");
        assert_eq!(
            told("names = obj.names\nclasses = 3"),
            "DIR/obj.data:2:1: `classes` does not agree with `obj.names`, which names 2; correct one of them"
        );
        write("obj.names", "cat\n\ndog");
        assert!(told("names = obj.names").starts_with("DIR/obj.names:2:1: class 1 has no name"));
    }
}
