//! What a label scan found, in words: a summary line, the findings by kind, and the full list as a file.

use crate::printer::{Printer, counted};
use kinglet_data::{Dataset, Finding, FindingKind, Severity};
use std::collections::BTreeMap;

/// Examples shown of each kind.
const SHOWN: usize = 3;

/// `train: 205 images, 4901 boxes, 0 backgrounds, 3 findings`.
pub fn summary_line(dataset: &Dataset) -> String {
    let s = &dataset.summary;
    let mut line = format!("{}: {}", dataset.split.key(), counted(s.usable, "image"));
    if s.usable != s.images {
        line.push_str(&format!(" of {}", s.images));
    }
    let boxes = if s.boxes == 1 { "1 box".to_owned() } else { format!("{} boxes", s.boxes) };
    line.push_str(&format!(", {boxes}, {}", counted(s.background, "background")));
    if s.without_file > 0 {
        line.push_str(&format!(" ({} without a label file)", s.without_file));
    }
    line.push_str(&format!(", {}", counted(dataset.findings.len(), "finding")));
    line
}

/// The findings grouped by kind, with counts and the first few of each.
pub fn grouped(findings: &[Finding]) -> Vec<String> {
    let mut kinds: BTreeMap<FindingKind, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        kinds.entry(finding.kind).or_default().push(finding);
    }
    let mut lines = Vec::new();
    for (kind, found) in kinds {
        let count = |severity| found.iter().filter(|f| f.severity == severity).count();
        let mut fates = Vec::new();
        for (severity, words) in
            [(Severity::Dropped, "left out"), (Severity::Fixed, "corrected"), (Severity::Note, "kept")]
        {
            match count(severity) {
                0 => {}
                n => fates.push(format!("{n} {words}")),
            }
        }
        lines.push(format!("  {} x {}: {}", found.len(), kind.describe(), fates.join(", ")));
        lines.extend(found.iter().take(SHOWN).map(|finding| format!("      {finding}")));
        if found.len() > SHOWN {
            lines.push(format!("      and {} more", found.len() - SHOWN));
        }
    }
    lines
}

/// Prints summary, notes and grouped findings.
pub fn print(dataset: &Dataset, printer: &Printer) {
    printer.say(&summary_line(dataset));
    dataset.notes.iter().for_each(|note| printer.say(&format!("  {note}")));
    grouped(&dataset.findings).iter().for_each(|line| printer.say(line));
}

/// The full list of a split, one finding a line.
pub fn full_text(dataset: &Dataset) -> String {
    let mut text = format!("# {}\n", summary_line(dataset));
    for finding in &dataset.findings {
        text.push_str(&format!("{finding}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_and_only_the_first_few_are_shown() {
        let finding = |line, severity| Finding {
            file: "labels/a.txt".into(),
            line: Some(line),
            kind: FindingKind::OutOfRange,
            severity,
            value: "1.2".into(),
        };
        let mut all: Vec<Finding> = (1..=4).map(|line| finding(line, Severity::Fixed)).collect();
        all.push(finding(9, Severity::Dropped));
        let lines = grouped(&all);
        assert_eq!(lines[0], "  5 x coordinate above 1: 1 left out, 4 corrected");
        assert_eq!(lines[1], "      labels/a.txt:1: coordinate above 1: 1.2 (corrected)");
        assert_eq!(lines.last().map(String::as_str), Some("      and 2 more"));
    }
}
