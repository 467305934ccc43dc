//! Finds the images and labels of a split, checks them in parallel, and reports everything it finds.
//!
//! Label path: the last `/images/` in the image's path becomes `/labels/` and the extension `.txt`; where no such file
//! exists, the `.txt` beside the image (the layout of CVAT's older export). A missing or empty file is a background.
//! Of JPEG and PNG files only the header and the last bytes are read; the others, and those without a proper end, are
//! decoded. What cannot be used is left out, with a finding; damage in the middle shows when the image is loaded.
//! Results are in the order of the sorted paths, whatever the number of threads.

use crate::cache::{self, Cache, Header};
use crate::data_yaml::{DataYaml, Split, join, read_text, user_path};
use crate::error::DataError;
use crate::labels::{Finding, FindingKind, Label, Severity, parse_labels};
use crate::rng::Rng;
use kinglet_vision::decode;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How to scan.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Treat every class as class 0.
    pub single_cls: bool,
    /// Make a class without a name an error; otherwise it is a finding and the box is left out (for reports).
    pub strict: bool,
    /// Make it an error when no image has a label file, or the training images have not one box.
    pub need_labels: bool,
    /// Use and write the cache of image sizes.
    pub cache: bool,
    /// Threads; 0 for as many as the machine has.
    pub workers: usize,
}

impl Default for ScanOptions {
    fn default() -> Self {
        ScanOptions { single_cls: false, strict: true, need_labels: true, cache: true, workers: 0 }
    }
}

/// Hears how far a scan is. Called from several threads.
pub trait Progress: Sync {
    /// `done` of `total` images have been looked at.
    fn advance(&self, done: usize, total: usize);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn advance(&self, _done: usize, _total: usize) {}
}

/// One usable image and its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// Upright width in pixels.
    pub width: usize,
    /// Upright height in pixels.
    pub height: usize,
    /// Its boxes; none for a background image.
    pub labels: Vec<Label>,
    /// The label file, if there is one.
    pub label_file: Option<PathBuf>,
}

/// Counts of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ScanSummary {
    /// Images found.
    pub images: usize,
    /// Images that can be used.
    pub usable: usize,
    /// Usable images without any box.
    pub background: usize,
    /// Usable images without a label file (among the backgrounds).
    pub without_file: usize,
    /// Boxes in use.
    pub boxes: usize,
    /// Boxes left out.
    pub boxes_dropped: usize,
    /// Boxes used after a correction.
    pub boxes_fixed: usize,
    /// Boxes of each class.
    pub boxes_per_class: Vec<usize>,
}

/// A split of a data set, ready for a loader.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The parsed data YAML.
    pub yaml: DataYaml,
    /// Which split.
    pub split: Split,
    /// Class names (one, `object` or the YAML's only name, with `single_cls`).
    pub names: Vec<String>,
    /// Usable images, sorted by path within each entry of the split.
    pub samples: Vec<Sample>,
    /// Everything noticed, in the order of the images.
    pub findings: Vec<Finding>,
    /// Counts.
    pub summary: ScanSummary,
    /// Notes for the user: ignored keys, an unwritable cache.
    pub notes: Vec<String>,
}

/// The label files an image may have, most likely first.
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

fn is_image(path: &Path) -> bool {
    decode::has_image_extension(path)
}

/// What a walk through folders has found.
#[derive(Default)]
struct Found {
    images: Vec<PathBuf>,
    /// Pictures of kinds that are not read.
    others: usize,
    /// Folders by their real path: a link to a parent, or a second link to a folder, adds nothing.
    folders: HashSet<PathBuf>,
}

fn walk(folder: &Path, found: &mut Found) -> Result<(), DataError> {
    let real = std::fs::canonicalize(folder).map_err(|e| DataError::io("read", folder, e))?;
    if !found.folders.insert(real) {
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| DataError::io("read", folder, e))? {
        entries.push(entry.map_err(|e| DataError::io("read", folder, e))?.path());
    }
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_dir() {
            if !hidden {
                walk(&path, found)?;
            }
        } else if is_image(&path) && !hidden {
            found.images.push(path);
        } else if decode::is_other_picture(&path) && !hidden {
            found.others += 1;
        }
    }
    Ok(())
}

/// Reads a list file: lines are relative to the list's own folder first, then to the roots of the data YAML.
fn read_list(
    list: &Path,
    roots: &[PathBuf],
    out: &mut Vec<PathBuf>,
    findings: &mut Vec<Finding>,
) -> Result<(), DataError> {
    let folder = list.parent().unwrap_or(Path::new("."));
    for (index, line) in read_text(list)?.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let written = user_path(line);
        let bases = std::iter::once(folder).chain(roots.iter().map(PathBuf::as_path)).chain([Path::new(".")]);
        match bases.map(|base| join(base, &written)).find(|p| p.is_file()) {
            Some(path) => out.push(path),
            None => findings.push(Finding {
                file: list.to_path_buf(),
                line: Some(index + 1),
                kind: FindingKind::MissingImage,
                severity: Severity::Dropped,
                value: format!("`{line}`, looked for in `{}` and the data YAML's folders", folder.display()),
            }),
        }
    }
    Ok(())
}

