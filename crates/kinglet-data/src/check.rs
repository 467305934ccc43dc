//! What a scan of one split cannot see: pictures that are there twice, labels without a picture, and whether boxes suit a
//! model's levels; and the verdict whether training should start.

use crate::autoanchor::{AnchorFit, check_anchors};
use crate::error::labels_have;
use crate::finding::{Finding, FindingKind, Severity};
use crate::formats::files_of;
use crate::scan::{Dataset, run_parallel};
use crate::source::Split;
use crate::{NoProgress, formats::has_extension};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// More of the labels, or of the images for their labels, than this left out, and the rest is no longer the data set that was meant.
const MOST_DROPPED: f64 = 0.1;
/// More of the validation images than this in the training set, and the measured mAP is no longer that of new images.
const MOST_SHARED: f64 = 0.01;
/// YOLOv5's factor between the sides of a box and an anchor that fits it.
const ANCHOR_T: f64 = 4.0;

/// Pictures with the same bytes: within a split, and in two splits (told at the later one).
pub fn same_pictures(sets: &[Dataset], workers: usize) -> Vec<Finding> {
    let mut by_len: BTreeMap<u64, Vec<(usize, &Path)>> = BTreeMap::new();
    for (set, dataset) in sets.iter().enumerate() {
        for sample in &dataset.samples {
            if let Ok(meta) = std::fs::metadata(&sample.path) {
                by_len.entry(meta.len()).or_default().push((set, &sample.path));
            }
        }
    }
    // Only files of equal length can be equal.
    let suspects: Vec<(usize, &Path)> = by_len.into_values().filter(|group| group.len() > 1).flatten().collect();
    let hashes =
        run_parallel(&suspects, workers, &NoProgress, |(_, path)| std::fs::read(path).ok().map(|b| blake3::hash(&b)));
    let mut first: HashMap<blake3::Hash, (usize, &Path)> = HashMap::new();
    let mut findings = Vec::new();
    // In the order of the splits, so that the copy is the one told.
    let mut found: Vec<((usize, &Path), blake3::Hash)> =
        suspects.into_iter().zip(hashes).filter_map(|(who, hash)| Some((who, hash?))).collect();
    found.sort_by_key(|(who, _)| *who);
    for ((set, path), hash) in found {
        match first.get(&hash) {
            None => {
                first.insert(hash, (set, path));
            }
            Some((_, earlier)) if *earlier == path => {
                let value = format!("it is in `{}` and `{}`", sets[first[&hash].0].split.key(), sets[set].split.key());
                findings.push(Finding::new(path, None, Severity::Note, (FindingKind::SharedImage, value)));
            }
            Some((other, earlier)) => {
                let kind = if *other == set { FindingKind::DuplicateImage } else { FindingKind::SharedImage };
                let value = format!("the same bytes as `{}`", earlier.display());
                findings.push(Finding::new(path, None, Severity::Note, (kind, value)));
            }
        }
    }
    findings
}

/// Label files, in the folders that hold those of the images, that no image has.
pub fn orphans(sets: &[Dataset]) -> Vec<Finding> {
    let mut used: BTreeSet<PathBuf> = BTreeSet::new();
    // A folder may serve several splits.
    let mut folders: BTreeSet<(PathBuf, String)> = BTreeSet::new();
    for file in sets.iter().flat_map(|set| set.samples.iter().filter_map(|sample| sample.label_file.clone())) {
        let extension = file.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        if extension != "json" {
            folders.insert((crate::source::folder_of(&file), extension));
        }
        used.insert(file);
    }
    // The data set's own lists may lie beside the labels.
    for set in sets {
        used.extend(set.source.resolve(set.split).unwrap_or_default());
    }
    // Images that cannot be used have their labels all the same.
    let broken = sets.iter().flat_map(|set| set.findings.iter().filter(|f| f.kind.concerns_image()));
    let broken: BTreeSet<_> = broken.filter_map(|f| f.file.file_stem().map(|stem| stem.to_owned())).collect();
    let mut findings = Vec::new();
    for (folder, extension) in folders {
        let is_label = |path: &Path| {
            let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
            let known = ["classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt", "labelmap.txt", "notes.txt"];
            has_extension(path, &extension) && !known.contains(&name.as_str()) && !name.starts_with("readme")
        };
        for file in files_of(&folder, is_label).unwrap_or_default() {
            if !used.contains(&file) && !file.file_stem().is_some_and(|stem| broken.contains(stem)) {
                let fault = (FindingKind::OrphanLabels, "no split has its image".to_owned());
                findings.push(Finding::new(&file, None, Severity::Note, fault));
            }
        }
    }
    findings
}

