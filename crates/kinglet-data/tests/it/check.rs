//! What a check finds beyond a scan, and what a correction changes.

use crate::Fixture;
use kinglet_data::check::{Level, blockers, fit_levels, orphans, same_pictures};
use kinglet_data::fix::{Fix, fix};
use kinglet_data::stats::Stats;
use kinglet_data::{Dataset, FindingKind, NoProgress, ScanOptions, Split};
use kinglet_vision::Image;
use std::fs;
use std::path::Path;

const GOOD: &str = "0 0.5 0.5 0.5 0.5\n";

fn sets(f: &Fixture) -> Vec<Dataset> {
    let options = || ScanOptions { strict: false, need_labels: false, ..ScanOptions::default() };
    let open = |split| Dataset::open(f.path("data.yaml"), split, options(), &NoProgress).unwrap();
    vec![open(Split::Train), open(Split::Val)]
}

/// A picture unlike the others.
fn sample(f: &Fixture, name: &str, shade: u8, labels: &str) {
    f.image(&format!("images/{name}.png"), &Image::new(100, 50, [shade; 3]));
    f.write(&format!("labels/{name}.txt"), labels);
}

#[test]
fn pictures_that_are_there_twice_are_found_within_and_across_splits() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, GOOD);
    sample(&f, "train/b", 2, GOOD);
    sample(&f, "train/c", 1, GOOD);
    sample(&f, "val/d", 2, GOOD);
    sample(&f, "val/e", 3, GOOD);
    let sets = sets(&f);
    let found: Vec<_> = same_pictures(&sets, 2)
        .into_iter()
        .map(|x| (x.file.file_stem().unwrap().to_string_lossy().into_owned(), x.kind))
        .collect();
    assert_eq!(found, [("c".to_owned(), FindingKind::DuplicateImage), ("d".to_owned(), FindingKind::SharedImage)]);
    let reasons = blockers(&sets, &same_pictures(&sets, 1));
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].starts_with("val: 1 of 2 pictures are in another split as well"), "{reasons:?}");
}

#[test]
fn labels_without_an_image_are_found() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, GOOD);
    sample(&f, "val/b", 2, GOOD);
    f.write("labels/train/gone.txt", GOOD);
    f.write("labels/train/classes.txt", "a\nb\n");
    f.write("images/train/broken.png", "no picture");
    f.write("labels/train/broken.txt", GOOD);
    let sets = sets(&f);
    let found = orphans(&sets);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].file.ends_with("labels/train/gone.txt") && found[0].kind == FindingKind::OrphanLabels);
    assert_eq!(blockers(&sets, &found), [""; 0]);
}

#[test]
fn what_training_would_refuse_and_what_it_should_are_told() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, "0 0.5 0.5 0.5 0.5\n7 0.5 0.5 0.1 0.1\n0 320 200 10 10\n");
    f.image("images/val/b.png", &Image::new(20, 20, [0; 3]));
    let reasons = blockers(&sets(&f), &[]);
    assert_eq!(
        reasons,
        [
            "train: 1 label has a class without a name; add the names, or correct the labels",
            "train: 33 % of the labels are left out; correct them, or try --fix",
            "val: not one image has a label file; check where the labels are"
        ]
    );
}

#[test]
fn a_split_that_lost_all_its_boxes_is_refused_and_one_of_backgrounds_is_not() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, GOOD);
    sample(&f, "val/b", 2, "");
    let open = || Dataset::open(f.path("data.yaml"), Split::Val, ScanOptions::default(), &NoProgress);
    assert_eq!(open().unwrap().summary.background, 1);
    sample(&f, "val/b", 2, "0 320 200 10 10\n");
    let message = open().unwrap_err().to_string();
    assert!(
        message.starts_with("the 1 images of `val` have not one box to measure by; the first problem: "),
        "{message}"
    );
    let reasons = blockers(&sets(&f), &[]);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    // A file that cannot be read costs its image.
    fs::remove_file(f.path("labels/val/b.txt")).unwrap();
    fs::create_dir(f.path("labels/val/b.txt")).unwrap();
    sample(&f, "val/c", 3, GOOD);
    let reasons = blockers(&sets(&f), &[]);
    let expected = "val: 1 of 2 images are left out, since their labels cannot be read; correct the files";
    assert_eq!(reasons, [expected]);
}

#[test]
fn one_box_with_two_classes_is_told() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, "0 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5\n");
    sample(&f, "val/a", 2, GOOD);
    let found = &sets(&f)[0].findings[0];
    assert_eq!(
        (found.line, found.kind, found.value.as_str()),
        (Some(2), FindingKind::TwoClasses, "class 1 here, class 0 before")
    );
}

