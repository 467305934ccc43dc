//! Rows in aligned columns: words to the left, numbers to the right.

/// The head's line and a line a row.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let column = |at: usize| rows.iter().filter_map(move |row| row.get(at)).map(String::as_str);
    let width = |at: usize| column(at).chain([head[at]]).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let is_words = |at: usize| column(at).any(|cell| cell.starts_with(char::is_alphabetic));
    let columns: Vec<(usize, bool)> = (0..head.len()).map(|at| (width(at), at == 0 || is_words(at))).collect();
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(&columns).map(|(cell, &(width, words))| match words {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    std::iter::once(line(head)).chain(body).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["infer", "33.1", "slow"], ["nms", "0.42", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            table(&["stage", "ms", "remark"], &rows),
            "stage     ms   remark\ninfer   33.1   slow\nnms     0.42"
        );
    }
}
