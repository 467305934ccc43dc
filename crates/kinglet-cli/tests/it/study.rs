//! Ensembles, test-time augmentation, the speed and study tasks.

use crate::end_to_end::{BEST, TRAIN, folder_with_data, trained};
use crate::program::{files, kinglet};
use std::path::Path;

fn json(folder: &Path, line: &str) -> serde_json::Value {
    serde_json::from_str(&kinglet(folder, &format!("{line} --json")).ok().stdout).unwrap()
}

/// What a measurement found, without its times.
fn found(mut value: serde_json::Value) -> serde_json::Value {
    value.as_object_mut().unwrap().remove("speed_ms");
    value
}

#[test]
fn a_model_asked_twice_finds_what_it_finds_alone() {
    let folder = trained();
    let val = format!("val --data data/data.yaml --project runs/twice --weights {BEST}");
    let (once, twice) = (json(folder, &val), json(folder, &format!("{val} {BEST}")));
    // Every box has a twin of the same score, which suppression drops.
    assert_eq!(found(once), found(twice));
    let detect = format!("detect --source data/images/test --nosave --conf 0.001 --max-det 20 --weights {BEST}");
    let (once, twice) = (json(folder, &detect), json(folder, &format!("{detect} {BEST}")));
    assert_eq!(found(once), found(twice));
}

#[test]
fn two_models_answer_together() {
    let folder = folder_with_data();
    let line = TRAIN.replace("--epochs 3", "--epochs 1 --noplots");
    kinglet(folder.path(), &format!("{line} --name other --seed 1 --img 96")).ok();
    let other = "runs/train/other/weights/best.safetensors";
    let first = trained().join(BEST);
    let (first, source) = (first.display(), "data/images/test");
    let line = |weights: &str| {
        format!(
            "detect --source {source} --nosave --conf 0.0001 --iou 0.99 --max-det 100000 --img 64 --weights {weights}"
        )
    };
    let count = |weights: &str| -> usize {
        let value = json(folder.path(), &line(weights));
        value["images"].as_array().unwrap().iter().map(|i| i["detections"].as_array().unwrap().len()).sum()
    };
    let [a, b, both] = [first.to_string(), other.to_owned(), format!("{first} {other}")].map(|w| count(&w));
    // At such an IoU hardly anything is suppressed.
    assert!(both > a.max(b) && both <= a + b, "{a}, {b}, together {both}");
    let ran = kinglet(folder.path(), &format!("val --data data/data.yaml --weights {first} {other}")).ok();
    assert!(ran.stderr.contains("was trained at 64 pixels") && ran.stderr.contains("--img chooses"), "{}", ran.stderr);
}

#[test]
fn models_of_an_ensemble_must_know_the_same_classes() {
    let folder = folder_with_data();
    let line = TRAIN.replace("--epochs 3", "--epochs 1 --noplots --single-cls");
    kinglet(folder.path(), &line).ok();
    let first = trained().join(BEST);
    let first = first.display();
    for line in ["val --data data/data.yaml", "detect --source data/images/test"] {
        let ran = kinglet(folder.path(), &format!("{line} --weights {first} {BEST}"));
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(
            ran.stderr.contains("must know the same classes") && ran.stderr.contains("has 1 (object); leave out"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn augmented_images_are_measured_and_searched() {
    let folder = trained();
    let val = format!("val --data data/data.yaml --project runs/augmented --weights {BEST}");
    let (plain, augmented) = (json(folder, &val), json(folder, &format!("{val} --augment")));
    assert_eq!(augmented["images"], 6);
    assert_ne!(found(plain), found(augmented));
    let detect = format!("detect --source data/images/test --nosave --conf 0.001 --weights {BEST} --augment");
    let value = json(folder, &detect);
    for image in value["images"].as_array().unwrap() {
        let (w, h) = (image["width"].as_f64().unwrap(), image["height"].as_f64().unwrap());
        for detection in image["detections"].as_array().unwrap() {
            let [x1, y1, x2, y2] = std::array::from_fn(|i| detection["box"][i].as_f64().unwrap());
            assert!(0.0 <= x1 && x1 <= x2 && x2 <= w && 0.0 <= y1 && y1 <= y2 && y2 <= h, "{detection}");
        }
    }
}

#[test]
fn speed_is_measured_on_full_squares_and_writes_nothing() {
    let folder = trained();
    let line = format!("val --task speed --data data/data.yaml --weights {BEST} --project runs/speed --batch 4");
    let value = json(folder, &line);
    assert_eq!((&value["images"], &value["shape"]), (&6.into(), &serde_json::json!([4, 64, 64])));
    assert_eq!((value["conf"].as_f64(), value["iou"].as_f64().map(|v| v as f32)), (Some(0.25), Some(0.45)));
    assert!(value["speed_ms"]["inference"].as_f64().unwrap() > 0.0);
    assert!(!folder.join("runs/speed").exists());
    let ran = kinglet(folder, &line).ok();
    assert!(ran.stdout.starts_with("stage         ms an image\npre-process"), "{}", ran.stdout);
}

#[test]
fn a_study_measures_at_every_side_as_val_does() {
    let folder = trained();
    let line = format!("val --data data/data.yaml --project runs/study --weights {BEST}");
    // 60 is raised to 64; each side once.
    let value = json(folder, &format!("{line} {BEST} --task study --img 96 60 64"));
    let studies = value["studies"].as_array().unwrap();
    assert_eq!(studies.len(), 2);
    let points = studies[0]["points"].as_array().unwrap();
    assert_eq!(points.iter().map(|p| p["img"].as_u64().unwrap()).collect::<Vec<_>>(), [64, 96]);
    let measured = json(folder, &format!("{line} --img 96 --name one"));
    for key in ["precision", "recall", "map50", "map50_95"] {
        assert_eq!(points[1][key], measured[key], "{key}");
    }
    let run = folder.join("runs/study/exp");
    assert_eq!(files(&run), ["study.png", "study.svg", "study_data_best-2.txt", "study_data_best.txt"]);
    let text = std::fs::read_to_string(run.join("study_data_best.txt")).unwrap();
    let rows: Vec<Vec<f64>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|v| v.parse().unwrap()).collect())
        .collect();
    assert_eq!(rows.iter().map(|row| (row.len(), row[0])).collect::<Vec<_>>(), [(8, 64.0), (8, 96.0)]);
    let ran = kinglet(folder, &format!("{line} --img 64 96"));
    assert!(ran.code == 2 && ran.stderr.contains("--task study measures at several"), "{}", ran.all());
}
