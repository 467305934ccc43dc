//! The images of a split, and where the labels of each are.
//!
//! A place is a folder (searched with its subfolders), an image, a list of images, or COCO JSON, which brings the labels along.
//! Label files are found by the image's path: the last `/images/` becomes `/labels/` and the extension `.txt`; otherwise the
//! `.txt` beside the image; otherwise VOC XML (see `formats::voc`). Order: sorted within each place.

use crate::error::DataError;
use crate::finding::{Finding, FindingKind, Severity};
use crate::formats::coco::{self, CocoImage};
use crate::formats::{Format, entries_of, voc};
use crate::source::{Source, Split, folder_of, join, read_text, user_path, without_first};
use kinglet_vision::decode;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// An image and where its labels are.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) image: PathBuf,
    /// The annotation file and what it says of the image; without, label files are looked for.
    pub(crate) coco: Option<(PathBuf, CocoImage)>,
}

/// The images of a split.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) notes: Vec<String>,
    /// Folders and lists searched.
    pub(crate) places: Vec<PathBuf>,
    /// The COCO category of each class, where there is one.
    pub(crate) category_ids: BTreeMap<usize, u64>,
    /// Pictures of kinds that are not read.
    others: usize,
    /// Folders by their real path: a link to a parent, or a second link to a folder, adds nothing.
    folders: HashSet<PathBuf>,
}

/// Finds the images of `split`.
pub(crate) fn list(source: &Source, split: Split, single_cls: bool) -> Result<Listing, DataError> {
    let mut out = Listing { places: source.resolve(split)?, notes: source.notes.clone(), ..Listing::default() };
    let roots = source.roots();
    for place in out.places.clone() {
        if place.is_dir() {
            out.walk(&place)?;
        } else if decode::has_image_extension(&place) {
            out.add(place);
        } else if Format::of_file(&place) == Some(Format::Coco) {
            let found = coco::parse(&read_text(&place)?, &place, &source.names, &roots, single_cls)?;
            out.findings.extend(found.findings);
            out.notes.extend(found.notes);
            out.category_ids.extend(found.category_ids);
            if found.images.is_empty() {
                out.places.extend(found.folders);
            }
            let entry = |image: CocoImage| Entry { image: image.path.clone(), coco: Some((place.clone(), image)) };
            out.entries.extend(found.images.into_iter().map(entry));
        } else {
            out.read_list(&place, source, &roots)?;
        }
    }
    // The same image named by two entries counts once.
    let mut seen = HashSet::new();
    out.entries.retain(|entry| seen.insert(entry.image.clone()));
    if out.entries.is_empty() {
        let extensions = decode::EXTENSIONS.join(", ");
        let first = out.findings.first().map(Finding::to_string);
        let yaml = source.format == Format::YoloYaml;
        return Err(DataError::NoImages { split, places: out.places, extensions, first, yaml });
    }
    if out.others > 0 {
        let kinds = decode::UNDECODABLE_EXTENSIONS.join(", ");
        out.notes.push(format!(
            "{} files of kinds that are not read are left out ({kinds}); convert them to JPEG or PNG",
            out.others
        ));
    }
    Ok(out)
}

impl Listing {
    fn add(&mut self, image: PathBuf) {
        self.entries.push(Entry { image, coco: None });
    }

    fn walk(&mut self, folder: &Path) -> Result<(), DataError> {
        let real = std::fs::canonicalize(folder).map_err(|e| DataError::io("read", folder, e))?;
        if !self.folders.insert(real) {
            return Ok(());
        }
        for path in entries_of(folder)? {
            if path.is_dir() {
                self.walk(&path)?;
            } else if decode::has_image_extension(&path) {
                self.add(path);
            } else if decode::is_other_picture(&path) {
                self.others += 1;
            }
        }
        Ok(())
    }

    /// Reads a list file: lines are relative to the list's own folder first, then to the source's folders. VOC lists name
    /// images without extension.
    fn read_list(&mut self, list: &Path, source: &Source, roots: &[PathBuf]) -> Result<(), DataError> {
        let folder = folder_of(list);
        let mut named = voc::NamedImages::default();
        for (index, line) in read_text(list)?.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let written = user_path(line);
            let bases = || std::iter::once(&folder).map(PathBuf::as_path).chain(roots.iter().map(PathBuf::as_path));
            // CVAT's lists begin with Darknet's working folder, which is not in the export.
            let exported = source.format == Format::Darknet || written.starts_with("data");
            let short = if exported { without_first(&written) } else { written.clone() };
            let found = [&written, &short]
                .into_iter()
                .find_map(|tail| bases().chain([Path::new(".")]).map(|base| join(base, tail)).find(|p| p.is_file()));
            let by_name = || match source.format {
                Format::Voc => named.of_line(&source.folder(), line),
                _ => None,
            };
            match found.or_else(by_name) {
                Some(path) => self.add(path),
                // A comment, since no image is called so.
                None if line.starts_with('#') => {}
                None => {
                    let value = format!("`{line}`, looked for in `{}` and the data set's folders", folder.display());
                    let fault = (FindingKind::MissingImage, value);
                    self.findings.push(Finding::new(list, Some(index + 1), Severity::Dropped, fault));
                }
            }
        }
        Ok(())
    }
}

/// The YOLO label files an image may have, most likely first.
pub fn label_candidates(image: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let parts: Vec<_> = image.components().collect();
    let folders = parts.len().saturating_sub(1);
    if let Some(at) = parts[..folders].iter().rposition(|c| c.as_os_str() == "images") {
        let mut path = PathBuf::new();
        for (i, part) in parts.iter().enumerate() {
            if i == at { path.push("labels") } else { path.push(part) }
        }
        out.push(path.with_extension("txt"));
    }
    out.push(image.with_extension("txt"));
    out
}

/// Where the labels of an image are looked for, most likely first.
pub(crate) fn all_candidates(image: &Path, format: Format) -> Vec<PathBuf> {
    let mut out = if format == Format::Voc { Vec::new() } else { label_candidates(image) };
    out.extend(voc::candidates(image));
    out
}

/// The label file of an image, if it has one. Whatever has the name counts: a folder, or a file that may not be read, is no
/// sign of a background.
pub(crate) fn label_file(image: &Path, format: Format) -> Option<PathBuf> {
    all_candidates(image, format).into_iter().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_images_folder_becomes_labels_and_the_text_beside_is_second() {
        let of = |p: &str| label_candidates(Path::new(p)).iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            of("/images/s/images/val/a.b.jpg"),
            ["/images/s/labels/val/a.b.txt", "/images/s/images/val/a.b.txt"]
        );
        assert_eq!(of("images/a.png"), ["labels/a.txt", "images/a.txt"]);
        assert_eq!(of("obj_train_data/images.png"), ["obj_train_data/images.txt"]);
    }

    #[test]
    fn xml_is_looked_for_beside_the_image_and_in_annotations() {
        let of = |p: &str| voc::candidates(Path::new(p)).iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
        let found = of("set/images/val/a.jpg");
        assert_eq!(found[0], "set/images/val/a.xml");
        for path in ["set/annotations/a.xml", "set/annotations/val/a.xml", "set/Annotations/a.xml"] {
            assert!(found.iter().any(|f| f == path), "{found:?}");
        }
        assert!(of("VOC2012/JPEGImages/b.jpg").contains(&"VOC2012/Annotations/b.xml".to_owned()));
    }
}
