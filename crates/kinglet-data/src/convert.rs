//! A data set in another format: everything is written into a folder that appears whole or not at all.
//!
//! YOLO: `data.yaml`, `images/SPLIT`, `labels/SPLIT`. COCO: `annotations/instances_SPLIT.json`, `images/SPLIT`. VOC:
//! `Annotations`, `JPEGImages`, `ImageSets/Main/SPLIT.txt`. What the other format cannot say is counted and told.
//! Oracle: a data set converted there and back is the one it was.

use crate::error::DataError;
use crate::formats::{coco, voc};
use crate::labels::{Ignored, to_line};
use crate::scan::{Dataset, reason};
use kinglet_vision::{decode, encode};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What to convert to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// YOLO text with a data YAML.
    Yolo,
    /// COCO JSON.
    Coco,
    /// Pascal VOC XML.
    Voc,
}

/// How images get into the new folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// As copies.
    Copy,
    /// As links to the originals.
    Link,
}

/// What a conversion did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Converted {
    /// The new data set, as `--data` takes it.
    pub data: PathBuf,
    /// Images and boxes of each split.
    pub splits: Vec<(String, usize, usize)>,
    /// What the new format does not hold, in words.
    pub lost: Vec<String>,
}

/// Writes the splits of a data set into the new folder `output`.
///
/// # Errors
/// A folder that exists and is not empty, an image that cannot be copied, a full disk: nothing is left behind then.
pub fn convert(sets: &[Dataset], target: Target, images: Images, output: &Path) -> Result<Converted, DataError> {
    let is_empty = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if output.exists() && !is_empty(output) {
        return Err(DataError::FolderNotEmpty(output.to_path_buf()));
    }
    let parent = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| DataError::io("create", parent, e))?;
    // Removed again where anything below fails.
    let draft = tempfile::Builder::new()
        .prefix(".kinglet-convert-")
        .tempdir_in(parent)
        .map_err(|e| DataError::io("create", parent, e))?;
    let writer = Writer { root: draft.path(), output, images };
    // VOC keeps all splits in one folder.
    let mut taken = HashSet::new();
    let mut changed = Renamed::default();
    for set in sets {
        if target != Target::Voc {
            taken.clear();
        }
        let names = file_names(set, &mut taken, &mut changed)?;
        writer.write_split(set, target, &names)?;
    }
    if target == Target::Yolo {
        writer.write("data.yaml", data_yaml(sets).as_bytes())?;
    }
    open_to_all(draft.path());
    if output.exists() {
        fs::remove_dir(output).map_err(|e| DataError::io("replace", output, e))?;
    }
    fs::rename(draft.path(), output).map_err(|e| DataError::io("create", output, e))?;
    let data = match target {
        Target::Yolo => output.join("data.yaml"),
        Target::Coco | Target::Voc => output.to_path_buf(),
    };
    let splits = sets.iter().map(|set| (set.split.key().to_owned(), set.samples.len(), set.summary.boxes)).collect();
    Ok(Converted { data, splits, lost: lost(sets, target, &changed) })
}

/// A temporary folder is its owner's alone; the data set gets the permissions of any new folder.
fn open_to_all(folder: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What the file system refuses is no loss: the owner can read it.
        let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
    }
    #[cfg(not(unix))]
    let _ = folder;
}

/// Images whose file names are not their own.
#[derive(Default)]
struct Renamed {
    /// Another image has the same name.
    numbered: usize,
    /// The extension was not one by which folders are searched.
    extended: usize,
    /// GIF, which is written as PNG.
    gifs: usize,
}

/// File names of a split's images: their own, with a number where two images would share their label file, and with the
/// extension of their content where theirs is none by which images are found.
fn file_names(set: &Dataset, taken: &mut HashSet<String>, changed: &mut Renamed) -> Result<Vec<String>, DataError> {
    let mut unique = |path: &Path| {
        let (stem, extension) = own_name(path, changed)?;
        let chosen = unique_stem(&stem, taken);
        changed.numbered += usize::from(chosen != stem);
        Ok(format!("{chosen}.{extension}"))
    };
    set.samples.iter().map(|sample| unique(&sample.path)).collect()
}

