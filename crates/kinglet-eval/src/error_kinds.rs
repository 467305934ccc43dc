//! What kinds of errors a detector makes, and what each kind costs in mAP50.
//!
//! Source: TIDE (Bolya et al. 2020, arXiv:2008.08115): a wrong detection is of one kind, by its IoU with labels of its own
//! class and of others (foreground from 0.5, background up to 0.1); a label that no right detection finds and that no
//! mended one would find is missed. A kind's cost is how far mAP50 would rise without its errors, all else as it is, so
//! the costs do not add up to what is missing. Where two rules hold, the order is: localisation, classification, duplicate,
//! background, both. Units: boxes in pixels.   Oracle: cases worked by hand in the tests below.

use std::collections::{BTreeMap, BTreeSet};

use kinglet_vision::nms::Detection;

use crate::ap::mean_average_precision;
use crate::confusion::CONFUSION_CONF;
use crate::matching::{IOU_THRESHOLDS, IgnoredBox, LabelBox, best_label, excuses, matched_labels};
use crate::panel::SERIES;

/// From this IoU on, a detection is at the label.
const FOREGROUND: f32 = IOU_THRESHOLDS[0] as f32;
/// Up to this IoU, a detection is at nothing.
const BACKGROUND: f32 = 0.1;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// At a label, with the wrong class.
    Classification,
    /// Of the right class, and beside its label.
    Localisation,
    /// Beside a label, and with the wrong class.
    Both,
    /// At a label that a better detection has found.
    Duplicate,
    /// At no label.
    Background,
    /// A label that nothing finds.
    Missed,
}

impl ErrorKind {
    /// All, in order.
    pub const ALL: [ErrorKind; 6] = [
        ErrorKind::Classification,
        ErrorKind::Localisation,
        ErrorKind::Both,
        ErrorKind::Duplicate,
        ErrorKind::Background,
        ErrorKind::Missed,
    ];

    /// In a word.
    pub fn name(self) -> &'static str {
        ["classification", "localisation", "both", "duplicate", "background", "missed"][self as usize]
    }

    /// In a sentence.
    pub fn describe(self) -> &'static str {
        match self {
            ErrorKind::Classification => "the place is right, the class is wrong",
            ErrorKind::Localisation => "the class is right, the box fits badly",
            ErrorKind::Both => "the class is wrong, and the box fits badly",
            ErrorKind::Duplicate => "the object has been found by a better detection already",
            ErrorKind::Background => "there is no object",
            ErrorKind::Missed => "an object that nothing finds",
        }
    }

    /// Its colour in charts and pictures.
    pub fn colour(self) -> [u8; 3] {
        [SERIES[0], SERIES[2], SERIES[6], SERIES[3], SERIES[4], SERIES[1]][self as usize]
    }
}

/// What became of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It finds a label.
    Right,
    /// It counts neither way.
    Ignored,
    /// It is an error; with the label that it would find were it mended.
    Wrong(ErrorKind, Option<usize>),
}

/// The errors of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// Of each detection.
    pub verdicts: Vec<Verdict>,
    /// Labels that are found.
    found: Vec<bool>,
    /// Labels that are missed.
    pub missed: Vec<usize>,
}

impl Judged {
    /// Number of errors of a kind.
    pub fn count(&self, kind: ErrorKind) -> usize {
        let wrong = self.verdicts.iter().filter(|v| matches!(v, Verdict::Wrong(k, _) if *k == kind)).count();
        wrong + if kind == ErrorKind::Missed { self.missed.len() } else { 0 }
    }
}

