//! Checkpoints of YOLOv5 as weights of every command, against what YOLOv5 itself measured with them.

use crate::program::{Ran, command, files, kinglet};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// mAP on the same weights: decoders and resizers differ by a grey level or two.
const MAP: f64 = 0.002;

/// The folder with weights, data and reference numbers, where it is present.
pub fn shared() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if path.join("weights").is_dir() && path.join("data").is_dir() {
        return Some(path.canonicalize().unwrap());
    }
    eprintln!("skipped: no weights and data at {}", path.display());
    None
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A copy of a data set in a folder of our own, so that no cache is written beside the original.
fn data(shared: &Path, name: &str) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                copy(&path, &to);
            } else if path.extension().is_none_or(|e| e != "kinglet-cache") {
                // Not `fs::copy`: the original may be read-only, the copy is removed afterwards.
                std::fs::write(to, std::fs::read(&path).unwrap()).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    copy(&shared.join("data").join(name), &folder.path().join(name));
    folder
}

/// Runs a command in `folder` and reads the JSON that it prints.
fn measured(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&kinglet(folder, &format!("{line} --json")).ok().stdout).unwrap()
}

fn close(got: &Value, want: f64, tolerance: f64, what: &str) {
    let got = got.as_f64().unwrap();
    assert!((got - want).abs() <= tolerance, "{what}: {got} instead of {want} +- {tolerance}");
}

#[test]
fn coco_weights_have_the_map_that_yolov5_measures() {
    let Some(shared) = shared() else { return };
    let golden = json(&shared.join("golden/coco256_yolov5n/val.json"));
    let folder = data(&shared, "coco256");
    let weights = shared.join("weights/yolov5n-coco.pt");
    for (task, half) in [("val", "val2017"), ("train", "train2017")] {
        let line = format!("val --weights {} --data coco256/coco256.yaml --img 640 --batch 16", weights.display());
        let report = measured(folder.path(), &format!("{line} --task {task}"));
        let golden = &golden[half];
        close(&report["map50"], golden["mAP50"].as_f64().unwrap(), MAP, &format!("{task} mAP50"));
        close(&report["map50_95"], golden["mAP50_95"].as_f64().unwrap(), MAP, &format!("{task} mAP50-95"));
        let classes = report["per_class"].as_array().unwrap();
        let of_class =
            |c: &Value| golden["mAP50_95_per_class"][c["class"].as_u64().unwrap() as usize].as_f64().unwrap();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let got = mean(classes.iter().map(|c| c["map50_95"].as_f64().unwrap()).collect());
        let want = mean(classes.iter().map(of_class).collect());
        assert!((got - want).abs() <= MAP, "{task}, mean over classes: {got} instead of {want}");
    }
}

#[test]
fn the_article_weights_have_the_map_of_their_training() {
    let Some(shared) = shared() else { return };
    let folder = data(&shared, "bccd");
    let weights = shared.join("weights/article-bccd-best.pt");
    // The image side is that of the training, 320, which the checkpoint holds.
    let report = measured(folder.path(), &format!("val --weights {} --data bccd/bccd.yaml", weights.display()));
    close(&report["map50"], 0.735, 0.004, "mAP50");
    close(&report["map50_95"], 0.394, 0.004, "mAP50-95");
}

