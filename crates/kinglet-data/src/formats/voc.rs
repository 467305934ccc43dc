//! Pascal VOC: an XML file an image, as the VOC devkit, LabelImg, CVAT and Roboflow write it.
//!
//! Trees: `Annotations/`, `JPEGImages/` and `ImageSets/Main/*.txt`; or XML beside the images; in a folder a split or not.
//! Classes are named in each file; their numbers follow `labelmap.txt` or `classes.txt`, or else the alphabet.
//! `difficult` objects are not learnt, and detections of them count neither way.
//! Units: `xmin`, `ymin`, `xmax`, `ymax` are taken as edges in pixels from the upper left corner. The VOC devkit counted pixels
//! from 1 (an edge one less to the left and above); the programs that write such files today do not, and the difference is at
//! most a pixel. YOLOv5's conversion of VOC takes 1 from the centre and nothing from the size.

use super::{Format, add_split_folders, classes_txt, files_of, has_extension, holds, names_of_lines, split_folders};
use crate::error::DataError;
use crate::finding::{Fault, Finding, FindingKind, Severity, excerpt};
use crate::labels::Ignored;
use crate::pixel_box::{Checked, PixelBox, check_pixels, other_size};
use crate::scan::{Dataset, Sample};
use crate::source::{Source, Split, folder_of, join};
use kinglet_vision::decode;
use roxmltree::{Document, Node, ParsingOptions};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const ANNOTATIONS: [&str; 2] = ["Annotations", "annotations"];
const IMAGES: [&str; 3] = ["JPEGImages", "images", "Images"];
/// So many elements and texts an annotation may have: thousands of objects.
const NODES: u32 = 1 << 20;
/// So deep may elements lie in each other; VOC needs five levels.
const DEPTH: usize = 64;

/// The description of a folder with VOC annotations.
pub(crate) fn find(folder: &Path) -> Result<Option<Source>, DataError> {
    let Some(files) = annotations(folder)? else { return Ok(None) };
    // The folder of the annotations stands for the tree it is in.
    let is_called = |names: &[&str]| folder.file_name().is_some_and(|own| names.iter().any(|name| own == *name));
    let above = join(folder, Path::new(".."));
    let root = if is_called(&ANNOTATIONS) && IMAGES.iter().any(|name| above.join(name).is_dir()) {
        above
    } else {
        folder.to_path_buf()
    };
    let mut source = Source::empty(&root, Format::Voc);
    source.names = match ["labelmap.txt", classes_txt::FILE].iter().map(|name| root.join(name)).find(|p| p.is_file()) {
        Some(file) => names_of_lines(&file)?.iter().filter_map(|line| class_of_line(line)).map(str::to_owned).collect(),
        None => {
            let mut found = BTreeSet::new();
            for file in &files {
                found.extend(class_names(file));
            }
            found.into_iter().collect()
        }
    };
    if source.names.is_empty() {
        return Err(DataError::NoClasses { folder: root, files: files.len() });
    }
    let lists = root.join("ImageSets/Main");
    for split in Split::ALL {
        let list = lists.join(split.key()).with_extension("txt");
        if list.is_file() {
            source.add(split, list.strip_prefix(&root).unwrap_or(&list));
        }
    }
    if source.splits.iter().all(Vec::is_empty) {
        let whole = ["trainval.txt", "default.txt"].iter().map(|name| lists.join(name)).find(|list| list.is_file());
        match whole {
            Some(list) => {
                source.unsplit = true;
                source.add(Split::Train, list.strip_prefix(&root).unwrap_or(&list));
            }
            None => add_split_folders(&mut source, &root, &IMAGES)?,
        }
    }
    Ok(Some(source))
}

/// The class that a line names. CVAT writes `label:color_rgb:parts:actions`, that as a comment above, and a background that is no
/// class; other lines are names as they are.
fn class_of_line(line: &str) -> Option<&str> {
    if line.starts_with("# label:") {
        return None;
    }
    let is_colour = |text: &str| text.is_empty() || text.split(',').all(|part| part.parse::<u8>().is_ok());
    let mut columns = line.rsplitn(4, ':');
    match (columns.nth(2), columns.next()) {
        (Some(colour), Some(name)) if is_colour(colour) => (name != "background").then_some(name),
        _ => Some(line),
    }
}

