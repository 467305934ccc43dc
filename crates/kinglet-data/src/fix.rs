//! Corrects label files in place, and keeps what it changes.
//!
//! `clip` writes boxes that reach out as clipped to the image; `drop-box` takes wrong lines out; `quarantine` moves images with
//! wrong labels, and their label files, away. Lines without a finding stay as they are, to the byte. Originals go to
//! a new folder `.kinglet-originals-N` in the data set, which scans pass over; of several that have one place there, the
//! later ones go to a numbered folder in it. Each file is replaced whole.

use crate::error::DataError;
use crate::finding::{Finding, FindingKind, Severity};
use crate::formats::has_extension;
use crate::labels::{Label, parse_text, to_line};
use crate::scan::Dataset;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

/// What to do with wrong labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fix {
    /// Write what can be corrected as corrected.
    Clip,
    /// Take the lines out.
    DropBox,
    /// Move the images away.
    Quarantine,
}

/// What was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Fixed {
    /// Label files that were rewritten.
    pub files: usize,
    /// Lines that were rewritten.
    pub lines_corrected: usize,
    /// Lines that were taken out.
    pub lines_removed: usize,
    /// Images that were moved.
    pub images_moved: usize,
    /// Where the originals are; nothing where nothing was changed.
    pub originals: Option<PathBuf>,
}

/// Changes the label files of these splits.
///
/// # Errors
/// Labels that are not YOLO text (for anything but quarantine, which needs a label file an image); a folder that cannot be
/// written. What was changed before the error has its original kept.
pub fn fix(sets: &[Dataset], how: Fix) -> Result<Fixed, DataError> {
    let mut done = Fixed::default();
    let Some(first) = sets.first() else { return Ok(done) };
    let root = first.source.folder();
    // Splits may share images, and images their label file.
    let (mut files, mut images) = (HashSet::new(), HashSet::new());
    for set in sets {
        let mut wrong: HashMap<&Path, BTreeMap<usize, bool>> = HashMap::new();
        let wanted = |finding: &Finding| match finding.severity {
            // Kept as written by a scan, and as clipped where that is asked for.
            Severity::Note => how == Fix::Clip && finding.kind == FindingKind::Protruding,
            _ => true,
        };
        for finding in set.findings.iter().filter(|finding| wanted(finding)) {
            let lines = wrong.entry(&finding.file).or_default();
            if let Some(line) = finding.line {
                // Other separators are read well and are no reason to lose a box.
                let worse = finding.kind != FindingKind::WrongSeparator;
                *lines.entry(line).or_default() |= worse;
            }
        }
        for sample in &set.samples {
            let Some(file) = &sample.label_file else { continue };
            let Some(lines) = wrong.get(file.as_path()) else { continue };
            let is_text = has_extension(file, "txt");
            if has_extension(file, "json") || (how != Fix::Quarantine && !is_text) {
                return Err(DataError::NotFixable { file: file.clone() });
            }
            if how == Fix::Quarantine && !lines.is_empty() && lines.values().all(|worse| !worse) {
                continue;
            }
            let first_of_file = files.insert(entry_of(file));
            match how {
                Fix::Quarantine if images.insert(entry_of(&sample.path)) => {
                    let labels = first_of_file.then_some(file.as_path());
                    quarantine(sample.path.as_path(), labels, &root, &mut done)?;
                }
                Fix::Clip | Fix::DropBox if first_of_file => rewrite(set, file, lines, how, &root, &mut done)?,
                _ => {}
            }
        }
    }
    Ok(done)
}

/// A file by the real path of its folder: the same one however a split spells it, while a link stays apart from its target.
fn entry_of(file: &Path) -> PathBuf {
    let folder = crate::source::folder_of(file);
    let folder = fs::canonicalize(&folder).unwrap_or(folder);
    file.file_name().map_or(folder.clone(), |name| folder.join(name))
}

