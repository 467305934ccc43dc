//! Train, interrupt, resume, validate, detect, on a tiny drawn data set.
//!
//! Two runs are compared byte for byte, so both have a folder of their own and the same relative paths: a checkpoint
//! names its data and its run folder.

use crate::program::{Ran, command, files, kinglet};
use kinglet_data::synthetic::{SyntheticOptions, generate};
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

pub const TRAIN: &str = "train --data data/data.yaml --cfg kinglet_small --img 64 --batch 4 --epochs 3 --workers 2";
pub const BEST: &str = "runs/train/exp/weights/best.safetensors";
pub const LAST: &str = "runs/train/exp/weights/last.safetensors";

pub fn folder_with_data() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = SyntheticOptions { train: 12, val: 6, test: 3, seed: 1 };
    generate(folder.path().join("data"), options).unwrap();
    folder
}

/// A folder in which a run of three epochs has finished; the tests below read it.
pub fn trained() -> &'static Path {
    static FOLDER: OnceLock<(TempDir, String)> = OnceLock::new();
    let (folder, _) = FOLDER.get_or_init(|| {
        let folder = folder_with_data();
        let ran = kinglet(folder.path(), TRAIN).ok();
        (folder, ran.stderr)
    });
    folder.path()
}

fn bytes(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn a_run_folder_holds_settings_results_plots_and_weights() {
    let run = trained().join("runs/train/exp");
    let expected = [
        "F1_curve.png",
        "F1_curve.svg",
        "PR_curve.png",
        "PR_curve.svg",
        "P_curve.png",
        "P_curve.svg",
        "R_curve.png",
        "R_curve.svg",
        "anchors.png",
        "anchors.svg",
        "confusion_matrix.png",
        "confusion_matrix.svg",
        "events.jsonl",
        "events.out.tfevents",
        "findings.txt",
        "hyp.yaml",
        "labels.jpg",
        "labels.svg",
        "labels_correlogram.jpg",
        "labels_correlogram.svg",
        "opt.yaml",
        "report.html",
        "results.csv",
        "results.png",
        "results.svg",
        "train_batch0.jpg",
        "train_batch1.jpg",
        "train_batch2.jpg",
        "val_batch0_labels.jpg",
        "val_batch0_pred.jpg",
        "weights/best.safetensors",
        "weights/last.safetensors",
    ];
    // The name of TensorBoard's file ends with time and process.
    let short = |name: String| match name.strip_prefix("events.out.tfevents.") {
        Some(_) => "events.out.tfevents".to_owned(),
        None => name,
    };
    assert_eq!(files(&run).into_iter().map(short).collect::<Vec<_>>(), expected);
    let csv = std::fs::read_to_string(run.join("results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.lines().skip(1).all(|line| line.split(',').all(|v| v.trim().parse::<f64>().is_ok())), "{csv}");
    let opt = std::fs::read_to_string(run.join("opt.yaml")).unwrap();
    assert!(opt.contains("epochs: 3\n") && opt.contains("imgsz: 64\n"), "{opt}");
}

#[test]
fn the_event_log_tells_every_batch_and_epoch_and_the_report_has_every_part() {
    let run = trained().join("runs/train/exp");
    let log = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    let events: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let epoch = ["batch", "batch", "batch", "epoch"];
    assert_eq!(kinds, [&["start"][..], &epoch, &epoch, &epoch, &["end"]].concat());
    // The numbers of the last epoch are those of results.csv, which has five digits of them.
    let csv = std::fs::read_to_string(run.join("results.csv")).unwrap();
    let (names, last) = (csv.lines().next().unwrap(), csv.lines().last().unwrap());
    for (name, value) in names.split(',').zip(last.split(',')) {
        let (value, logged) = (value.trim().parse::<f64>().unwrap(), events[12][name.trim()].as_f64().unwrap());
        assert!((value - logged).abs() <= 1e-4 * value.abs(), "{name}: {value} and {logged}");
    }
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    for part in ["Over the epochs", "Classes", "Sizes", "Curves", "Errors", "Data", "Settings and machine"] {
        assert!(report.contains(&format!("<h2>{part}</h2>")), "{part}");
    }
    assert!(report.contains("epochs: 3\n"));
    // Places of charts and cells of tables; the letters alone may be in a picture's base64.
    assert!(["NaN,", "\"NaN", ">NaN"].iter().all(|text| !report.contains(text)));
}

#[test]
fn without_plots_numbers_are_kept_and_nothing_is_drawn() {
    let folder = folder_with_data();
    kinglet(folder.path(), &TRAIN.replace("--epochs 3", "--epochs 1 --noplots")).ok();
    let mut left = files(&folder.path().join("runs/train/exp"));
    left.retain(|name| !name.starts_with("events.out.tfevents."));
    let expected = ["events.jsonl", "findings.txt", "hyp.yaml", "opt.yaml", "results.csv"];
    let weights = ["weights/best.safetensors", "weights/last.safetensors"];
    assert_eq!(left, [&expected[..], &weights].concat());
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_threads() {
    let again = folder_with_data();
    let ran = kinglet(again.path(), &format!("{TRAIN} --threads 1 --workers 1 --json")).ok();
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(value["epochs"], 3);
    // The number of loader threads is one of the settings that a checkpoint keeps, so tensors are compared.
    let tensors = |folder: &Path, file: &str| kinglet_nn::WeightsFile::load(&folder.join(file)).unwrap().tensors;
    assert_eq!(tensors(again.path(), LAST), tensors(trained(), LAST));
    assert_eq!(bytes(again.path(), "runs/train/exp/results.csv"), bytes(trained(), "runs/train/exp/results.csv"));
}

/// Kills the training `arguments` in `folder` once results.csv holds `epochs` epochs, and resumes it.
fn killed_and_resumed(folder: &Path, arguments: &str, epochs: usize) {
    let mut child = command(folder, arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let csv = folder.join("runs/train/exp/results.csv");
    let done = || std::fs::read_to_string(&csv).map_or(0, |text| text.lines().count().saturating_sub(1));
    while done() < epochs && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill(); // SIGKILL; fails where the run has already ended
    if !child.wait().unwrap().success() {
        kinglet(folder, "train --resume").ok();
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let folder = folder_with_data();
    killed_and_resumed(folder.path(), TRAIN, 1);
    assert_eq!(bytes(folder.path(), LAST), bytes(trained(), LAST));
    assert_eq!(bytes(folder.path(), BEST), bytes(trained(), BEST));
    // The log goes on where the epochs that count end: batches of an epoch that ran again are told once.
    let log = std::fs::read_to_string(folder.path().join("runs/train/exp/events.jsonl")).unwrap();
    assert_eq!(log.matches("\"event\":\"batch\"").count(), 9, "{log}");
    let leftovers: Vec<String> = files(folder.path()).into_iter().filter(|f| f.ends_with(".tmp")).collect();
    assert!(leftovers.len() <= 1, "no more than what the killed process was writing: {leftovers:?}");
}

#[test]
fn an_image_with_a_very_long_name_is_detected_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let stem = "n".repeat(245);
    std::fs::copy(trained().join("data/images/train/0000.jpg"), folder.path().join(format!("{stem}.jpg"))).unwrap();
    let weights = trained().join(BEST);
    let line = format!("detect --weights {} --source . --conf 0.0001 --max-det 3 --img 64", weights.display());
    kinglet(folder.path(), &format!("{line} --save-txt --save-crop")).ok();
    let written = files(&folder.path().join("runs/detect/exp"));
    assert!(written.contains(&format!("{stem}.jpg")) && written.contains(&format!("labels/{stem}.txt")), "{written:?}");
    assert!(written.iter().any(|name| name.starts_with("crops/")), "{written:?}");
}

#[test]
fn a_renamed_run_goes_on_in_its_own_folder() {
    let folder = folder_with_data();
    let run = folder.path().join("runs/train/renamed");
    std::fs::create_dir_all(run.join("weights")).unwrap();
    // It says of itself that it is `runs/train/exp`: that one is another run now.
    for file in ["results.csv", "weights/last.safetensors"] {
        std::fs::copy(trained().join("runs/train/exp").join(file), run.join(file)).unwrap();
    }
    let other = folder.path().join("runs/train/exp");
    std::fs::create_dir_all(&other).unwrap();
    kinglet(folder.path(), "train --resume runs/train/renamed/weights/last.safetensors --epochs 4").ok();
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0);
    assert_eq!(std::fs::read_to_string(run.join("results.csv")).unwrap().lines().count(), 5);
    // A checkpoint that lies alone: everything goes to its folder.
    let alone = folder.path().join("kept");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(trained().join(LAST), alone.join("last.safetensors")).unwrap();
    kinglet(folder.path(), "train --resume kept/last.safetensors --epochs 4 --noplots").ok();
    assert_eq!(std::fs::read_to_string(alone.join("results.csv")).unwrap().lines().count(), 2);
    assert!(alone.join("weights/last.safetensors").is_file() && !folder.path().join("results.csv").exists());
}

#[test]
fn batches_without_an_update_count_after_a_kill_too() {
    // With three batches an epoch, an update takes one batch at first and two from the fifth on: the third epoch ends with
    // a batch that waits for its update.
    let arguments = TRAIN.replace("--epochs 3", "--epochs 5 --recipe yolov5");
    let (whole, killed) = (folder_with_data(), folder_with_data());
    kinglet(whole.path(), &arguments).ok();
    killed_and_resumed(killed.path(), &arguments, 3);
    assert_eq!(bytes(killed.path(), LAST), bytes(whole.path(), LAST));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let folder = folder_with_data();
    let line = TRAIN.replace("--epochs 3", "--epochs 500");
    let child = command(folder.path(), &line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let csv = folder.path().join("runs/train/exp/results.csv");
    while !csv.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let signalled = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.all());
    assert!(ran.stderr.contains(&format!("kinglet train --resume {LAST}")), "{}", ran.stderr);
}

#[test]
fn an_export_is_compared_on_the_images_of_its_training() {
    let line = format!("export --weights {BEST} --img 64 --output exported");
    let ran = kinglet(trained(), &line).ok();
    assert!(ran.stdout.contains("compared with") && !ran.stdout.contains("drawn 1"), "{}", ran.all());
    let shown: Vec<String> = files(&trained().join("data/images/val"));
    assert!(shown.iter().any(|name| ran.stdout.contains(name.as_str())), "{}", ran.all());
}

#[test]
fn finished_runs_are_not_resumed() {
    let ran = kinglet(trained(), &format!("train --resume {LAST}"));
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains("finished run"), "{}", ran.stderr);
}

#[test]
fn val_measures_and_checks() {
    let folder = trained();
    let line = format!(
        "val --weights {BEST} --data data/data.yaml --project runs/measured --save-txt --save-conf --save-json"
    );
    let ran = kinglet(folder, &format!("{line} --json")).ok();
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(value["images"], 6);
    assert!(value["speed_ms"]["inference"].as_f64().unwrap() > 0.0);
    assert!((0.0..=1.0).contains(&value["map50_95"].as_f64().unwrap()));
    assert!(folder.join("runs/measured/exp/best_predictions.json").is_file());
    for file in ["PR_curve.png", "PR_curve.svg", "report.html", "val_batch0_labels.jpg", "val_batch0_pred.jpg"] {
        assert!(folder.join("runs/measured/exp").join(file).is_file(), "{file}");
    }
    let sizes = ["small", "medium", "large"].map(|size| value["by_size"][size]["instances"].as_u64().unwrap());
    assert_eq!(sizes.iter().sum::<u64>(), value["instances"].as_u64().unwrap());
    assert!(value["errors"]["missed"]["map50_cost"].as_f64().unwrap() >= 0.0, "{value}");
    let failed = kinglet(folder, &format!("{line} --min-map 1.0"));
    assert_eq!(failed.code, 1, "{}", failed.all());
    assert!(failed.stderr.contains("--min-map"), "{}", failed.stderr);
    assert!(failed.stderr.contains("Speed: "), "{}", failed.stderr);
}

#[test]
fn val_refuses_data_of_other_classes() {
    let folder = trained();
    let yaml = "path: data\ntrain: images/train\nval: images/val\nnames: [ring, star]\n";
    std::fs::write(folder.join("other.yaml"), yaml).unwrap();
    let ran = kinglet(folder, &format!("val --weights {BEST} --data other.yaml"));
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains("`other.yaml` has 2 (ring, star)"), "{}", ran.stderr);
}

#[test]
fn training_tells_that_its_weights_number_the_classes_otherwise() {
    let folder = folder_with_data();
    let weights = trained().join(BEST);
    let start = |data: &str| {
        let line = format!("train --weights {} --data {data} --epochs 1 --img 64 --batch 4", weights.display());
        kinglet(folder.path(), &line).ok().all()
    };
    let plain = std::fs::read_to_string(folder.path().join("data/data.yaml")).unwrap();
    let exchanged = plain.replace("  0: ", "  x: ").replace("  1: ", "  0: ").replace("  x: ", "  1: ");
    std::fs::write(folder.path().join("data/other.yaml"), exchanged).unwrap();
    let told = "the weights number the same classes in another order";
    assert!(!start("data/data.yaml").contains(told));
    let said = start("data/other.yaml");
    assert!(said.contains(told), "{said}");
}

#[test]
fn detect_draws_lists_and_goes_on_after_a_broken_image() {
    let folder = folder_with_data();
    let weights = trained().join(BEST);
    let weights = weights.display();
    let images = folder.path().join("mixed");
    std::fs::create_dir(&images).unwrap();
    let test = folder.path().join("data/images/test");
    let first = std::fs::read_dir(&test).unwrap().flatten().map(|e| e.path()).min().unwrap();
    // The second crop of the one could take the name of the first of the other.
    for name in ["good.jpg", "good2.jpg"] {
        std::fs::copy(&first, images.join(name)).unwrap();
    }
    std::fs::write(images.join("bad.jpg"), "no picture").unwrap();
    let all = "--save-txt --save-conf --save-crop --save-json --save-csv --conf 0.001 --max-det 5";
    let ran = kinglet(folder.path(), &format!("detect --weights {weights} --source mixed {all}"));
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stdout.starts_with("image 2/3 mixed/good.jpg: "), "{}", ran.all());
    assert!(ran.stderr.contains("bad.jpg") && ran.stderr.contains("1 of 3 images"), "{}", ran.stderr);
    let written = files(&folder.path().join("runs/detect/exp"));
    for file in ["good.jpg", "predictions.csv", "predictions.json"] {
        assert!(written.contains(&file.to_owned()), "{written:?}");
    }
    let crops = folder.path().join("runs/detect/exp/crops");
    let crops = std::fs::read_dir(crops).unwrap().map(|class| files(&class.unwrap().path()).len());
    assert_eq!(crops.sum::<usize>(), 10, "each of five in two images");
    let json =
        kinglet(folder.path(), &format!("detect --weights {weights} --source mixed/good.jpg --nosave --json")).ok();
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value["images"].as_array().map(Vec::len), Some(1));
    assert!(value["saved_to"].is_null());
    assert!(!folder.path().join("runs/detect/exp2").exists());
}
