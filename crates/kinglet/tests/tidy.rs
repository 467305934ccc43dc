//! Rules of ARCHITECTURE.md and STYLE.md that a program can check.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Which crates of this workspace a crate may use. An edge that is not here is a decision for ARCHITECTURE.md first.
const EDGES: &[(&str, &[&str])] = &[
    ("kinglet-spec", &[]),
    ("kinglet-kernels", &[]),
    ("kinglet-vision", &["kinglet-kernels"]),
    ("kinglet-tensor", &["kinglet-kernels"]),
    ("kinglet-data", &["kinglet-vision"]),
    ("kinglet-eval", &["kinglet-vision"]),
    ("kinglet-video", &["kinglet-vision"]),
    ("kinglet-nn", &["kinglet-spec", "kinglet-tensor"]),
    ("kinglet-runtime", &["kinglet-kernels", "kinglet-nn", "kinglet-tensor", "kinglet-vision"]),
    ("kinglet-onnx", &["kinglet-nn", "kinglet-runtime", "kinglet-tensor", "kinglet-vision"]),
    ("kinglet-server", &["kinglet-runtime", "kinglet-vision"]),
    (
        "kinglet-train",
        &[
            "kinglet-spec",
            "kinglet-nn",
            "kinglet-tensor",
            "kinglet-kernels",
            "kinglet-data",
            "kinglet-eval",
            "kinglet-runtime",
            "kinglet-vision",
        ],
    ),
    (
        "kinglet",
        &[
            "kinglet-spec",
            "kinglet-nn",
            "kinglet-tensor",
            "kinglet-kernels",
            "kinglet-data",
            "kinglet-eval",
            "kinglet-runtime",
            "kinglet-vision",
            "kinglet-onnx",
            "kinglet-train",
            "kinglet-video",
        ],
    ),
    (
        "kinglet-cli",
        &[
            "kinglet-spec",
            "kinglet-nn",
            "kinglet-tensor",
            "kinglet-kernels",
            "kinglet-data",
            "kinglet-eval",
            "kinglet-runtime",
            "kinglet-vision",
            "kinglet-onnx",
            "kinglet-train",
            "kinglet-video",
            "kinglet-server",
        ],
    ),
];

#[test]
fn crates_use_only_the_crates_below_them() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let (_, allowed) = EDGES.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no edges for {name}"));
        let manifest = read(&dir.join("Cargo.toml"));
        let section = manifest.split("\n[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
        for line in section.lines().filter(|l| l.starts_with("kinglet")) {
            let used = line.split(['.', ' ', '=']).next().unwrap();
            assert!(allowed.contains(&used), "{name} uses {used}");
        }
        seen += 1;
    }
    assert_eq!(seen, EDGES.len());
}

#[test]
fn every_source_file_says_what_it_is_and_stays_readable() {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    assert!(files.len() > 60);
    for path in files {
        let text = read(&path);
        let shown = path.display();
        assert!(text.starts_with("//!"), "{shown}: a module begins with its header (`//!`)");
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            !["utils", "util", "common", "helpers", "misc", "base"].contains(&stem.as_str()),
            "{shown}: name the thing"
        );
        assert!(text.lines().count() <= 800, "{shown}: over 800 lines, find the second concept in it");
        for forbidden in ["#[ignore", "#[should_panic", "todo!(", "unimplemented!("] {
            let quoted = path.ends_with("tidy.rs");
            assert!(quoted || !text.contains(forbidden), "{shown}: `{forbidden}`");
        }
    }
}

#[test]
fn unsafe_code_lives_in_kernels_and_tensor_only() {
    for (name, _) in EDGES {
        let src = root().join("crates").join(name).join("src");
        let entry = [src.join("lib.rs"), src.join("main.rs")].into_iter().find(|p| p.exists()).unwrap();
        let forbids = read(&entry).contains("#![forbid(unsafe_code)]");
        let may = ["kinglet-kernels", "kinglet-tensor"].contains(name);
        assert_eq!(forbids, !may, "{name}: forbids unsafe code");
    }
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for name in ["kinglet-kernels", "kinglet-tensor"] {
        let mut files = Vec::new();
        sources(&root().join("crates").join(name).join("src"), &mut files);
        for path in files.iter().filter(|p| !p.ends_with("simd.rs")) {
            let text = read(path);
            let lines: Vec<&str> = text.lines().collect();
            for (i, line) in lines.iter().enumerate() {
                let code = line.split("//").next().unwrap();
                if code.contains("unsafe {") || code.contains("unsafe impl") {
                    let before = &lines[i.saturating_sub(8)..=i];
                    let explained = before.iter().any(|l| l.contains("SAFETY:"));
                    assert!(explained, "{}:{}: an unsafe block without `// SAFETY:`", path.display(), i + 1);
                }
            }
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read(&root().join("Cargo.toml"));
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for line in section.lines().filter(|l| l.contains('=') && !l.starts_with("kinglet") && !l.starts_with('#')) {
        assert!(line.contains("# "), "no reason beside `{line}`");
    }
}

#[test]
fn zoo_files_begin_with_what_they_are() {
    for folder in ["zoo/models", "zoo/hyp"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            assert!(read(&path).starts_with('#'), "{}: begins with a comment", path.display());
        }
    }
}
