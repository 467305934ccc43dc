//! `kinglet bench` and `kinglet export`: what they print and write.

use crate::program::kinglet;
use insta::assert_snapshot;
use serde_json::Value;

fn json(folder: &std::path::Path, line: &str) -> Value {
    serde_json::from_str(&kinglet(folder, line).ok().stdout).unwrap()
}

fn here(line: &str) -> Value {
    json(tempfile::tempdir().unwrap().path(), line)
}

fn told(line: &str) -> String {
    kinglet(tempfile::tempdir().unwrap().path(), line).all()
}

fn stdout(line: &str) -> String {
    kinglet(tempfile::tempdir().unwrap().path(), line).ok().stdout
}

#[test]
fn help_of_bench() {
    assert_snapshot!(stdout("bench --help"));
}

#[test]
fn help_of_bench_train() {
    assert_snapshot!(stdout("bench train --help"));
}

#[test]
fn help_of_export() {
    assert_snapshot!(stdout("export --help"));
}

#[test]
fn a_model_to_export_must_be_named() {
    assert_snapshot!(told("export --include onnx"));
}

#[test]
fn an_operator_set_that_cannot_be_written() {
    assert_snapshot!(told("export --cfg kinglet_small --img 64 --opset 11"));
}

#[test]
fn weights_and_a_model_file_at_once() {
    assert_snapshot!(told("bench --cfg kinglet_small --weights best.safetensors"));
}

#[test]
fn bench_gives_every_stage_and_the_machine() {
    let value = here("bench --cfg kinglet_small --nc 3 --img 64 --repeats 3 --warmup 1 --threads 1 --json");
    for stage in ["decode", "letterbox", "infer", "nms", "total"] {
        let times = &value["stages"][stage];
        let [least, median, p95] = ["min_ms", "median_ms", "p95_ms"].map(|key| times[key].as_f64().unwrap());
        assert!(0.0 <= least && least <= median && median <= p95, "{stage}: {times}");
        assert_eq!(times["samples_ms"].as_array().map(Vec::len), Some(3));
    }
    assert_eq!((&value["threads"], &value["batch"]), (&1.into(), &1.into()));
    assert!(!value["isa"].as_str().unwrap().is_empty());
    assert!(value["peak_gflops"].as_f64().unwrap() > 0.0);
    if cfg!(target_os = "linux") {
        assert!(value["peak_rss_mb"].as_f64().unwrap() > 1.0);
    }
}

#[test]
fn bench_of_the_network_alone_has_no_other_stage() {
    let value = here("bench --cfg kinglet_small --nc 3 --img 64 --repeats 3 --warmup 0 --infer-only --json");
    let stages: Vec<&str> = value["stages"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(stages, ["infer"]);
    assert_eq!(value["stages"]["infer"]["samples_ms"].as_array().map(Vec::len), Some(3));
    assert!(value["stages"]["infer"]["min_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn layers_of_bench_have_the_models_arithmetic() {
    let value = here("bench --cfg yolov5n --nc 4 --img 64 --repeats 1 --warmup 0 --per-layer --json");
    let inspected = here("inspect yolov5n --nc 4 --img 64 --json");
    let layers = value["layers"].as_array().unwrap();
    let macs: u64 = layers.iter().map(|layer| layer["macs"].as_u64().unwrap()).sum();
    assert_eq!((Some(macs), &value["macs"]), (inspected["macs"].as_u64(), &inspected["macs"]));
}

#[test]
fn bench_takes_batches_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let picture = kinglet_vision::Image::new(50, 40, [90, 120, 30]);
    kinglet_vision::encode::write_png(&picture, folder.path().join("a.png")).unwrap();
    let line = "bench --cfg kinglet_small --img 64 96 --batch 2 --source a.png --repeats 1 --warmup 0 --json";
    let value = json(folder.path(), line);
    assert_eq!(value["source"], serde_json::json!([40, 50]));
    assert_eq!((&value["image"], &value["batch"]), (&serde_json::json!([64, 96]), &2.into()));
    let missing = kinglet(folder.path(), "bench --cfg kinglet_small --source b.png");
    assert!(missing.code == 1 && missing.stderr.contains("`b.png`"), "{}", missing.all());
}

#[test]
fn bench_train_times_steps_and_writes_the_case() {
    let folder = tempfile::tempdir().unwrap();
    let line = "bench train --cfg kinglet_small --nc 2 --img 64 --batch 2 --repeats 2 --warmup 1 --per-op --json \
                --save-case case.safetensors";
    let value = json(folder.path(), line);
    assert_eq!(value["step"]["samples_ms"].as_array().map(Vec::len), Some(2));
    assert!(value["last_loss"]["total"].as_f64().unwrap() > 0.0 && value["share_of_peak"].as_f64().unwrap() > 0.0);
    let sum = |key: &str, field: &str| -> f64 {
        value[key].as_object().unwrap().values().map(|row| row[field].as_f64().unwrap()).sum()
    };
    // Operations and layers are two ways to add up the same work.
    assert!(sum("by_op", "macs") > 0.0);
    assert_eq!(sum("by_op", "macs"), sum("by_layer", "macs"));
    assert!(value["by_op"]["conv"]["backward_ms"].as_f64().unwrap() > 0.0);
    let case = kinglet_nn::WeightsFile::load(&folder.path().join("case.safetensors")).unwrap();
    assert_eq!(case.tensors["case.images"].0, [2, 64, 64, 3]);
    let told: Value = serde_json::from_str(&case.metadata["case"]).unwrap();
    assert_eq!(told["steps"].as_array().map(Vec::len), Some(3));
}

#[test]
fn export_writes_the_file_where_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let line = "export --cfg kinglet_small --nc 2 --img 64 96 --opset 12 --output out --json";
    let value = json(folder.path(), line);
    let file = std::fs::read(folder.path().join("out/kinglet_small.onnx")).unwrap();
    assert_eq!(value["bytes"], file.len());
    assert_eq!(value["inputs"], serde_json::json!(["images [1, 3, 64, 96]"]));
    // Field 1, a varint: version 7 of the format; field 2, text: the producer.
    assert_eq!(file[..11], *b"\x08\x07\x12\x07kinglet");
}
