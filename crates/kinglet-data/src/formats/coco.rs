//! COCO JSON: `images`, `annotations` and `categories` in one file a split.
//!
//! Source: the data format of cocodataset.org. Boxes are `[x, y, width, height]` in pixels from the upper left corner.
//! Classes are numbered in the order of the category ids, which may have gaps; the ids are kept for results. `iscrowd`
//! marks regions that are not learnt and where detections count neither way. Each annotation is read by itself, so that a
//! wrong one costs itself only. Oracle: pycocotools.

use super::{Format, files_of, has_extension};
use crate::error::DataError;
use crate::finding::{Fault, Finding, FindingKind, Severity, excerpt};
use crate::labels::Ignored;
use crate::pixel_box::{Checked, PixelBox, check_pixels, other_size};
use crate::scan::Dataset;
use crate::source::{Source, Split, folder_of, join, read_text, user_path};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Roboflow's name for the file in the folder of each split.
const ROBOFLOW: &str = "_annotations.coco.json";
/// The way out where a file is of another format.
const EXPORT: &str = "export the annotations as COCO, with boxes";

/// The description that one file gives; the files of the other splits are those called alike.
pub(crate) fn load(file: &Path) -> Result<Source, DataError> {
    let mut source = Source::empty(file, Format::Coco);
    source.names = names(file)?;
    let own = split_of(file);
    source.unsplit = own.is_none();
    let root = folder_of(file);
    let root = if own.is_some() && stem_split(file).is_none() { join(&root, Path::new("..")) } else { root };
    source.add(own.unwrap_or(Split::Train), file.strip_prefix(folder_of(file)).unwrap_or(file));
    for (split, sibling) in own.map_or(Ok(Vec::new()), |own| siblings(file, own, &root))? {
        let from_file = sibling.strip_prefix(&root).unwrap_or(&sibling);
        let written = if root == folder_of(file) { from_file.to_path_buf() } else { Path::new("..").join(from_file) };
        source.add(split, &written);
    }
    Ok(source)
}

/// The description of a folder with COCO JSON in one of the usual places.
pub(crate) fn find(folder: &Path) -> Result<Option<Source>, DataError> {
    let mut files = Vec::new();
    for place in [folder.join("annotations"), folder.to_path_buf()].into_iter().filter(|place| place.is_dir()) {
        let is_folder_itself = place == folder;
        files = files_of(&place, |path| {
            let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
            let usual = ["_annotations.coco", "instances", "annotations", "result.json", "labels.json", "coco"];
            has_extension(path, "json") && (!is_folder_itself || usual.iter().any(|usual| name.starts_with(usual)))
        })?;
        // Captions and key points have files of their own beside the boxes.
        if files.iter().any(|file| is_called(file, "instances")) {
            files.retain(|file| is_called(file, "instances"));
        }
        if !files.is_empty() {
            break;
        }
    }
    if files.is_empty() {
        for sub in super::entries_of(folder)?.into_iter().filter(|path| path.join(ROBOFLOW).is_file()) {
            files.push(sub.join(ROBOFLOW));
        }
    }
    let first = |split| files.iter().find(|file| split_of(file) == split);
    let Some(file) = first(Some(Split::Train)).or_else(|| first(Some(Split::Val))).or_else(|| files.first()) else {
        return Ok(None);
    };
    if split_of(file).is_none() && files.len() > 1 {
        return Err(DataError::SeveralFiles { folder: folder.to_path_buf(), files });
    }
    load(file).map(Some)
}

fn is_called(file: &Path, start: &str) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().starts_with(start))
}

fn stem_split(file: &Path) -> Option<Split> {
    Split::of_name(&file.file_stem()?.to_string_lossy())
}

/// The split that a file's name says, or its folder's.
fn split_of(file: &Path) -> Option<Split> {
    stem_split(file).or_else(|| Split::of_name(&file.parent()?.file_name()?.to_string_lossy()))
}