/// Tells the errors among the detections of one image.
pub fn judge(detections: &[Detection], labels: &[LabelBox], ignored: &[IgnoredBox]) -> Judged {
    let matched = matched_labels(detections, labels);
    let mut found = vec![false; labels.len()];
    matched.iter().filter_map(|levels| levels[0]).for_each(|label| found[label] = true);
    let verdict = |((detection, levels), excuse): ((&Detection, &[Option<usize>; 10]), f32)| {
        if levels[0].is_some() {
            return Verdict::Right;
        }
        if excuse >= FOREGROUND {
            return Verdict::Ignored;
        }
        let same = best_label(detection, labels, |class| class == detection.class);
        let other = best_label(detection, labels, |class| class != detection.class);
        let overlap = |best: Option<(usize, f32)>| best.map_or(0.0, |(_, iou)| iou);
        let (kind, label) = match (overlap(same), overlap(other)) {
            (same_iou, _) if (BACKGROUND..FOREGROUND).contains(&same_iou) => (ErrorKind::Localisation, same),
            (_, other_iou) if other_iou >= FOREGROUND => (ErrorKind::Classification, other),
            (same_iou, _) if same_iou >= FOREGROUND => (ErrorKind::Duplicate, None),
            (_, other_iou) if other_iou <= BACKGROUND => (ErrorKind::Background, None),
            _ => (ErrorKind::Both, None),
        };
        Verdict::Wrong(kind, label.map(|(label, _)| label))
    };
    let excuses = excuses(detections, ignored);
    let verdicts: Vec<Verdict> = detections.iter().zip(&matched).zip(excuses).map(verdict).collect();
    let mut covered = found.clone();
    for verdict in &verdicts {
        if let Verdict::Wrong(_, Some(label)) = verdict {
            covered[*label] = true;
        }
    }
    let missed = (0..labels.len()).filter(|label| !covered[*label]).collect();
    Judged { verdicts, found, missed }
}

/// The errors of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KindReport {
    /// Errors that a user sees: those of detections above the confusion matrix's confidence.
    pub count: usize,
    /// How far mAP50 would rise without the errors of this kind, over all detections.
    pub cost: f64,
}

/// All kinds of errors on a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Errors {
    /// mAP50 with all errors.
    pub map50: f64,
    kinds: [KindReport; 6],
}

impl Errors {
    /// Those of one kind.
    pub fn of(&self, kind: ErrorKind) -> KindReport {
        self.kinds[kind as usize]
    }
}

/// A detection that counts.
#[derive(Debug, Clone, Copy)]
struct One {
    class: u32,
    score: f32,
    /// None where it is right.
    kind: Option<ErrorKind>,
    /// The label it would find: class, place in the image, and whether another detection finds it already.
    label: Option<(u32, u32, bool)>,
}

#[derive(Debug)]
struct Seen {
    index: usize,
    ones: Vec<One>,
    label_classes: Vec<u32>,
    missed: Vec<usize>,
}

/// Gathers the errors of a data set, image by image.
#[derive(Debug, Default)]
pub struct ErrorAnalysis {
    seen: Vec<Seen>,
    counts: [usize; 6],
}

impl ErrorAnalysis {
    /// Adds the image of number `index`. Returns the errors that a user sees: those of the detections above the confusion
    /// matrix's confidence, which come back with their verdicts.
    pub fn add_image(
        &mut self,
        index: usize,
        detections: &[Detection],
        labels: &[LabelBox],
        ignored: &[IgnoredBox],
    ) -> (Vec<Detection>, Judged) {
        let judged = judge(detections, labels, ignored);
        let one = |(detection, verdict): (&Detection, &Verdict)| {
            let (kind, label) = match verdict {
                Verdict::Right => (None, None),
                Verdict::Wrong(kind, label) => (Some(*kind), *label),
                Verdict::Ignored => return None,
            };
            let label = label.map(|at| (labels[at].class as u32, at as u32, judged.found[at]));
            Some(One { class: detection.class as u32, score: detection.score, kind, label })
        };
        self.seen.push(Seen {
            index,
            ones: detections.iter().zip(&judged.verdicts).filter_map(one).collect(),
            label_classes: labels.iter().map(|label| label.class as u32).collect(),
            missed: judged.missed,
        });
        let visible: Vec<Detection> = detections.iter().copied().filter(|d| d.score > CONFUSION_CONF).collect();
        let judged = judge(&visible, labels, ignored);
        for kind in ErrorKind::ALL {
            self.counts[kind as usize] += judged.count(kind);
        }
        (visible, judged)
    }

    /// Counts and costs. The order of the images does not matter.
    pub fn finish(mut self) -> Errors {
        self.seen.sort_by_key(|seen| seen.index);
        let map50 = self.map50_without(None);
        let kinds = ErrorKind::ALL
            .map(|kind| KindReport { count: self.counts[kind as usize], cost: self.map50_without(Some(kind)) - map50 });
        Errors { map50, kinds }
    }