/// The annotation files of a tree, where it is one of VOC.
fn annotations(folder: &Path) -> Result<Option<Vec<PathBuf>>, DataError> {
    let is_xml = |path: &Path| has_extension(path, "xml");
    let mut places: Vec<PathBuf> = ANNOTATIONS.iter().map(|name| folder.join(name)).collect();
    places.push(folder.to_path_buf());
    for (_, sub) in split_folders(folder)? {
        places.extend(ANNOTATIONS.iter().map(|name| sub.join(name)));
        places.push(sub);
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for place in places {
        if holds(&place, "xml")? {
            files.extend(files_of(&place, is_xml)?);
        } else if place.is_dir() && ANNOTATIONS.iter().any(|name| place.ends_with(name)) {
            for sub in super::entries_of(&place)?.into_iter().filter(|path| path.is_dir()) {
                files.extend(files_of(&sub, is_xml)?);
            }
        }
    }
    // Other programs keep XML beside pictures as well.
    let is_voc = |file: &PathBuf| holds_element(file, "<annotation");
    if files.iter().any(is_voc) {
        // The first file that shows where something is speaks for all.
        let first = files.iter().find(|file| holds_element(file, "<bndbox") || holds_element(file, "<pt"));
        return match first.filter(|file| is_of_labelme(file)) {
            Some(file) => Err(DataError::labelme(file)),
            None => Ok(Some(files)),
        };
    }
    files.iter().find(|file| is_of_cvat(file)).map_or(Ok(None), |file| Err(DataError::cvat(file)))
}

/// Whether a file is CVAT's own XML, one for all images.
pub(crate) fn is_of_cvat(file: &Path) -> bool {
    holds_element(file, "<annotations") && holds_element(file, "<image")
}

/// Whether a file is of LabelMe: its elements are called as those of VOC, and its objects are polygons alone.
pub(crate) fn is_of_labelme(file: &Path) -> bool {
    holds_element(file, "<annotation") && holds_element(file, "<pt") && !holds_element(file, "<bndbox")
}

/// Whether an element begins so somewhere in a file.
fn holds_element(file: &Path, start: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else { return false };
    text.match_indices(start).any(|(at, _)| !text[at + start.len()..].starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// The classes that a file names; none where it cannot be read, which the scan tells.
fn class_names(file: &Path) -> Vec<String> {
    let Ok(text) = crate::source::read_text(file) else { return Vec::new() };
    let Ok(document) = parse_xml(&text) else { return Vec::new() };
    let root = document.root_element();
    root.children().filter(|node| node.has_tag_name("object")).filter_map(|node| child_text(node, "name")).collect()
}

/// The annotation files an image may have, most likely first.
pub(crate) fn candidates(image: &Path) -> Vec<PathBuf> {
    let mut out = vec![image.with_extension("xml")];
    let parts: Vec<_> = image.components().collect();
    let folders = parts.len().saturating_sub(1);
    let name = image.with_extension("xml").file_name().map(PathBuf::from).unwrap_or_default();
    let is_images = |part: &std::path::Component<'_>| IMAGES.iter().any(|name| part.as_os_str() == *name);
    if let Some(at) = parts[..folders].iter().rposition(is_images) {
        let above: PathBuf = parts[..at].iter().collect();
        let inner: PathBuf = parts[at + 1..folders].iter().collect();
        for folder in ANNOTATIONS {
            out.push(above.join(folder).join(&inner).join(&name));
            out.push(above.join(folder).join(&name));
        }
    }
    for folder in ANNOTATIONS {
        out.push(image.with_file_name(folder).join(&name));
    }
    out.dedup();
    out
}

/// Images by their names without extension, as the lines of an image set have them. A folder is read when first asked for.
#[derive(Debug, Default)]
pub(crate) struct NamedImages {
    folders: HashMap<PathBuf, HashMap<OsString, PathBuf>>,
}

impl NamedImages {
    /// The image that a line means: a name, and maybe a number behind it.
    pub(crate) fn of_line(&mut self, root: &Path, line: &str) -> Option<PathBuf> {
        let without_number = line.rsplit_once(char::is_whitespace).map(|(name, _)| name.trim_end());
        let mut names = std::iter::once(line).chain(without_number);
        names.find_map(|name| self.named(root, name))
    }

    fn named(&mut self, root: &Path, name: &str) -> Option<PathBuf> {
        let folders = IMAGES.iter().map(|folder| root.join(folder)).chain([root.to_path_buf()]);
        let mut places = folders.map(|folder| folder.join(name));
        places.find_map(|place| {
            let folder = self.folders.entry(folder_of(&place)).or_insert_with_key(|folder| stems(folder));
            folder.get(place.file_name()?).cloned()
        })
    }
}

/// The images of a folder by their names without extension; of several the usual kinds come first.
fn stems(folder: &Path) -> HashMap<OsString, PathBuf> {
    let rank = |path: &PathBuf| ["jpg", "jpeg", "png"].iter().position(|usual| has_extension(path, usual)).unwrap_or(3);
    let mut images = files_of(folder, decode::has_image_extension).unwrap_or_default();
    images.sort_by_key(rank);
    let mut stems = HashMap::new();
    for image in images {
        if let Some(stem) = image.file_stem() {
            stems.entry(stem.to_owned()).or_insert(image);
        }
    }
    stems
}

fn parse_xml(text: &str) -> Result<Document<'_>, String> {
    // Without a DTD there are no entities but XML's own five, so nothing can grow.
    if let Some(line) = first_too_deep(text) {
        return Err(format!("line {line}: more than {DEPTH} elements lie in each other; it is no VOC annotation"));
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => {
            "it has a DTD, which may hide entities; remove the `<!DOCTYPE ...>`".to_owned()
        }
        other => other.to_string(),
    })
}

/// The first line where elements lie too deep in each other: such text is refused before it is parsed.
fn first_too_deep(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, _) in text.match_indices('<') {
        let rest = &text.as_bytes()[at + 1..];
        match rest.first() {
            Some(b'/') => depth = depth.saturating_sub(1),
            Some(b'!' | b'?') | None => {}
            Some(_) => {
                let end = rest.iter().position(|&byte| byte == b'>').unwrap_or(0);
                depth += usize::from(end == 0 || rest[end - 1] != b'/');
            }
        }
        if depth > DEPTH {
            return Some(text[..at].matches('\n').count() + 1);
        }
    }
    None
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn child_text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name)?.text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Reads the text of `file`, the annotation of an image of this size. `names` are the classes.
///
/// # Errors
/// The reason, where the text is no VOC annotation.
pub fn parse(text: &str, file: &Path, names: &[String], single_cls: bool, size: (u32, u32)) -> Result<Checked, String> {
    let document = parse_xml(text)?;
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        return Err(format!("expected `<annotation>`, found `<{}>`", excerpt(root.tag_name().name())));
    }
    let side = |name: &str| child(root, "size").and_then(|size| child_text(size, name)?.parse::<f64>().ok());
    let side = |name: &str| side(name).filter(|v| (1.0..=f64::from(u32::MAX)).contains(v)).map(|v| v as u32);
    let told = side("width").zip(side("height"));
    let class_of = |name: &str| if single_cls { Some(0) } else { names.iter().position(|known| known == name) };
    let (mut boxes, mut findings) = (Vec::new(), Vec::new());
    for object in root.children().filter(|node| node.has_tag_name("object")) {
        let line = Some(document.text_pos_at(object.range().start).row as usize);
        match read_object(object, line, &class_of) {
            Err(fault) => findings.push(Finding::new(file, line, Severity::Dropped, fault)),
            Ok((found, swapped)) => {
                findings.extend(swapped.map(|fault| Finding::new(file, line, Severity::Fixed, fault)));
                boxes.push(found);
            }
        }
    }
    let mut checked = check_pixels(&boxes, file, told.unwrap_or(size));
    checked.findings.splice(0..0, findings);
    checked.findings.extend(other_size(file, told, size));
    Ok(checked)
}

