//! One YOLO label file: `class x_centre y_centre width height` a line, or `class x1 y1 x2 y2 ...` polygons.
//!
//! Units: fractions of the image's width and height. A box whose four numbers lie in 0..1 is kept exactly as written,
//! even where its edges leave the image (as YOLOv5 does), which is told; one with a number outside is clipped to the image, or dropped
//! when nothing of it is left. A line of more than six columns is a polygon, decided line by line (YOLOv5: by file).
//! One bad line costs that line only; YOLOv5 drops the whole image.

use crate::finding::{Fault, Finding, FindingKind, Severity, excerpt};
use crate::pixel_box::Checked;
use std::collections::HashSet;
use std::path::Path;

/// Ground truth as stored: a class and a box, and the polygon it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Index into the data set's names.
    pub class: usize,
    /// Centre and size as fractions of the image.
    pub cxcywh: [f32; 4],
    /// The outline, if the file had one, as fractions of the image.
    pub polygon: Option<Vec<[f32; 2]>>,
}

/// Why a box is neither learnt nor counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Many objects in one box (COCO's `iscrowd`): any part of it may be found.
    Crowd,
    /// An object that even people hardly make out (VOC's `difficult`).
    Difficult,
}

/// A place where detections are neither right nor wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct IgnoredRegion {
    /// Index into the data set's names.
    pub class: usize,
    /// Centre and size as fractions of the image.
    pub cxcywh: [f32; 4],
    /// Why.
    pub why: Ignored,
}

/// Rounding slack: values this far outside 0..1 come from printing with few digits and are clipped without a finding.
const ROUNDING: f32 = 1e-6;

/// How far a box may reach out of the image, as a fraction of it, before it is told: sloppy drawing reaches out by less.
const PROTRUDES: f32 = 0.005;

struct Parsed {
    label: Label,
    fixes: Vec<Fault>,
    notes: Vec<Fault>,
}

fn parse_class(token: &str, nc: Option<usize>, single_cls: bool) -> Result<usize, Fault> {
    let value: f64 = token.parse().map_err(|_| (FindingKind::NotANumber, format!("class `{}`", excerpt(token))))?;
    if !value.is_finite() {
        return Err((FindingKind::NotFinite, format!("class `{token}`")));
    }
    if value.fract() != 0.0 {
        return Err((FindingKind::NonIntegerClass, format!("class `{}`", excerpt(token))));
    }
    if single_cls {
        return Ok(0);
    }
    if value < 0.0 || value >= nc.map_or(f64::from(u32::MAX), |nc| nc as f64) {
        return Err((FindingKind::ClassOutOfRange, format!("class {}", excerpt(token))));
    }
    Ok(value as usize)
}

fn parse_coordinates(tokens: &[&str]) -> Result<Vec<f32>, Fault> {
    let mut out = Vec::with_capacity(tokens.len());
    for token in tokens {
        let value: f32 = token.parse().map_err(|_| (FindingKind::NotANumber, format!("`{}`", excerpt(token))))?;
        if !value.is_finite() {
            return Err((FindingKind::NotFinite, format!("`{}`", excerpt(token))));
        }
        out.push(value);
    }
    Ok(out)
}

/// The first value outside 0..1, as a fault.
fn outside(values: &[f32]) -> Option<Fault> {
    let worst = values.iter().copied().find(|&v| !(-ROUNDING..=1.0 + ROUNDING).contains(&v))?;
    let kind = if worst < 0.0 { FindingKind::Negative } else { FindingKind::OutOfRange };
    let hint = if worst >= 2.0 { "; in pixels? labels are fractions of the image" } else { "" };
    Some((kind, format!("{worst}{hint}")))
}

