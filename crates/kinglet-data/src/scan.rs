//! Checks the images and labels of a split in parallel, and reports everything it finds.
//!
//! Whatever the format, the result is one [`Dataset`]: images, labels, findings and class names. An image without a label
//! file, or with an empty one, is a background.
//! Of JPEG and PNG files only the header and the last bytes are read; the others, and those without a proper end, are
//! decoded. What cannot be used is left out, with a finding; damage in the middle shows when the image is loaded.
//! Results are in the order of the sorted paths, whatever the number of threads.

use crate::cache::{self, Cache, Header};
use crate::error::DataError;
use crate::finding::{Finding, FindingKind, Severity};
use crate::formats::{Format, has_extension, voc};
use crate::labels::{IgnoredRegion, Label, parse_text};
use crate::listing::{self, Entry, Listing, all_candidates, label_file};
use crate::pixel_box::Checked;
use crate::rng::Rng;
use crate::source::{Source, Split};
use kinglet_vision::decode;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How to scan.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Treat every class as class 0.
    pub single_cls: bool,
    /// Make a class without a name an error; otherwise it is a finding and the box is left out (for reports).
    pub strict: bool,
    /// Make it an error when no image has a label file, the training images have not one box, or another split lost all of them.
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
    /// Places where detections are neither right nor wrong.
    pub ignored: Vec<IgnoredRegion>,
    /// The label file, if there is one.
    pub label_file: Option<PathBuf>,
    /// The number that COCO JSON gives the image.
    pub id: Option<u64>,
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
    /// What describes the data set.
    pub source: Source,
    /// Which split.
    pub split: Split,
    /// Class names (one, `object` or the source's only name, with `single_cls`).
    pub names: Vec<String>,
    /// Usable images, sorted by path within each entry of the split.
    pub samples: Vec<Sample>,
    /// Everything noticed, in the order of the images.
    pub findings: Vec<Finding>,
    /// Counts.
    pub summary: ScanSummary,
    /// The COCO category of each class; empty for other formats.
    pub category_ids: BTreeMap<usize, u64>,
    /// Notes for the user: ignored keys, an unwritable cache.
    pub notes: Vec<String>,
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
        // Only now is a full decode worth its time: some cut files still hold every pixel, and behind the end of sound ones
        // cameras write data of their own.
        match decode::read(path, &limits) {
            Err(error) => return unusable(reason(error)),
            Ok(decoded) if decoded.findings.contains(&decode::DecodeNote::TruncatedTail) => {
                trouble = Some(format!("{format} without its end marker"));
            }
            Ok(_) => {}
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

/// How labels are read.
struct Reading<'a> {
    names: &'a [String],
    format: Format,
    single_cls: bool,
}

fn look(entry: &Entry, known: Option<&Header>, reading: &Reading<'_>) -> Looked {
    let image = entry.image.as_path();
    let mut findings = Vec::new();
    let image_finding = |kind, severity, value| Finding::new(image, None, severity, (kind, value));
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
    let (label_file, checked) = match &entry.coco {
        Some((file, coco)) => (Some(file.clone()), Ok(coco.checked(file, (header.width, header.height)))),
        None => match label_file(image, reading.format) {
            Some(file) => {
                let checked = read_labels(&file, reading, (header.width, header.height));
                (Some(file), checked)
            }
            None => (None, Ok(Checked::default())),
        },
    };
    let checked = match checked {
        Ok(checked) => checked,
        Err(value) => {
            let fault = (FindingKind::UnreadableLabels, value);
            findings.push(Finding::new(label_file.as_deref().unwrap_or(image), None, Severity::Dropped, fault));
            return Looked { sample: None, findings, header: Some(header) };
        }
    };
    findings.extend(checked.findings);
    if let Some(file) = &label_file {
        let mut boxes = HashMap::new();
        for (label, line) in checked.labels.iter().zip(&checked.lines) {
            let mut note = |kind, value| findings.push(Finding::new(file, *line, Severity::Note, (kind, value)));
            let (w, h) = (label.cxcywh[2] * width as f32, label.cxcywh[3] * height as f32);
            if w < 2.0 || h < 2.0 {
                let value = format!("class {}, {w:.1} x {h:.1} px of {width}x{height}", label.class);
                note(FindingKind::TooSmall, value);
            }
            let first = *boxes.entry(label.cxcywh.map(f32::to_bits)).or_insert(label.class);
            if first != label.class {
                note(FindingKind::TwoClasses, format!("class {} here, class {first} before", label.class));
            }
        }
    }
    let (labels, ignored, id) = (checked.labels, checked.ignored, entry.coco.as_ref().map(|(_, coco)| coco.id));
    let sample = Sample { path: image.into(), width, height, labels, ignored, label_file, id };
    Looked { sample: Some(sample), findings, header: Some(header) }
}