/// The files of the other splits: the same name but for the split's word, or the same name in a folder beside.
fn siblings(file: &Path, own: Split, root: &Path) -> Result<Vec<(Split, PathBuf)>, DataError> {
    let mut found: BTreeMap<&str, (Split, PathBuf)> = BTreeMap::new();
    let mut keep = |split: Split, path: PathBuf| {
        if split != own {
            found.entry(split.key()).or_insert((split, path));
        }
    };
    if stem_split(file).is_some() {
        let pattern = without_split(file);
        for other in files_of(root, |path| has_extension(path, "json") && without_split(path) == pattern)? {
            if let Some(split) = stem_split(&other) {
                keep(split, other);
            }
        }
    } else if let Some(name) = file.file_name() {
        for folder in super::entries_of(root)? {
            let split = folder.file_name().and_then(|name| Split::of_name(&name.to_string_lossy()));
            if let (Some(split), true) = (split, folder.join(name).is_file()) {
                keep(split, folder.join(name));
            }
        }
    }
    Ok(found.into_values().collect())
}

/// A file's name with the word for its split taken out.
fn without_split(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let parts = stem.split(|c: char| !c.is_ascii_alphanumeric()).map(|part| match Split::of_name(part) {
        Some(_) => part.trim_start_matches(|c: char| !c.is_ascii_digit()),
        None => part,
    });
    parts.collect::<Vec<_>>().join("_")
}

/// The file as text, with the place of everything in it.
struct Json<'a> {
    file: &'a Path,
    text: &'a str,
    /// Offset of each line end.
    line_ends: Vec<usize>,
}

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow)]
    images: Option<&'a RawValue>,
    annotations: Option<&'a RawValue>,
    categories: Option<&'a RawValue>,
}

/// The fields of an image, an annotation or a category, as written.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    file_name: Option<&'a RawValue>,
    width: Option<&'a RawValue>,
    height: Option<&'a RawValue>,
    image_id: Option<&'a RawValue>,
    category_id: Option<&'a RawValue>,
    bbox: Option<&'a RawValue>,
    iscrowd: Option<&'a RawValue>,
    segmentation: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    supercategory: Option<&'a RawValue>,
}

impl<'a> Json<'a> {
    fn new(file: &'a Path, text: &'a str) -> Self {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Json { file, text, line_ends }
    }

    /// Line and column, from 1, of a part of the text.
    fn place(&self, part: &RawValue) -> (usize, usize) {
        let at = (part.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let line = self.line_ends.partition_point(|&end| end < at);
        let start = if line == 0 { 0 } else { self.line_ends[line - 1] + 1 };
        (line + 1, at - start + 1)
    }

    fn error(&self, part: &RawValue, message: impl Into<String>) -> DataError {
        let (line, column) = self.place(part);
        DataError::malformed(self.file, line, column, message)
    }

    fn top(&self) -> Result<Top<'a>, DataError> {
        if !self.text.trim_start().starts_with('{') && !self.text.trim().is_empty() {
            let message = "not COCO JSON: expected an object with `images`, `annotations` and `categories`; a list is a file \
                           of results, or Label Studio's own JSON: export from there as COCO or YOLO, with images";
            return Err(DataError::malformed(self.file, 1, 1, message));
        }
        serde_json::from_str(self.text).map_err(|error| {
            let (line, column) = (error.line().max(1), error.column().max(1));
            let line_text = self.text.lines().nth(line - 1).unwrap_or("");
            let hint = match error.classify() {
                serde_json::error::Category::Eof => "the file ends early; fetch or export it again".to_owned(),
                _ if ["NaN", "Infinity"].iter().any(|word| line_text.contains(word)) => {
                    format!("{}; `NaN` and `Infinity` are no JSON: write numbers in their place", reason(&error))
                }
                _ => reason(&error),
            };
            DataError::malformed(self.file, line, column, format!("not COCO JSON: {hint}"))
        })
    }

