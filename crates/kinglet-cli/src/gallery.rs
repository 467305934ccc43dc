//! What a validation shows beyond its table: pictures of the first batches, the images with most errors, kinds of errors,
//! and precision by size.

use kinglet_data::Sample;
use kinglet_eval::confusion::CONFUSION_CONF;
use kinglet_eval::error_kinds::{Judged, Verdict};
use kinglet_eval::{BySize, ErrorAnalysis, ErrorKind, Errors, LabelBox, SizeMetrics};
use kinglet_train::validate::label_boxes;
use kinglet_vision::decode::{self, Limits};
use kinglet_vision::draw::{draw_label, draw_rectangle};
use kinglet_vision::sheet::{TILES, Tile, scaled, sheet, tile_side};
use kinglet_vision::{Detection, Image};

/// Batches that become pictures, as in YOLOv5.
pub const BATCHES: usize = 3;
/// Images with errors that are shown.
const WORST: usize = 12;
/// Their longer side in a report.
const WORST_SIDE: usize = 480;
/// White, for what is right.
const RIGHT: [u8; 3] = [255; 3];

/// An image with what was detected in it.
#[derive(Debug)]
struct Kept {
    sample: Sample,
    detections: Vec<Detection>,
    judged: Judged,
}

impl Kept {
    fn errors(&self) -> usize {
        ErrorKind::ALL.into_iter().map(|kind| self.judged.count(kind)).sum()
    }

    fn name(&self) -> String {
        self.sample.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn read(&self) -> Option<Image> {
        // An image that has gone since is left out of the pictures.
        decode::read(&self.sample.path, &Limits::default()).ok().map(|decoded| decoded.image)
    }

    /// `0012.jpg: 2 missed, 1 background`.
    fn caption(&self) -> String {
        let count = |kind: ErrorKind| (self.judged.count(kind), kind.name());
        let counts = ErrorKind::ALL.map(count).into_iter().filter(|(n, _)| *n > 0);
        format!("{}: {}", self.name(), counts.map(|(n, kind)| format!("{n} {kind}")).collect::<Vec<_>>().join(", "))
    }

    /// The image with its errors in the colours of their kinds, and finds in white.
    fn draw(&self, names: &[String]) -> Option<Image> {
        let (mut image, scale) = scaled(&self.read()?, WORST_SIDE);
        let name = |class: usize| names.get(class).map_or_else(|| class.to_string(), Clone::clone);
        let place = |xyxy: [f32; 4]| xyxy.map(|v| v * scale);
        let (labels, _) = label_boxes(&self.sample);
        let mut written: Vec<([f32; 4], String, [u8; 3])> = Vec::new();
        for (detection, verdict) in self.detections.iter().zip(&self.judged.verdicts) {
            let at = place(detection.xyxy);
            match verdict {
                Verdict::Right => draw_rectangle(&mut image, at, 1, RIGHT),
                Verdict::Ignored => {}
                Verdict::Wrong(kind, _) => {
                    draw_rectangle(&mut image, at, 2, kind.colour());
                    written.push((at, format!("{} {:.2}", name(detection.class), detection.score), kind.colour()));
                }
            }
        }
        for label in &self.judged.missed {
            let LabelBox { class, xyxy } = labels[*label];
            draw_rectangle(&mut image, place(xyxy), 2, ErrorKind::Missed.colour());
            written.push((place(xyxy), name(class), ErrorKind::Missed.colour()));
        }
        written.iter().for_each(|(at, text, colour)| draw_label(&mut image, *at, text, 2, *colour));
        Some(image)
    }
}

/// Listens to a validation.
#[derive(Debug)]
pub struct Gallery {
    batch: usize,
    count: usize,
    batches: Vec<Vec<Kept>>,
    worst: Vec<Kept>,
    errors: ErrorAnalysis,
    sizes: BySize,
}

/// What it heard.
#[derive(Debug)]
pub struct Shown {
    /// Kinds of errors.
    pub errors: Errors,
    /// Small, medium and large objects.
    pub sizes: [SizeMetrics; 3],
    batches: Vec<Vec<Kept>>,
    worst: Vec<Kept>,
}

impl Gallery {
    /// For batches of so many images.
    pub fn new(batch: usize) -> Self {
        Gallery {
            batch: batch.max(1),
            count: 0,
            batches: Vec::new(),
            worst: Vec::new(),
            errors: ErrorAnalysis::default(),
            sizes: BySize::default(),
        }
    }

