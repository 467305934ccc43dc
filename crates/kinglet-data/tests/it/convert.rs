//! There and back: nothing changes but what is told.

use crate::formats::{empty, object, open, picture, voc};
use crate::{Fixture, shared};
use kinglet_data::convert::{Images, Target, convert};
use kinglet_data::{DataError, Dataset, NoProgress, ScanOptions, Source, Split};
use kinglet_vision::Image;
use std::fs;
use std::path::Path;

fn all_splits(data: &Path) -> Vec<Dataset> {
    let source = Source::open(data).unwrap();
    let options = || ScanOptions { strict: false, need_labels: false, cache: false, ..ScanOptions::default() };
    let present = Split::ALL.into_iter().filter(|split| source.has(*split));
    present.map(|split| Dataset::scan(source.clone(), split, options(), &NoProgress).unwrap()).collect()
}

/// Names, image names, classes by name and boxes to `near` are the same.
fn same(a: &[Dataset], b: &[Dataset], near: f32) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert_eq!((a.split, &a.names, a.samples.len()), (b.split, &b.names, b.samples.len()));
        for (x, y) in a.samples.iter().zip(&b.samples) {
            assert_eq!(x.path.file_name(), y.path.file_name());
            assert_eq!(
                (x.width, x.height, x.labels.len()),
                (y.width, y.height, y.labels.len()),
                "{}",
                x.path.display()
            );
            for (p, q) in x.labels.iter().zip(&y.labels) {
                assert_eq!(p.class, q.class);
                assert!(p.cxcywh.iter().zip(q.cxcywh).all(|(p, q)| (p - q).abs() <= near), "{p:?} {q:?}");
            }
        }
    }
}

fn small() -> Fixture {
    let f = Fixture::two_classes();
    let names = "['a & <b>', \"it's: 血\", background, '# a: b', 'a:b:c:d']";
    f.write("data.yaml", format!("train: images/train\nval: images/val\nnames: {names}\n"));
    for (name, labels) in [
        ("train/x.png", "1 0.123457 0.3 0.1 0.4\n0 0.5 0.5 1 1\n"),
        ("train/none.png", ""),
        ("train/# first.png", "2 0.5 0.5 0.2 0.2\n"),
        ("train/two words 1.Png", "3 0.5 0.5 0.2 0.2\n4 0.5 0.5 0.4 0.4\n"),
        ("val/y.png", "0 0.25 0.25 0.125 0.111111\n"),
    ] {
        picture(&f, &format!("images/{name}"));
        f.write(&format!("labels/{name}"), labels);
        let place = f.path(&format!("labels/{name}"));
        fs::rename(&place, place.with_extension("txt")).unwrap();
    }
    f
}

#[test]
fn every_way_there_and_back_gives_the_same_set() {
    let f = small();
    let before = all_splits(&f.path("data.yaml"));
    // VOC has whole pixels or two decimals: half a hundredth of a pixel of 40.
    for (target, near) in [(Target::Coco, 1e-5), (Target::Voc, 3e-4), (Target::Yolo, 0.0)] {
        let (out, back) = (f.path(&format!("out-{target:?}")), f.path(&format!("back-{target:?}")));
        let done = convert(&before, target, Images::Copy, &out).unwrap();
        assert_eq!(done.splits, [("train".to_owned(), 4, 5), ("val".to_owned(), 1, 1)]);
        assert_eq!(done.lost, [""; 0]);
        let middle = all_splits(&done.data);
        assert!(middle.iter().all(|set| set.findings.is_empty()), "{:?}", middle[0].findings);
        same(&before, &middle, near);
        let again = convert(&middle, Target::Yolo, Images::Copy, &back).unwrap();
        same(&middle, &all_splits(&again.data), 1e-6);
    }
}

