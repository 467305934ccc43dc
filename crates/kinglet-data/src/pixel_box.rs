//! Boxes in pixels, as COCO and VOC have them, checked and turned into labels.
//!
//! Units: edges in pixels from the upper left corner of the image. A box is clipped to the image; it is told where it reaches
//! out by more than a pixel, and left out where nothing of it is inside.

use crate::finding::{Finding, FindingKind, Severity};
use crate::labels::{Ignored, IgnoredRegion, Label};
use std::collections::HashSet;
use std::path::Path;

/// A box as formats in pixels have it, before it is checked.
#[derive(Debug, Clone)]
pub struct PixelBox {
    /// Class index.
    pub class: usize,
    /// Edges in pixels; finite, and not swapped.
    pub xyxy: [f64; 4],
    /// The outline in pixels.
    pub polygon: Option<Vec<[f64; 2]>>,
    /// Why it is not to be learnt, where it is not.
    pub ignored: Option<Ignored>,
    /// Its line in the file.
    pub line: Option<usize>,
    /// Which one it is, for findings.
    pub what: String,
}

/// Boxes of one image that have been checked.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is to be learnt.
    pub labels: Vec<Label>,
    /// Line of each label.
    pub lines: Vec<Option<usize>>,
    /// Places where detections are neither right nor wrong.
    pub ignored: Vec<IgnoredRegion>,
    /// What is wrong with others.
    pub findings: Vec<Finding>,
}

/// So many pixels may a box in pixels reach out of its image without a word: formats differ in counting from 0 or 1.
const PIXEL_SLACK: f64 = 1.0;

/// Tells where annotations are of another size than their image: fractions of theirs are used.
pub(crate) fn other_size(file: &Path, told: Option<(u32, u32)>, (w, h): (u32, u32)) -> Option<Finding> {
    let (told_w, told_h) = told.filter(|told| *told != (w, h))?;
    let value = format!("{told_w}x{told_h}, the image has {w}x{h}; boxes are scaled");
    Some(Finding::new(file, None, Severity::Note, (FindingKind::SizeDiffers, value)))
}