/// Reads a label file of either kind; the error is why it cannot be read.
fn read_labels(file: &Path, reading: &Reading<'_>, size: (u32, u32)) -> Result<Checked, String> {
    let Reading { names, single_cls, .. } = *reading;
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(_) if file.is_dir() => return Err("it is a folder".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    if !has_extension(file, "xml") {
        return Ok(parse_text(&bytes, file, (!single_cls).then_some(names.len()), single_cls));
    }
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes));
    let text = text.map_err(|_| "it is not UTF-8; save it as UTF-8".to_owned())?;
    voc::parse(text, file, names, single_cls, size)
}

impl Dataset {
    /// Recognises what `data` names, finds the images of `split` and checks them all.
    ///
    /// # Errors
    /// See [`DataError`]. Single bad boxes and images are findings, not errors.
    pub fn open(
        data: impl AsRef<Path>,
        split: Split,
        options: ScanOptions,
        progress: &dyn Progress,
    ) -> Result<Self, DataError> {
        Self::scan(Source::open(data)?, split, options, progress)
    }

    /// As [`Dataset::open`], from a source.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn scan(
        source: Source,
        split: Split,
        options: ScanOptions,
        progress: &dyn Progress,
    ) -> Result<Self, DataError> {
        let listing = listing::list(&source, split, options.single_cls)?;
        let Listing { entries, mut findings, mut notes, category_ids, .. } = listing;
        let reading = Reading { names: &source.names, format: source.format, single_cls: options.single_cls };
        let images = entries.len();
        let first = &entries[0];
        let beside = first.coco.as_ref().map(|(file, _)| file.clone());
        let beside = beside.or_else(|| label_file(&first.image, source.format));
        let beside = beside.unwrap_or_else(|| all_candidates(&first.image, source.format)[0].clone());
        let cache_path = cache::place(&beside, &source.folder(), split.key());
        let cache_folder = cache_path.parent().unwrap_or(Path::new(".")).to_path_buf();
        let cache_key = |p: &Path| p.strip_prefix(&cache_folder).unwrap_or(p).to_string_lossy().into_owned();
        let known = if options.cache { Cache::load(&cache_path) } else { Cache::default() };
        let looked = run_parallel(&entries, options.workers, progress, |entry| {
            look(entry, known.headers.get(&cache_key(&entry.image)), &reading)
        });

        let mut samples = Vec::with_capacity(images);
        let mut headers = BTreeMap::new();
        let limits = decode::Limits::default();
        for (entry, one) in entries.iter().zip(looked) {
            headers.extend(one.header.map(|h| (cache_key(&entry.image), h)));
            findings.extend(one.findings);
            let Some(sample) = one.sample else { continue };
            // Damage past a sound header shows only now. One image that can be decoded is enough to go on.
            match samples.is_empty().then(|| decode::read(&sample.path, &limits)) {
                Some(Err(error)) => {
                    let fault = (FindingKind::UnreadableImage, reason(error));
                    findings.push(Finding::new(&sample.path, None, Severity::Dropped, fault));
                }
                _ => samples.push(sample),
            }
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

        if samples.is_empty() {
            let first = findings.iter().find(|f| f.kind.concerns_image()).map(Finding::to_string).unwrap_or_default();
            return Err(DataError::NoReadableImages { split: split.key(), count: images, first });
        }
        if options.need_labels && samples.iter().all(|s| s.label_file.is_none()) {
            let image = entries[0].image.clone();
            let tried = match source.format {
                Format::Voc => voc::candidates(&image),
                _ => listing::label_candidates(&image),
            };
            return Err(DataError::NoLabels { split: split.key(), images, image, tried });
        }
        if options.strict {
            let bad: Vec<&Finding> = findings.iter().filter(|f| f.kind == FindingKind::ClassOutOfRange).collect();
            if !bad.is_empty() {
                let show = |f: &&Finding| format!("{}:{}: {}", f.file.display(), f.line.unwrap_or(1), f.value);
                let first = bad.iter().take(5).map(show).collect();
                let names = source.names.iter().enumerate().map(|(i, name)| format!("{i}: {name}")).collect();
                return Err(DataError::ClassOutOfRange { file: source.file.clone(), names, count: bad.len(), first });
            }
        }
        let lost = |f: &&Finding| !f.kind.concerns_image() && f.severity == Severity::Dropped;
        let nothing_left = samples.iter().all(|s| s.labels.is_empty());
        // Backgrounds alone are good for a measurement of false alarms. Labels of which none is right are a mistake.
        if options.need_labels && nothing_left && (split == Split::Train || findings.iter().any(|f| lost(&f))) {
            let first = findings.iter().find(|f| !f.kind.concerns_image()).map(Finding::to_string);
            return Err(DataError::NoBoxes { split: split.key(), images, first });
        }
        let names = match (options.single_cls, source.names.as_slice()) {
            (true, [only]) => vec![only.clone()],
            (true, _) => vec!["object".to_string()],
            (false, names) => names.to_vec(),
        };
        let summary = summarise(images, &samples, &findings, names.len());
        if summary.boxes == 0 && split != Split::Train {
            let split = split.key();
            notes.push(format!("`{split}` has not one box: precision, recall and mAP are 0 whatever is detected"));
        }
        Ok(Dataset { source, split, names, samples, findings, summary, category_ids, notes })
    }

    /// Numbers the classes as `names` does, such as those of weights to measure. False, and nothing changes, where they are not
    /// the same names, each of them once.
    pub fn number_as(&mut self, names: &[String]) -> bool {
        let Some(new) = renumbering(&self.names, names) else { return false };
        for sample in &mut self.samples {
            sample.labels.iter_mut().for_each(|label| label.class = new[label.class]);
            sample.ignored.iter_mut().for_each(|region| region.class = new[region.class]);
        }
        self.category_ids = self.category_ids.iter().map(|(&class, &id)| (new[class], id)).collect();
        let counts = self.summary.boxes_per_class.clone();
        counts.into_iter().enumerate().for_each(|(class, boxes)| self.summary.boxes_per_class[new[class]] = boxes);
        self.names = names.to_vec();
        self.source.names = names.to_vec();
        true
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

/// The number in `new` of each class of `old`, where both are the same names, each once.
fn renumbering(old: &[String], new: &[String]) -> Option<Vec<usize>> {
    let at: HashMap<&String, usize> = new.iter().enumerate().map(|(class, name)| (name, class)).collect();
    let numbers: Vec<usize> = old.iter().map_while(|name| at.get(name).copied()).collect();
    let distinct: HashSet<usize> = numbers.iter().copied().collect();
    (old.len() == new.len() && distinct.len() == new.len()).then_some(numbers)
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
    fn box_sizes_are_at_the_training_size() {
        let label = Label { class: 0, cxcywh: [0.5, 0.5, 0.5, 0.25], polygon: None };
        let sample = Sample {
            path: "a".into(),
            width: 640,
            height: 480,
            labels: vec![label],
            ignored: Vec::new(),
            label_file: Some("b".into()),
            id: None,
        };
        let summary = summarise(1, std::slice::from_ref(&sample), &[], 1);
        let set = Dataset {
            source: Source::empty(Path::new("d.yaml"), Format::YoloYaml),
            split: Split::Train,
            names: vec!["a".into()],
            samples: vec![sample],
            findings: Vec::new(),
            summary,
            category_ids: BTreeMap::new(),
            notes: Vec::new(),
        };
        assert_eq!(set.box_sizes(320, None), [[160.0, 60.0]]);
        let [w, h] = set.box_sizes(320, Some(&mut Rng::new(1)))[0];
        assert!((144.0..=176.0).contains(&w) && (w / h - 160.0 / 60.0).abs() < 1e-4);
    }
}