fn parse_line(tokens: &[&str], nc: Option<usize>, single_cls: bool) -> Result<Parsed, Fault> {
    let n = tokens.len();
    let polygon_line = n > 6;
    if n < 5 || n == 6 || (polygon_line && n.is_multiple_of(2)) {
        let expected = if polygon_line {
            "a polygon has a class and pairs of coordinates"
        } else {
            "expected `class x_centre y_centre width height`"
        };
        return Err((FindingKind::WrongColumnCount, format!("{n} columns; {expected}")));
    }
    let class = parse_class(tokens[0], nc, single_cls)?;
    let values = parse_coordinates(&tokens[1..])?;
    let fault = outside(&values);
    let (mut x1, mut y1, mut x2, mut y2);
    let mut polygon = None;
    if polygon_line {
        let points: Vec<[f32; 2]> =
            values.chunks_exact(2).map(|p| [p[0].clamp(0.0, 1.0), p[1].clamp(0.0, 1.0)]).collect();
        (x1, y1, x2, y2) = (f32::MAX, f32::MAX, f32::MIN, f32::MIN);
        for [x, y] in &points {
            (x1, y1, x2, y2) = (x1.min(*x), y1.min(*y), x2.max(*x), y2.max(*y));
        }
        polygon = Some(points);
    } else {
        let [cx, cy, w, h] = [values[0], values[1], values[2], values[3]];
        if w < 0.0 || h < 0.0 {
            return Err((FindingKind::Negative, format!("size {w} x {h}")));
        }
        if w == 0.0 || h == 0.0 {
            return Err((FindingKind::ZeroArea, format!("size {w} x {h}")));
        }
        if fault.is_none() {
            let unit = |v: f32| v.clamp(0.0, 1.0);
            let label = Label { class, cxcywh: [unit(cx), unit(cy), unit(w), unit(h)], polygon: None };
            let out = (w / 2.0 - cx).max(cx + w / 2.0 - 1.0).max(h / 2.0 - cy).max(cy + h / 2.0 - 1.0);
            let note = (FindingKind::Protruding, format!("by {out:.3} of its side; kept as written"));
            let notes = if out > PROTRUDES { vec![note] } else { vec![] };
            return Ok(Parsed { label, fixes: vec![], notes });
        }
        (x1, y1, x2, y2) = (cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0);
        (x1, y1, x2, y2) = (x1.max(0.0), y1.max(0.0), x2.min(1.0), y2.min(1.0));
    }
    if x2 <= x1 || y2 <= y1 {
        return Err(fault.unwrap_or((FindingKind::ZeroArea, "polygon of no extent".to_string())));
    }
    let cxcywh = [(x1 + x2) / 2.0, (y1 + y2) / 2.0, x2 - x1, y2 - y1];
    Ok(Parsed { label: Label { class, cxcywh, polygon }, fixes: fault.into_iter().collect(), notes: vec![] })
}

/// Parses the bytes of a label file. `nc` of `None` accepts any class; `single_cls` makes every class 0.
///
/// Accepts a byte order mark, CRLF, tabs, blank lines and (with a finding) commas. Never fails: see the findings.
pub fn parse_labels(bytes: &[u8], file: &Path, nc: Option<usize>, single_cls: bool) -> (Vec<Label>, Vec<Finding>) {
    let checked = parse_text(bytes, file, nc, single_cls);
    (checked.labels, checked.findings)
}

