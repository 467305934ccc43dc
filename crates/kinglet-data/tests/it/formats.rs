//! Every format gives the same data set: images, labels, findings and class names.

use crate::{Fixture, shared};
use kinglet_data::labels::parse_labels;
use kinglet_data::{
    DataError, Dataset, FindingKind, Format, Ignored, NoProgress, Sample, ScanOptions, Severity, Source, Split,
};
use kinglet_vision::Image;
use std::fs;

/// A box of class 1 at (10, 5) to (30, 25) of 40 x 50 pixels: centre (20, 15), size 20 x 20.
pub const BOX: [f32; 4] = [0.5, 0.3, 0.5, 0.4];
const LINE: &str = "1 0.5 0.3 0.5 0.4\n";

pub fn voc(objects: &str) -> String {
    format!(
        "<annotation>\n<filename>x.png</filename>\n<size><width>40</width><height>50</height><depth>3</depth></size>\n\
         {objects}\n</annotation>\n"
    )
}

pub fn object(name: &str, [x1, y1, x2, y2]: [f32; 4], more: &str) -> String {
    format!(
        "<object><name>{name}</name>{more}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>\
         </bndbox></object>\n"
    )
}

pub fn empty() -> Fixture {
    Fixture { dir: tempfile::tempdir().unwrap() }
}

pub fn picture(f: &Fixture, name: &str) {
    f.image(name, &Image::new(40, 50, [9, 90, 160]));
}

pub fn open(f: &Fixture, name: &str, split: Split) -> Result<Dataset, DataError> {
    Dataset::open(f.path(name), split, ScanOptions::default(), &NoProgress)
}

fn the_box(sample: &Sample) {
    assert_eq!(sample.labels.len(), 1, "{sample:?}");
    assert_eq!(sample.labels[0].class, 1);
    assert!(sample.labels[0].cxcywh.iter().zip(BOX).all(|(a, b)| (a - b).abs() < 1e-6), "{sample:?}");
}

/// The tree is recognised as `format`, and each of these splits has the one box.
fn holds(f: &Fixture, name: &str, format: Format, splits: &[Split]) -> Source {
    let source = Source::open(f.path(name)).unwrap();
    assert_eq!((source.format, source.names.join(" ")), (format, "a b".to_owned()));
    for split in Split::ALL {
        assert_eq!(source.has(split), splits.contains(&split), "{split:?}: {}", source.describe());
    }
    for &split in splits {
        let set = open(f, name, split).unwrap();
        assert_eq!((set.samples.len(), set.findings.len()), (1, 0), "{:?}", set.findings);
        the_box(&set.samples[0]);
    }
    source
}

const BOTH: [Split; 2] = [Split::Train, Split::Val];

#[test]
fn trees_of_roboflow_and_fiftyone_and_cvat_are_data_yamls() {
    let f = empty();
    for split in ["train", "valid"] {
        picture(&f, &format!("{split}/images/x.png"));
        f.write(&format!("{split}/labels/x.txt"), LINE);
    }
    f.write(
        "data.yaml",
        "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['a', 'b']\n\nroboflow:\n  version: 1\n",
    );
    holds(&f, "", Format::YoloYaml, &BOTH);
    let f = empty();
    picture(&f, "images/train/x.png");
    f.write("labels/train/x.txt", LINE);
    f.write("dataset.yaml", "path: .\ntrain: ./images/train/\nnames:\n  0: a\n  1: b\n");
    holds(&f, "", Format::YoloYaml, &[Split::Train]);
    let f = empty();
    picture(&f, "images/train/x.png");
    f.write("labels/train/x.txt", LINE);
    f.write("data.yaml", "path: ./\ntrain: train.txt\nnames:\n  0: a\n  1: b\n");
    for line in ["images/train/x.png", "data/images/train/x.png"] {
        f.write("train.txt", line);
        holds(&f, "", Format::YoloYaml, &[Split::Train]);
    }
}

#[test]
fn the_older_tree_of_cvat_has_obj_data() {
    let f = empty();
    f.write("obj.names", "a\nb\n");
    f.write("obj.data", "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n");
    for split in ["train", "valid"] {
        picture(&f, &format!("obj_{split}_data/x.png"));
        f.write(&format!("obj_{split}_data/x.txt"), LINE);
        f.write(&format!("{split}.txt"), format!("data/obj_{split}_data/x.png\n"));
    }
    holds(&f, "", Format::Darknet, &BOTH);
    holds(&f, "obj.data", Format::Darknet, &BOTH);
}