#[test]
fn what_the_other_format_cannot_say_is_counted() {
    let f = empty();
    picture(&f, "x.png");
    let objects =
        object("a", [1.0, 1.0, 9.0, 9.0], "") + &object("a", [20.0, 20.0, 39.0, 39.0], "<difficult>1</difficult>");
    f.write("x.xml", voc(&objects));
    let sets = all_splits(&f.path(""));
    let lost = |sets: &[Dataset], target, out: &str| convert(sets, target, Images::Copy, &f.path(out)).unwrap().lost;
    assert_eq!(lost(&sets, Target::Voc, "v"), [""; 0]);
    assert_eq!(lost(&sets, Target::Yolo, "y"), ["1 difficult objects are left out: YOLO labels cannot mark them"]);
    assert_eq!(lost(&sets, Target::Coco, "c"), ["1 difficult objects are written as crowds"]);
    // As a crowd it is still ignored, and comes back to VOC as difficult.
    let coco = all_splits(&f.path("c"));
    assert_eq!((coco[0].samples[0].labels.len(), coco[0].samples[0].ignored.len()), (1, 1));
    let told = lost(&coco, Target::Voc, "v2");
    assert!(told[0].starts_with("1 crowd regions are written as `difficult`"), "{told:?}");
    assert_eq!(all_splits(&f.path("v2"))[0].samples[0].ignored.len(), 1);
    let g = Fixture::two_classes();
    picture(&g, "images/train/x.png");
    g.write("labels/train/x.txt", "0 0.1 0.1 0.5 0.1 0.3 0.6\n0 0.5 0.5 9 9 9\n");
    let set = [Dataset::open(g.path("data.yaml"), Split::Train, ScanOptions::default(), &NoProgress).unwrap()];
    let done = convert(&set, Target::Voc, Images::Copy, &g.path("out")).unwrap();
    assert_eq!(done.lost, ["1 outlines are left out: VOC has boxes only", "1 labels are wrong and left out"]);
    let done = convert(&set, Target::Coco, Images::Copy, &g.path("coco")).unwrap();
    let back = all_splits(&done.data);
    assert_eq!(back[0].samples[0].labels[0].polygon.as_ref().map(Vec::len), Some(3));
}

/// A GIF of 2 x 2 black pixels.
const GIF: &[u8] = b"GIF89a\x02\0\x02\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x02\0\x02\0\0\x02\x02\x84\x51\0;";