    /// mAP50 with the errors of a kind mended: those that a mended detection would turn into a find become one, the best for
    /// each label; all others are taken away.
    fn map50_without(&self, mended: Option<ErrorKind>) -> f64 {
        let mut labels: BTreeMap<usize, usize> = BTreeMap::new();
        let mut found: Vec<(usize, f64, bool)> = Vec::new();
        for seen in &self.seen {
            for &class in &seen.label_classes {
                *labels.entry(class as usize).or_default() += 1;
            }
            let mut ones: Vec<&One> = seen.ones.iter().collect();
            ones.sort_by(|a, b| b.score.total_cmp(&a.score));
            let mut mended_labels = BTreeSet::new();
            for one in ones {
                match one.kind {
                    Some(kind) if Some(kind) == mended => {
                        if let Some((class, at, false)) = one.label
                            && mended_labels.insert(at)
                        {
                            found.push((class as usize, f64::from(one.score), true));
                        }
                    }
                    kind => found.push((one.class as usize, f64::from(one.score), kind.is_none())),
                }
            }
        }
        if mended == Some(ErrorKind::Missed) {
            for seen in &self.seen {
                for &label in &seen.missed {
                    let class = seen.label_classes[label] as usize;
                    *labels.entry(class).or_default() -= 1;
                }
            }
        }
        mean_average_precision(&found, &labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square of ten pixels.
    fn at(x: f32) -> [f32; 4] {
        [x, 0.0, x + 10.0, 10.0]
    }

    fn label(class: usize, x: f32) -> LabelBox {
        LabelBox { class, xyxy: at(x) }
    }

    fn found(class: usize, x: f32, score: f32) -> Detection {
        Detection { class, xyxy: at(x), score }
    }

    fn kinds(detections: &[Detection], labels: &[LabelBox]) -> Vec<Option<ErrorKind>> {
        let kind = |verdict: &Verdict| match verdict {
            Verdict::Wrong(kind, _) => Some(*kind),
            _ => None,
        };
        judge(detections, labels, &[]).verdicts.iter().map(kind).collect()
    }

    #[test]
    fn every_kind_by_its_overlaps() {
        use ErrorKind::*;
        let labels = [label(0, 0.0), label(1, 100.0), label(1, 200.0)];
        // Shifted by 5 of 10 pixels the IoU is 50 / 150 = 0.33, by 9 it is 10 / 190 = 0.05.
        let detections = [
            found(0, 0.0, 0.9),   // right
            found(0, 1.0, 0.8),   // the same object again: IoU 90 / 110
            found(0, 100.0, 0.7), // at a label of class 1
            found(1, 205.0, 0.6), // beside a label of its class
            found(0, 205.0, 0.5), // beside a label of another class
            found(0, 209.0, 0.4), // hardly touches it
            found(1, 400.0, 0.3), // alone
        ];
        let expected = [None, Some(Duplicate), Some(Classification), Some(Localisation), Some(Both), Some(Background)];
        assert_eq!(kinds(&detections, &labels), [&expected[..], &[Some(Background)]].concat());
        let judged = judge(&detections, &labels, &[]);
        // Mended, the third would find the second label and the fourth the third one: nothing is missed.
        assert!(judged.missed.is_empty());
        assert_eq!(judge(&detections[..3], &labels, &[]).missed, [2]);
        assert_eq!(ErrorKind::ALL.map(|kind| judged.count(kind)), [1, 1, 1, 1, 2, 0]);
    }

    #[test]
    fn localisation_goes_before_classification_and_classification_before_duplicate() {
        use ErrorKind::*;
        // At the label of class 1, and by 5 pixels beside one of class 0.
        assert_eq!(kinds(&[found(0, 0.0, 0.9)], &[label(1, 0.0), label(0, 5.0)]), [Some(Localisation)]);
        // Two labels at one place: the second detection of class 0 is a duplicate, and a mistaken class as well.
        let both = [label(0, 0.0), label(1, 0.0)];
        assert_eq!(kinds(&[found(0, 0.0, 0.9), found(0, 0.0, 0.8)], &both), [None, Some(Classification)]);
    }

    #[test]
    fn what_an_ignored_region_excuses_is_no_error() {
        let crowd = IgnoredBox { class: 0, xyxy: [0.0, 0.0, 50.0, 50.0], crowd: true };
        assert_eq!(judge(&[found(0, 0.0, 0.9)], &[], &[crowd]).verdicts, [Verdict::Ignored]);
        let mut analysis = ErrorAnalysis::default();
        analysis.add_image(0, &[found(0, 0.0, 0.9)], &[], &[crowd]);
        assert_eq!(analysis.finish().of(ErrorKind::Background).count, 0);
    }

    fn costs(images: &[(&[Detection], &[LabelBox])]) -> Errors {
        let mut analysis = ErrorAnalysis::default();
        for (index, (detections, labels)) in images.iter().enumerate().rev() {
            analysis.add_image(index, detections, labels, &[]);
        }
        analysis.finish()
    }

    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value} instead of {expected}");
    }

