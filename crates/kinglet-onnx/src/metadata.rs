//! The text entries of the file, as YOLOv5's exports write them: `stride`, and `names` as a Python dictionary.

/// `{0: 'person', 1: 'it\'s'}`.
pub(crate) fn names(names: &[String]) -> String {
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
        assert_eq!(names(&list), r"{0: 'person', 1: 'it\'s', 2: 'a\\b\n\u0001', 3: '红'}");
        assert_eq!(names(&[]), "{}");
    }
}