/// As [`parse_labels`], with the line of each label.
pub(crate) fn parse_text(bytes: &[u8], file: &Path, nc: Option<usize>, single_cls: bool) -> Checked {
    let mut out = Checked::default();
    let Checked { labels, lines, findings, .. } = &mut out;
    let finding = |line, severity, fault| Finding::new(file, line, severity, fault);
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = std::str::from_utf8(bytes) {
        let hint = if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            "looks like UTF-16; save as UTF-8".to_string()
        } else {
            format!("byte {}", error.valid_up_to())
        };
        findings.push(finding(None, Severity::Note, (FindingKind::NotUtf8, hint)));
    }
    let mut seen = HashSet::new();
    let mut separators_reported = false;
    for (index, line) in text.lines().enumerate() {
        let number = Some(index + 1);
        if line.trim().is_empty() {
            continue;
        }
        let is_separator = |c: char| c.is_whitespace() || c == ',' || c == ';';
        if !separators_reported && line.contains([',', ';']) {
            separators_reported = true;
            let fault = (FindingKind::WrongSeparator, format!("`{}`", excerpt(line.trim())));
            findings.push(finding(number, Severity::Fixed, fault));
        }
        let tokens: Vec<&str> = line.split(is_separator).filter(|t| !t.is_empty()).collect();
        match parse_line(&tokens, nc, single_cls) {
            Err(fault) => findings.push(finding(number, Severity::Dropped, fault)),
            Ok(Parsed { label, fixes, notes }) => {
                let key = (
                    label.class,
                    label.cxcywh.map(f32::to_bits),
                    label.polygon.as_ref().map(|p| p.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>()),
                );
                if !seen.insert(key) {
                    let fault = (FindingKind::Duplicate, format!("`{}`", excerpt(line.trim())));
                    findings.push(finding(number, Severity::Dropped, fault));
                    continue;
                }
                findings.extend(fixes.into_iter().map(|fault| finding(number, Severity::Fixed, fault)));
                findings.extend(notes.into_iter().map(|fault| finding(number, Severity::Note, fault)));
                labels.push(label);
                lines.push(number);
            }
        }
    }
    out
}

/// A label as a line of a YOLO label file: its outline where it has one.
pub(crate) fn to_line(label: &Label) -> String {
    let values: Vec<f32> = match &label.polygon {
        Some(points) => points.iter().flatten().copied().collect(),
        None => label.cxcywh.to_vec(),
    };
    let mut line = label.class.to_string();
    for value in values {
        line.push_str(&format!(" {}", trimmed(value)));
    }
    line
}

