//! `classes.txt`, a class name a line, beside YOLO labels: the trees of Label Studio and LabelImg.
//!
//! Label Studio: `classes.txt`, `notes.json`, `images/`, `labels/`. LabelImg: `classes.txt` among images and labels, one in
//! each folder that was labelled. Folders that are called after a split are that split; without them all images are for
//! training.

use super::{Format, add_split_folders, names_of_lines, split_folders};
use crate::error::DataError;
use crate::source::Source;
use std::path::{Path, PathBuf};

/// The file's name.
pub(crate) const FILE: &str = "classes.txt";

/// The description of a folder that has such a file, beside or in its labels.
pub(crate) fn find(folder: &Path) -> Result<Option<Source>, DataError> {
    let inner = ["labels", "images"].map(|name| folder.join(name));
    let file_in = |place: &PathBuf| Some(place.join(FILE)).filter(|file| file.is_file());
    if let Some(file) = std::iter::once(&folder.to_path_buf()).chain(&inner).find_map(file_in) {
        return load(folder, &file).map(Some);
    }
    let mut files = Vec::new();
    for place in std::iter::once(folder).chain(inner.iter().map(PathBuf::as_path)).filter(|place| place.is_dir()) {
        for (_, split) in split_folders(place)? {
            files.extend([&split, &split.join("labels")].into_iter().find_map(file_in));
        }
    }
    let Some(file) = longest(&files)? else { return Ok(None) };
    load(folder, &file).map(Some)
}

/// The file with the most names, where the others begin as it does. LabelImg numbers classes as they first appear in a folder,
/// so that the same number may be another class in the next one.
fn longest(files: &[PathBuf]) -> Result<Option<PathBuf>, DataError> {
    let mut all: Vec<(Vec<String>, &PathBuf)> = Vec::new();
    for file in files {
        all.push((names_of_lines(file)?, file));
    }
    let Some((most, longest)) = all.iter().rev().max_by_key(|(names, _)| names.len()) else { return Ok(None) };
    for (names, file) in &all {
        if let Some(at) = names.iter().zip(most).position(|(name, other)| name != other) {
            let message = format!(
                "class {at} is `{}` here and `{}` in `{}`; write each folder as VOC, where classes have no numbers, and use them \
                 together: kinglet data convert FOLDER/train --to voc --output NEW/train",
                names[at],
                most[at],
                longest.display()
            );
            return Err(DataError::malformed(file, at + 1, 1, message));
        }
    }
    Ok(Some(longest.to_path_buf()))
}

/// Reads the names and finds the images of the tree at `root`.
pub(crate) fn load(root: &Path, file: &Path) -> Result<Source, DataError> {
    let mut source = Source::empty(root, Format::ClassesTxt);
    source.names = names_of_lines(file)?;
    add_split_folders(&mut source, root, &["images"])?;
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Split;

    #[test]
    fn trees_with_and_without_splits_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("classes.txt", "\u{feff}cat\r\ndog\r\n");
        write("images/a.jpg", "");
        let source = find(dir.path()).unwrap().unwrap();
        assert_eq!(source.names, ["cat", "dog"]);
        assert_eq!(source.resolve(Split::Train).unwrap(), [dir.path().join("images")]);
        assert!(!source.has(Split::Val), "nothing to validate on while training");
        assert_eq!(source.resolve(Split::Val).unwrap(), [dir.path().join("images")], "but all images where asked for");
        write("images/train/a.jpg", "");
        write("images/valid/b.jpg", "");
        write("images/test/notes.md", "no image here");
        let source = find(dir.path()).unwrap().unwrap();
        assert_eq!(source.resolve(Split::Val).unwrap(), [dir.path().join("images/valid")]);
        assert!(!source.has(Split::Test));
    }
}
