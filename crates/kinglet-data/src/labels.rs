//! One YOLO label file: `class x_centre y_centre width height` a line, or `class x1 y1 x2 y2 ...` polygons.
//!
//! Units: fractions of the image's width and height. A box whose four numbers lie in 0..1 is kept exactly as written,
//! even where its edges leave the image (as YOLOv5 does), which is told; one with a number outside is clipped to the image, or dropped
//! when nothing of it is left. A line of more than six columns is a polygon, decided line by line (YOLOv5: by file).
//! One bad line costs that line only; YOLOv5 drops the whole image.

use serde::Serialize;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

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

/// What became of the thing a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The box or image is left out.
    Dropped,
    /// The box or image is used after a correction.
    Fixed,
    /// Worth knowing; nothing was changed.
    Note,
}

/// The kinds of problem a scan can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A column is no number.
    NotANumber,
    /// A column is NaN or infinite.
    NotFinite,
    /// A negative coordinate or size.
    Negative,
    /// A coordinate or size above 1.
    OutOfRange,
    /// Width or height of zero.
    ZeroArea,
    /// Neither five columns nor a polygon.
    WrongColumnCount,
    /// A class the data YAML has no name for.
    ClassOutOfRange,
    /// A class with a fraction.
    NonIntegerClass,
    /// The same box twice in a file.
    Duplicate,
    /// Columns separated by commas or semicolons.
    WrongSeparator,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A box of less than 2 pixels in an image.
    TooSmall,
    /// A box whose numbers are in range and whose edges leave the image.
    Protruding,
    /// A label file that cannot be read: its image is left out, since it is not known to be a background.
    UnreadableLabels,
    /// An image that cannot be decoded.
    UnreadableImage,
    /// An image cut short, or with other damage its decoder tolerates.
    DamagedImage,
    /// An image too small to be used.
    TinyImage,
    /// An image named by a list that does not exist.
    MissingImage,
}

impl FindingKind {
    /// The kind in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NotANumber => "not a number",
            Self::NotFinite => "NaN or infinity",
            Self::Negative => "negative coordinate",
            Self::OutOfRange => "coordinate above 1",
            Self::ZeroArea => "box without area",
            Self::WrongColumnCount => "wrong number of columns",
            Self::ClassOutOfRange => "class without a name",
            Self::NonIntegerClass => "class is no whole number",
            Self::Duplicate => "the same box again",
            Self::WrongSeparator => "columns not separated by spaces",
            Self::NotUtf8 => "text is not UTF-8",
            Self::TooSmall => "box of less than 2 pixels",
            Self::Protruding => "box reaches out of the image",
            Self::UnreadableLabels => "label file cannot be read",
            Self::UnreadableImage => "image cannot be decoded",
            Self::DamagedImage => "image is damaged",
            Self::TinyImage => "image too small",
            Self::MissingImage => "image not found",
        }
    }

    /// Whether the finding is about an image rather than a box.
    pub fn concerns_image(self) -> bool {
        use FindingKind::*;
        matches!(self, UnreadableLabels | UnreadableImage | DamagedImage | TinyImage | MissingImage)
    }
}

/// One problem: where, what, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Label file or image.
    pub file: PathBuf,
    /// Line from 1, where there are lines.
    pub line: Option<usize>,
    /// What is wrong.
    pub kind: FindingKind,
    /// What became of it.
    pub severity: Severity,
    /// The offending value, or the reason in words.
    pub value: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.kind.describe())?;
        if !self.value.is_empty() {
            write!(f, ": {}", self.value)?;
        }
        let thing = if self.kind.concerns_image() { "image" } else { "box" };
        match self.severity {
            Severity::Dropped => write!(f, " ({thing} left out)"),
            Severity::Fixed => f.write_str(" (corrected)"),
            Severity::Note => Ok(()),
        }
    }
}

/// Rounding slack: values this far outside 0..1 come from printing with few digits and are clipped without a finding.
const ROUNDING: f32 = 1e-6;

/// How far a box may reach out of the image, as a fraction of it, before it is told: sloppy drawing reaches out by less.
const PROTRUDES: f32 = 0.005;

/// A shortened copy of user text for messages.
fn excerpt(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX {
        return text.to_string();
    }
    text.chars().take(MAX).chain("...".chars()).collect()
}

/// What is wrong with one line: kind and value.
type Fault = (FindingKind, String);

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
    let mut labels: Vec<Label> = Vec::new();
    let mut findings = Vec::new();
    let finding = |line, severity, (kind, value): Fault| Finding { file: file.into(), line, kind, severity, value };
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
            }
        }
    }
    (labels, findings)
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