/// Smallest usable side. YOLOv5 refuses below 10 px; a small picture is a poor example but not a broken one.
const MIN_SIDE: usize = 2;

/// Looks at an image's bytes: its size, or why it cannot be used.
fn read_header(path: &Path, (len, modified): (u64, u64)) -> Header {
    let unusable = |trouble: String| Header { len, modified, width: 0, height: 0, trouble: Some(trouble) };
    let (width, height, format) = match decode::read_dimensions(path) {
        Ok(header) => header,
        Err(error) => return unusable(reason(error)),
    };
    let small = |v: usize| u32::try_from(v).unwrap_or(u32::MAX);
    let (width, height) = (small(width), small(height));
    let limits = decode::Limits::default();
    if let Err(error) = limits.check(width, height) {
        return unusable(error.to_string());
    }
    let end: Option<&[u8]> = match format {
        decode::Format::Jpeg => Some(&[0xFF, 0xD9]),
        decode::Format::Png => Some(b"IEND"),
        _ => None,
    };
    let mut trouble = None;
    if !end.is_some_and(|end| ends_with(path, end)) {
        // Only now is a full decode worth its time: some cut files still hold every pixel.
        match decode::read(path, &limits) {
            Ok(_) => trouble = end.map(|_| format!("{format} without its end marker")),
            Err(error) => return unusable(reason(error)),
        }
    }
    Header { len, modified, width, height, trouble }
}