#[test]
fn boxes_are_counted_at_the_level_of_their_best_anchor() {
    let f = Fixture::two_classes();
    // At 200 px the picture is 200 x 100: boxes of 4 x 4, 20 x 10 and 100 x 100.
    sample(&f, "train/a", 1, "0 0.5 0.5 0.02 0.04\n0 0.3 0.5 0.1 0.1\n0 0.5 0.5 0.5 1\n");
    sample(&f, "val/a", 2, GOOD);
    let fit = fit_levels(
        &sets(&f)[0],
        [(8, 10.0), (16, 90.0)].map(|(stride, side)| Level { stride, anchors: vec![[side; 2]], boxes: 0 }).to_vec(),
        200,
    );
    assert_eq!(fit.levels.iter().map(|level| (level.stride, level.boxes)).collect::<Vec<_>>(), [(8, 2), (16, 1)]);
    // 4 x 4 is 2.5 times smaller than 10 x 10, and narrower than a cell of 8.
    assert_eq!((fit.boxes, fit.tiny, fit.below_stride, fit.fitting), (3, 0, 1, 1.0));
}

#[test]
fn statistics_are_those_counted_by_hand() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.5 1\n1 0.2 0.2 0.1 0.1\n");
    sample(&f, "train/b", 2, "");
    sample(&f, "val/a", 3, GOOD);
    let stats = Stats::of(&sets(&f)[0], 200);
    assert_eq!((stats.images, stats.backgrounds, stats.boxes), (2, 1, 3));
    assert_eq!(stats.classes.iter().map(|c| (c.boxes, c.images)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    // In pixels of 100 x 50: 20 x 10, 50 x 50 and 10 x 5; at 200 px twice as wide, sides 28.3, 100 and 14.1.
    assert_eq!(stats.small_medium_large, [2, 1, 0]);
    assert!((stats.box_sides.median - 800f64.sqrt()).abs() < 1e-3 && (stats.box_sides.max - 100.0).abs() < 1e-3);
    assert_eq!((stats.boxes_per_image.min, stats.boxes_per_image.max), (0.0, 3.0));
}

const MIXED: &str = "0 0.5 0.5 0.5 0.5\n1 1.05 0.5 0.3 0.2\n\n# odd\n1,0.2,0.2,0.1,0.1\n0 0.5 0.5 0.5 0.5\n";

#[test]
fn clipping_rewrites_what_can_be_corrected_and_keeps_the_rest_to_the_byte() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, MIXED);
    sample(&f, "train/fine", 2, "0   0.50 0.5 0.5 0.5  \r\n");
    sample(&f, "val/a", 3, GOOD);
    let done = fix(&sets(&f), Fix::Clip).unwrap();
    assert_eq!((done.files, done.lines_corrected, done.lines_removed), (1, 2, 0));
    let text = fs::read_to_string(f.path("labels/train/a.txt")).unwrap();
    // From 0.9 to 1.2 across, clipped at 1: centre 0.95, width 0.1.
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "0 0.5 0.5 0.5 0.5");
    let numbers: Vec<f32> = lines[1].split(' ').map(|v| v.parse().unwrap()).collect();
    assert!(numbers.iter().zip([1.0, 0.95, 0.5, 0.1, 0.2]).all(|(a, b)| (a - b).abs() < 1e-6), "{}", lines[1]);
    assert_eq!(lines[2..], ["", "# odd", "1 0.200000 0.200000 0.100000 0.100000", "0 0.5 0.5 0.5 0.5"]);
    assert_eq!(fs::read_to_string(f.path("labels/train/fine.txt")).unwrap(), "0   0.50 0.5 0.5 0.5  \r\n");
    let kept = done.originals.unwrap();
    assert_eq!(fs::read_to_string(kept.join("labels/train/a.txt")).unwrap(), MIXED);
    assert!(!kept.join("labels/train/fine.txt").exists());
    // What is left is what clipping cannot mend, and a second run changes nothing.
    let again = sets(&f);
    assert_eq!(again[0].findings.len(), 2, "{:?}", again[0].findings);
    assert_eq!(fix(&again, Fix::Clip).unwrap(), kinglet_data::fix::Fixed::default());
}

