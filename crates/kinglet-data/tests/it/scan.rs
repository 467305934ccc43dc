//! Finding and checking images and labels.

use crate::{Fixture, shared};
use kinglet_data::{DataError, Dataset, NoProgress, Progress, ScanOptions, Split};
use kinglet_data::{FindingKind, Severity};
use kinglet_vision::Image;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

const GOOD: &str = "0 0.5 0.5 0.5 0.5\n";

#[test]
fn bad_lines_cost_themselves_and_are_reported_with_their_place() {
    let f = Fixture::two_classes();
    f.sample("train/one", (64, 48), "0 0.5 0.5 0.5 0.5\r\n1 nan 0.5 0.1 0.1\r\n1 0.2 0.2 0.1 0.1\r\n1 0.5 0.5 0.1\r\n");
    f.sample("train/größe", (64, 48), "1 1.02 0.5 0.2 0.2\n1 0.5 0.5 0.01 0.5\n");
    let set = f.open(Split::Train).unwrap();
    assert_eq!(set.samples.len(), 2);
    assert_eq!((set.samples[0].width, set.samples[0].height), (64, 48));
    let kinds: Vec<_> = set.findings.iter().map(|x| (x.line, x.kind, x.severity)).collect();
    let expected = [
        (Some(1), FindingKind::OutOfRange, Severity::Fixed),
        (Some(2), FindingKind::TooSmall, Severity::Note),
        (Some(2), FindingKind::NotFinite, Severity::Dropped),
        (Some(4), FindingKind::WrongColumnCount, Severity::Dropped),
    ];
    let mut sorted = kinds.clone();
    sorted.sort_by_key(|k| expected.iter().position(|e| e == k));
    assert_eq!(sorted, expected);
    let s = &set.summary;
    assert_eq!((s.images, s.usable, s.boxes, s.boxes_dropped, s.boxes_fixed), (2, 2, 4, 2, 1));
    assert_eq!(s.boxes_per_class, [1, 3]);
    assert_eq!(set.finding_counts().len(), 4);
}

#[test]
fn backgrounds_need_no_file_but_a_set_without_any_label_is_an_error() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), GOOD);
    f.sample("train/b", (20, 20), "");
    f.image("images/train/c.png", &Image::new(20, 20, [0; 3]));
    f.image("images/val/v.png", &Image::new(20, 20, [0; 3]));
    let set = f.open(Split::Train).unwrap();
    assert_eq!((set.summary.background, set.summary.without_file), (2, 1));
    let message = f.message(&f.open(Split::Val).unwrap_err());
    assert_eq!(
        message,
        "no label file for any of the 1 images of `val`; for `DIR/images/val/v.png` tried:\n    \
         DIR/labels/val/v.txt\n    DIR/images/val/v.txt\n  \
         rule: the last `/images/` in an image's path becomes `/labels/` and its extension `.txt`; \
         otherwise the .txt beside the image, or VOC XML beside it or in `annotations`"
    );
}

#[test]
fn classes_without_a_name_are_an_error_that_lists_them() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), "0 0.5 0.5 0.5 0.5\n2 0.5 0.5 0.2 0.2\n");
    let message = f.message(&f.open(Split::Train).unwrap_err());
    assert_eq!(
        message,
        "1 label has a class that `DIR/data.yaml` does not name; it names 2 (0: a, 1: b):\n    \
         DIR/labels/train/a.txt:2: class 2\n  add the missing names or correct the labels"
    );
    let lenient = ScanOptions { strict: false, ..ScanOptions::default() };
    let set = Dataset::open(f.path("data.yaml"), Split::Train, lenient, &NoProgress).unwrap();
    assert_eq!(set.summary.boxes_dropped, 1);
    let single = ScanOptions { single_cls: true, ..ScanOptions::default() };
    let set = Dataset::open(f.path("data.yaml"), Split::Train, single, &NoProgress).unwrap();
    assert_eq!((set.nc(), set.summary.boxes), (1, 2));
}