    fn list(&self, key: &str, value: Option<&'a RawValue>) -> Result<Vec<&'a RawValue>, DataError> {
        let expected = format!("not COCO JSON: expected `{key}`, a list of objects");
        let Some(value) = value else {
            return Err(DataError::malformed(self.file, 1, 1, format!("{expected}, found no such key; {EXPORT}")));
        };
        serde_json::from_str(value.get())
            .map_err(|_| self.error(value, format!("{expected}, found `{}`; {EXPORT}", excerpt(value.get()))))
    }

    /// Category ids and names, by id. Roboflow's category for the data set itself, above all others, is left out.
    fn categories(&self, value: Option<&'a RawValue>) -> Result<Vec<(u64, String)>, DataError> {
        let mut found: BTreeMap<u64, (String, Option<String>)> = BTreeMap::new();
        let raw = self.list("categories", value)?;
        for one in &raw {
            let found_text = || format!("found `{}`", excerpt(one.get()));
            let category = object(one).ok_or_else(|| {
                self.error(one, format!("expected a category with `id` and `name`; {}", found_text()))
            })?;
            let (Some(id), Some(name)) = (category.id.and_then(whole), category.name.and_then(text)) else {
                let message = format!("a category needs a whole number `id` and a text `name`; {}", found_text());
                return Err(self.error(one, message));
            };
            if found.insert(id, (name, category.supercategory.and_then(text))).is_some() {
                return Err(self.error(one, format!("category {id} is there already; give each its own `id`")));
            }
        }
        if found.is_empty() {
            let message = "`categories` is empty; a detector needs at least one class";
            return Err(
                value.map_or_else(|| DataError::malformed(self.file, 1, 1, message), |v| self.error(v, message))
            );
        }
        let root = found.first_key_value().map(|(&id, (name, above))| (id, name.clone(), above.clone()));
        if let Some((id, name, Some(above))) = root
            && above == "none"
            && found.len() > 1
            && found.iter().all(|(&other, (_, above))| other == id || above.as_deref() == Some(&name))
        {
            found.remove(&id);
        }
        Ok(found.into_iter().map(|(id, (name, _))| (id, name)).collect())
    }
}

/// serde_json's reason without its place, which is told elsewhere.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

fn parsed<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// A whole number of at least 0; some programs write `1.0` or `"1"`.
fn whole(raw: &RawValue) -> Option<u64> {
    match parsed::<Value>(raw)? {
        Value::Number(n) => n.as_u64().or_else(|| {
            let value = n.as_f64().filter(|v| v.fract() == 0.0 && (0.0..9e15).contains(v))?;
            Some(value as u64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// An object's fields; serde would take a list for them as well.
fn object(raw: &RawValue) -> Option<Fields<'_>> {
    raw.get().starts_with('{').then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

fn text(raw: &RawValue) -> Option<String> {
    parsed::<String>(raw).filter(|text| !text.trim().is_empty())
}

/// The class names of a file, in the order of their category ids.
pub(crate) fn names(file: &Path) -> Result<Vec<String>, DataError> {
    parse_names(&read_text(file)?, file)
}

/// As [`parse`], of the class names alone, in the order of their category ids.
///
/// # Errors
/// A text that is no COCO JSON, or categories without names or numbers of their own.
pub fn parse_names(text: &str, file: &Path) -> Result<Vec<String>, DataError> {
    let json = Json::new(file, text);
    Ok(json.categories(json.top()?.categories)?.into_iter().map(|(_, name)| name).collect())
}

/// An image of the file with its boxes.
#[derive(Debug, Clone)]
pub struct CocoImage {
    /// Its file.
    pub path: PathBuf,
    /// Its number.
    pub id: u64,
    /// Width and height as the file has them, if it does.
    pub size: Option<(u32, u32)>,
    /// Its boxes as written.
    pub boxes: Vec<PixelBox>,
}

impl CocoImage {
    /// The boxes that `file` has for this image, whose size is `size`.
    pub fn checked(&self, file: &Path, size: (u32, u32)) -> Checked {
        let mut checked = check_pixels(&self.boxes, file, self.size.unwrap_or(size));
        checked.findings.extend(other_size(&self.path, self.size, size));
        checked
    }
}

/// What a file holds.
#[derive(Debug)]
pub struct Coco {
    /// Those whose file was found, sorted by path.
    pub images: Vec<CocoImage>,
    /// The category of each class that the file has.
    pub category_ids: BTreeMap<usize, u64>,
    /// What is wrong with single images and annotations.
    pub findings: Vec<Finding>,
    /// Where images were looked for.
    pub folders: Vec<PathBuf>,
    /// Worth knowing of the whole file.
    pub notes: Vec<String>,
}

/// Reads the text of `file`. `names` are the classes; `roots` are folders that images may be in, besides the usual ones.
///
/// # Errors
/// A text that is no COCO JSON. What is wrong with single images and annotations is a finding.
pub fn parse(
    content: &str,
    file: &Path,
    names: &[String],
    roots: &[PathBuf],
    single_cls: bool,
) -> Result<Coco, DataError> {
    let json = Json::new(file, content);
    let top = json.top()?;
    let mut classes = HashMap::new();
    let mut category_ids = BTreeMap::new();
    let categories = json.categories(top.categories)?;
    let same_order = categories.iter().map(|(_, name)| name).eq(names);
    for (position, (id, name)) in categories.iter().enumerate() {
        // Two categories may share a name; their order then tells them apart.
        let class = if same_order { Some(position) } else { names.iter().position(|known| known == name) };
        if let Some(class) = class {
            category_ids.insert(class, *id);
        }
        classes.insert(*id, class.ok_or_else(|| name.clone()));
    }
    let mut out = Coco {
        images: Vec::new(),
        category_ids,
        findings: Vec::new(),
        folders: image_folders(file, roots),
        notes: Vec::new(),
    };
    let places = read_images(&json, top.images, &mut out)?;
    let mut seen = HashSet::new();
    let mut outlines_left = 0;
    for raw in json.list("annotations", top.annotations)? {
        let line = Some(json.place(raw).0);
        match read_annotation(raw, &classes, single_cls, line, &mut outlines_left) {
            Err(fault) => out.findings.push(Finding::new(file, line, Severity::Dropped, fault)),
            Ok((image_id, id, found)) => {
                if let Some(id) = id.filter(|id| !seen.insert(*id)) {
                    let fault = (FindingKind::DuplicateId, format!("annotation {id}"));
                    out.findings.push(Finding::new(file, line, Severity::Note, fault));
                }
                match places.get(&image_id) {
                    Some(Some(place)) => out.images[*place].boxes.push(found),
                    // Its image was found wanting already.
                    Some(None) => {}
                    None => {
                        let fault = (FindingKind::UnknownImage, format!("{} of image {image_id}", found.what));
                        out.findings.push(Finding::new(file, line, Severity::Dropped, fault));
                    }
                }
            }
        }
    }
    if outlines_left > 0 {
        let name = file.display();
        out.notes.push(format!(
            "{name}: {outlines_left} outlines (of several parts, masks, or not of their box) are used as boxes only"
        ));
    }
    out.images.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

/// Reads `images`; gives where each id stands in the list, or nowhere where its file cannot be used.
fn read_images<'a>(
    json: &Json<'a>,
    value: Option<&'a RawValue>,
    out: &mut Coco,
) -> Result<HashMap<u64, Option<usize>>, DataError> {
    let mut places: HashMap<u64, Option<usize>> = HashMap::new();
    let mut paths: HashMap<PathBuf, usize> = HashMap::new();
    let mut likely = 0;
    for raw in json.list("images", value)? {
        let line = Some(json.place(raw).0);
        let mut tell = |kind, value| out.findings.push(Finding::new(json.file, line, Severity::Dropped, (kind, value)));
        let Some(image) = object(raw) else {
            tell(FindingKind::BadImageEntry, format!("expected an image object, found `{}`", excerpt(raw.get())));
            continue;
        };
        let Some(id) = image.id.and_then(whole) else {
            let what = match image.id {
                None => "an image without an `id`: give it a number, which its annotations have as `image_id`",
                Some(_) => "an image's `id` is no whole number: give it one, which its annotations have as `image_id`",
            };
            tell(FindingKind::BadImageEntry, format!("{what}: `{}`", excerpt(raw.get())));
            continue;
        };
        if places.contains_key(&id) {
            tell(FindingKind::DuplicateImageId, format!("image {id}: the first of this id is used"));
            continue;
        }
        places.insert(id, None);
        let Some(name) = image.file_name.and_then(text) else {
            tell(FindingKind::BadImageEntry, format!("image {id} has no `file_name`"));
            continue;
        };
        let Some(path) = find_image(&name, &out.folders, &mut likely) else {
            let tried = out.folders.first().map(|folder| folder.display().to_string()).unwrap_or_default();
            let more = out.folders.len().saturating_sub(1);
            tell(FindingKind::MissingImage, format!("`{name}`, looked for in `{tried}` and {more} other folders"));
            continue;
        };
        if let Some(&first) = paths.get(&path) {
            places.insert(id, Some(first));
            let value =
                format!("image {id}: `{name}` is image {} already, which takes its boxes", out.images[first].id);
            let fault = (FindingKind::RepeatedImage, value);
            out.findings.push(Finding::new(json.file, line, Severity::Fixed, fault));
            continue;
        }
        let side = |raw: Option<&RawValue>| raw.and_then(whole).and_then(|v| u32::try_from(v).ok()).filter(|&v| v > 0);
        let size = side(image.width).zip(side(image.height));
        places.insert(id, Some(out.images.len()));
        paths.insert(path.clone(), out.images.len());
        out.images.push(CocoImage { path, id, size, boxes: Vec::new() });
    }
    Ok(places)
}

/// Image id, own id and box of an annotation, or what is wrong with it.
fn read_annotation(
    raw: &RawValue,
    classes: &HashMap<u64, Result<usize, String>>,
    single_cls: bool,
    line: Option<usize>,
    outlines_left: &mut usize,
) -> Result<(u64, Option<u64>, PixelBox), Fault> {
    let bad = |value: String| (FindingKind::BadAnnotation, value);
    let annotation =
        object(raw).ok_or_else(|| bad(format!("expected an annotation object, found `{}`", excerpt(raw.get()))))?;
    let id = annotation.id.and_then(whole);
    let what = id.map_or("annotation without a number".to_owned(), |id| format!("annotation {id}"));
    let missing = |key: &str, found: Option<&RawValue>, expected: &str| match found {
        None => bad(format!("{what} has no `{key}`")),
        Some(found) => bad(format!("{what}: `{key}` is `{}`, expected {expected}", excerpt(found.get()))),
    };
    let id_of = |key: &str, found: Option<&RawValue>| {
        found.and_then(whole).ok_or_else(|| missing(key, found, "a whole number"))
    };
    let image_id = id_of("image_id", annotation.image_id)?;
    let category = id_of("category_id", annotation.category_id)?;
    let class = match classes.get(&category) {
        _ if single_cls => 0,
        Some(Ok(class)) => *class,
        Some(Err(name)) => return Err((FindingKind::ClassOutOfRange, format!("{what}: class `{name}`"))),
        None => return Err((FindingKind::ClassOutOfRange, format!("{what}: category {category}"))),
    };
    let [x, y, w, h] = annotation
        .bbox
        .and_then(parsed::<[f64; 4]>)
        .ok_or_else(|| missing("bbox", annotation.bbox, "four numbers [x, y, width, height]"))?;
    if w < 0.0 || h < 0.0 {
        return Err((FindingKind::Negative, format!("{what}: size {w} x {h}")));
    }
    let crowd = match annotation.iscrowd.map(|raw| (raw, parsed::<Value>(raw))) {
        None | Some((_, Some(Value::Bool(false)))) => false,
        Some((_, Some(Value::Bool(true)))) => true,
        Some((raw, _)) => match whole(raw) {
            Some(value @ (0 | 1)) => value == 1,
            _ => return Err(missing("iscrowd", Some(raw), "0 or 1")),
        },
    };
    let polygon = match annotation.segmentation.map(parsed::<Vec<Vec<f64>>>) {
        Some(Some(parts)) => match parts.as_slice() {
            [] => None,
            [one] if one.len() >= 6 && one.len().is_multiple_of(2) && encloses([x, y, x + w, y + h], one) => {
                Some(one.chunks_exact(2).map(|p| [p[0], p[1]]).collect())
            }
            _ => {
                *outlines_left += 1;
                None
            }
        },
        Some(None) => {
            // A mask of a crowd is the usual case, and its box is all that counts.
            *outlines_left += usize::from(!crowd);
            None
        }
        None => None,
    };
    let ignored = crowd.then_some(Ignored::Crowd);
    Ok((image_id, id, PixelBox { class, xyxy: [x, y, x + w, y + h], polygon, ignored, line, what }))
}

/// Whether a box is that of an outline, to two pixels.
fn encloses([x1, y1, x2, y2]: [f64; 4], outline: &[f64]) -> bool {
    let extent = |axis: usize| {
        let values = outline.iter().skip(axis).step_by(2);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
    };
    let ((left, right), (top, bottom)) = (extent(0), extent(1));
    [(x1, left), (y1, top), (x2, right), (y2, bottom)].iter().all(|(edge, own)| (edge - own).abs() <= 2.0)
}

/// Folders that the images of a file may be in, most likely first.
fn image_folders(file: &Path, roots: &[PathBuf]) -> Vec<PathBuf> {
    let own = folder_of(file);
    let above = join(&own, Path::new(".."));
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let called = stem.split_once('_').map_or(stem.clone(), |(_, rest)| rest.to_owned());
    let split = split_of(file).map(|split| split.key().to_owned());
    let mut folders: Vec<PathBuf> = Vec::new();
    for base in [&own, &above].into_iter().chain(roots) {
        for inner in ["", "images", "data", "JPEGImages"] {
            let inner = if inner.is_empty() { base.clone() } else { base.join(inner) };
            for last in [Some(&called), split.as_ref(), Some(&stem), None].into_iter().flatten() {
                folders.push(inner.join(last));
            }
            folders.push(inner);
        }
    }
    let mut seen = HashSet::new();
    folders.retain(|folder| folder.is_dir() && seen.insert(folder.clone()));
    folders
}

/// An image by its name as written; where the folders in the name are of another machine, by the last part of it.
fn find_image(name: &str, folders: &[PathBuf], likely: &mut usize) -> Option<PathBuf> {
    let written = user_path(name);
    let last = written.file_name().map(PathBuf::from)?;
    let tails = if last == written { vec![written] } else { vec![written, last] };
    for tail in &tails {
        // Most images lie where the one before did.
        let order = std::iter::once(*likely).chain((0..folders.len()).filter(|at| *at != *likely));
        for at in order.filter(|at| *at < folders.len()) {
            let path = join(&folders[at], tail);
            if path.is_file() {
                *likely = at;
                return Some(path);
            }
        }
    }
    None
}

/// A split as COCO JSON; `file_names` are those of its images, in the order of its samples.
pub(crate) fn write(set: &Dataset, file_names: &[String]) -> String {
    let category = |class: usize| set.category_ids.get(&class).copied().unwrap_or(class as u64 + 1);
    let categories: Vec<Value> = set
        .names
        .iter()
        .enumerate()
        .map(|(class, name)| json!({"id": category(class), "name": name, "supercategory": "object"}))
        .collect();
    let ids = image_ids(set, file_names);
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for ((sample, name), id) in set.samples.iter().zip(file_names).zip(&ids) {
        let (w, h) = (sample.width as f64, sample.height as f64);
        images.push(json!({"id": id, "file_name": name, "width": sample.width, "height": sample.height}));
        let learnt = sample.labels.iter().map(|l| (l.class, l.cxcywh, l.polygon.as_ref(), false));
        let ignored = sample.ignored.iter().map(|r| (r.class, r.cxcywh, None, true));
        for (class, [cx, cy, bw, bh], polygon, crowd) in learnt.chain(ignored) {
            let [cx, cy, bw, bh] = [cx, cy, bw, bh].map(f64::from);
            // A ten-thousandth of a pixel is what fractions in f32 are good for.
            let round = |v: f64| (v * 1e4).round_ties_even() / 1e4;
            let bbox = [(cx - bw / 2.0) * w, (cy - bh / 2.0) * h, bw * w, bh * h].map(round);
            let outline: Vec<f64> = polygon
                .into_iter()
                .flatten()
                .flat_map(|[x, y]| [round(f64::from(*x) * w), round(f64::from(*y) * h)])
                .collect();
            let segmentation = if outline.is_empty() { json!([]) } else { json!([outline]) };
            annotations.push(json!({
                "id": annotations.len() + 1, "image_id": id, "category_id": category(class), "bbox": bbox,
                "area": round(bbox[2] * bbox[3]), "iscrowd": u8::from(crowd), "segmentation": segmentation,
            }));
        }
    }
    json!({"images": images, "annotations": annotations, "categories": categories}).to_string()
}

/// An id for each image: its own, or the number it is called by, where these differ; else the place in the list.
fn image_ids(set: &Dataset, file_names: &[String]) -> Vec<u64> {
    let stem = |name: &String| Path::new(name).file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
    let wanted: Option<Vec<u64>> =
        set.samples.iter().zip(file_names).map(|(sample, name)| sample.id.or_else(|| stem(name))).collect();
    let differ = |ids: &Vec<u64>| ids.iter().collect::<HashSet<_>>().len() == ids.len();
    wanted.filter(differ).unwrap_or_else(|| (1..=set.samples.len() as u64).collect())
}