    /// Adds the next image.
    pub fn add(&mut self, sample: &Sample, detections: &[Detection]) {
        let (labels, ignored) = label_boxes(sample);
        self.sizes.add_image(self.count, detections, &labels, &ignored);
        let (visible, judged) = self.errors.add_image(self.count, detections, &labels, &ignored);
        let (batch, place) = (self.count / self.batch, self.count % self.batch);
        self.count += 1;
        let kept = |detections, judged| Kept { sample: sample.clone(), detections, judged };
        if batch < BATCHES && place < TILES {
            self.batches.resize_with(batch + 1, Vec::new);
            self.batches[batch].push(kept(visible.clone(), judged.clone()));
        }
        let own = kept(visible, judged);
        if own.errors() > 0 {
            // Behind those of as many errors: the order of the images decides.
            let at = self.worst.partition_point(|other| other.errors() >= own.errors());
            self.worst.insert(at, own);
            self.worst.truncate(WORST);
        }
    }

    /// All images are in.
    pub fn finish(self) -> Shown {
        let (errors, sizes) = (self.errors.finish(), self.sizes.finish());
        Shown { errors, sizes, batches: self.batches, worst: self.worst }
    }
}

impl Shown {
    /// For each of the first batches: the images with their labels, and with what was detected.
    pub fn batch_sheets<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = [Image; 2]> + 'a {
        self.batches.iter().map(|batch| {
            let side = tile_side(batch.len());
            let mut tiles = [Vec::new(), Vec::new()];
            for kept in batch {
                let Some(image) = kept.read() else { continue };
                let (labels, _) = label_boxes(&kept.sample);
                let labels = labels.iter().map(|l| Detection { xyxy: l.xyxy, score: 1.0, class: l.class });
                let labels: Vec<Detection> = labels.collect();
                tiles[0].push(Tile::new(&image, side, &kept.name(), &labels, names, false));
                let mut caption = kept.name();
                if kept.detections.is_empty() {
                    caption.push_str(&format!(": nothing from {CONFUSION_CONF} on"));
                }
                tiles[1].push(Tile::new(&image, side, &caption, &kept.detections, names, true));
            }
            tiles.map(|tiles| sheet(&tiles))
        })
    }

    /// The images with most errors: what is wrong in words, and the picture.
    pub fn worst_pictures<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = (String, Image)> + 'a {
        self.worst.iter().filter_map(|kept| Some((kept.caption(), kept.draw(names)?)))
    }

    /// Sizes and kinds of errors as JSON.
    pub fn json(&self) -> (serde_json::Value, serde_json::Value) {
        let size = |(name, m): (&&str, &SizeMetrics)| {
            let value = serde_json::json!({"instances": m.instances, "map50": m.map50, "map50_95": m.map50_95});
            ((*name).to_owned(), value)
        };
        let kind = |kind: ErrorKind| {
            let found = self.errors.of(kind);
            (kind.name().to_owned(), serde_json::json!({"count": found.count, "map50_cost": found.cost}))
        };
        let sizes: serde_json::Map<_, _> = kinglet_eval::sizes::SIZES.iter().zip(&self.sizes).map(size).collect();
        let kinds: serde_json::Map<_, _> = ErrorKind::ALL.into_iter().map(kind).collect();
        (sizes.into(), kinds.into())
    }
}

/// The confidence from which on a detection is shown, in words.
pub fn shown_from() -> String {
    format!("{CONFUSION_CONF}")
}