#[test]
fn broken_and_tiny_images_are_left_out_and_named() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), GOOD);
    f.sample("train/dot", (1, 1), GOOD);
    f.write("images/train/text.jpg", "this is no image");
    f.write("images/train/empty.png", "");
    f.image("images/train/cut.jpg", &Image::new(200, 200, [200, 10, 30]));
    let bytes = fs::read(f.path("images/train/cut.jpg")).unwrap();
    f.write("images/train/cut.jpg", &bytes[..bytes.len() / 2]);
    let set = f.open(Split::Train).unwrap();
    let names: Vec<_> = set
        .findings
        .iter()
        .map(|x| (x.file.file_stem().unwrap().to_string_lossy().into_owned(), x.kind, x.severity))
        .collect();
    let dropped = |n: &str, k| names.contains(&(n.to_string(), k, Severity::Dropped));
    assert!(dropped("dot", FindingKind::TinyImage), "{names:?}");
    assert!(dropped("text", FindingKind::UnreadableImage), "{names:?}");
    assert!(dropped("empty", FindingKind::UnreadableImage), "{names:?}");
    // The decoder decides whether a cut JPEG is of use; it must be named either way.
    assert!(names.iter().any(|(n, k, _)| n == "cut" && k.concerns_image()), "{names:?}");
    assert!(set.samples.iter().any(|s| s.path.ends_with("a.png")));

    let g = Fixture::two_classes();
    g.write("images/train/text.jpg", "this is no image");
    let error = g.open(Split::Train).unwrap_err();
    assert!(matches!(error, DataError::NoReadableImages { count: 1, .. }), "{error}");
}

#[test]
fn empty_folders_and_missing_splits_are_named() {
    let f = Fixture::two_classes();
    fs::create_dir_all(f.path("images/val")).unwrap();
    let message = f.message(&f.open(Split::Val).unwrap_err());
    assert!(message.starts_with("no images for `val` in\n    DIR/images/val\n  expected files ending in"), "{message}");
    let message = f.message(&f.open(Split::Train).unwrap_err());
    assert!(
        message.starts_with("DIR/data.yaml:2:8: `train: images/train` not found; tried:\n    DIR/images/train"),
        "{message}"
    );
}

#[test]
fn list_files_resolve_against_their_own_folder_then_the_yamls() {
    let f = Fixture::two_classes();
    f.write("data.yaml", "train: [lists/train.txt]\nnames: [a, b]\n");
    for stem in ["train/a", "train/b", "train/c"] {
        f.sample(stem, (20, 20), GOOD);
    }
    f.image("lists/near.png", &Image::new(20, 20, [0; 3]));
    f.write("lists/near.txt", "1 0.5 0.5 0.5 0.5");
    let absolute = f.path("images/train/c.png");
    let lines = format!(
        "./near.png\r\nimages/train/a.png\r\nimages\\train\\b.png\r\n\r\nnone.png\r\n{}\r\nnear.png\r\n",
        absolute.display()
    );
    f.write("lists/train.txt", lines);
    let set = f.open(Split::Train).unwrap();
    let stems: Vec<_> = set.samples.iter().map(|s| s.path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(stems, ["near", "a", "b", "c"]);
    assert_eq!(set.samples[0].labels[0].class, 1);
    assert_eq!(set.findings.len(), 1);
    assert_eq!((set.findings[0].kind, set.findings[0].line), (FindingKind::MissingImage, Some(5)));
}

#[test]
fn edits_of_equal_length_and_changed_names_take_effect_at_once() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), "0 0.5 0.5 0.5 0.5\n");
    let before = f.open(Split::Train).unwrap();
    assert!(f.path("labels/train.kinglet-cache").is_file());
    f.write("labels/train/a.txt", "1 0.5 0.5 0.4 0.4\n");
    let after = f.open(Split::Train).unwrap();
    assert_ne!(before.samples[0].labels, after.samples[0].labels);
    f.write("data.yaml", "train: images/train\nnames: [only]\n");
    assert!(matches!(f.open(Split::Train), Err(DataError::ClassOutOfRange { .. })));
    // Another image under the same name: the size is read again.
    f.write("data.yaml", "train: images/train\nnames: [a, b]\n");
    f.image("images/train/a.png", &Image::new(30, 10, [1; 3]));
    assert_eq!(f.open(Split::Train).unwrap().samples[0].width, 30);
}

#[test]
fn cache_spares_opening_images_and_a_foreign_file_does_no_harm() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 20), GOOD);
    f.write("labels/train.kinglet-cache", "kinglet-cache 4 0000\n{\"x\":1}");
    let first = f.open(Split::Train).unwrap();
    let text = fs::read_to_string(f.path("labels/train.kinglet-cache")).unwrap();
    assert!(text.starts_with("kinglet-cache 4 ") && text.contains("a.png"));
    let second = f.open(Split::Train).unwrap();
    assert_eq!(first.samples, second.samples);
    assert_eq!(fs::read_to_string(f.path("labels/train.kinglet-cache")).unwrap(), text);
}