#[test]
fn trees_of_label_studio_and_labelimg_have_classes_txt() {
    let f = empty();
    f.write("classes.txt", "a\nb");
    f.write("notes.json", "{\"categories\": [], \"info\": {}}");
    picture(&f, "images/x.png");
    f.write("labels/x.txt", LINE);
    let source = holds(&f, "", Format::ClassesTxt, &[Split::Train]);
    assert!(source.describe().ends_with("; all images: images"), "{}", source.describe());
    the_box(&open(&f, "", Split::Val).unwrap().samples[0]);
    let f = empty();
    f.write("classes.txt", "a\r\nb\r\n");
    picture(&f, "x.png");
    f.write("x.txt", LINE);
    holds(&f, "", Format::ClassesTxt, &[Split::Train]);
    // The cache stays in the folder, which is the data set's own.
    assert!(f.path("train.kinglet-cache").is_file());
}

#[test]
fn voc_comes_as_the_devkit_and_as_labelimg_and_roboflow_write_it() {
    let xml = voc(&(object("b", [10.0, 5.0, 30.0, 25.0], "<difficult>0</difficult>")));
    let other = voc(&object("a", [1.0, 1.0, 5.0, 5.0], "<difficult>1</difficult>"));
    let f = empty();
    for (stem, text) in [("2007_000001", &xml), ("2007_000002", &xml), ("2007_000003", &other)] {
        picture(&f, &format!("JPEGImages/{stem}.png"));
        f.write(&format!("Annotations/{stem}.xml"), text);
    }
    f.write("ImageSets/Main/train.txt", "2007_000001\n");
    f.write("ImageSets/Main/val.txt", "2007_000002  1\r\n");
    f.write("ImageSets/Main/test.txt", "2007_000003\n");
    for name in ["", "Annotations"] {
        let source = Source::open(f.path(name)).unwrap();
        assert_eq!((source.format, source.names.join(" ")), (Format::Voc, "a b".to_owned()));
        for split in BOTH {
            let set = open(&f, name, split).unwrap();
            assert_eq!((set.samples.len(), set.findings.len()), (1, 0), "{:?}", set.findings);
            the_box(&set.samples[0]);
        }
    }
    // LabelImg: beside the images. The classes come from the files, or from a list that may name more.
    let f = empty();
    picture(&f, "x.png");
    f.write("x.xml", voc(&(object("b", [10.0, 5.0, 30.0, 25.0], ""))));
    assert_eq!(Source::open(f.path("")).unwrap().names, ["b"]);
    f.write("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\na:1,2,3::\nb:4,5,6::\n");
    holds(&f, "", Format::Voc, &[Split::Train]);
    // Roboflow: a folder a split.
    let f = empty();
    for split in ["train", "valid"] {
        picture(&f, &format!("{split}/x.png"));
        f.write(&format!("{split}/x.xml"), &xml);
    }
    f.write("classes.txt", "a\nb\n");
    holds(&f, "", Format::Voc, &BOTH);
}

#[test]
fn a_difficult_object_is_no_label_and_no_false_alarm_either() {
    let f = empty();
    picture(&f, "x.png");
    let objects = object("a", [10.0, 5.0, 30.0, 25.0], "<difficult>1</difficult>");
    f.write("x.xml", voc(&(objects + &object("b", [10.0, 5.0, 30.0, 25.0], ""))));
    let set = open(&f, "", Split::Train).unwrap();
    the_box(&set.samples[0]);
    let [region] = &set.samples[0].ignored[..] else { panic!("{:?}", set.samples) };
    assert_eq!((region.class, region.why), (0, Ignored::Difficult));
}

