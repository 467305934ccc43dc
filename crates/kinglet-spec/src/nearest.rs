//! Names close to a misspelt one.
//!
//! Source: Damerau-Levenshtein distance, optimal string alignment form, on lower-cased characters.

/// The candidates close enough to `written` to be worth offering, closest first, at most three.
pub fn nearest_names<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // Long input is not a misspelt name, and the distance costs the product of the lengths.
    if written.is_empty() || written.len() > 100 {
        return Vec::new();
    }
    let lower = written.to_lowercase();
    let limit = (lower.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &str)> =
        candidates.into_iter().map(|c| (distance(&lower, &c.to_lowercase()), c)).filter(|(d, _)| *d <= limit).collect();
    found.sort();
    found.dedup();
    let closest = found.first().map_or(0, |f| f.0);
    found.into_iter().filter(|(d, _)| *d <= closest + 1).map(|(_, c)| c).take(3).collect()
}

fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_worked_pairs() {
        // kitten -> sitting: k/s, e/i, +g; ab -> ba: one transposition.
        for (a, b, expected) in [("kitten", "sitting", 3), ("ab", "ba", 1), ("", "abc", 3), ("c3", "c3", 0)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_misspelt_block_is_found_whatever_its_case() {
        let blocks = ["Conv", "Conv3BN", "MobileNetv3", "C3", "Concat"];
        assert_eq!(nearest_names("MobileNetV3", blocks), ["MobileNetv3"]);
        assert_eq!(nearest_names("Cnov", blocks), ["Conv"]);
        assert!(nearest_names("Zzzzzz", blocks).is_empty());
        assert!(nearest_names("", blocks).is_empty());
    }
}