#[test]
fn clipping_writes_a_box_that_reaches_out_as_ending_at_the_edge() {
    let f = Fixture::two_classes();
    let text = "0 0.97 0.5 0.2 0.2\r\n1 0.5 0.1 0.5 0.5\n0 0.5 0.5 0.5 0.5\n";
    sample(&f, "train/a", 1, text);
    sample(&f, "val/a", 3, GOOD);
    for how in [Fix::DropBox, Fix::Quarantine] {
        assert_eq!(fix(&sets(&f), how).unwrap(), kinglet_data::fix::Fixed::default());
    }
    assert_eq!(fix(&sets(&f), Fix::Clip).unwrap().lines_corrected, 2);
    // From 0.87 to 1.07 across, and from -0.15 to 0.35 down.
    let text = fs::read_to_string(f.path("labels/train/a.txt")).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    let boxes = text.lines().map(|line| line.split(' ').map(|v| v.parse().unwrap()).collect::<Vec<f32>>());
    for (found, expected) in
        boxes.zip([[0.0, 0.935, 0.5, 0.13, 0.2], [1.0, 0.5, 0.175, 0.5, 0.35], [0.0, 0.5, 0.5, 0.5, 0.5]])
    {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    }
    let again = sets(&f);
    assert!(again[0].findings.is_empty(), "{:?}", again[0].findings);
}

#[test]
fn dropping_takes_wrong_lines_out() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, MIXED);
    sample(&f, "val/a", 3, GOOD);
    let done = fix(&sets(&f), Fix::DropBox).unwrap();
    assert_eq!((done.files, done.lines_corrected, done.lines_removed), (1, 1, 3));
    let text = fs::read_to_string(f.path("labels/train/a.txt")).unwrap();
    assert_eq!(text, "0 0.5 0.5 0.5 0.5\n\n1 0.200000 0.200000 0.100000 0.100000\n");
    assert_eq!(sets(&f)[0].findings.len(), 0);
}

#[test]
fn quarantine_moves_images_with_their_labels_where_no_scan_looks() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, MIXED);
    sample(&f, "train/b", 2, GOOD);
    sample(&f, "val/a", 3, GOOD);
    let done = fix(&sets(&f), Fix::Quarantine).unwrap();
    let kept = done.originals.unwrap();
    assert_eq!((done.images_moved, done.files), (1, 0));
    assert!(kept.join("images/train/a.png").is_file() && kept.join("labels/train/a.txt").is_file());
    assert!(!f.path("images/train/a.png").exists() && !f.path("labels/train/a.txt").exists());
    f.write("data.yaml", "train: .\nval: images/val\nnames: [a, b]\n");
    assert_eq!(sets(&f)[0].samples.len(), 2, "the folder is passed over");
}

/// `x/images` and `x/labels`, inside and outside of the data set, with other content.
fn inside_and_outside() -> Fixture {
    let f = Fixture { dir: tempfile::tempdir().unwrap() };
    f.write("d/data.yaml", "train: [../x/images, x/images]\nval: y/images\nnames: [a, b]\n");
    for (folder, shade, labels) in [("x", 1, MIXED), ("d/x", 2, "1 1.05 0.5 0.3 0.2\n"), ("d/y", 3, GOOD)] {
        f.image(&format!("{folder}/images/a.png"), &Image::new(100, 50, [shade; 3]));
        f.write(&format!("{folder}/labels/a.txt"), labels);
    }
    f
}

fn sets_of(data: &Path) -> Vec<Dataset> {
    let options = || ScanOptions { strict: false, need_labels: false, cache: false, ..ScanOptions::default() };
    let open = |split| Dataset::open(data, split, options(), &NoProgress).unwrap();
    vec![open(Split::Train), open(Split::Val)]
}

/// The content of every file under a folder, sorted.
fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(contents(&path)) } else { found.push(fs::read(path).unwrap()) }
    }
    found.sort();
    found
}

#[test]
fn files_of_one_name_from_inside_and_outside_are_all_kept() {
    for how in [Fix::Quarantine, Fix::Clip, Fix::DropBox] {
        let f = inside_and_outside();
        let wrong = ["x/labels/a.txt", "d/x/labels/a.txt", "x/images/a.png", "d/x/images/a.png"];
        let wrong = &wrong[..if how == Fix::Quarantine { 4 } else { 2 }];
        let mut before: Vec<Vec<u8>> = wrong.iter().map(|name| fs::read(f.path(name)).unwrap()).collect();
        before.sort();
        let done = fix(&sets_of(&f.path("d/data.yaml")), how).unwrap();
        assert_eq!(contents(&done.originals.unwrap()), before, "{how:?}");
        assert_eq!((done.images_moved, done.files), if how == Fix::Quarantine { (2, 0) } else { (0, 2) });
    }
}

