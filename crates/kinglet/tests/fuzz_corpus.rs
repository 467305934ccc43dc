//! The fuzzers' corpora, and random changes of their files, through the same entries.
//!
//! The changes are drawn from fixed seeds: a failure repeats, and names the file, the seed and the bytes.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

#[path = "../../../fuzz/entries.rs"]
mod entries;

use kinglet::data::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Changes of each file.
const CHANGES: usize = 2000;
/// Fragments that mean something to one of the readers.
const FRAGMENTS: [&[u8]; 16] = [
    b"[",
    b"]",
    b"- ",
    b": ",
    b"\n",
    b"-1",
    b"P4",
    b"99999999999",
    b"nan",
    b"1e39",
    b"PK\x03\x04",
    b"\x80\x02",
    b"q\x00h\x00",
    b"ctorch\nFloatStorage\n",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\0\0\0\0",
];

fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 2, "{}", folder.display());
    files
}

/// One to four changes: a byte, a bit, a piece left out, doubled, or put in.
fn changed(mut bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + 1 + rng.below(16)).min(bytes.len());
        match rng.below(6) {
            0 if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => drop(bytes.splice(at..at, FRAGMENTS[rng.below(FRAGMENTS.len())].iter().copied())),
            _ => drop(bytes.splice(at..end, FRAGMENTS[rng.below(FRAGMENTS.len())].iter().copied())),
        }
    }
    bytes
}

fn replay(name: &str, entry: fn(&[u8])) {
    for path in corpus(name) {
        let whole = std::fs::read(&path).unwrap();
        for seed in 0..=CHANGES {
            let bytes = match seed {
                0 => whole.clone(),
                _ => changed(whole.clone(), &mut Rng::for_sample(seed as u64, 0, 0)),
            };
            if catch_unwind(AssertUnwindSafe(|| entry(&bytes))).is_err() {
                panic!("{} with seed {seed}: {:?}", path.display(), String::from_utf8_lossy(&bytes));
            }
        }
    }
}

#[test]
fn pytorch_files() {
    replay("pytorch", entries::pytorch);
}

#[test]
fn safetensors_files() {
    replay("safetensors", entries::safetensors);
}

#[test]
fn model_files() {
    replay("model_file", entries::model_file);
}

#[test]
fn data_yaml_files() {
    replay("data_yaml", entries::data_yaml);
}

#[test]
fn label_files() {
    replay("labels", entries::labels);
}

#[test]
fn coco_files() {
    replay("coco", entries::coco);
}

#[test]
fn voc_files() {
    replay("voc", entries::voc);
}

/// Changes of files that were refused to begin with would show little.
#[test]
fn the_corpora_begin_with_files_that_are_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let options = kinglet::spec::ResolveOptions { image: [64; 2], ..Default::default() };
    for name in ["plain", "named_backbone", "multiples", "blocks"] {
        let text = std::fs::read_to_string(folder.join("model_file").join(name)).unwrap();
        kinglet::nn::resolve(&text, name, &options).unwrap_or_else(|e| panic!("{e}"));
    }
    for name in ["pytorch/state_dict", "pytorch/old_format", "pytorch/model", "safetensors/checkpoint"] {
        let path = folder.join(name);
        let file = kinglet::nn::WeightsFile::load(&path).unwrap_or_else(|e| panic!("{e}"));
        let with_model = name.ends_with("model") || name.ends_with("checkpoint");
        assert_eq!(kinglet::train::checkpoint::header(&file, &path).is_ok(), with_model, "{name}");
    }
    for name in ["list", "mapping"] {
        let text = std::fs::read_to_string(folder.join("data_yaml").join(name)).unwrap();
        kinglet::data::formats::data_yaml::parse(&text, Path::new(name)).unwrap();
    }
    let text = std::fs::read_to_string(folder.join("coco/boxes")).unwrap();
    let names = kinglet::data::formats::coco::parse_names(&text, Path::new("a.json")).unwrap();
    let found = kinglet::data::formats::coco::parse(&text, Path::new("a.json"), &names, &[], false).unwrap();
    assert_eq!((names.len(), found.images[0].boxes.len()), (2, 2));
    let text = std::fs::read_to_string(folder.join("voc/boxes")).unwrap();
    let names = ["cat", "dog"].map(str::to_owned);
    let found = kinglet::data::formats::voc::parse(&text, Path::new("a.xml"), &names, false, (64, 48)).unwrap();
    assert_eq!((found.labels.len(), found.ignored.len()), (1, 1));
}
