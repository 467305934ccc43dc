//! The text entries of the file.
//!
//! YOLOv5's exports have `stride`, and `names` as a Python dictionary; readers made for later tools of the family also look
//! for `task`, `imgsz`, `batch` and `version`.

use crate::export::{ExportOptions, Output};

/// All entries: those that every file has, the thresholds of suppression, and the caller's own.
pub(crate) fn entries(stride: usize, names: &[String], options: &ExportOptions) -> Vec<(String, String)> {
    let [h, w] = options.size;
    let mut entries = vec![
        ("stride", stride.to_string()),
        ("names", dictionary(names)),
        ("task", "detect".to_owned()),
        ("imgsz", format!("[{h}, {w}]")),
        ("batch", options.batch.to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    if let Output::Detections(s) = options.output {
        let agnostic = if s.agnostic { "True" } else { "False" };
        entries.extend([
            ("conf", s.conf.to_string()),
            ("iou", s.iou.to_string()),
            ("max_det", s.max_det.to_string()),
            ("agnostic_nms", agnostic.to_owned()),
        ]);
    }
    let own = entries.into_iter().map(|(key, value)| (key.to_owned(), value));
    own.chain(options.metadata.iter().cloned()).collect()
}

/// `{0: 'person', 1: 'it\'s'}`.
fn dictionary(names: &[String]) -> String {
    let entries: Vec<String> = names.iter().enumerate().map(|(i, name)| format!("{i}: {}", quoted(name))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// A Python string literal in single quotes.
fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_python_dictionary() {
        let list = ["person", "it's", "a\\b\n\u{1}", "红"].map(String::from);
        assert_eq!(dictionary(&list), r"{0: 'person', 1: 'it\'s', 2: 'a\\b\n\u0001', 3: '红'}");
        assert_eq!(dictionary(&[]), "{}");
    }
}