#[test]
fn coco_keeps_sparse_ids_and_leaves_crowds_out_of_training() {
    let f = empty();
    picture(&f, "val2017/x.png");
    picture(&f, "train2017/x.png");
    let json = |image: u64| {
        format!(
            r#"{{"images": [{{"id": {image}, "file_name": "x.png", "width": 40, "height": 50}}],
  "categories": [{{"id": 90, "name": "b"}}, {{"id": 7, "name": "a", "supercategory": "none"}}],
  "annotations": [
    {{"id": 1, "image_id": {image}, "category_id": 90, "bbox": [10, 5, 20, 20], "iscrowd": 0,
      "segmentation": [[10, 5, 30, 5, 30, 25, 10, 25]]}},
    {{"id": 2, "image_id": {image}, "category_id": 7, "bbox": [0, 0, 40, 50], "iscrowd": 1,
      "segmentation": {{"counts": [1, 2], "size": [50, 40]}}}}]}}"#
        )
    };
    f.write("annotations/instances_train2017.json", json(11));
    f.write("annotations/instances_val2017.json", json(12));
    f.write("annotations/captions_val2017.json", "{}");
    for name in ["", "annotations", "annotations/instances_val2017.json", "annotations/instances_train2017.json"] {
        holds(&f, name, Format::Coco, &BOTH);
    }
    let set = open(&f, "", Split::Val).unwrap();
    assert_eq!(
        (set.samples[0].id, set.category_ids.clone().into_iter().collect::<Vec<_>>()),
        (Some(12), vec![(0, 7), (1, 90)])
    );
    assert_eq!(set.samples[0].labels[0].polygon.as_ref().map(Vec::len), Some(4));
    let [region] = &set.samples[0].ignored[..] else { panic!("{:?}", set.samples) };
    assert_eq!((region.class, region.why, region.cxcywh), (0, Ignored::Crowd, [0.5, 0.5, 1.0, 1.0]));
    // A data YAML may name the files, and takes the class names from them.
    f.write("my.yaml", "train: annotations/instances_train2017.json\nval: annotations/instances_val2017.json\n");
    holds(&f, "my.yaml", Format::YoloYaml, &BOTH);
    // Its own names decide over the numbers.
    f.write("my.yaml", "train: annotations/instances_train2017.json\nnames: [b, other, a]\n");
    let set = open(&f, "my.yaml", Split::Train).unwrap();
    assert_eq!((set.samples[0].labels[0].class, set.samples[0].ignored[0].class), (0, 2));
}

#[test]
fn coco_of_roboflow_has_a_file_a_split_and_a_class_for_the_set_itself() {
    let f = empty();
    let json = r#"{"images": [{"id": 0, "file_name": "x.png"}],
      "categories": [{"id": 0, "name": "cells", "supercategory": "none"}, {"id": 1, "name": "a", "supercategory": "cells"},
                     {"id": 2, "name": "b", "supercategory": "cells"}],
      "annotations": [{"id": 0, "image_id": 0, "category_id": 2, "bbox": [10, 5, 20, 20]}]}"#;
    for split in ["train", "valid"] {
        picture(&f, &format!("{split}/x.png"));
        f.write(&format!("{split}/_annotations.coco.json"), json);
    }
    holds(&f, "", Format::Coco, &BOTH);
    holds(&f, "valid/_annotations.coco.json", Format::Coco, &BOTH);
}

#[test]
fn annotations_of_another_size_are_scaled_and_told() {
    let f = empty();
    f.image("x.png", &Image::new(80, 100, [0; 3]));
    f.write("x.xml", voc(&object("a", [10.0, 5.0, 30.0, 25.0], "")));
    let set = open(&f, "", Split::Train).unwrap();
    assert_eq!(set.samples[0].labels[0].cxcywh, BOX);
    assert_eq!((set.findings[0].kind, set.findings[0].severity), (FindingKind::SizeDiffers, Severity::Note));
    assert_eq!(set.findings[0].value, "40x50, the image has 80x100; boxes are scaled");
}

#[test]
fn xml_beside_the_images_of_a_data_yaml_is_read_where_there_is_no_text() {
    let f = Fixture::two_classes();
    picture(&f, "images/train/x.png");
    f.write("annotations/x.xml", voc(&object("b", [10.0, 5.0, 30.0, 25.0], "")));
    the_box(&f.open(Split::Train).unwrap().samples[0]);
    f.write("labels/train/x.txt", "0 0.5 0.5 0.1 0.1\n");
    assert_eq!(f.open(Split::Train).unwrap().samples[0].labels[0].class, 0);
}

#[test]
fn what_is_not_recognised_is_told_with_what_was_looked_for() {
    let f = empty();
    f.write("x.doc", "");
    let told = |name: &str| f.message(&Source::open(f.path(name)).unwrap_err());
    assert!(
        told("").starts_with("no data set is recognised in the folder `DIR/`; looked for a data YAML"),
        "{}",
        told("")
    );
    assert!(told("x.doc").starts_with("the data set `DIR/x.doc` is a file of another kind; expected a data.yaml"));
    f.write("one.yaml", "names: [a]");
    f.write("two.yaml", "names: [a]");
    assert!(told("").starts_with("`DIR/` holds several YAML files; name the one"), "{}", told(""));
    let g = empty();
    picture(&g, "x.png");
    g.write("x.xml", voc(""));
    let message = g.message(&Source::open(g.path("")).unwrap_err());
    assert!(message.starts_with("none of the 1 annotation files in `DIR/` names a class"), "{message}");
}

