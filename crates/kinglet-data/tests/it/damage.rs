//! Images and files that are damaged, odd or not what they seem: one of them never costs more than itself.

use crate::loader::extent_of;
use crate::{Fixture, shared};
use kinglet_data::{AugmentParams, Batch, DataError, Loader, LoaderOptions, Source, Split};
use kinglet_data::{Finding, FindingKind, Severity};
use kinglet_vision::{Image, encode};
use std::fs;

const GOOD: &str = "0 0.5 0.5 0.5 0.5\n";

/// The findings about files of this stem.
fn about<'a>(findings: &'a [Finding], stem: &str) -> Vec<&'a Finding> {
    findings.iter().filter(|f| f.file.file_stem().is_some_and(|s| s == stem)).collect()
}

/// Noise, so that the file is long and a byte in its middle belongs to pixels.
fn noise(side: usize) -> Image {
    let mut image = Image::new(side, side, [0; 3]);
    let mut state = 1u32;
    for y in 0..side {
        for x in 0..side {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image.set_pixel(x, y, [(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8]);
        }
    }
    image
}

/// A PNG with its end in place and a byte wrong in its middle: only decoding shows it.
fn damaged_png() -> Vec<u8> {
    let mut bytes = encode::png_bytes(&noise(40)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    bytes
}

/// A PNG whose header announces so many pixels.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = encode::png_bytes(&Image::new(4, 4, [0; 3])).unwrap();
    // Signature 8, length 4, `IHDR` 4, then width and height; the checksum covers the 17 bytes from `IHDR`.
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = bytes[12..29].iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    bytes
}

#[test]
fn cut_and_huge_images_are_left_out_by_the_scan() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), GOOD);
    let png = encode::png_bytes(&noise(40)).unwrap();
    f.write("images/train/cut.png", &png[..png.len() / 2]);
    f.write("images/train/bomb.png", bomb(20_000, 20_000));
    f.write("images/train/wide.png", bomb(20_001, 4));
    let set = f.open(Split::Train).unwrap();
    assert_eq!(set.samples.len(), 1);
    for (stem, words) in [("cut", "ends early"), ("bomb", "20000x20000 px, more than"), ("wide", "20001x4 px, more")] {
        let found = about(&set.findings, stem);
        assert_eq!(found.len(), 1, "{stem}");
        assert_eq!((found[0].kind, found[0].severity), (FindingKind::UnreadableImage, Severity::Dropped));
        assert!(found[0].value.contains(words), "{}", found[0]);
    }
}

#[test]
fn damage_in_the_middle_is_told_once_and_the_others_are_used() {
    let f = Fixture::two_classes();
    for stem in ["a", "b", "d"] {
        f.sample(&format!("train/{stem}"), (40, 40), GOOD);
    }
    f.write("images/train/c.png", damaged_png());
    f.write("labels/train/c.txt", GOOD);
    let set = f.train();
    assert_eq!((set.samples.len(), set.findings.len()), (4, 0));
    for workers in [1, 3] {
        let options = LoaderOptions { workers, ..LoaderOptions::train(64, 2, AugmentParams::default(), 3) };
        let loader = Loader::new(set.clone(), options);
        let mut told = Vec::new();
        for epoch in 0..3 {
            told.extend(loader.epoch(epoch, None).flat_map(|batch| batch.findings));
        }
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].file.ends_with("c.png") && told[0].to_string().ends_with("(image left out)"), "{}", told[0]);
        assert_eq!(loader.broken(), told);
        assert_eq!((0..4).filter(|&i| loader.is_broken(i)).collect::<Vec<_>>(), [2]);
    }
}

#[test]
fn where_no_image_can_be_decoded_the_set_is_refused() {
    let f = Fixture::two_classes();
    for stem in ["a", "b"] {
        f.write(&format!("images/train/{stem}.png"), damaged_png());
        f.write(&format!("labels/train/{stem}.txt"), GOOD);
    }
    let error = f.open(Split::Train).unwrap_err();
    assert!(matches!(error, DataError::NoReadableImages { count: 2, .. }), "{error}");
    // One that can be decoded is enough; what came before it is left out.
    f.sample("train/c", (20, 20), GOOD);
    let set = f.open(Split::Train).unwrap();
    assert_eq!((set.samples.len(), set.findings.len()), (1, 2));
}

#[test]
fn an_image_whose_labels_cannot_be_read_is_no_background() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), GOOD);
    f.sample("train/b", (20, 20), GOOD);
    fs::remove_file(f.path("labels/train/b.txt")).unwrap();
    fs::create_dir(f.path("labels/train/b.txt")).unwrap();
    let set = f.open(Split::Train).unwrap();
    assert_eq!((set.samples.len(), set.summary.background), (1, 0));
    let text = set.findings[0].to_string();
    assert!(text.ends_with("b.txt: label file cannot be read: it is a folder (image left out)"), "{text}");
}