/// Turns boxes in pixels of an image of `width` x `height` into labels, clipped to the image.
pub(crate) fn check_pixels(boxes: &[PixelBox], file: &Path, (width, height): (u32, u32)) -> Checked {
    let mut out = Checked::default();
    let (w, h) = (f64::from(width), f64::from(height));
    // Labels are fractions in single precision, where a tiny box may have no width left.
    let has_area = |[x1, y1, x2, y2]: [f64; 4]| ((x2 - x1) / w) as f32 > 0.0 && ((y2 - y1) / h) as f32 > 0.0;
    let mut seen = HashSet::new();
    for one in boxes {
        let [x1, y1, x2, y2] = one.xyxy;
        let mut tell = |severity, kind, value| {
            out.findings.push(Finding::new(file, one.line, severity, (kind, format!("{}: {value}", one.what))));
        };
        if !has_area(one.xyxy) {
            tell(Severity::Dropped, FindingKind::ZeroArea, format!("size {} x {}", x2 - x1, y2 - y1));
            continue;
        }
        let inside = [x1.max(0.0), y1.max(0.0), x2.min(w), y2.min(h)];
        let outside = if x1.min(y1) < -PIXEL_SLACK {
            Some((FindingKind::Negative, x1.min(y1)))
        } else if x2 > w + PIXEL_SLACK {
            Some((FindingKind::OutOfRange, x2))
        } else {
            (y2 > h + PIXEL_SLACK).then_some((FindingKind::OutOfRange, y2))
        };
        let is_empty = !has_area(inside);
        if is_empty || outside.is_some() {
            let severity = if is_empty { Severity::Dropped } else { Severity::Fixed };
            let (kind, value) = outside.unwrap_or((FindingKind::OutOfRange, x2.max(y2)));
            tell(severity, kind, format!("{value} px, the image has {width}x{height}"));
        }
        if is_empty {
            continue;
        }
        let [x1, y1, x2, y2] = inside;
        let cxcywh = [(x1 + x2) / 2.0 / w, (y1 + y2) / 2.0 / h, (x2 - x1) / w, (y2 - y1) / h].map(|v| v as f32);
        if let Some(why) = one.ignored {
            out.ignored.push(IgnoredRegion { class: one.class, cxcywh, why });
            continue;
        }
        if !seen.insert((one.class, cxcywh.map(f32::to_bits))) {
            tell(Severity::Dropped, FindingKind::Duplicate, format!("{:?}", one.xyxy));
            continue;
        }
        let unit = |value: f64, side: f64| (value / side).clamp(0.0, 1.0) as f32;
        let outline = |points: &Vec<[f64; 2]>| points.iter().map(|[x, y]| [unit(*x, w), unit(*y, h)]).collect();
        out.labels.push(Label { class: one.class, cxcywh, polygon: one.polygon.as_ref().map(outline) });
        out.lines.push(one.line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(xyxy: [f64; 4]) -> (Vec<[f32; 4]>, Vec<(FindingKind, Severity)>) {
        let one = PixelBox { class: 0, xyxy, polygon: None, ignored: None, line: Some(3), what: "it".into() };
        let checked = check_pixels(&[one], Path::new("a.xml"), (100, 50));
        assert_eq!(checked.labels.len(), checked.lines.len());
        let found = checked.findings.iter().map(|f| (f.kind, f.severity)).collect();
        (checked.labels.iter().map(|l| l.cxcywh).collect(), found)
    }

    #[test]
    fn boxes_are_clipped_and_told_beyond_a_pixel() {
        use FindingKind::*;
        use Severity::*;
        assert_eq!(check([10.0, 10.0, 30.0, 20.0]), (vec![[0.2, 0.3, 0.2, 0.2]], vec![]));
        assert_eq!(check([80.0, 25.0, 101.0, 51.0]), (vec![[0.9, 0.75, 0.2, 0.5]], vec![]), "counted from 1");
        assert_eq!(check([80.0, 25.0, 140.0, 50.0]), (vec![[0.9, 0.75, 0.2, 0.5]], vec![(OutOfRange, Fixed)]));
        assert_eq!(check([-20.0, 0.0, 20.0, 50.0]), (vec![[0.1, 0.5, 0.2, 1.0]], vec![(Negative, Fixed)]));
        assert_eq!(check([200.0, 0.0, 220.0, 50.0]), (vec![], vec![(OutOfRange, Dropped)]));
        assert_eq!(check([100.0, 0.0, 100.5, 50.0]), (vec![], vec![(OutOfRange, Dropped)]));
        assert_eq!(check([5.0, 5.0, 5.0, 9.0]), (vec![], vec![(ZeroArea, Dropped)]));
        // 1e-44 / 100 rounds to 0 in single precision.
        assert_eq!(check([0.0, 0.0, 1e-44, 9.0]), (vec![], vec![(ZeroArea, Dropped)]));
        assert_eq!(check([-9.0, 0.0, 1e-44, 9.0]), (vec![], vec![(Negative, Dropped)]));
        assert_eq!(check([-1e300, -1e300, 1e300, 1e300]).1, [(Negative, Fixed)]);
    }

    #[test]
    fn ignored_boxes_are_kept_apart_and_doubles_are_left_out() {
        let one = |ignored| PixelBox {
            class: 1,
            xyxy: [0.0, 0.0, 10.0, 10.0],
            polygon: None,
            ignored,
            line: None,
            what: "it".into(),
        };
        let boxes = [one(None), one(Some(Ignored::Crowd)), one(None)];
        let checked = check_pixels(&boxes, Path::new("a.xml"), (100, 50));
        assert_eq!((checked.labels.len(), checked.ignored.len()), (1, 1));
        assert_eq!(checked.findings[0].kind, FindingKind::Duplicate);
    }
}
