//! What goes wrong while a command works: nothing is lost, nothing panics, and the next step is told.

use crate::end_to_end::{BEST, LAST, TRAIN, folder_with_data, trained};
use crate::program::{Ran, command, files, kinglet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// The first image of a folder.
fn first_image(folder: &Path) -> std::path::PathBuf {
    std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).min().unwrap()
}

#[test]
fn damaged_images_are_told_and_the_training_goes_on() {
    let folder = folder_with_data();
    let images = folder.path().join("data/images");
    let first = first_image(&images.join("train"));
    let bytes = std::fs::read(&first).unwrap();
    // Cut: seen by the scan. Damaged past the header, with an end in place: seen when it is loaded.
    std::fs::write(first, &bytes[..bytes.len() / 2]).unwrap();
    for (split, stem) in [("train", "zz"), ("val", "zz")] {
        let picture = kinglet_vision::Image::new(64, 64, [9, 99, 199]);
        let mut png = kinglet_vision::encode::png_bytes(&picture).unwrap();
        let middle = png.len() / 2;
        png[middle] ^= 0xff;
        std::fs::write(images.join(split).join(format!("{stem}.png")), png).unwrap();
        std::fs::write(folder.path().join(format!("data/labels/{split}/{stem}.txt")), "0 0.5 0.5 0.5 0.5\n").unwrap();
    }
    let ran = kinglet(folder.path(), &TRAIN.replace("--epochs 3", "--epochs 2 --noplots")).ok();
    assert_eq!(ran.stderr.matches("train/zz.png").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("train: 12 images of 13"), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 x image cannot be decoded: 1 left out"), "{}", ran.stderr);
    let val = kinglet(folder.path(), &format!("val --weights {BEST} --data data/data.yaml --json")).ok();
    let value: serde_json::Value = serde_json::from_str(&val.stdout).unwrap();
    assert_eq!(value["images"], 6, "the damaged one counts nowhere");
    assert_eq!(val.stderr.matches("val/zz.png").count(), 1, "{}", val.stderr);
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_named_with_a_way_out_and_leaves_no_half_file() {
    let folder = folder_with_data();
    // No file beyond 2 MB: the checkpoint of the start does not fit.
    let line = format!("trap '' XFSZ; ulimit -f 4096; exec {} {TRAIN}", env!("CARGO_BIN_EXE_kinglet"));
    let output = std::process::Command::new("sh").args(["-c", &line]).current_dir(folder.path()).output().unwrap();
    let ran = Ran::from(output);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains(&format!("cannot write `{LAST}`")), "{}", ran.stderr);
    assert!(ran.stderr.contains("with --project") && !ran.stderr.contains(".tmp"), "{}", ran.stderr);
    assert_eq!(files(&folder.path().join("runs/train/exp/weights")), [""; 0]);
}

/// A state to go on from, on a disk that is full by now.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_later_keeps_what_was_saved_and_says_how_to_go_on() {
    let folder = folder_with_data();
    let mut child = command(folder.path(), &TRAIN.replace("--epochs 3", "--epochs 500")).stderr(Stdio::null()).spawn();
    let child = child.as_mut().unwrap();
    let csv = folder.path().join("runs/train/exp/results.csv");
    while !csv.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = std::fs::read(folder.path().join(LAST)).unwrap();
    let line = format!("trap '' XFSZ; ulimit -f 4096; exec {} train --resume", env!("CARGO_BIN_EXE_kinglet"));
    let output = std::process::Command::new("sh").args(["-c", &line]).current_dir(folder.path()).output().unwrap();
    let ran = Ran::from(output);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains(&format!("go on with: kinglet train --resume {LAST}")), "{}", ran.stderr);
    assert!(std::fs::read(folder.path().join(LAST)).unwrap() == before, "the saved state has changed");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = trained();
    std::fs::write(folder.join("taken"), "").unwrap();
    let image = first_image(&folder.join("data/images/val"));
    let image = image.display();
    for line in [
        format!("{TRAIN} --project taken/runs"),
        format!("val --weights {BEST} --data data/data.yaml --project taken/runs"),
        format!("detect --weights {BEST} --source {image} --project taken/runs"),
    ] {
        let ran = kinglet(folder, &line);
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(ran.stderr.contains("cannot write `taken") && ran.stderr.contains("--project"), "{}", ran.stderr);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_without_checkpoints_says_that_nothing_was_saved() {
    let folder = folder_with_data();
    let line = TRAIN.replace("--epochs 3", "--epochs 500 --nosave");
    let child = command(folder.path(), &line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let csv = folder.path().join("runs/train/exp/results.csv");
    while !csv.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.all());
    assert!(ran.stderr.contains("nothing was saved since the start, as --nosave asks"), "{}", ran.stderr);
}

#[test]
fn the_folder_of_a_run_stands_for_its_last_state() {
    let ran = kinglet(trained(), "train --resume runs/train/exp");
    assert!(ran.stderr.contains(&format!("resuming {LAST}")) && ran.stderr.contains("finished run"), "{}", ran.stderr);
}

#[test]
fn weights_of_another_model_are_told_and_a_folder_is_no_weights() {
    let folder = trained();
    let line = TRAIN.replace("--cfg kinglet_small", "--cfg yolov5n").replace("--epochs 3", "--epochs 1 --noplots");
    let ran = kinglet(folder, &format!("{line} --weights {BEST} --name other")).ok();
    assert!(ran.stderr.contains("these weights are mostly of another model"), "{}", ran.stderr);
    for line in [
        format!("{TRAIN} --weights runs/train/exp"),
        "val --weights runs/train/exp --data data/data.yaml".to_owned(),
        "detect --weights runs/train/exp --source data/images/val".to_owned(),
    ] {
        let ran = kinglet(folder, &line);
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(ran.stderr.contains(&format!("are a folder; did you mean `{BEST}`?")), "{}", ran.stderr);
    }
}

#[test]
fn anchors_that_do_not_fit_the_head_are_refused() {
    let folder = trained();
    let mut file = kinglet_nn::WeightsFile::load(&folder.join(BEST)).unwrap();
    let mut header: serde_json::Value = serde_json::from_str(&file.metadata["kinglet"]).unwrap();
    header["anchors"][1].as_array_mut().unwrap().push(serde_json::json!([5.0, 5.0]));
    file.metadata.insert("kinglet".into(), header.to_string());
    std::fs::write(folder.join("anchors.safetensors"), file.to_bytes().unwrap()).unwrap();
    let ran = kinglet(folder, "val --weights anchors.safetensors --data data/data.yaml");
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stderr.contains("has [3, 4, 3] anchors on its levels, the head of its model has [3, 3, 3]"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_empty_validation_set_says_how_to_do_without() {
    let folder = folder_with_data();
    let val = folder.path().join("data/images/val");
    std::fs::remove_dir_all(&val).unwrap();
    std::fs::create_dir(&val).unwrap();
    let ran = kinglet(folder.path(), TRAIN);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stderr.contains("no images for `val`") && ran.stderr.contains("remove the line `val:`"),
        "{}",
        ran.stderr
    );
    let yaml = folder.path().join("data/data.yaml");
    let text = std::fs::read_to_string(&yaml).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("val:")).collect();
    std::fs::write(&yaml, without.join("\n")).unwrap();
    kinglet(folder.path(), &TRAIN.replace("--epochs 3", "--epochs 1")).ok();
    let csv = std::fs::read_to_string(folder.path().join("runs/train/exp/results.csv")).unwrap();
    let values: Vec<&str> = csv.lines().nth(1).unwrap().split(',').map(str::trim).collect();
    assert_eq!(values[4..11], ["0"; 7], "as YOLOv5 writes what was not measured");
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    kinglet(folder.path(), "export --cfg kinglet_small --nc 2 --include safetensors --output w").ok();
    let file = folder.path().join("w/kinglet_small.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    // The last number of the last tensor.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    for line in ["export", "bench", "inspect w/kinglet_small.safetensors"] {
        let weights = if line.starts_with("inspect") { "" } else { " --weights w/kinglet_small.safetensors" };
        let ran = kinglet(folder.path(), &format!("{line}{weights}"));
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(ran.stdout.is_empty() && ran.stderr.contains("tensor `model."), "{}", ran.all());
        assert!(
            ran.stderr.contains(" has 1 of ") && ran.stderr.contains("values that are not finite"),
            "{}",
            ran.all()
        );
    }
}
