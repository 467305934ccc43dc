//! The formats that data sets come in, one file each, and how they are told apart.
//!
//! A file is recognised by its extension, a folder by what lies in it, in this order: a data YAML; `obj.data`; COCO
//! JSON; VOC XML; `classes.txt`. Each gives a [`Source`]; what differs between them is where names and labels stand.
//! Sources: the exports of CVAT, Roboflow, FiftyOne, Label Studio and LabelImg; cocodataset.org; the VOC devkit.

pub mod classes_txt;
pub mod coco;
pub mod darknet;
pub mod data_yaml;
pub mod voc;

use crate::error::DataError;
use crate::source::{Source, Split};
use kinglet_vision::decode;
use std::path::{Path, PathBuf};

/// So many folders that hold nothing but a folder may lie around a data set.
const NESTED: usize = 4;

/// How a data set says where its images are and what they show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A data YAML; labels are YOLO text, unless it names COCO JSON or VOC XML lies beside the images.
    YoloYaml,
    /// `obj.data` and `obj.names`, as Darknet and CVAT's "YOLO" have them; labels are YOLO text.
    Darknet,
    /// `classes.txt`, as Label Studio and LabelImg have it; labels are YOLO text.
    ClassesTxt,
    /// COCO JSON.
    Coco,
    /// Pascal VOC XML.
    Voc,
}

impl Format {
    /// The format in words.
    pub fn describe(self) -> &'static str {
        match self {
            Format::YoloYaml => "data YAML",
            Format::Darknet => "YOLO labels with obj.data",
            Format::ClassesTxt => "YOLO labels with classes.txt",
            Format::Coco => "COCO JSON",
            Format::Voc => "Pascal VOC XML",
        }
    }

    /// What a file's extension says it is.
    pub(crate) fn of_file(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Format::YoloYaml),
            "data" => Some(Format::Darknet),
            "json" => Some(Format::Coco),
            "xml" => Some(Format::Voc),
            _ => None,
        }
    }
}

/// Finds out what `path` is and reads its description.
pub(crate) fn recognise(path: &Path) -> Result<Source, DataError> {
    if path.is_dir() {
        return recognise_folder(path);
    }
    if !path.exists() {
        return Err(DataError::NoSource { path: path.to_path_buf(), what: "does not exist" });
    }
    match Format::of_file(path) {
        Some(Format::YoloYaml) => data_yaml::load(path),
        Some(Format::Darknet) => darknet::load(path),
        Some(Format::Coco) => coco::load(path),
        Some(Format::Voc) if voc::is_of_cvat(path) => Err(DataError::cvat(path)),
        Some(Format::Voc) if voc::is_of_labelme(path) => Err(DataError::labelme(path)),
        _ if path.file_name().is_some_and(|name| name == classes_txt::FILE) => {
            classes_txt::load(&crate::source::folder_of(path), path)
        }
        _ => Err(DataError::NoSource { path: path.to_path_buf(), what: "is a file of another kind" }),
    }
}

/// What a folder holds. Archives often unpack into a folder of their own: an only folder within stands for the one around it.
fn recognise_folder(folder: &Path) -> Result<Source, DataError> {
    let mut inner = folder.to_path_buf();
    for _ in 0..NESTED {
        if let Some(source) = recognise_tree(&inner)? {
            return Ok(source);
        }
        let is_folder = |path: &PathBuf| path.is_dir() && !path.ends_with("__MACOSX");
        let mut folders: Vec<PathBuf> = entries_of(&inner)?.into_iter().filter(is_folder).collect();
        match (folders.pop(), folders.is_empty()) {
            (Some(only), true) => inner = only,
            _ => break,
        }
    }
    Err(DataError::NotRecognised { folder: folder.to_path_buf() })
}

fn recognise_tree(folder: &Path) -> Result<Option<Source>, DataError> {
    if let Some(yaml) = find_yaml(folder)? {
        return data_yaml::load(&yaml).map(Some);
    }
    let data = folder.join(darknet::FILE);
    if data.is_file() {
        return darknet::load(&data).map(Some);
    }
    if let Some(source) = coco::find(folder)? {
        return Ok(Some(source));
    }
    if let Some(source) = voc::find(folder)? {
        return Ok(Some(source));
    }
    classes_txt::find(folder)
}

