//! `kinglet export --include onnx`: kinds of files, and their comparison in a second engine.

use crate::program::{files, kinglet};
use kinglet_vision::Image;
use kinglet_vision::encode::png_bytes;
use std::path::Path;

const SMALL: &str = "export --cfg kinglet_small --nc 2 --img 64";

fn json(folder: &Path, line: &str) -> serde_json::Value {
    serde_json::from_str(&kinglet(folder, &format!("{line} --json")).ok().stdout).unwrap()
}

#[test]
fn a_file_is_compared_before_it_takes_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let ran = kinglet(dir.path(), SMALL).ok();
    assert!(ran.stdout.contains("compared with rten"), "{}", ran.all());
    assert!(ran.stdout.contains("drawn 1   1x3x64x64"), "{}", ran.all());
    let value = json(dir.path(), &format!("{SMALL} --dynamic --preprocess --nms --conf 0.001 --max-det 20"));
    assert_eq!(value["inputs"][0], "images [batch, height, width, 3] uint8");
    assert_eq!(value["outputs"][0], "output0 [batch, 20, 6]");
    let cases = value["verified"]["cases"].as_array().unwrap();
    // Three drawn pictures and two other sizes, the first of them with two images.
    assert_eq!(cases.len(), 5);
    assert_eq!(cases[3]["input"][0], 2);
    assert!(cases.iter().all(|case| case["values"].as_f64().unwrap() < 1e-4 && case["alone"] == 0));
    assert_eq!(files(dir.path()), ["kinglet_small.onnx"]);
}

#[test]
fn pictures_of_the_user_serve_the_comparison() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("set/images")).unwrap();
    std::fs::create_dir_all(dir.path().join("set/labels")).unwrap();
    std::fs::write(dir.path().join("set/labels/0.txt"), "0 0.5 0.5 0.2 0.2\n").unwrap();
    for i in 0..6 {
        let mut image = Image::new(40 + i, 30, [90; 3]);
        image.data.iter_mut().enumerate().for_each(|(at, v)| *v = (at * (i + 3) % 251) as u8);
        std::fs::write(dir.path().join(format!("set/images/{i}.png")), png_bytes(&image).unwrap()).unwrap();
    }
    std::fs::write(dir.path().join("set/data.yaml"), "train: images\nval: images\nnames: [a, b]\n").unwrap();
    for flag in ["--source set/images", "--data set/data.yaml"] {
        let value = json(dir.path(), &format!("{SMALL} {flag} --output out"));
        let names: Vec<&str> = value["verified"]["cases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|case| case["picture"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["0.png", "1.png", "3.png", "4.png"], "{flag}");
    }
    let ran = kinglet(dir.path(), &format!("{SMALL} --source nowhere --output none"));
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("`nowhere` does not exist"), "{}", ran.stderr);
    assert!(!dir.path().join("none/kinglet_small.onnx").exists());
}

#[test]
fn verification_can_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let value = json(dir.path(), &format!("{SMALL} --no-verify"));
    assert!(value["verified"].is_null());
    assert_eq!(files(dir.path()), ["kinglet_small.onnx"]);
    assert!(!json(dir.path(), &format!("{SMALL} --no-verify --verify"))["verified"].is_null());
}

#[test]
fn flags_that_do_not_go_together_are_told() {
    let dir = tempfile::tempdir().unwrap();
    for (flags, told) in [
        ("--dynamic --preprocess 48 64", "--dynamic takes pictures of any size; leave out either it or the size"),
        ("--conf 0.3", "--nms"),
        ("--raw --nms", "cannot be used with"),
        ("--source a --no-verify", "cannot be used with"),
        ("--topk-all 100", "the number of detections is set with --max-det"),
    ] {
        let ran = kinglet(dir.path(), &format!("{SMALL} {flags}"));
        assert_eq!(ran.code, 2, "{flags}: {}", ran.all());
        assert!(ran.stderr.contains(told), "{flags}: {}", ran.stderr);
    }
    assert!(files(dir.path()).is_empty());
}