/// A level of a model's head.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Level {
    /// Input pixels a cell.
    pub stride: usize,
    /// Widths and heights in pixels.
    pub anchors: Vec<[f32; 2]>,
    /// Boxes whose best anchor is here; to be counted.
    pub boxes: usize,
}

/// How the boxes of the training images suit the levels of a model.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LevelFit {
    /// Image side in pixels.
    pub img: usize,
    /// Boxes measured.
    pub boxes: usize,
    /// The levels, with their boxes counted.
    pub levels: Vec<Level>,
    /// Boxes with a side of less than 3 pixels, where hardly anything is left to see.
    pub tiny: usize,
    /// Boxes with a side below the finest stride.
    pub below_stride: usize,
    /// Share of boxes that an anchor fits.
    pub fitting: f64,
    /// Anchors that fit a box, on average.
    pub anchors_per_box: f64,
}

/// Measures boxes, at the training size `img`, against the levels of a head.
pub fn fit_levels(set: &Dataset, mut levels: Vec<Level>, img: usize) -> LevelFit {
    let sizes = set.box_sizes(img, None);
    let all: Vec<[f32; 2]> = levels.iter().flat_map(|level| level.anchors.iter().copied()).collect();
    let AnchorFit { bpr, aat, .. } = check_anchors(&sizes, &all, ANCHOR_T);
    // How far a box is from an anchor: the larger of the two factors between their sides.
    let factor = |wh: [f32; 2], a: [f32; 2]| {
        [wh[0] / a[0], a[0] / wh[0], wh[1] / a[1], a[1] / wh[1]].into_iter().fold(0.0, f32::max)
    };
    for &wh in &sizes {
        let of_level = |anchors: &[[f32; 2]]| anchors.iter().map(|&a| factor(wh, a)).fold(f32::INFINITY, f32::min);
        let best = levels.iter().map(|level| of_level(&level.anchors)).enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((level, _)) = best {
            levels[level].boxes += 1;
        }
    }
    let finest = levels.iter().map(|level| level.stride).min().unwrap_or(0) as f32;
    let below = |limit: f32| sizes.iter().filter(|wh| wh[0].min(wh[1]) < limit).count();
    LevelFit {
        img,
        boxes: sizes.len(),
        levels,
        tiny: below(3.0),
        below_stride: below(finest),
        fitting: bpr,
        anchors_per_box: aat,
    }
}

/// Why training should not start; empty where it should. `extra` are the findings across splits.
pub fn blockers(sets: &[Dataset], extra: &[Finding]) -> Vec<String> {
    let mut out = Vec::new();
    for set in sets {
        let (split, summary) = (set.split.key(), &set.summary);
        let unnamed = set.findings.iter().filter(|f| f.kind == FindingKind::ClassOutOfRange).count();
        if unnamed > 0 {
            out.push(format!(
                "{split}: {} a class without a name; add the names, or correct the labels",
                labels_have(unnamed)
            ));
        }
        if summary.without_file == summary.usable {
            out.push(format!("{split}: not one image has a label file; check where the labels are"));
        } else if summary.boxes == 0 {
            out.push(format!("{split}: there is not one box; nothing can be learnt or measured"));
        }
        let wrong = summary.boxes_dropped - unnamed.min(summary.boxes_dropped);
        let share = wrong as f64 / (summary.boxes + summary.boxes_dropped).max(1) as f64;
        if share > MOST_DROPPED {
            let percent = share * 100.0;
            out.push(format!("{split}: {percent:.0} % of the labels are left out; correct them, or try --fix"));
        }
        // Such images are left out with all of their boxes, however many those are.
        let unread = set.findings.iter().filter(|f| f.kind == FindingKind::UnreadableLabels).count();
        if unread as f64 > MOST_DROPPED * (summary.usable + unread) as f64 {
            let all = summary.usable + unread;
            out.push(format!(
                "{split}: {unread} of {all} images are left out, since their labels cannot be read; correct the files"
            ));
        }
    }
    for set in sets.iter().filter(|set| set.split != Split::Train) {
        let own: BTreeSet<&Path> = set.samples.iter().map(|sample| sample.path.as_path()).collect();
        let shared =
            extra.iter().filter(|f| f.kind == FindingKind::SharedImage && own.contains(f.file.as_path())).count();
        if shared as f64 > MOST_SHARED * own.len() as f64 {
            let (split, all) = (set.split.key(), own.len());
            out.push(format!(
                "{split}: {shared} of {all} pictures are in another split as well, so its mAP would be too high; keep each in one"
            ));
        }
    }
    out
}
