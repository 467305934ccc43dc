//! `kinglet swap` and `kinglet zoo`: what they print and write.

use crate::program::{Ran, command, files, kinglet};
use insta::assert_snapshot;
use serde_json::Value;
use std::path::Path;

const REPLACED: [&str; 3] = ["--replace-c3=6", "--with=MobileNetv3 [512, 1024, 5, 1, 1, 1]", "--cfg=yolov5n"];

fn swap(folder: &Path, words: &[&str]) -> Ran {
    Ran::from(command(folder, "swap").args(words).output().unwrap())
}

fn here(words: &[&str]) -> Ran {
    swap(tempfile::tempdir().unwrap().path(), words)
}

#[test]
fn help_of_swap() {
    assert_snapshot!(here(&["--help"]).ok().stdout);
}

#[test]
fn help_of_zoo() {
    assert_snapshot!(kinglet(tempfile::tempdir().unwrap().path(), "zoo --help").ok().stdout);
}

#[test]
fn a_swapped_backbone_is_a_model_file_on_standard_output() {
    assert_snapshot!(here(&["--cfg", "models/yolov5s.yaml", "--backbone", "mobilenetv3_large"]).all());
}

#[test]
fn an_output_file_is_written_whole_and_can_be_changed_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = swap(folder.path(), &[&REPLACED[..], &["--output=a/new.yaml"]].concat()).ok();
    assert!(first.stdout.is_empty(), "{}", first.stdout);
    let back = ["--cfg=a/new.yaml", "--replace=6", "--with=C3 [512]", "--number=9", "--output=a/new.yaml"];
    swap(folder.path(), &back).ok();
    assert_eq!(files(folder.path()), ["a/new.yaml"]);
    let layers = |model: &str| {
        let ran = kinglet(folder.path(), &format!("inspect {model} --json")).ok();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["layers"].clone()
    };
    assert_eq!(layers("a/new.yaml"), layers("yolov5n"));
}

#[test]
fn a_change_that_does_not_fit_prints_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let with = "--with=MobileNetv3 [1024, 960, 3, 2, 1, 1]";
    let ran = swap(folder.path(), &["--cfg=yolov5n", "--insert-at=9", with, "--output=new.yaml"]);
    assert!(files(folder.path()).is_empty());
    assert_snapshot!(ran.all());
}

#[test]
fn a_level_that_the_backbone_lacks() {
    assert_snapshot!(here(&["--cfg=yolov5n6", "--backbone=ghostnet"]).all());
}

#[test]
fn an_activation_that_stays_behind_is_told() {
    let told = "the backbone's own file has `activation: nn.LeakyReLU(0.1)`; here its blocks that name none have `activation: \
                nn.SiLU()`";
    let ran = here(&["--cfg=yolov5n", "--backbone=yolov5s-LeakyReLU"]).ok();
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    assert!(ran.stdout.contains(&format!("\n# Note that {told}.\n")), "{}", ran.stdout);
    let folder = tempfile::tempdir().unwrap();
    let text = "nc: 2\nanchors: 3\nbackbone: yolov5s-LeakyReLU\nhead:\n  - [[P3, P4, P5], 1, Detect, [nc, anchors]]\n";
    std::fs::write(folder.path().join("named.yaml"), text).unwrap();
    let ran = kinglet(folder.path(), "inspect named.yaml").ok();
    assert!(ran.stderr.contains(told), "{}", ran.all());
    let kept = here(&["--cfg=yolov5s-LeakyReLU", "--backbone=yolov5s-LeakyReLU"]).ok();
    assert!(!kept.all().contains("own file"), "{}", kept.all());
}

#[test]
fn weights_are_no_model_file_and_a_folder_is_no_output() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("best.pt"), b"PK\x03\x04\xff").unwrap();
    let ran = swap(folder.path(), &["--cfg=best.pt", "--backbone=yolov5s"]);
    assert!(ran.code == 1 && ran.stderr.contains("`kinglet inspect best.pt` shows its rows"), "{}", ran.all());
    std::fs::create_dir(folder.path().join("new")).unwrap();
    let ran = swap(folder.path(), &["--cfg=yolov5n", "--backbone=yolov5s", "--output=new"]);
    assert!(ran.code == 1 && ran.stderr.contains("it is a folder; name a file in it"), "{}", ran.all());
    assert_eq!(files(folder.path()), ["best.pt"]);
}

#[test]
fn a_swap_without_a_change() {
    assert_snapshot!(here(&["--cfg=yolov5n"]).all());
}

#[test]
fn swap_json_counts_both_models() {
    let value: Value = serde_json::from_str(&here(&[&REPLACED[..], &["--json"]].concat()).ok().stdout).unwrap();
    // The reference's counts of yolov5n, and of the same with this block (zoo/models/yolov5n_mobilenetv3_c3.yaml).
    assert_eq!(value["before"]["params"], 1_872_157);
    assert_eq!(value["after"]["params"], 2_532_893);
    assert!(value["yaml"].as_str().unwrap().contains("  - [-1, 1, MobileNetv3, [512, 1024, 5, 1, 1, 1]] # 6\n"));
}

#[test]
fn a_named_backbone_is_trained_like_any_and_its_weights_hold_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../../../zoo/models/yolov5n.yaml");
    let (keys, rest) = text.split_once("backbone:\n").unwrap();
    let head = rest.split_once("head:\n").unwrap().1;
    let named = format!("{keys}backbone: mobilenetv3_small\nhead:\n{head}");
    std::fs::write(folder.path().join("named.yaml"), named).unwrap();
    let ran = kinglet(folder.path(), "export --cfg named.yaml --nc 3 --include safetensors --output out").ok();
    assert!(ran.stderr.contains("random"), "{}", ran.all());
    let value: Value =
        serde_json::from_str(&kinglet(folder.path(), "inspect out/named.safetensors --json").ok().stdout).unwrap();
    assert_eq!(value["layers"][11]["module"], "InvertedResidual");
    assert_eq!(value["layers"][14]["from"], serde_json::json!([-1, 8]));
    let bytes = std::fs::read(folder.path().join("out/named.safetensors")).unwrap();
    let header = String::from_utf8_lossy(&bytes[..20_000]).into_owned();
    assert!(header.contains("InvertedResidual, [96, 576, 5, 1, 1, 1]") && !header.contains("backbone: mobilenetv3"));
}

#[test]
fn the_zoo_is_listed_lightest_first() {
    assert_snapshot!(kinglet(tempfile::tempdir().unwrap().path(), "zoo --no-latency").ok().all());
}

#[test]
fn the_zoo_measures_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let line = "zoo --models kinglet* --img 64 --threads 1 --json";
    let value: Value = serde_json::from_str(&kinglet(folder.path(), line).ok().stdout).unwrap();
    let models = value["models"].as_array().unwrap();
    assert_eq!(
        models.iter().map(|m| m["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["kinglet_small", "kinglet_large"]
    );
    for model in models {
        let times = model["latency"]["samples_ms"].as_array().unwrap();
        assert!((3..=30).contains(&times.len()), "{model}");
        // Packed weights alone are at least the parameters, four bytes each.
        assert!(model["memory_mb"].as_f64().unwrap() > 4.0 * model["params"].as_f64().unwrap() / f64::from(1 << 20));
    }
}

#[test]
fn a_pattern_that_no_model_has() {
    let ran = kinglet(tempfile::tempdir().unwrap().path(), "zoo --models resnet*");
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("no built-in model matches `resnet*`"), "{}", ran.all());
}