/// An object's box, and what was put right in it.
fn read_object(
    object: Node<'_, '_>,
    line: Option<usize>,
    class_of: &dyn Fn(&str) -> Option<usize>,
) -> Result<(PixelBox, Option<Fault>), Fault> {
    let bad = |value: String| (FindingKind::BadAnnotation, value);
    let name = child_text(object, "name").ok_or_else(|| bad("an object without a `<name>`".to_owned()))?;
    let what = format!("`{}`", excerpt(&name));
    let class = class_of(&name).ok_or_else(|| (FindingKind::ClassOutOfRange, format!("class {what}")))?;
    let frame = child(object, "bndbox").ok_or_else(|| bad(format!("{what} has no `<bndbox>`")))?;
    let mut corners = [0.0; 4];
    for (corner, key) in corners.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
        let text = child_text(frame, key).ok_or_else(|| bad(format!("{what} has no `<{key}>`")))?;
        *corner = text
            .parse::<f64>()
            .map_err(|_| (FindingKind::NotANumber, format!("{what}: `<{key}>` is `{}`", excerpt(&text))))?;
    }
    if corners.iter().any(|value| !value.is_finite()) {
        return Err((FindingKind::NotFinite, format!("{what}: {corners:?}")));
    }
    let [x1, y1, x2, y2] = corners;
    let swapped = (x1 > x2 || y1 > y2)
        .then(|| (FindingKind::SwappedCorners, format!("{what}: xmin {x1}, ymin {y1}, xmax {x2}, ymax {y2}")));
    let difficult =
        child_text(object, "difficult").is_some_and(|text| !["0", "false", "False"].contains(&text.as_str()));
    let xyxy = [x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)];
    let ignored = difficult.then_some(Ignored::Difficult);
    Ok((PixelBox { class, xyxy, polygon: None, ignored, line, what }, swapped))
}