/// The data YAML of a folder: by its usual name, or the only one there is.
fn find_yaml(folder: &Path) -> Result<Option<PathBuf>, DataError> {
    for name in ["data.yaml", "data.yml", "dataset.yaml", "dataset.yml"] {
        if folder.join(name).is_file() {
            return Ok(Some(folder.join(name)));
        }
    }
    let mut yamls = files_of(folder, |path| Format::of_file(path) == Some(Format::YoloYaml))?;
    match yamls.len() {
        0 | 1 => Ok(yamls.pop()),
        _ => Err(DataError::SeveralYamls { folder: folder.to_path_buf(), yamls }),
    }
}

/// The files of a folder that are wanted, sorted by name; hidden ones are passed over.
pub(crate) fn files_of(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, DataError> {
    let mut files = entries_of(folder)?;
    files.retain(|path| path.is_file() && wanted(path));
    Ok(files)
}

/// Files and folders in a folder, sorted by name; hidden ones are passed over.
pub(crate) fn entries_of(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let read = |error| DataError::io("read", folder, error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            entries.push(path);
        }
    }
    entries.sort();
    Ok(entries)
}

/// Whether a folder holds a file of this extension.
pub(crate) fn holds(folder: &Path, extension: &str) -> Result<bool, DataError> {
    Ok(folder.is_dir() && !files_of(folder, |path| has_extension(path, extension))?.is_empty())
}

/// Whether a path has this extension, in either case.
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(extension))
}

/// The folders in a folder whose names say a split.
pub(crate) fn split_folders(folder: &Path) -> Result<Vec<(Split, PathBuf)>, DataError> {
    let folders = entries_of(folder)?.into_iter().filter(|path| path.is_dir());
    let split_of = |path: &PathBuf| path.file_name().and_then(|name| Split::of_name(&name.to_string_lossy()));
    Ok(folders.filter_map(|path| Some((split_of(&path)?, path))).collect())
}

/// Adds the images of a tree to the splits: as [`find_split_folders`]; without such names all images are for training.
pub(crate) fn add_split_folders(source: &mut Source, root: &Path, image_folders: &[&str]) -> Result<(), DataError> {
    if find_split_folders(source, root, image_folders)? {
        return Ok(());
    }
    let own = image_folders.iter().map(|name| root.join(name)).find(|folder| folder.is_dir());
    let all = own.as_deref().map_or(Path::new("."), |folder| folder.strip_prefix(root).unwrap_or(folder));
    source.unsplit = true;
    source.add(Split::Train, all);
    Ok(())
}

/// Adds the folders of `images` (or of the root) whose names say a split, each with an `images` of its own or not. False
/// where there are none.
pub(crate) fn find_split_folders(source: &mut Source, root: &Path, image_folders: &[&str]) -> Result<bool, DataError> {
    let own = image_folders.iter().map(|name| root.join(name)).find(|folder| folder.is_dir());
    for place in own.iter().map(PathBuf::as_path).chain([root]) {
        let mut found = false;
        for (split, folder) in split_folders(place)? {
            let inner = image_folders.iter().map(|name| folder.join(name)).find(|folder| folder.is_dir());
            let folder = inner.unwrap_or(folder);
            if holds_images(&folder)? {
                source.add(split, folder.strip_prefix(root).unwrap_or(&folder));
                found = true;
            }
        }
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a folder or one within it holds an image.
fn holds_images(folder: &Path) -> Result<bool, DataError> {
    for path in entries_of(folder)? {
        let found = if path.is_dir() { holds_images(&path)? } else { decode::has_image_extension(&path) };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Class names from a file with one a line.
pub(crate) fn names_of_lines(file: &Path) -> Result<Vec<String>, DataError> {
    let text = crate::source::read_text(file)?;
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    if text.trim().is_empty() {
        return Err(DataError::malformed(file, 1, 1, "the file is empty; expected a class name a line"));
    }
    match names.iter().position(String::is_empty) {
        Some(at) => Err(DataError::malformed(
            file,
            at + 1,
            1,
            format!("class {at} has no name; write one, since the lines are counted to number the classes"),
        )),
        None => Ok(names),
    }
}