#[test]
fn images_without_any_box_can_be_measured_but_not_learnt() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), "");
    f.sample("val/a", (20, 20), "");
    let message = f.message(&f.open(Split::Train).unwrap_err());
    assert_eq!(message, "the 1 images of `train` have not one box to learn from; their label files are empty");
    f.write("labels/train/a.txt", "0 10 10 5 5\n");
    let message = f.message(&f.open(Split::Train).unwrap_err());
    assert_eq!(
        message,
        "the 1 images of `train` have not one box to learn from; the first problem: DIR/labels/train/a.txt:1: \
         coordinate above 1: 10; in pixels? labels are fractions of the image (box left out)"
    );
    let val = f.open(Split::Val).unwrap();
    assert!(val.notes[0].contains("not one box"), "{:?}", val.notes);
}

#[test]
fn kinds_that_are_not_read_are_counted() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), GOOD);
    f.write("images/train/b.gif", "GIF89a");
    f.write("images/train/c.HEIC", "");
    f.write("images/train/notes.txt", "");
    let set = f.open(Split::Train).unwrap();
    assert_eq!(set.notes.len(), 1);
    assert!(set.notes[0].starts_with("2 files of kinds that are not read"), "{:?}", set.notes);
}

#[cfg(unix)]
#[test]
fn a_folder_that_links_to_its_parent_is_walked_once() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), GOOD);
    std::os::unix::fs::symlink(f.path("images/train"), f.path("images/train/loop")).unwrap();
    std::os::unix::fs::symlink(f.path("nowhere"), f.path("images/train/gone.png")).unwrap();
    let set = f.open(Split::Train).unwrap();
    assert_eq!((set.samples.len(), set.findings.len()), (1, 1));
    assert_eq!(set.findings[0].kind, FindingKind::UnreadableImage);
}

/// Where a stored point (x, y) of a picture of w x h lies upright.
type Turn = fn(f32, f32, f32, f32) -> (f32, f32);

#[test]
fn boxes_belong_to_the_upright_picture_whatever_its_exif_orientation() {
    // Stored 48 x 32 with a red square of 8 at (4, 6); where its corners lie upright, by the definition of each value.
    let (w, h) = (48.0f32, 32.0f32);
    let upright: [(u8, Turn); 8] = [
        (1, |x, y, _, _| (x, y)),
        (2, |x, y, w, _| (w - x, y)),
        (3, |x, y, w, h| (w - x, h - y)),
        (4, |x, y, _, h| (x, h - y)),
        (5, |x, y, _, _| (y, x)),
        (6, |x, y, _, h| (h - y, x)),
        (7, |x, y, w, h| (h - y, w - x)),
        (8, |x, y, w, _| (y, w - x)),
    ];
    let mut stored = Image::new(48, 32, [0; 3]);
    stored.paste(&Image::new(8, 8, [230, 20, 20]), 4, 6);
    let jpeg = encode::jpeg_bytes(&stored, 100).unwrap();
    let f = Fixture::two_classes();
    for (value, turn) in upright {
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([value, 0, 0, 0, 0, 0, 0, 0]);
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1];
        bytes.extend(((exif.len() + 2) as u16).to_be_bytes());
        bytes.extend(exif);
        bytes.extend(&jpeg[2..]);
        f.write(&format!("images/train/{value}.jpg"), bytes);
        let ((x1, y1), (x2, y2)) = (turn(4.0, 6.0, w, h), turn(12.0, 14.0, w, h));
        let (uw, uh) = if value >= 5 { (h, w) } else { (w, h) };
        let (cx, cy) = ((x1 + x2) / 2.0 / uw, (y1 + y2) / 2.0 / uh);
        f.write(&format!("labels/train/{value}.txt"), format!("0 {cx} {cy} {} {}\n", 8.0 / uw, 8.0 / uh));
    }
    let set = f.train();
    assert_eq!((set.samples.len(), set.findings.len()), (8, 0));
    let options = LoaderOptions { augment: None, ..LoaderOptions::val(48, 1) };
    for batch in Loader::new(set, options).epoch(0, None) {
        let (bw, bh) = (batch.w as f32, batch.h as f32);
        let [cx, cy, tw, th] = batch.targets[0].cxcywh;
        let expected = [(cx - tw / 2.0) * bw, (cy - th / 2.0) * bh, (cx + tw / 2.0) * bw, (cy + th / 2.0) * bh];
        let seen = extent_of(&batch, 0, 0).unwrap();
        assert!(
            seen.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1.0),
            "{:?}: {seen:?} {expected:?}",
            batch.infos
        );
    }
}