/// An image's annotation file. Whole pixels are written as such, others with two decimals.
pub(crate) fn write(set: &Dataset, sample: &Sample, file_name: &str) -> String {
    let mut out = format!(
        "<annotation>\n  <folder>{}</folder>\n  <filename>{}</filename>\n  <size>\n    <width>{}</width>\n    \
         <height>{}</height>\n    <depth>3</depth>\n  </size>\n  <segmented>0</segmented>\n",
        IMAGES[0],
        escaped(file_name),
        sample.width,
        sample.height
    );
    let (w, h) = (sample.width as f64, sample.height as f64);
    let learnt = sample.labels.iter().map(|l| (l.class, l.cxcywh, 0));
    let ignored = sample.ignored.iter().map(|r| (r.class, r.cxcywh, 1));
    for (class, [cx, cy, bw, bh], difficult) in learnt.chain(ignored) {
        let [cx, cy, bw, bh] = [cx, cy, bw, bh].map(f64::from);
        let corners = [(cx - bw / 2.0) * w, (cy - bh / 2.0) * h, (cx + bw / 2.0) * w, (cy + bh / 2.0) * h];
        out.push_str(&format!(
            "  <object>\n    <name>{}</name>\n    <pose>Unspecified</pose>\n    <truncated>0</truncated>\n    \
             <difficult>{difficult}</difficult>\n    <bndbox>\n",
            escaped(&set.names[class])
        ));
        for (key, value) in ["xmin", "ymin", "xmax", "ymax"].into_iter().zip(corners) {
            out.push_str(&format!("      <{key}>{}</{key}>\n", pixels(value)));
        }
        out.push_str("    </bndbox>\n  </object>\n");
    }
    out + "</annotation>\n"
}

/// A coordinate: labels with six decimals come back to whole pixels where they began as such.
fn pixels(value: f64) -> String {
    let whole = value.round_ties_even();
    if (value - whole).abs() < 0.01 { format!("{whole:.0}").replace("-0", "0") } else { format!("{value:.2}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cvat_are_told_from_names_with_colons() {
        for (line, expected) in [
            ("# label:color_rgb:parts:actions", None),
            ("background:0,0,0::", None),
            ("cat:250,50,83::", Some("cat")),
            ("a: b:1,2,3:x,y:walk", Some("a: b")),
            ("cat:::", Some("cat")),
            ("background", Some("background")),
            ("#1", Some("#1")),
            ("a: b", Some("a: b")),
            ("a:b:c:d", Some("a:b:c:d")),
        ] {
            assert_eq!(class_of_line(line), expected, "{line}");
        }
    }
}