/// The reason alone, where the file is named elsewhere.
pub(crate) fn reason(error: decode::DecodeError) -> String {
    match error {
        decode::DecodeError::InFile { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// Whether `marker` stands at, or with some padding near, the end of the file.
fn ends_with(path: &Path, marker: &[u8]) -> bool {
    use std::io::{Read, Seek, SeekFrom};
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(64)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    tail().is_ok_and(|bytes| bytes.windows(marker.len()).any(|w| w == marker))
}

struct Looked {
    sample: Option<Sample>,
    findings: Vec<Finding>,
    header: Option<Header>,
}

fn look(image: &Path, known: Option<&Header>, nc: usize, single_cls: bool) -> Looked {
    let mut findings = Vec::new();
    let image_finding = |kind, severity, value| Finding { file: image.into(), line: None, kind, severity, value };
    let header = match cache::stamp(image) {
        Err(error) => {
            findings.push(image_finding(FindingKind::UnreadableImage, Severity::Dropped, error.to_string()));
            return Looked { sample: None, findings, header: None };
        }
        Ok(stamp) => match known.filter(|h| (h.len, h.modified) == stamp) {
            Some(header) => header.clone(),
            None => read_header(image, stamp),
        },
    };
    let (width, height) = (header.width as usize, header.height as usize);
    if width == 0 || width < MIN_SIDE || height < MIN_SIDE {
        let (kind, reason) = match &header.trouble {
            Some(trouble) if width == 0 => (FindingKind::UnreadableImage, trouble.clone()),
            _ => (FindingKind::TinyImage, format!("{width}x{height} px, expected at least {MIN_SIDE}x{MIN_SIDE}")),
        };
        findings.push(image_finding(kind, Severity::Dropped, reason));
        return Looked { sample: None, findings, header: Some(header) };
    }
    if let Some(trouble) = &header.trouble {
        findings.push(image_finding(FindingKind::DamagedImage, Severity::Note, trouble.clone()));
    }
    // Whatever has the name counts: a folder, or a file that may not be read, is no sign of a background.
    let label_file = label_candidates(image).into_iter().find(|p| p.exists());
    let mut labels = Vec::new();
    if let Some(file) = &label_file {
        match std::fs::read(file) {
            Ok(bytes) => {
                let (parsed, found) = parse_labels(&bytes, file, (!single_cls).then_some(nc), single_cls);
                labels = parsed;
                findings.extend(found);
            }
            Err(error) => {
                findings.push(Finding {
                    file: file.clone(),
                    line: None,
                    kind: FindingKind::UnreadableLabels,
                    severity: Severity::Dropped,
                    value: if file.is_dir() { "it is a folder".to_owned() } else { error.to_string() },
                });
                return Looked { sample: None, findings, header: Some(header) };
            }
        }
        for label in &labels {
            let (w, h) = (label.cxcywh[2] * width as f32, label.cxcywh[3] * height as f32);
            if w < 2.0 || h < 2.0 {
                findings.push(Finding {
                    file: file.clone(),
                    line: None,
                    kind: FindingKind::TooSmall,
                    severity: Severity::Note,
                    value: format!("class {}, {w:.1} x {h:.1} px of {width}x{height}", label.class),
                });
            }
        }
    }
    Looked {
        sample: Some(Sample { path: image.into(), width, height, labels, label_file }),
        findings,
        header: Some(header),
    }
}

impl Dataset {
    /// Reads `data_yaml`, finds the images of `split` and checks them all.
    ///
    /// # Errors
    /// See [`DataError`]. Single bad boxes and images are findings, not errors.
    pub fn open(
        data_yaml: impl AsRef<Path>,
        split: Split,
        options: ScanOptions,
        progress: &dyn Progress,
    ) -> Result<Self, DataError> {
        Self::scan(DataYaml::load(data_yaml)?, split, options, progress)
    }

    /// As [`Dataset::open`], from a parsed data YAML.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn scan(
        yaml: DataYaml,
        split: Split,
        options: ScanOptions,
        progress: &dyn Progress,
    ) -> Result<Self, DataError> {
        let places = yaml.resolve(split)?;
        let roots = yaml.roots();
        let (mut found, mut findings) = (Found::default(), Vec::new());
        for place in &places {
            if place.is_dir() {
                walk(place, &mut found)?;
            } else if is_image(place) {
                found.images.push(place.clone());
            } else {
                read_list(place, &roots, &mut found.images, &mut findings)?;
            }
        }
        let Found { mut images, others, .. } = found;
        // The same image named by two entries counts once.
        let mut seen = HashSet::new();
        images.retain(|p| seen.insert(p.clone()));
        if images.is_empty() {
            let extensions = decode::EXTENSIONS.join(", ");
            let first = findings.first().map(Finding::to_string);
            return Err(DataError::NoImages { split, places, extensions, first });
        }

        let nc = yaml.names.len();
        let cache_path = cache::place(&label_candidates(&images[0])[0], split.key());
        let cache_folder = cache_path.parent().unwrap_or(Path::new(".")).to_path_buf();
        let cache_key = |p: &Path| p.strip_prefix(&cache_folder).unwrap_or(p).to_string_lossy().into_owned();
        let known = if options.cache { Cache::load(&cache_path) } else { Cache::default() };
        let looked = run_parallel(&images, options.workers, progress, |image| {
            look(image, known.headers.get(&cache_key(image)), nc, options.single_cls)
        });

        let mut samples = Vec::with_capacity(images.len());
        let mut headers = BTreeMap::new();
        for (image, one) in images.iter().zip(looked) {
            headers.extend(one.header.map(|h| (cache_key(image), h)));
            samples.extend(one.sample);
            findings.extend(one.findings);
        }
        let mut notes = yaml.notes.clone();
        if others > 0 {
            let kinds = decode::UNDECODABLE_EXTENSIONS.join(", ");
            notes.push(format!(
                "{others} files of kinds that are not read are left out ({kinds}); convert them to JPEG or PNG"
            ));
        }
        let fresh = Cache { headers };
        if options.cache
            && fresh != known
            && let Err(error) = fresh.store(&cache_path)
        {
            notes.push(format!(
                "`{}` not written ({}); the next start scans again",
                cache_path.display(),
                error.kind()
            ));
        }

        // Damage past a sound header shows only now. One image that can be decoded is enough to go on.
        let limits = decode::Limits::default();
        while let Some(sample) = samples.first() {
            let Err(error) = decode::read(&sample.path, &limits) else { break };
            let (file, value) = (sample.path.clone(), reason(error));
            let (kind, severity) = (FindingKind::UnreadableImage, Severity::Dropped);
            findings.push(Finding { file, line: None, kind, severity, value });
            samples.remove(0);
        }
        if samples.is_empty() {
            let first = findings.iter().find(|f| f.kind.concerns_image()).map(Finding::to_string).unwrap_or_default();
            return Err(DataError::NoReadableImages { split: split.key(), count: images.len(), first });
        }
        if options.need_labels && samples.iter().all(|s| s.label_file.is_none()) {
            let image = images[0].clone();
            let tried = label_candidates(&image);
            return Err(DataError::NoLabels { split: split.key(), images: images.len(), image, tried });
        }
        if options.strict {
            let bad: Vec<&Finding> = findings.iter().filter(|f| f.kind == FindingKind::ClassOutOfRange).collect();
            if !bad.is_empty() {
                let show = |f: &&Finding| format!("{}:{}: {}", f.file.display(), f.line.unwrap_or(1), f.value);
                let first = bad.iter().take(5).map(show).collect();
                let names = yaml.names.iter().enumerate().map(|(i, name)| format!("{i}: {name}")).collect();
                return Err(DataError::ClassOutOfRange { file: yaml.file.clone(), names, count: bad.len(), first });
            }
        }
        if options.need_labels && split == Split::Train && samples.iter().all(|s| s.labels.is_empty()) {
            let first = findings.iter().find(|f| !f.kind.concerns_image()).map(Finding::to_string);
            return Err(DataError::NoBoxes { split: split.key(), images: images.len(), first });
        }
        let names = match (options.single_cls, yaml.names.as_slice()) {
            (true, [only]) => vec![only.clone()],
            (true, _) => vec!["object".to_string()],
            (false, names) => names.to_vec(),
        };
        let summary = summarise(images.len(), &samples, &findings, names.len());
        if summary.boxes == 0 && split != Split::Train {
            let split = split.key();
            notes.push(format!("`{split}` has not one box: precision, recall and mAP are 0 whatever is detected"));
        }
        Ok(Dataset { yaml, split, names, samples, findings, summary, notes })
    }

    /// Number of classes.
    pub fn nc(&self) -> usize {
        self.names.len()
    }

    /// Findings counted by kind and outcome.
    pub fn finding_counts(&self) -> Vec<(FindingKind, Severity, usize)> {
        let mut counts: BTreeMap<(FindingKind, u8), (Severity, usize)> = BTreeMap::new();
        for f in &self.findings {
            counts.entry((f.kind, f.severity as u8)).or_insert((f.severity, 0)).1 += 1;
        }
        counts.into_iter().map(|((kind, _), (severity, n))| (kind, severity, n)).collect()
    }

    /// Width and height in pixels of every box when the image's long side is `img`; with `rng`, times U(0.9, 1.1) per
    /// image, as AutoAnchor wants them.
    pub fn box_sizes(&self, img: usize, mut rng: Option<&mut Rng>) -> Vec<[f32; 2]> {
        let mut out = Vec::with_capacity(self.summary.boxes);
        for sample in &self.samples {
            let jitter = rng.as_mut().map_or(1.0, |r| r.uniform(0.9, 1.1));
            let scale = (img as f64 / sample.width.max(sample.height) as f64 * jitter) as f32;
            let (w, h) = (sample.width as f32 * scale, sample.height as f32 * scale);
            out.extend(sample.labels.iter().map(|l| [l.cxcywh[2] * w, l.cxcywh[3] * h]));
        }
        out
    }
}

fn summarise(images: usize, samples: &[Sample], findings: &[Finding], nc: usize) -> ScanSummary {
    let mut boxes_per_class = vec![0; nc];
    for label in samples.iter().flat_map(|s| &s.labels) {
        boxes_per_class[label.class] += 1;
    }
    let boxes_with = |severity| findings.iter().filter(|f| !f.kind.concerns_image() && f.severity == severity).count();
    ScanSummary {
        images,
        usable: samples.len(),
        background: samples.iter().filter(|s| s.labels.is_empty()).count(),
        without_file: samples.iter().filter(|s| s.label_file.is_none()).count(),
        boxes: boxes_per_class.iter().sum(),
        boxes_dropped: boxes_with(Severity::Dropped),
        boxes_fixed: boxes_with(Severity::Fixed),
        boxes_per_class,
    }
}

/// Threads for `wanted`: 0 means all the machine has.
pub(crate) fn thread_count(wanted: usize) -> usize {
    if wanted > 0 { wanted } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// Maps `items` on several threads; results keep the order of the items.
pub(crate) fn run_parallel<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    progress: &dyn Progress,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let threads = thread_count(workers).min(items.len()).max(1);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worker = || {
        let mut mine = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return mine };
            mine.push((index, work(item)));
            progress.advance(done.fetch_add(1, Ordering::Relaxed) + 1, items.len());
        }
    };
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        handles.into_iter().flat_map(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
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
    fn box_sizes_are_at_the_training_size() {
        let label = Label { class: 0, cxcywh: [0.5, 0.5, 0.5, 0.25], polygon: None };
        let sample =
            Sample { path: "a".into(), width: 640, height: 480, labels: vec![label], label_file: Some("b".into()) };
        let yaml = DataYaml::parse("names: [a]", Path::new("d.yaml")).unwrap();
        let summary = summarise(1, std::slice::from_ref(&sample), &[], 1);
        let set = Dataset {
            yaml,
            split: Split::Train,
            names: vec!["a".into()],
            samples: vec![sample],
            findings: Vec::new(),
            summary,
            notes: Vec::new(),
        };
        assert_eq!(set.box_sizes(320, None), [[160.0, 60.0]]);
        let [w, h] = set.box_sizes(320, Some(&mut Rng::new(1)))[0];
        assert!((144.0..=176.0).contains(&w) && (w / h - 160.0 / 60.0).abs() < 1e-4);
    }
}