/// Name and extension of an image.
fn own_name(path: &Path, changed: &mut Renamed) -> Result<(String, String), DataError> {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let (stem, extension) = (text(path.file_stem()), text(path.extension()));
    let Some(format) = foreign_format(path)? else { return Ok((stem, extension)) };
    let is_gif = format == decode::Format::Gif;
    changed.extended += usize::from(!is_gif);
    changed.gifs += usize::from(is_gif);
    // `a.jfif` is `a` with an extension, `frame.v2` a name with a dot.
    let stem = if format.has_extension(&extension) { stem } else { text(path.file_name()) };
    Ok((stem, if is_gif { "png".to_owned() } else { format.name().to_lowercase() }))
}

/// What an image is whose extension is none by which images are found.
fn foreign_format(image: &Path) -> Result<Option<decode::Format>, DataError> {
    if decode::has_image_extension(image) {
        return Ok(None);
    }
    decode::read_dimensions(image).map(|(_, _, format)| Some(format)).map_err(|e| unreadable(image, e))
}

fn unreadable(image: &Path, error: decode::DecodeError) -> DataError {
    DataError::io("read", image, std::io::Error::other(reason(error)))
}

/// A name that is not taken yet, and is from now on: the one given, or that with a number behind it.
pub fn unique_stem(stem: &str, taken: &mut HashSet<String>) -> String {
    let mut unique = stem.to_owned();
    let mut number = 1;
    // Lower case, since `A.jpg` and `a.jpg` are one file on some systems.
    while !taken.insert(unique.to_lowercase()) {
        number += 1;
        unique = format!("{stem}-{number}");
    }
    unique
}

struct Writer<'a> {
    root: &'a Path,
    output: &'a Path,
    images: Images,
}

impl Writer<'_> {
    fn write_split(&self, set: &Dataset, target: Target, names: &[String]) -> Result<(), DataError> {
        let split = set.split.key();
        let folder = match target {
            Target::Voc => "JPEGImages".to_owned(),
            Target::Yolo | Target::Coco => format!("images/{split}"),
        };
        let stem = |name: &str| name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
        for (sample, name) in set.samples.iter().zip(names) {
            self.place_image(&sample.path, &format!("{folder}/{name}"))?;
            match target {
                Target::Yolo => {
                    let text: String = sample.labels.iter().map(|label| to_line(label) + "\n").collect();
                    self.write(&format!("labels/{split}/{}.txt", stem(name)), text.as_bytes())?;
                }
                Target::Voc => {
                    let text = voc::write(set, sample, name);
                    self.write(&format!("Annotations/{}.xml", stem(name)), text.as_bytes())?;
                }
                Target::Coco => {}
            }
        }
        match target {
            Target::Coco => {
                self.write(&format!("annotations/instances_{split}.json"), coco::write(set, names).as_bytes())
            }
            Target::Voc => {
                let text: String = names.iter().map(|name| stem(name) + "\n").collect();
                self.write("labelmap.txt", (set.names.join("\n") + "\n").as_bytes())?;
                self.write(&format!("ImageSets/Main/{split}.txt"), text.as_bytes())
            }
            Target::Yolo => Ok(()),
        }
    }

    /// The whole folder is new and takes its name at the end, so a file needs no care of its own.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DataError> {
        fs::write(self.place(name)?, bytes).map_err(|e| DataError::io("write", &self.output.join(name), e))
    }

    fn place(&self, name: &str) -> Result<PathBuf, DataError> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(self.root);
        fs::create_dir_all(folder).map_err(|e| DataError::io("create", &self.output.join(name), e))?;
        Ok(path)
    }

    fn place_image(&self, image: &Path, name: &str) -> Result<(), DataError> {
        let to = self.place(name)?;
        if foreign_format(image)? == Some(decode::Format::Gif) {
            let picture = decode::read(image, &decode::Limits::default()).map_err(|e| unreadable(image, e))?.image;
            let written = encode::write_png(&picture, &to);
            return written.map_err(|e| DataError::io("write", &self.output.join(name), std::io::Error::other(e)));
        }
        let placed = match self.images {
            Images::Copy => fs::copy(image, &to).map(|_| ()),
            Images::Link => fs::canonicalize(image).and_then(|real| link(&real, &to)),
        };
        placed.map_err(|e| DataError::io(if self.images == Images::Copy { "copy" } else { "link" }, image, e))
    }
}

