//! `kinglet data`, and data sets of other formats in training and validation.

use crate::end_to_end::{BEST, trained};
use crate::program::{files, kinglet};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The demo set in a folder of its own.
fn demo() -> tempfile::TempDir {
    crate::end_to_end::folder_with_data()
}

fn first_label(folder: &Path) -> std::path::PathBuf {
    folder.join(files(folder).into_iter().find(|name| name.ends_with(".txt")).unwrap())
}

#[test]
fn a_sound_set_passes_and_a_wrong_one_is_told_with_its_lines_and_mended() {
    let folder = demo();
    let ran = kinglet(folder.path(), "data check data/data.yaml").ok();
    assert!(ran.stdout.ends_with("\nTraining can start.\n"), "{}", ran.all());
    let label = first_label(&folder.path().join("data/labels/train"));
    let before = fs::read_to_string(&label).unwrap();
    fs::write(&label, format!("{before}9 0.5 0.5 0.1 0.1\n0 1.02 0.5 0.3 0.2\n")).unwrap();
    let ran = kinglet(folder.path(), "data check data/data.yaml");
    assert_eq!(ran.code, 1, "{}", ran.all());
    let line = before.lines().count() + 1;
    let shown = label.strip_prefix(folder.path()).unwrap().display();
    assert!(
        ran.stdout.contains(&format!("{shown}:{line}: class without a name: class 9 (box left out)")),
        "{}",
        ran.all()
    );
    assert!(ran.stdout.contains("Training should not start:\n  train: 1 label has a class"), "{}", ran.all());
    let ran = kinglet(folder.path(), "data check data/data.yaml --json");
    let value = json(&ran.stdout);
    assert_eq!((ran.code, &value["ok"]), (1, &Value::Bool(false)));
    assert_eq!(value["splits"][0]["findings"][0]["line"], line);
    assert_eq!(value["levels"]["levels"][0]["stride"], 8);
    let ran = kinglet(folder.path(), "data check data --fix drop-box").ok();
    assert!(
        ran.stderr
            .contains("1 label file rewritten (0 lines corrected, 2 taken out); the originals are in data/.kinglet")
    );
    assert_eq!(fs::read_to_string(&label).unwrap(), before);
}

#[test]
fn a_set_that_cannot_be_opened_is_an_answer_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data.yaml"), "train: images/train\nval: images/val\nnames: [a]\n").unwrap();
    let ran = kinglet(folder.path(), "data check data.yaml --json");
    assert_eq!(ran.code, 1, "{}", ran.all());
    let reasons = json(&ran.stdout)["reasons"].to_string();
    assert!(reasons.contains("train: data.yaml:1:8: `train: images/train` not found"), "{reasons}");
    let ran = kinglet(folder.path(), "data stats nothing");
    assert!(ran.code == 1 && ran.stderr.contains("the data set `nothing` does not exist"), "{}", ran.all());
    let ran = kinglet(folder.path(), "data check data.yaml --model nothing");
    assert!(ran.code == 1 && ran.stderr.contains("neither a file nor the name of a built-in model"), "{}", ran.all());
}

#[test]
fn a_test_split_that_roboflow_names_and_does_not_write_is_a_warning() {
    let folder = demo();
    let yaml = folder.path().join("data/data.yaml");
    let text = fs::read_to_string(&yaml).unwrap();
    fs::write(&yaml, text.replace("test: images/test", "test: ../nowhere/images")).unwrap();
    for args in ["data check data", "data stats data", "data convert data --to coco --output coco"] {
        let ran = kinglet(folder.path(), args).ok();
        assert!(ran.stderr.contains("`test: ../nowhere/images` not found; tried:"), "{}", ran.all());
        assert!(ran.stderr.contains("training and validation do without it"), "{}", ran.all());
    }
    let value = json(&kinglet(folder.path(), "data check data --json").ok().stdout);
    assert_eq!((&value["ok"], value["absent"].as_array().unwrap().len()), (&Value::Bool(true), 1));
    // Without a `val`, nothing can be measured.
    fs::write(&yaml, text.replace("images/val", "images/nowhere")).unwrap();
    let ran = kinglet(folder.path(), "data check data");
    assert!(ran.code == 1 && ran.stdout.contains("images/nowhere` not found"), "{}", ran.all());
}

