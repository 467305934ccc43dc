//! Trees as programs have been seen to write them, beyond the plain ones in `formats.rs`.
//!
//! Sources: supervision 0.31, LabelImg 1.8.6, pylabel 0.1.55, globox 2.9 and Datumaro 1.13 on one data set.

use crate::Fixture;
use crate::formats::{BOX, empty, object, open, picture, voc};
use kinglet_data::{Format, Source, Split};

const LINE: &str = "1 0.5 0.3 0.5 0.4\n";

/// Both splits have the one box, of the class `b`.
fn has_the_box(f: &Fixture, name: &str, format: Format) {
    let source = Source::open(f.path(name)).unwrap();
    assert_eq!((source.format, source.names.join(" ")), (format, "a b".to_owned()));
    for split in [Split::Train, Split::Val] {
        let set = open(f, name, split).unwrap();
        assert_eq!((set.samples.len(), set.findings.len()), (1, 0), "{:?}", set.findings);
        let labels = &set.samples[0].labels;
        assert_eq!(labels.len(), 1, "{split:?}");
        assert!(labels[0].class == 1 && labels[0].cxcywh.iter().zip(BOX).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[test]
fn a_data_yaml_that_names_no_split_takes_the_folders_called_after_them() {
    let f = empty();
    f.write("data.yaml", "nc: 2\nnames: [a, b]\n");
    let message = open(&f, "data.yaml", Split::Val).unwrap_err().to_string();
    assert!(message.ends_with("data.yaml` has no `val`; add a line such as `val: images/val`"), "{message}");
    for split in ["train", "valid"] {
        picture(&f, &format!("{split}/images/x.png"));
        f.write(&format!("{split}/labels/x.txt"), LINE);
    }
    for name in ["", "data.yaml"] {
        has_the_box(&f, name, Format::YoloYaml);
    }
    let notes = Source::open(f.path("")).unwrap().notes;
    assert!(notes[0].ends_with("no split is named; `train/images`, `valid/images` are taken"), "{notes:?}");
    f.write("data.yaml", "names: [a, b]\ntrain: train\n");
    assert!(!Source::open(f.path("")).unwrap().has(Split::Val), "who names one split means no other");
}

#[test]
fn each_split_may_be_a_voc_tree_of_its_own() {
    let xml = voc(&object("b", [10.0, 5.0, 30.0, 25.0], ""));
    for (images, annotations) in [("images", "annotations"), ("JPEGImages", "Annotations")] {
        let f = empty();
        for split in ["train", "val"] {
            picture(&f, &format!("{split}/{images}/x.png"));
            f.write(&format!("{split}/{annotations}/x.xml"), &xml);
        }
        f.write(
            &format!("val/{annotations}/y.xml"),
            voc(&object("a", [1.0, 1.0, 9.0, 9.0], "")).replace("x.png", "y.png"),
        );
        has_the_box(&f, "", Format::Voc);
    }
}

#[test]
fn labelimg_numbers_the_classes_of_each_folder() {
    let f = empty();
    for split in ["train", "val"] {
        picture(&f, &format!("{split}/x.png"));
        f.write(&format!("{split}/x.txt"), LINE);
    }
    f.write("train/classes.txt", "a\n");
    f.write("val/classes.txt", "a\nb\n");
    has_the_box(&f, "", Format::ClassesTxt);
    f.write("train/classes.txt", "b\na\n");
    let message = f.message(&Source::open(f.path("")).unwrap_err());
    assert_eq!(
        message,
        "DIR/val/classes.txt:1:1: class 0 is `a` here and `b` in `DIR/train/classes.txt`; write each folder as VOC, where \
         classes have no numbers, and use them together: kinglet data convert FOLDER/train --to voc --output NEW/train"
    );
}

#[test]
fn an_only_folder_stands_for_the_one_around_it() {
    let f = empty();
    for split in ["train", "val"] {
        picture(&f, &format!("set/training/images/{split}/x.png"));
        f.write(&format!("set/training/labels/{split}/x.txt"), LINE);
    }
    f.write(
        "set/training/dataset.yaml",
        "path: ..\nnames: [a, b]\ntrain: training/images/train\nval: training/images/val\n",
    );
    f.write("__MACOSX/x", "");
    for name in ["", "set"] {
        has_the_box(&f, name, Format::YoloYaml);
    }
    f.write("other/x", "");
    let message = f.message(&Source::open(f.path("")).unwrap_err());
    assert!(message.starts_with("no data set is recognised in the folder `DIR/`; looked for "), "{message}");
}

#[test]
fn formats_that_are_not_read_are_named() {
    let f = empty();
    let xml = "<?xml version=\"1.0\"?>\n<annotations><image name=\"x.png\"><box label=\"a\" xtl=\"1\"/></image></annotations>";
    f.write("annotations.xml", xml);
    for name in ["", "annotations.xml"] {
        let message = f.message(&Source::open(f.path(name)).unwrap_err());
        assert_eq!(
            message,
            "`DIR/annotations.xml` is CVAT's own XML (`CVAT for images`), which is not read; export the task from CVAT as \
             `Ultralytics YOLO Detection`, `COCO` or `PASCAL VOC`"
        );
    }
}

/// As Datumaro writes it: VOC's elements, but polygons in place of boxes.
#[test]
fn the_xml_of_labelme_is_not_taken_for_voc() {
    let labelme = "<annotation><filename>x.png</filename><imagesize><nrows>9</nrows><ncols>9</ncols></imagesize><object>\
        <name>a</name><deleted>0</deleted><type>bounding_box</type><polygon><pt><x>1.0</x><y>2.0</y></pt>\
        <pt><x>5.0</x><y>2.0</y></pt></polygon></object></annotation>";
    let f = empty();
    for split in ["train", "val"] {
        picture(&f, &format!("{split}/x.png"));
        f.write(&format!("{split}/x.xml"), labelme);
    }
    f.write("train/a.xml", "<annotation><filename>a.png</filename></annotation>");
    for name in ["", "train/x.xml"] {
        let message = f.message(&Source::open(f.path(name)).unwrap_err());
        let what =
            "`DIR/train/x.xml` is LabelMe's XML, which is not read; export from CVAT, Datumaro or whichever program";
        assert_eq!(message, format!("{what} wrote it as COCO, Pascal VOC or YOLO"), "{name}");
    }
    // Roboflow's VOC has polygons beside the boxes.
    let (head, tail) = labelme.split_once("<polygon>").unwrap();
    let frame = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox><polygon>";
    f.write("train/x.xml", format!("{head}{frame}{tail}"));
    assert_eq!(Source::open(f.path("")).unwrap().format, Format::Voc);
}

#[test]
fn classes_are_numbered_as_other_names_are_where_these_are_the_same() {
    let f = empty();
    picture(&f, "images/x.png");
    f.write("labels/x.txt", "1 0.5 0.3 0.5 0.4\n0 0.5 0.5 0.2 0.2\n0 0.4 0.5 0.2 0.2\n");
    f.write("data.yaml", "val: images\nnames: [a, b]\n");
    let mut set = open(&f, "data.yaml", Split::Val).unwrap();
    for names in [vec!["a"], vec!["a", "c"], vec!["a", "a"], vec!["a", "b", "b"]] {
        assert!(!set.number_as(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()), "{names:?}");
    }
    assert!(set.number_as(&["b".to_owned(), "a".to_owned()]));
    let classes: Vec<usize> = set.samples[0].labels.iter().map(|label| label.class).collect();
    assert_eq!((classes, set.names.join(" ")), (vec![0, 1, 1], "b a".to_owned()));
    assert_eq!(set.summary.boxes_per_class, [1, 2]);
}
