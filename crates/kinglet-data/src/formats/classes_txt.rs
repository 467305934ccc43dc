//! `classes.txt`, a class name a line, beside YOLO labels: the trees of Label Studio and LabelImg.
//!
//! Label Studio: `classes.txt`, `notes.json`, `images/`, `labels/`. LabelImg: `classes.txt` among images and labels. Folders
//! that are called after a split are that split; without them all images are for training.

use super::{Format, add_split_folders, names_of_lines};
use crate::error::DataError;
use crate::source::Source;
use std::path::Path;

/// The file's name.
pub(crate) const FILE: &str = "classes.txt";

/// The description of a folder that has such a file, beside or in its labels.
pub(crate) fn find(folder: &Path) -> Result<Option<Source>, DataError> {
    let places = [folder.join(FILE), folder.join("labels").join(FILE), folder.join("images").join(FILE)];
    places.iter().find(|file| file.is_file()).map(|file| load(folder, file)).transpose()
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
