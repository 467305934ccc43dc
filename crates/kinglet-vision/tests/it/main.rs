//! Integration tests of pictures and boxes.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]
mod boxes;
mod decode;
mod drawing;
mod geometry;
mod instruction_sets;
mod opencv;
mod suppression;

use std::path::PathBuf;

/// The folder of large golden data beside the repository, where there is one.
fn shared() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no folder of shared golden data beside the repository");
    None
}

/// The table `name` of `numbers.json`.
fn golden_numbers(name: &str) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(shared()?.join("golden/numbers.json")).unwrap();
    let mut numbers: serde_json::Value = serde_json::from_str(&text).unwrap();
    Some(numbers[name].take())
}