#[test]
fn statistics_come_as_a_table_as_json_and_as_a_picture() {
    let folder = demo();
    let ran = kinglet(folder.path(), "data stats data --plot plots/s.png --json").ok();
    let value = json(&ran.stdout);
    assert_eq!(value["splits"][0]["images"], 12);
    let boxes = value["splits"][0]["boxes"].as_u64().unwrap();
    let by_class: u64 =
        value["splits"][0]["classes"].as_array().unwrap().iter().map(|c| c["boxes"].as_u64().unwrap()).sum();
    assert_eq!(boxes, by_class);
    assert!(fs::read(folder.path().join("plots/s.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(ran.stderr.contains("Picture saved to plots/s.png"));
}

#[test]
fn every_format_trains_and_measures_the_same() {
    let folder = trained();
    let measure = |data: &str| {
        let line = format!("val --weights {BEST} --data {data} --json --project runs/formats");
        let mut value = json(&kinglet(folder, &line).ok().stdout);
        // Three epochs find little, so what is there to be found is compared as well: images and boxes of each class.
        for class in value["per_class"].as_array_mut().unwrap() {
            class.as_object_mut().unwrap().retain(|key, _| ["name", "images", "instances"].contains(&key.as_str()));
        }
        (value["map50"].as_f64().unwrap(), value["per_class"].to_string())
    };
    let expected = measure("data/data.yaml");
    assert!(expected.1.contains("ring"), "{expected:?}");
    for (to, data) in [("coco", "set-coco"), ("voc", "set-voc"), ("yolo", "set-yolo")] {
        let ran = kinglet(folder, &format!("data convert data/data.yaml --to {to} --output {data} --link --json")).ok();
        // The demo's splits number their images alike, and VOC keeps all images in one folder.
        let renamed = "9 images got a number behind their name, since another has the same";
        let lost = if to == "voc" { serde_json::json!([renamed]) } else { serde_json::json!([]) };
        assert_eq!(json(&ran.stdout)["lost"], lost, "{to}");
        let found = measure(data);
        assert!((found.0 - expected.0).abs() < 1e-3, "{to}: {found:?} {expected:?}");
        assert_eq!(found.1, expected.1, "{to}");
        let again = kinglet(folder, &format!("data convert data/data.yaml --to {to} --output {data}"));
        assert!(again.code == 1 && again.stderr.contains("exists and is not empty"), "{}", again.all());
    }
    let val = kinglet(folder, &format!("val --weights {BEST} --data set-coco/annotations/instances_val.json")).ok();
    assert!(
        val.stderr.contains("COCO JSON, 5 classes; train: instances_train.json; val: instances_val.json"),
        "{}",
        val.stderr
    );
    let line =
        "train --cfg kinglet_small --img 64 --batch 4 --epochs 1 --workers 2 --noplots --data set-voc --name voc";
    let ran = kinglet(folder, line).ok();
    assert!(
        ran.stderr.contains("`set-voc`: Pascal VOC XML, 5 classes; train: ImageSets/Main/train.txt"),
        "{}",
        ran.stderr
    );
}

#[test]
fn results_of_coco_json_have_its_ids() {
    let folder = trained();
    kinglet(folder, "data convert data/data.yaml --to coco --output ids").ok();
    let file = folder.join("ids/annotations/instances_val.json");
    let mut set = json(&fs::read_to_string(&file).unwrap());
    for key in ["images", "annotations", "categories"] {
        for one in set[key].as_array_mut().unwrap() {
            for id in ["id", "image_id", "category_id"] {
                let by = if id == "image_id" || key == "images" { 1000 } else { 7 };
                if let Some(value) = one.get(id).and_then(Value::as_u64) {
                    one[id] = Value::from(value * by);
                }
            }
        }
    }
    fs::write(&file, set.to_string()).unwrap();
    let run =
        format!("val --weights {BEST} --data {} --save-json --project runs/ids", "ids/annotations/instances_val.json");
    kinglet(folder, &run).ok();
    let results = json(&fs::read_to_string(folder.join("runs/ids/exp/best_predictions.json")).unwrap());
    let results = results.as_array().unwrap();
    assert!(!results.is_empty());
    for one in results {
        assert_eq!(
            (one["image_id"].as_u64().unwrap() % 1000, one["category_id"].as_u64().unwrap() % 7),
            (0, 0),
            "{one}"
        );
    }
}

/// Oracle: the reference implementation's mAP on the YOLO labels, and pycocotools 2.0.11 on the same detections where every
/// sixth label is a crowd: 0.3448, or 0.3430 with the interpolation used here (`benches/coco/compare.py`).
#[test]
fn real_weights_measure_the_same_on_coco_json_and_crowds_count_as_pycocotools_has_it() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let (data, weights) = (shared.join("data/coco256"), shared.join("weights/yolov5n-coco.pt"));
    if !data.is_dir() || !weights.is_file() {
        eprintln!("skipped: no `shared` folder beside the repository");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    kinglet(folder.path(), &format!("data convert {} --to coco --output set --link", data.display())).ok();
    let file = folder.path().join("set/annotations/instances_val.json");
    let measure = || {
        let line = format!("val --weights {} --data {} --img 640 --batch 16 --json", weights.display(), file.display());
        json(&kinglet(folder.path(), &line).ok().stdout)["map50_95"].as_f64().unwrap()
    };
    let golden = json(&fs::read_to_string(shared.join("golden/coco256_yolov5n/val.json")).unwrap());
    let plain = measure();
    assert!((plain - golden["val2017"]["mAP50_95"].as_f64().unwrap()).abs() < 0.002, "{plain}");
    let mut set = json(&fs::read_to_string(&file).unwrap());
    for one in set["annotations"].as_array_mut().unwrap().iter_mut().step_by(6) {
        one["iscrowd"] = Value::from(1);
    }
    fs::write(&file, set.to_string()).unwrap();
    let crowded = measure();
    assert!((crowded - 0.3430).abs() < 0.001, "{crowded}");
}

#[test]
fn classes_in_another_order_than_the_weights_are_measured_by_name() {
    let folder = demo();
    kinglet(folder.path(), "data convert data/data.yaml --to voc --output voc").ok();
    let labelmap = folder.path().join("voc/labelmap.txt");
    let names = fs::read_to_string(&labelmap).unwrap();
    let weights = trained().join(BEST);
    let measure = || {
        let ran = kinglet(folder.path(), &format!("val --weights {} --data voc --json", weights.display()));
        (ran.code, ran.stderr, ran.stdout)
    };
    let (code, plain_said, plain) = measure();
    assert!(code == 0 && !plain_said.contains("by their names"), "{plain_said}");
    let reversed: Vec<&str> = names.lines().rev().collect();
    fs::write(&labelmap, reversed.join("\n")).unwrap();
    let (code, said, other) = measure();
    assert!(
        code == 0 && said.contains("the classes of `voc` are numbered as in the weights, by their names"),
        "{said}"
    );
    for key in ["per_class", "map50", "map50_95", "instances"] {
        assert_eq!(json(&plain)[key], json(&other)[key], "{key}");
    }
    // Of two classes of one name, nothing tells which is which.
    let repeated = [&reversed[..], &reversed[..1]].concat();
    fs::write(&labelmap, repeated.join("\n")).unwrap();
    let (code, said, _) = measure();
    assert!(code == 1 && said.contains("the classes differ: "), "{said}");
}