fn rewrite(
    set: &Dataset,
    file: &Path,
    wrong: &BTreeMap<usize, bool>,
    how: Fix,
    root: &Path,
    done: &mut Fixed,
) -> Result<(), DataError> {
    let bytes = fs::read(file).map_err(|e| DataError::io("read", file, e))?;
    let parsed = parse_text(&bytes, file, Some(set.source.names.len()), false);
    let good: HashMap<usize, &Label> =
        parsed.lines.iter().zip(&parsed.labels).filter_map(|(line, label)| Some(((*line)?, label))).collect();
    let (mut out, mut corrected, mut removed) = (Vec::with_capacity(bytes.len()), 0, 0);
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let worse = wrong.get(&number).copied().unwrap_or(false);
        let separators = wrong.values().any(|worse| !worse) && line.iter().any(|byte| b",;".contains(byte));
        match good.get(&number) {
            _ if worse && how == Fix::DropBox => removed += 1,
            Some(label) if worse || separators => {
                corrected += 1;
                let better = if worse { to_line(&clipped(label)) } else { to_line(label) };
                out.extend_from_slice(better.as_bytes());
                out.push(b'\n');
            }
            _ => out.extend_from_slice(line),
        }
    }
    if corrected + removed == 0 {
        return Ok(());
    }
    let [kept] = keep_places([file], root, done)?;
    fs::copy(file, &kept).map_err(|e| DataError::io("copy", file, e))?;
    let write = || -> std::io::Result<()> {
        let mut draft = tempfile::NamedTempFile::new_in(crate::source::folder_of(file))?;
        draft.write_all(&out)?;
        draft.as_file().set_permissions(fs::metadata(file)?.permissions())?;
        draft.persist(file).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| DataError::io("write", file, e))?;
    done.files += 1;
    done.lines_corrected += corrected;
    done.lines_removed += removed;
    Ok(())
}

/// A label whose box ends where the image does. Polygons are read so.
fn clipped(label: &Label) -> Label {
    let [cx, cy, w, h] = label.cxcywh;
    let side = |centre: f32, size: f32| {
        let (low, high) = ((centre - size / 2.0).max(0.0), (centre + size / 2.0).min(1.0));
        ((low + high) / 2.0, high - low)
    };
    let ((cx, w), (cy, h)) = (side(cx, w), side(cy, h));
    Label { cxcywh: [cx, cy, w, h], ..label.clone() }
}

/// Moves an image away, and its label file where another image has not taken that along.
fn quarantine(image: &Path, labels: Option<&Path>, root: &Path, done: &mut Fixed) -> Result<(), DataError> {
    let [image_kept, labels_kept] = keep_places([image, labels.unwrap_or(image)], root, done)?;
    move_file(image, &image_kept)?;
    if let Some(labels) = labels {
        move_file(labels, &labels_kept)?;
    }
    done.images_moved += 1;
    Ok(())
}

fn move_file(from: &Path, to: &Path) -> Result<(), DataError> {
    let moved = match fs::rename(from, to) {
        // Images may lie on another disk than the file that describes them.
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            fs::copy(from, to).and_then(|_| fs::remove_file(from))
        }
        other => other,
    };
    moved.map_err(|e| DataError::io("move", from, e))
}

/// Where files are kept, with their folders, so that nothing is there yet; the first call makes the folder for all.
fn keep_places<const N: usize>(files: [&Path; N], root: &Path, done: &mut Fixed) -> Result<[PathBuf; N], DataError> {
    let folder = match &done.originals {
        Some(folder) => folder.clone(),
        None => {
            let folder = new_folder(root)?;
            done.originals = Some(folder.clone());
            folder
        }
    };
    let inner = files.map(|file| -> PathBuf {
        let inner = file.strip_prefix(root).unwrap_or(file);
        inner.components().filter(|part| matches!(part, Component::Normal(_))).collect()
    });
    // Files from inside and from outside the data set may have one path once `..` is taken out.
    let mut places = inner.each_ref().map(|inner| folder.join(inner));
    let mut number = 1;
    while places.iter().any(|place| fs::symlink_metadata(place).is_ok()) {
        number += 1;
        places = inner.each_ref().map(|inner| folder.join(number.to_string()).join(inner));
    }
    for place in &places {
        let above = place.parent().unwrap_or(&folder);
        fs::create_dir_all(above).map_err(|e| DataError::io("create", above, e))?;
    }
    Ok(places)
}

fn new_folder(root: &Path) -> Result<PathBuf, DataError> {
    let mut number = 1;
    loop {
        let folder = root.join(format!(".kinglet-originals-{number}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(DataError::io("create", &folder, error)),
        }
    }
}