#[test]
fn all_images_of_a_wrong_label_file_are_moved() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, MIXED);
    fs::copy(f.path("images/train/a.png"), f.path("images/train/a.bmp")).unwrap();
    sample(&f, "val/a", 3, GOOD);
    let done = fix(&sets(&f), Fix::Quarantine).unwrap();
    let kept = done.originals.unwrap();
    assert_eq!(done.images_moved, 2);
    for name in ["images/train/a.png", "images/train/a.bmp", "labels/train/a.txt"] {
        assert!(kept.join(name).is_file() && !f.path(name).exists(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_under_two_paths_is_changed_once() {
    for (how, lines_left) in [(Fix::DropBox, 3), (Fix::Quarantine, 0)] {
        let f = Fixture::two_classes();
        sample(&f, "train/a", 1, MIXED);
        sample(&f, "val/a", 3, GOOD);
        std::os::unix::fs::symlink(f.dir.path(), f.path("again")).unwrap();
        f.write("list.txt", "again/images/train/a.png\n");
        f.write("data.yaml", "train: [images/train, list.txt]\nval: images/val\nnames: [a, b]\n");
        let sets = sets(&f);
        assert_eq!(sets[0].samples.len(), 2);
        let done = fix(&sets, how).unwrap();
        assert_eq!(done.images_moved, usize::from(how == Fix::Quarantine));
        let text = fs::read_to_string(f.path("labels/train/a.txt")).unwrap_or_default();
        assert_eq!(text.lines().count(), lines_left, "{text}");
    }
}

#[test]
fn other_separators_alone_are_no_reason_to_move_an_image() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, "0,0.5,0.5,0.5,0.5\n1 0.2 0.2 0.1 0.1\n");
    sample(&f, "val/a", 3, GOOD);
    let sets = sets(&f);
    assert_eq!(sets[0].findings.len(), 1);
    assert_eq!(fix(&sets, Fix::Quarantine).unwrap(), kinglet_data::fix::Fixed::default());
    assert_eq!(fix(&sets, Fix::Clip).unwrap().lines_corrected, 1);
}

#[test]
fn bytes_that_are_not_utf8_stay_on_lines_that_are_right() {
    let f = Fixture::two_classes();
    let fine = b"# caf\xe9\n0 0.5 0.5 0.5 0.5 \r\n";
    sample(&f, "train/a", 1, "");
    f.write("labels/train/a.txt", [fine.as_slice(), b"1 1.05 0.5 0.3 0.2\n"].concat());
    sample(&f, "val/a", 3, GOOD);
    // The comment is no label and stays as well where boxes are only clipped.
    assert_eq!(fix(&sets(&f), Fix::Clip).unwrap().lines_corrected, 1);
    assert!(fs::read(f.path("labels/train/a.txt")).unwrap().starts_with(fine));
}

#[test]
fn images_on_another_disk_are_moved_too() {
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no `/dev/shm` here, another file system than that of temporary files");
        return;
    };
    let f = Fixture::two_classes();
    sample(&f, "val/a", 3, GOOD);
    let image = other.path().join("images/a.png");
    fs::create_dir_all(image.parent().unwrap()).unwrap();
    fs::create_dir_all(other.path().join("labels")).unwrap();
    fs::copy(f.path("images/val/a.png"), &image).unwrap();
    fs::write(other.path().join("labels/a.txt"), MIXED).unwrap();
    f.write("data.yaml", format!("train: '{}'\nval: images/val\nnames: [a, b]\n", image.parent().unwrap().display()));
    let done = fix(&sets_of(&f.path("data.yaml")), Fix::Quarantine).unwrap();
    assert_eq!((done.images_moved, contents(&done.originals.unwrap()).len()), (1, 2));
    assert_eq!(contents(other.path()).len(), 0, "nothing stays behind");
}

#[test]
fn annotations_that_are_no_yolo_text_are_not_rewritten() {
    let f = Fixture::two_classes();
    f.image("images/train/a.png", &Image::new(40, 50, [1; 3]));
    f.write("images/train/a.xml", crate::formats::voc(&crate::formats::object("a", [10.0, 5.0, 90.0, 25.0], "")));
    sample(&f, "val/a", 3, GOOD);
    let message = fix(&sets(&f), Fix::Clip).unwrap_err().to_string();
    assert!(message.contains("a.xml` is not YOLO text") && message.contains("data convert"), "{message}");
    assert_eq!(fix(&sets(&f), Fix::Quarantine).unwrap().images_moved, 1);
}

#[test]
fn a_list_of_images_among_the_labels_is_no_label_file() {
    let f = Fixture::two_classes();
    sample(&f, "train/a", 1, GOOD);
    sample(&f, "val/b", 2, GOOD);
    f.write("labels/train/mine.txt", "../../images/train/a.png\n");
    f.write("data.yaml", "train: labels/train/mine.txt\nval: images/val\nnames: [a, b]\n");
    let sets = sets(&f);
    assert_eq!((sets[0].samples.len(), orphans(&sets).len()), (1, 0));
}