#[test]
fn a_cache_that_cannot_be_written_is_told_and_nothing_fails() {
    let f = empty();
    picture(&f, "x.png");
    f.write("x.xml", voc(&object("a", [10.0, 5.0, 30.0, 25.0], "")));
    // A folder where the cache would be.
    fs::create_dir(f.path("train.kinglet-cache")).unwrap();
    f.write("train.kinglet-cache/inside", "");
    let set = open(&f, "", Split::Train).unwrap();
    assert_eq!(set.samples.len(), 1);
    assert!(set.notes.iter().any(|note| note.contains("not written")), "{:?}", set.notes);
}

/// VOC and YOLO labels of the same cells. Those who made the YOLO labels took the XML's numbers as edges: no 1 is taken off,
/// as YOLOv5's conversion of VOC would (its centres are a pixel further left and up), and as the devkit's counting from 1 asks.
#[test]
fn voc_and_yolo_labels_of_real_images_give_the_same_boxes() {
    let Some(shared) = shared() else { return };
    let scan = || ScanOptions { cache: false, ..ScanOptions::default() };
    let voc = Source::open(shared.join("data/bccd/annotations")).unwrap();
    assert_eq!((voc.format, voc.names.join(" ")), (Format::Voc, "Platelets RBC WBC".to_owned()));
    let mut boxes = 0;
    for split in Split::ALL {
        let set = Dataset::scan(voc.clone(), split, scan(), &NoProgress).unwrap();
        let yolo = Dataset::open(shared.join("data/bccd"), split, scan(), &NoProgress).unwrap();
        assert_eq!(yolo.source.format, Format::YoloYaml);
        assert_eq!(set.samples.len(), yolo.samples.len());
        for (a, b) in set.samples.iter().zip(&yolo.samples) {
            assert_eq!((&a.path, a.labels.len()), (&b.path, b.labels.len()));
            for (x, y) in a.labels.iter().zip(&b.labels) {
                assert_eq!(set.names[x.class], yolo.names[y.class]);
                // The text has six decimals.
                let same = x.cxcywh.iter().zip(y.cxcywh).all(|(p, q)| (p - q).abs() < 1e-6);
                assert!(same, "{}: {:?} {:?}", a.path.display(), x.cxcywh, y.cxcywh);
            }
            boxes += a.labels.len();
        }
    }
    assert_eq!(boxes, 4886);
}

#[test]
fn labels_with_exponents_parse_as_text_does() {
    // The writer of fractions never gives exponents, but others do.
    let (labels, _) = parse_labels(b"0 5e-1 0.5 1E-1 0.1", std::path::Path::new("a.txt"), Some(1), false);
    assert_eq!(labels[0].cxcywh, [0.5, 0.5, 0.1, 0.1]);
}

#[test]
fn an_image_listed_twice_keeps_the_boxes_of_both_and_findings_say_image() {
    let f = empty();
    picture(&f, "images/x.png");
    f.write(
        "train.json",
        r#"{"images": [{"id": 1, "file_name": "x.png"}, {"id": 2, "file_name": "x.png"}, {"id": 1, "file_name": "y.png"}, {"id": 3}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]},
                            {"id": 2, "image_id": 2, "category_id": 1, "bbox": [20, 20, 9, 9]}],
            "categories": [{"id": 1, "name": "a"}]}"#,
    );
    let set = open(&f, "train.json", Split::Train).unwrap();
    assert_eq!((set.samples.len(), set.samples[0].labels.len(), set.samples[0].id), (1, 2, Some(1)));
    assert_eq!((set.summary.boxes_dropped, set.summary.boxes_fixed), (0, 0));
    let told: Vec<String> = set.findings.iter().map(|finding| finding.to_string()).collect();
    let told: Vec<&str> = told.iter().map(|text| text.split_once("train.json:1: ").unwrap().1).collect();
    assert_eq!(
        told,
        [
            "image listed again: image 2: `x.png` is image 1 already, which takes its boxes (corrected)",
            "the same image id again: image 1: the first of this id is used (image left out)",
            "image entry cannot be used: image 3 has no `file_name` (image left out)",
        ]
    );
}