#[test]
fn images_whose_extension_says_nothing_are_written_as_what_they_are() {
    let f = empty();
    f.image("images/a.jpg", &Image::new(40, 50, [9, 90, 160]));
    fs::rename(f.path("images/a.jpg"), f.path("images/a.jfif")).unwrap();
    picture(&f, "images/frame.v2");
    picture(&f, "images/img001");
    f.write("images/moving.gif", GIF);
    let names = ["a.jfif", "frame.v2", "img001", "moving.gif"];
    let image = |(id, name): (usize, &&str)| format!(r#"{{"id": {id}, "file_name": "{name}"}}"#);
    let a_box = |id: usize| format!(r#"{{"id": {id}, "image_id": {id}, "category_id": 1, "bbox": [0, 0, 2, 2]}}"#);
    f.write(
        "train.json",
        format!(
            r#"{{"images": [{}], "annotations": [{}], "categories": [{{"id": 1, "name": "a"}}]}}"#,
            names.iter().enumerate().map(image).collect::<Vec<_>>().join(","),
            (0..4).map(a_box).collect::<Vec<_>>().join(",")
        ),
    );
    let before = all_splits(&f.path("train.json"));
    for (target, images) in [
        (Target::Yolo, Images::Copy),
        (Target::Coco, Images::Copy),
        (Target::Voc, Images::Copy),
        (Target::Yolo, Images::Link),
    ] {
        let done = convert(&before, target, images, &f.path(&format!("{target:?}-{images:?}"))).unwrap();
        let told = done.lost.join("; ");
        assert!(told.contains("3 images got the extension of their content"), "{told}");
        assert!(told.contains("1 GIF images are written as PNG"), "{told}");
        let after = all_splits(&done.data);
        let found: Vec<_> = after[0].samples.iter().map(|s| s.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(found, ["a.jpeg", "frame.v2.png", "img001.png", "moving.png"], "{target:?}");
        assert!(after[0].samples.iter().all(|sample| sample.labels.len() == 1));
        assert_eq!(Image::load(&after[0].samples[3].path).unwrap().data, [0; 12]);
    }
}

#[test]
fn coco_ids_survive_and_numbered_names_are_ids() {
    let f = empty();
    picture(&f, "000000000139.png");
    f.write("000000000139.txt", "0 0.5 0.5 0.5 0.5\n");
    f.write("classes.txt", "a\n");
    let done = convert(&all_splits(&f.path("")), Target::Coco, Images::Copy, &f.path("../coco-out").join("c")).unwrap();
    let sets = all_splits(&done.data);
    assert_eq!((sets[0].samples[0].id, sets[0].category_ids[&0]), (Some(139), 1));
    fs::remove_dir_all(f.path("../coco-out")).unwrap();
}

#[test]
fn a_failed_conversion_leaves_nothing_and_a_full_folder_is_not_touched() {
    let f = small();
    let sets = all_splits(&f.path("data.yaml"));
    f.write("full/notes.md", "mine");
    let error = convert(&sets, Target::Yolo, Images::Copy, &f.path("full")).unwrap_err();
    assert!(matches!(error, DataError::FolderNotEmpty(_)));
    fs::remove_file(f.path("images/val/y.png")).unwrap();
    let before = fs::read_dir(f.dir.path()).unwrap().count();
    let error = convert(&sets, Target::Coco, Images::Copy, &f.path("new")).unwrap_err();
    assert!(f.message(&error).starts_with("cannot copy `DIR/images/val/y.png`"), "{error}");
    assert_eq!(fs::read_dir(f.dir.path()).unwrap().count(), before);
}

#[cfg(unix)]
#[test]
fn links_point_to_the_originals() {
    let f = small();
    let done = convert(&all_splits(&f.path("data.yaml")), Target::Yolo, Images::Link, &f.path("linked")).unwrap();
    let link = f.path("linked/images/val/y.png");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::canonicalize(link).unwrap(), fs::canonicalize(f.path("images/val/y.png")).unwrap());
    same(&all_splits(&f.path("data.yaml")), &all_splits(&done.data), 1e-6);
}

#[test]
fn images_of_one_name_from_several_folders_stay_apart() {
    let f = Fixture::two_classes();
    for (folder, class) in [("p", 0), ("q", 1)] {
        picture(&f, &format!("images/train/{folder}/x.png"));
        f.write(&format!("labels/train/{folder}/x.txt"), format!("{class} 0.5 0.5 0.5 0.5\n"));
    }
    let set = [open(&f, "data.yaml", Split::Train).unwrap()];
    let done = convert(&set, Target::Yolo, Images::Copy, &f.path("out")).unwrap();
    assert_eq!(done.lost, ["1 images got a number behind their name, since another has the same"]);
    let classes: Vec<usize> = all_splits(&done.data)[0].samples.iter().map(|s| s.labels[0].class).collect();
    assert_eq!(classes, [1, 0], "`x-2` sorts before `x.png`");
}

#[test]
fn real_images_come_back_from_every_format() {
    let Some(shared) = shared() else { return };
    let f = empty();
    for name in ["bccd", "coco256"] {
        let before = all_splits(&shared.join("data").join(name));
        // An edge in VOC is off by a hundredth of a pixel at most, of 218 or more, and a size by two such.
        for (target, near) in [(Target::Coco, 2e-6), (Target::Voc, 1e-4)] {
            let out = f.path(&format!("{name}-{target:?}"));
            let done = convert(&before, target, Images::Link, &out).unwrap();
            assert_eq!(done.lost, [""; 0]);
            same(&before, &all_splits(&done.data), near);
        }
    }
}