/// A fraction of the image with up to eight decimals, as many as `f32` is good for: a hundredth of a pixel is kept many times
/// over, and six decimals, the usual number, come back as they were.
fn trimmed(value: f32) -> String {
    let short = format!("{value:.6}");
    if short.parse() == Ok(value) { short } else { format!("{value:.8}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = (Option<usize>, FindingKind, Severity);

    fn parse(text: &str) -> (Vec<Label>, Vec<Found>) {
        let (labels, findings) = parse_labels(text.as_bytes(), Path::new("a.txt"), Some(3), false);
        (labels, findings.into_iter().map(|f| (f.line, f.kind, f.severity)).collect())
    }

    #[test]
    fn each_bad_line_costs_itself_only() {
        use FindingKind::*;
        use Severity::*;
        let cases: &[(&str, FindingKind, Severity)] = &[
            ("0 x 0.5 0.1 0.1", NotANumber, Dropped),
            ("cat 0.5 0.5 0.1 0.1", NotANumber, Dropped),
            ("0 nan 0.5 0.1 0.1", NotFinite, Dropped),
            ("0 0.5 inf 0.1 0.1", NotFinite, Dropped),
            ("0 0.5 0.5 0.1", WrongColumnCount, Dropped),
            ("0 0.5 0.5 0.1 0.1 0.9", WrongColumnCount, Dropped),
            ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", WrongColumnCount, Dropped),
            ("3 0.5 0.5 0.1 0.1", ClassOutOfRange, Dropped),
            ("-1 0.5 0.5 0.1 0.1", ClassOutOfRange, Dropped),
            ("0.5 0.5 0.5 0.1 0.1", NonIntegerClass, Dropped),
            ("0 0.9 0.5 0.3 0.1", Protruding, Note),
            ("0 0.5 0.1 0.1 0.22", Protruding, Note),
            ("0 0.5 0.5 0 0.1", ZeroArea, Dropped),
            ("0 0.5 0.5 -0.1 0.1", Negative, Dropped),
            ("0 -0.01 0.5 0.1 0.1", Negative, Fixed),
            ("0 1.01 0.5 0.1 0.1", OutOfRange, Fixed),
            ("0 1.5 0.5 0.1 0.1", OutOfRange, Dropped),
            ("0 320 240 64 48", OutOfRange, Dropped),
            ("2 0.25 0.25 0.5 0.5", Duplicate, Dropped),
            ("1,0.6,0.6,0.1,0.1", WrongSeparator, Fixed),
        ];
        for (line, kind, severity) in cases {
            let (labels, findings) = parse(&format!("2 0.25 0.25 0.5 0.5\n{line}\n"));
            assert_eq!(findings, [(Some(2), *kind, *severity)], "{line}");
            assert_eq!(labels.len(), if *severity == Dropped { 1 } else { 2 }, "{line}");
            assert_eq!(labels[0].cxcywh, [0.25, 0.25, 0.5, 0.5]);
        }
    }

    #[test]
    fn clipping_keeps_what_is_inside() {
        let (labels, _) = parse("0 1.05 0.5 0.3 0.2");
        // x from 0.9 to 1.2, clipped at 1.
        let expected = [0.95, 0.5, 0.1, 0.2];
        assert!(labels[0].cxcywh.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn box_with_numbers_in_range_is_kept_as_written() {
        let (labels, findings) = parse("0 0.95 0.5 0.2 0.2");
        assert_eq!(labels[0].cxcywh, [0.95, 0.5, 0.2, 0.2]);
        assert_eq!(findings, [(Some(1), FindingKind::Protruding, Severity::Note)]);
        assert!(parse("0 0.95 0.5 0.102 0.2").1.is_empty(), "a little is not told");
    }

    #[test]
    fn marks_line_ends_tabs_and_float_classes_are_accepted() {
        let (labels, findings) = parse("\u{feff}0.0\t0.5 0.5  0.1 0.1\r\n\r\n 1 0.5 0.5 0.1 0.1 \r\n");
        assert_eq!((labels.len(), labels[1].class), (2, 1));
        assert!(findings.is_empty());
    }

    #[test]
    fn polygon_lines_stand_beside_boxes() {
        let (labels, findings) = parse("0 0.1 0.2 0.5 0.2 0.3 0.6\n1 0.5 0.5 0.1 0.1\n");
        assert!(findings.is_empty());
        let expected = [0.3, 0.4, 0.4, 0.4];
        assert!(labels[0].cxcywh.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(labels[0].polygon.as_ref().map(Vec::len), Some(3));
        assert!(labels[1].polygon.is_none());
    }

    #[test]
    fn single_class_accepts_every_class() {
        let (labels, findings) = parse_labels(b"77 0.5 0.5 0.1 0.1", Path::new("a.txt"), Some(1), true);
        assert_eq!((labels[0].class, findings.len()), (0, 0));
    }

    #[test]
    fn messages_name_file_line_and_value() {
        let (_, findings) = parse_labels(b"0 0.5 0.5 0.1 0.1\n0 320 240 64 48", Path::new("l/a.txt"), None, false);
        assert_eq!(
            findings[0].to_string(),
            "l/a.txt:2: coordinate above 1: 320; in pixels? labels are fractions of the image (box left out)"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_parse_to_boxes_that_touch_the_image(bytes in proptest::collection::vec(0u8..=255, 0..200)) {
            let (labels, _) = parse_labels(&bytes, Path::new("a.txt"), None, false);
            for label in labels {
                proptest::prop_assert!(label.cxcywh.iter().all(|v| (0.0..=1.0).contains(v)));
            }
        }

        #[test]
        fn any_numbers_give_boxes_in_range(values in proptest::collection::vec(-3f32..3.0, 4)) {
            let line = format!("0 {} {} {} {}", values[0], values[1], values[2], values[3]);
            for label in parse_labels(line.as_bytes(), Path::new("a.txt"), None, false).0 {
                proptest::prop_assert!(label.cxcywh.iter().all(|v| (0.0..=1.0).contains(v)));
            }
        }
    }
}