    /// AP of a class whose precision is 1 up to a recall and 0 behind it, by the 101-point rule: whole points up to the recall
    /// count one hundredth each, and the envelope falls linearly to 0 between the recall and the sentinel at 1.
    ///
    /// With recall 1 the curve drops only at the last point: (1 + 0) / 2 of the last hundredth is lost, 0.995.
    const PERFECT: f64 = 0.995;

    #[test]
    fn mending_the_only_error_makes_a_class_perfect() {
        let labels = [label(0, 0.0)];
        let right = found(0, 0.0, 0.5);
        // A false alarm ranks first: precision is 1/2 at recall 1, AP is half of a perfect one.
        for wrong in [found(0, 300.0, 0.9), found(0, 1.0, 0.4)] {
            let errors = costs(&[(&[right, wrong], &labels)]);
            let kind = if wrong.score > 0.5 { ErrorKind::Background } else { ErrorKind::Duplicate };
            let base = if wrong.score > 0.5 { PERFECT / 2.0 } else { PERFECT };
            assert_near(errors.map50, base);
            assert_near(errors.of(kind).cost, PERFECT - base);
            assert_eq!(errors.of(kind).count, 1);
        }
    }

    #[test]
    fn a_mended_place_or_class_finds_its_label() {
        // Nothing is found: AP 0. Mended, all is.
        let beside = costs(&[(&[found(0, 5.0, 0.9)], &[label(0, 0.0)])]);
        assert_near(beside.map50, 0.0);
        assert_near(beside.of(ErrorKind::Localisation).cost, PERFECT);
        assert_near(beside.of(ErrorKind::Missed).cost, 0.0);
        // The label of class 1 is taken for class 0, which has no label of its own and so counts nowhere.
        let mistaken = costs(&[(&[found(0, 0.0, 0.9)], &[label(1, 0.0)])]);
        assert_near(mistaken.map50, 0.0);
        assert_near(mistaken.of(ErrorKind::Classification).cost, PERFECT);
    }

    #[test]
    fn a_label_is_found_once_however_many_would_be_mended() {
        // Three beside one label: the best becomes a find, the others go.
        let three = [found(0, 4.0, 0.9), found(0, 5.0, 0.8), found(0, 6.0, 0.7)];
        let errors = costs(&[(&three, &[label(0, 0.0)])]);
        assert_near(errors.of(ErrorKind::Localisation).cost, PERFECT);
        // Where the label has been found, a worse place is simply taken away: it ranked first, precision was 1/2.
        let errors = costs(&[(&[found(0, 5.0, 0.9), found(0, 0.0, 0.5)], &[label(0, 0.0)])]);
        assert_near(errors.map50, PERFECT / 2.0);
        assert_near(errors.of(ErrorKind::Localisation).cost, PERFECT / 2.0);
    }

    #[test]
    fn missed_labels_are_taken_out_of_the_recall() {
        // One of two labels is found, recall ends at 1/2. Without the missed one it ends at 1.
        let errors = costs(&[(&[found(0, 0.0, 0.9)], &[label(0, 0.0)]), (&[], &[label(0, 0.0)])]);
        assert_eq!(errors.of(ErrorKind::Missed).count, 1);
        // Precision 1 up to 0.5, then a line down to 0 at 1: 0.5 + 0.5 / 2, less nothing at the ends.
        assert_near(errors.map50, 0.75);
        assert_near(errors.of(ErrorKind::Missed).cost, PERFECT - 0.75);
        // A class of which nothing is found stays at 0 when all its labels go.
        let errors = costs(&[(&[], &[label(0, 0.0)])]);
        assert_near(errors.of(ErrorKind::Missed).cost, 0.0);
    }

    #[test]
    fn errors_below_the_visible_confidence_cost_and_do_not_count() {
        let errors = costs(&[(&[found(0, 300.0, 0.2), found(0, 0.0, 0.1)], &[label(0, 0.0)])]);
        assert_eq!(errors.of(ErrorKind::Background).count, 0);
        assert_eq!(errors.of(ErrorKind::Missed).count, 1, "its detection scores too little to be seen");
        assert_near(errors.of(ErrorKind::Background).cost, PERFECT / 2.0);
    }
}