#[cfg(unix)]
fn link(image: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(image, to)
}

/// Symbolic links need rights that few have there.
#[cfg(not(unix))]
fn link(image: &Path, to: &Path) -> std::io::Result<()> {
    fs::hard_link(image, to)
}

fn data_yaml(sets: &[Dataset]) -> String {
    let mut text = String::new();
    for set in sets {
        let split = set.split.key();
        text.push_str(&format!("{split}: images/{split}\n"));
    }
    text.push_str("names:\n");
    for (class, name) in sets.iter().take(1).flat_map(|set| set.names.iter().enumerate()) {
        // Text in JSON is text in YAML, whatever it holds.
        text.push_str(&format!("  {class}: {}\n", serde_json::Value::String(name.clone())));
    }
    text
}

/// What the new format does not hold.
fn lost(sets: &[Dataset], target: Target, changed: &Renamed) -> Vec<String> {
    let count = |of: &dyn Fn(&Dataset) -> usize| sets.iter().map(of).sum::<usize>();
    let regions = |why| count(&|set| set.samples.iter().flat_map(|s| &s.ignored).filter(|r| r.why == why).count());
    let (crowds, difficult) = (regions(Ignored::Crowd), regions(Ignored::Difficult));
    let polygons = count(&|set| set.samples.iter().flat_map(|s| &s.labels).filter(|l| l.polygon.is_some()).count());
    let categories = count(&|set| set.category_ids.len());
    let images = count(&|set| set.summary.images - set.summary.usable);
    let (dropped, fixed) = (count(&|set| set.summary.boxes_dropped), count(&|set| set.summary.boxes_fixed));
    let told = [
        (crowds, target == Target::Yolo, "crowd regions are left out: YOLO labels cannot mark them"),
        (crowds, target == Target::Voc, "crowd regions are written as `difficult` objects"),
        (difficult, target == Target::Yolo, "difficult objects are left out: YOLO labels cannot mark them"),
        (difficult, target == Target::Coco, "difficult objects are written as crowds"),
        (polygons, target == Target::Voc, "outlines are left out: VOC has boxes only"),
        (
            polygons,
            target == Target::Coco,
            "outlines get the area of their boxes, by which COCO calls objects small or large",
        ),
        (polygons, target == Target::Yolo, "outlines are written; their boxes become the outlines' extents"),
        (
            categories.min(1),
            target != Target::Coco,
            "numbering: COCO's category ids are left out, classes count from 0",
        ),
        (images, true, "images cannot be used and are left out"),
        (dropped, true, "labels are wrong and left out"),
        (fixed, true, "labels are written as corrected"),
        (
            changed.extended,
            true,
            "images got the extension of their content, since folders are not searched for theirs",
        ),
        (changed.gifs, true, "GIF images are written as PNG"),
        (changed.numbered, true, "images got a number behind their name, since another has the same"),
    ];
    let told = told.into_iter().filter(|(count, applies, _)| *count > 0 && *applies);
    told.map(|(count, _, what)| if what.starts_with("numbering") { what.to_owned() } else { format!("{count} {what}") })
        .collect()
}