#[test]
fn progress_ends_at_the_total_and_thread_count_changes_nothing() {
    struct Last(AtomicUsize);
    impl Progress for Last {
        fn advance(&self, done: usize, total: usize) {
            assert!(done <= total);
            self.0.fetch_max(done, Ordering::Relaxed);
        }
    }
    let f = Fixture::two_classes();
    for i in 0..9 {
        f.sample(&format!("train/{i}"), (20 + i, 20), GOOD);
    }
    let open = |workers| {
        let last = Last(AtomicUsize::new(0));
        let options = ScanOptions { workers, cache: false, ..ScanOptions::default() };
        let set = Dataset::open(f.path("data.yaml"), Split::Train, options, &last).unwrap();
        assert_eq!(last.0.load(Ordering::Relaxed), 9);
        set.samples
    };
    assert_eq!(open(1), open(3));
}

#[test]
fn real_sets_scan_without_loss() {
    let Some(shared) = shared() else { return };
    let options = || ScanOptions { cache: false, ..ScanOptions::default() };
    let open = |yaml: &str, split| Dataset::open(shared.join(yaml), split, options(), &NoProgress).unwrap();
    for (split, count) in [(Split::Train, 205), (Split::Val, 87), (Split::Test, 72)] {
        let set = open("data/bccd/bccd.yaml", split);
        assert_eq!((set.samples.len(), set.summary.images), (count, count));
        assert_eq!(set.names, ["RBC", "WBC", "Platelets"]);
    }
    let set = open("data/coco256/coco256.yaml", Split::Val);
    assert_eq!((set.samples.len(), set.nc()), (128, 80));
}

#[test]
fn an_image_of_a_list_may_begin_as_a_comment_does() {
    let f = Fixture::two_classes();
    f.sample("train/#1", (20, 20), "0 0.5 0.5 0.5 0.5\n");
    f.sample("val/v", (20, 20), "0 0.5 0.5 0.5 0.5\n");
    f.write("images/train/list.txt", "# a comment\n#1.png\n");
    f.write("data.yaml", "train: images/train/list.txt\nval: images/val\nnames: [a, b]\n");
    let set = f.train();
    assert_eq!((set.samples.len(), set.findings.len()), (1, 0), "{:?}", set.findings);
}

#[test]
fn what_cameras_write_behind_an_image_is_no_damage_and_a_missing_end_is() {
    let f = Fixture::two_classes();
    f.sample("val/v", (20, 20), "0 0.5 0.5 0.5 0.5\n");
    for name in ["jpg", "png"] {
        f.image(&format!("images/train/{name}.{name}"), &Image::new(20, 20, [90, 120, 150]));
        f.write(&format!("labels/train/{name}.txt"), "0 0.5 0.5 0.5 0.5\n");
        let path = f.path(&format!("images/train/{name}.{name}"));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, [bytes.as_slice(), &[7; 500]].concat()).unwrap();
        let set = f.train();
        assert!(set.findings.is_empty(), "{:?}", set.findings);
        // A JPEG's end is two bytes, a PNG's last chunk twelve; a PNG's decoder wants it.
        let (cut, kind) = match name {
            "jpg" => (2, FindingKind::DamagedImage),
            _ => (12, FindingKind::UnreadableImage),
        };
        fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        f.image("images/train/sound.png", &Image::new(20, 20, [90, 120, 150]));
        let set = f.train();
        assert_eq!((set.findings.len(), set.findings[0].kind), (1, kind), "{name}");
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn findings_keep_the_order_of_the_images_where_the_first_cannot_be_decoded() {
    let f = Fixture::two_classes();
    for stem in ["a", "b", "c"] {
        f.sample(&format!("train/{stem}"), (64, 64), "0 0.5 0.5 0.5 0.5\n9 0.5 0.5 0.1 0.1\n");
    }
    f.sample("val/v", (20, 20), "0 0.5 0.5 0.5 0.5\n");
    // The header and the end are there; what lies between is not.
    let path = f.path("images/train/a.png");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&path, bytes).unwrap();
    let options = ScanOptions { strict: false, ..ScanOptions::default() };
    let set = Dataset::open(f.path("data.yaml"), Split::Train, options, &NoProgress).unwrap();
    let found: Vec<_> = set.findings.iter().map(|f| (f.file.file_stem().unwrap().to_str().unwrap(), f.kind)).collect();
    let unnamed = FindingKind::ClassOutOfRange;
    assert_eq!(found, [("a", unnamed), ("a", FindingKind::UnreadableImage), ("b", unnamed), ("c", unnamed)]);
    assert_eq!(set.samples.len(), 2);
}