/// Overlap of two boxes.
fn iou(a: &[f64], b: &[f64]) -> f64 {
    let side = |axis: usize| (a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis])).max(0.0);
    let area = |v: &[f64]| (v[2] - v[0]) * (v[3] - v[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn coco_weights_detect_what_yolov5_detects() {
    let Some(shared) = shared() else { return };
    let golden = json(&shared.join("golden/coco256_yolov5n/detect.json"));
    let folder = tempfile::tempdir().unwrap();
    let (weights, images) = (shared.join("weights/yolov5n-coco.pt"), shared.join("data/coco256/images/val2017"));
    let line = format!("detect --weights {} --source {} --img 640 --nosave", weights.display(), images.display());
    let found = measured(folder.path(), &line);
    let (mut alone, mut matched) = (Vec::new(), 0);
    for image in found["images"].as_array().unwrap() {
        let stem = Path::new(image["image"].as_str().unwrap()).file_stem().unwrap().to_str().unwrap();
        let mut left: Vec<&Value> = image["detections"].as_array().unwrap().iter().collect();
        for want in golden["images"][stem]["detections"].as_array().unwrap() {
            let target = numbers(&want["xyxy_px"]);
            let score = want["score"].as_f64().unwrap();
            // The reference rounds to whole pixels and is half a pixel off where the padding is odd.
            let fits = |found: &&Value| {
                found["class"] == want["class"]
                    && iou(&numbers(&found["box"]), &target) > 0.7
                    && (found["confidence"].as_f64().unwrap() - score).abs() < 0.0005
            };
            match left.iter().position(fits) {
                Some(at) => {
                    left.remove(at);
                    matched += 1;
                }
                None => alone.push(format!("{stem}: {want}")),
            }
        }
        alone.extend(left.iter().map(|extra| format!("{stem}: {extra}, not in the reference")));
    }
    assert!(matched == 606 && alone.is_empty(), "{matched} matched; alone: {alone:#?}");
}

#[test]
fn a_shared_checkpoint_is_imported_and_finds_plates() {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (weights, images) =
        (shared.join("weights/yolov5n-license-plate.pt"), shared.join("data/coco256/images/val2017"));
    let report = measured(folder.path(), &format!("import {} --output plates.safetensors", weights.display()));
    assert_eq!(report["names"], serde_json::json!(["License-Plate"]));
    assert_eq!((&report["dtypes"], &report["tensors"]), (&serde_json::json!(["fp16"]), &serde_json::json!(291)));
    let detect = |weights: &str| {
        let line =
            format!("detect --weights {weights} --source {} --nosave", images.join("000000006763.jpg").display());
        measured(folder.path(), &line)["images"][0]["detections"].clone()
    };
    // The imported file holds the same numbers.
    let found = detect("plates.safetensors");
    assert_eq!(found, detect(&weights.display().to_string()));
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
}

#[test]
fn every_command_takes_a_checkpoint() {
    let Some(shared) = shared() else { return };
    let folder = data(&shared, "bccd");
    let weights = shared.join("weights/article-bccd-best.pt");
    let weights = weights.display();
    let run = |line: String| kinglet(folder.path(), &line).ok();
    assert!(run(format!("inspect {weights}")).stdout.contains("classes: RBC, WBC, Platelets"));
    run(format!("bench --weights {weights} --img 64 --repeat 1"));
    run(format!("export --weights {weights} --include safetensors onnx --img 64 --output exported"));
    assert_eq!(files(&folder.path().join("exported")), ["article-bccd-best.onnx", "article-bccd-best.safetensors"]);
    let again = kinglet(folder.path(), "export --weights exported/article-bccd-best.safetensors --include safetensors");
    assert!(again.code == 1 && again.stderr.contains("the file that the weights come from"), "{}", again.all());
    let import = kinglet(folder.path(), "import exported/article-bccd-best.safetensors");
    assert!(import.code == 1 && import.stderr.contains("needs no import"), "{}", import.all());
    let trained = run(format!("train --weights {weights} --data bccd/bccd.yaml --epochs 1 --img 64 --noplots"));
    assert!(trained.stderr.contains("383 of 383 tensors taken"), "{}", trained.stderr);
    let pth = shared.join("golden/torchvision/mobilenet_v3_small.pth");
    let line = "--cfg mobilenetv3_small --data bccd/bccd.yaml --epochs 1 --img 64 --noplots";
    let trained = run(format!("train --weights {} {line}", pth.display()));
    assert!(trained.stderr.contains("the backbone, matched layer by layer"), "{}", trained.stderr);
    let other =
        kinglet(folder.path(), &format!("train --weights {} {}", pth.display(), line.replace("small", "large")));
    assert!(other.code == 1 && other.stderr.contains("is of another backbone"), "{}", other.all());
    let bare = kinglet(folder.path(), &format!("import {}", pth.display()));
    assert!(bare.code == 1 && bare.stderr.contains("holds tensors but no model"), "{}", bare.all());
}

/// A file in the format of before PyTorch 1.6 whose object asks for `os.system`.
fn hostile() -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [&magic[..], b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch hacked\x85R."].concat()
}

#[test]
fn a_hostile_checkpoint_runs_nothing_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hostile.pt"), hostile()).unwrap();
    std::fs::write(folder.path().join("cut.safetensors"), [1, 2, 3]).unwrap();
    std::fs::write(folder.path().join("words.png"), "no image").unwrap();
    std::fs::write(folder.path().join("cut.pt"), b"PK\x03\x04").unwrap();
    let before = files(folder.path());
    for line in ["import hostile.pt", "detect --weights hostile.pt --source words.png", "inspect hostile.pt"] {
        let ran = Ran::from(command(folder.path(), line).output().unwrap());
        assert_eq!(ran.code, 1, "{}", ran.all());
        // 15 + 6 + 4 bytes of pickles before it, and its own protocol.
        assert!(ran.stderr.contains("asks to import `os.system` (byte 27 of its pickle)"), "{}", ran.stderr);
    }
    for (file, reason) in [("cut.pt", "its end is missing"), ("cut.safetensors", "neither a safetensors file nor one")]
    {
        let ran = kinglet(folder.path(), &format!("import {file} --output out.safetensors"));
        assert!(ran.code == 1 && ran.stderr.contains(reason), "{}", ran.all());
    }
    assert_eq!(files(folder.path()), before);
}