#[test]
fn the_content_counts_and_not_the_extension() {
    let f = Fixture::two_classes();
    f.write("images/train/png.jpg", encode::png_bytes(&noise(24)).unwrap());
    f.write("images/train/jpg.png", encode::jpeg_bytes(&noise(24), 90).unwrap());
    for stem in ["png", "jpg"] {
        f.write(&format!("labels/train/{stem}.txt"), GOOD);
    }
    let set = f.train();
    assert_eq!((set.samples.len(), set.findings.len()), (2, 0));
    let options = LoaderOptions::val(32, 4);
    let batches: Vec<Batch> = Loader::new(set, options).epoch(0, None).collect();
    assert!(batches[0].findings.is_empty());
    assert_eq!(batches[0].targets.len(), 2);
}

#[test]
fn messages_about_the_data_yaml_say_what_is_there_instead() {
    let f = Fixture::two_classes();
    let told = |name: &str| f.message(&Source::open(f.path(name)).unwrap_err());
    assert!(told("none.yaml").starts_with("the data set `DIR/none.yaml` does not exist; expected a data.yaml"));
    fs::create_dir(f.path("folder")).unwrap();
    assert!(told("folder").starts_with("no data set is recognised in the folder `DIR/folder`; looked for a data YAML"));
    f.write("tab.yaml", "train: a\n\tval: b\nnames: [a]\n");
    assert_eq!(told("tab.yaml"), "DIR/tab.yaml:2:1: the line is indented with a tab; YAML wants spaces");
    f.write("twice.yaml", "train: a\nnames: [a, b, a]\n");
    let notes = Source::open(f.path("twice.yaml")).unwrap().notes;
    assert!(notes[0].ends_with("class 2 is called `a`, as an earlier one is"), "{notes:?}");
}

#[test]
fn a_data_yaml_that_claims_or_expands_to_gigabytes_is_refused() {
    let told = |text: &str| {
        kinglet_data::formats::data_yaml::parse(text, std::path::Path::new("d.yaml")).unwrap_err().to_string()
    };
    let most = "expected a number of classes from 1 to 16384";
    assert!(told("train: a\nval: a\nnc: 9999999999\n").contains(most));
    assert!(told("train: a\nval: a\nnc: 0\n").contains(most));
    assert!(told("train: a\nval: a\nnames: {0: a, 9999999999: b}\n").contains("class 1 has no name"));
    let many = format!("train: a\nval: a\nnames: [{}]\n", "a,".repeat(16_385));
    assert!(told(&many).contains("`names` has 16385 classes, more than the 16384"), "{}", told(&many));
    assert!(told(&format!("names: {}", "[".repeat(200_000))).contains("recursion limit"));
    assert!(told(&"#".repeat(2 << 20)).contains("the file has 2097152 bytes, more than the 1048576"));
    // Ten lists of ten lists of ten lists: a billion in a few lines.
    let mut bomb = "train: a\nval: a\nl0: &l0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..9 {
        bomb.push_str(&format!("l{level}: &l{level} [{}]\n", vec![format!("*l{}", level - 1); 10].join(",")));
    }
    assert!(told(&bomb).contains("alias expansion"), "{}", told(&bomb));
}

#[test]
fn windows_paths_line_ends_and_other_scripts_are_understood() {
    let f = Fixture::two_classes();
    f.write(
        "data.yaml",
        "path: .\\\r\ntrain: lists\\train.txt\r\nval: .\\images\\val\r\nnames:\r\n  - Rötes\r\n  - 血\r\n",
    );
    let stems = ["Ümläut", "血球 写真", "with space", "quote'"];
    for stem in stems {
        f.sample(&format!("train/{stem}"), (20, 20), "1 0.5 0.5 0.5 0.5\r\n");
    }
    f.sample("val/ü", (20, 20), GOOD);
    let lines: String = stems.iter().map(|stem| format!("..\\images\\train\\{stem}.png\r\n")).collect();
    f.write("lists/train.txt", format!("\u{feff}{lines}"));
    let set = f.open(Split::Train).unwrap();
    assert_eq!((set.samples.len(), set.findings.len(), set.names.join(" ")), (4, 0, "Rötes 血".to_owned()));
    assert!(set.samples.iter().all(|sample| sample.labels[0].class == 1));
    assert_eq!(f.open(Split::Val).unwrap().samples.len(), 1);
}

#[test]
fn a_real_photograph_cut_in_half_is_left_out() {
    let Some(shared) = shared() else { return };
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), GOOD);
    let photo = fs::read_dir(shared.join("data/bccd/images/train")).unwrap().flatten().map(|e| e.path()).min().unwrap();
    let bytes = fs::read(photo).unwrap();
    f.write("images/train/photo.jpg", &bytes[..bytes.len() / 2]);
    let set = f.open(Split::Train).unwrap();
    assert_eq!(set.samples.len(), 1);
    assert!(set.findings[0].value.contains("ends early"), "{}", set.findings[0]);
}
