//! Help texts and the tables that need no data.

use crate::program::kinglet;
use insta::assert_snapshot;

fn stdout(line: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    kinglet(folder.path(), line).ok().stdout
}

#[test]
fn help_of_the_program() {
    assert_snapshot!(stdout("--help"));
}

#[test]
fn help_of_train() {
    assert_snapshot!(stdout("train --help"));
}

#[test]
fn help_of_val() {
    assert_snapshot!(stdout("val --help"));
}

#[test]
fn help_of_detect() {
    assert_snapshot!(stdout("detect --help"));
}

#[test]
fn help_of_serve() {
    assert_snapshot!(stdout("serve --help"));
}

#[test]
fn help_of_ui() {
    assert_snapshot!(stdout("ui --help"));
}

#[test]
fn help_of_import() {
    assert_snapshot!(stdout("import --help"));
}

#[test]
fn help_of_inspect() {
    assert_snapshot!(stdout("inspect --help"));
}

#[test]
fn blocks_are_listed() {
    assert_snapshot!(stdout("blocks"));
}

#[test]
fn one_block_is_explained() {
    assert_snapshot!(stdout("blocks c3"));
}

#[test]
fn inspect_prints_the_table() {
    assert_snapshot!(stdout("inspect kinglet_small"));
}

#[test]
fn inspect_takes_familiar_paths_and_classes() {
    assert_snapshot!(stdout("inspect models/yolov5n.yaml --nc 4"));
}

#[test]
fn inspect_json_agrees_with_the_stock_model() {
    let value: serde_json::Value = serde_json::from_str(&stdout("inspect yolov5n --json")).unwrap();
    // YOLOv5n at nc = 80, as its authors publish it.
    assert_eq!(value["params"], 1_872_157);
    assert_eq!(value["strides"], serde_json::json!([8, 16, 32]));
    assert_eq!(value["layers"][0]["shape"], serde_json::json!([16, 320, 320]));
    assert_eq!(value["layers"][24]["from"], serde_json::json!([17, 20, 23]));
    assert_eq!(value["layers"].as_array().map(Vec::len), Some(25));
    let macs: u64 = value["layers"].as_array().unwrap().iter().map(|l| l["macs"].as_u64().unwrap()).sum();
    assert_eq!(value["macs"], macs);
}

#[test]
fn version_is_that_of_the_package() {
    assert_eq!(stdout("--version"), format!("kinglet {}\n", env!("CARGO_PKG_VERSION")));
}
