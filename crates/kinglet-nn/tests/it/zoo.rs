//! Every model file of the zoo builds, with the counts of the reference implementation.

use crate::golden::golden;
use kinglet_nn::{Model, Summary};
use kinglet_spec::ResolveOptions;
use std::path::PathBuf;

fn zoo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../zoo/models")
}

fn build(text: &str, name: &str, nc: usize, side: usize) -> Model {
    let options = ResolveOptions { nc: Some(nc), image: [side, side], channels: 3 };
    Model::from_yaml(text, name, &options).unwrap_or_else(|e| panic!("{e}"))
}

fn zoo_text(name: &str) -> String {
    std::fs::read_to_string(zoo().join(name).with_extension("yaml")).unwrap()
}

#[test]
fn every_zoo_model_builds() {
    let mut built = 0;
    for entry in std::fs::read_dir(zoo()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let model = build(&text, &path.display().to_string(), 80, 640);
        let summary = Summary::new(&model);
        assert_eq!(summary.strides, [8, 16, 32], "{}", path.display());
        assert_eq!(summary.layers.iter().map(|l| l.params).sum::<usize>(), summary.params);
        println!("{}: {} parameters, {:.2} GFLOP", path.display(), summary.params, summary.gflops());
        built += 1;
    }
    assert!(built >= 12, "{built} models");
}

/// The tables were taken at 128 pixels and scaled by 25, so linear layers count 25 times there.
#[test]
fn parameters_and_arithmetic_equal_the_reference_tables() {
    let Some(golden) = golden() else { return };
    let text = std::fs::read_to_string(golden.join("model_tables.json")).unwrap();
    let tables: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ours = [
        ("yolov5n", "yolov5n"),
        ("yolov5s", "yolov5s"),
        ("yolov5m", "yolov5m"),
        ("yolov5l", "yolov5l"),
        ("yolov5x", "yolov5x"),
        ("yolov5_mobilenetv3_nc80", "yolov5_mobilenetv3"),
    ];
    for (table, file) in ours {
        let table = &tables[table];
        let summary = Summary::new(&build(&zoo_text(file), file, 80, 128));
        assert_eq!(summary.params as u64, table["params"].as_u64().unwrap(), "{file}");
        assert_eq!(summary.macs * 25, table["macs_at_640"].as_u64().unwrap(), "{file}");
        let layers = table["layers"].as_array().unwrap();
        assert_eq!(layers.len(), summary.layers.len(), "{file}");
        for (want, got) in layers.iter().zip(&summary.layers) {
            assert_eq!(got.params as u64, want["params"].as_u64().unwrap(), "{file} layer {}", got.index);
            assert_eq!(got.macs * 25, want["macs_at_640"].as_u64().unwrap(), "{file} layer {}", got.index);
            assert_eq!(
                got.module.trim_start_matches("nn."),
                want["module"].as_str().unwrap(),
                "{file} layer {}",
                got.index
            );
        }
    }
}

/// The tutorial's model at every class count and multiple that the tutorial mentions: parameters and GFLOP at 640.
#[test]
fn the_tutorials_model_has_the_published_counts() {
    let text = zoo_text("yolov5_mobilenetv3");
    let cases = [
        (1.0, 1.0, 2, 5_206_333, 8.940),
        (1.0, 1.0, 3, 5_209_030, 8.949),
        (1.0, 1.0, 80, 5_416_699, 9.611),
        (0.33, 0.25, 80, 1_905_827, 1.970),
        (0.33, 0.25, 3, 1_857_934, 2.034),
        (0.33, 0.50, 80, 2_727_587, 3.838),
        (0.67, 0.75, 80, 3_922_395, 6.597),
        (1.33, 1.25, 80, 7_294_563, 13.832),
    ];
    for (depth, width, nc, params, gflops) in cases {
        let scaled: String = text
            .lines()
            .map(|line| match line.split(':').next() {
                Some("depth_multiple") => format!("depth_multiple: {depth}\n"),
                Some("width_multiple") => format!("width_multiple: {width}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let summary = Summary::new(&build(&scaled, "tutorial", nc, 640));
        assert_eq!(summary.params, params, "depth {depth} width {width} nc {nc}");
        assert!(
            (summary.gflops() - gflops).abs() < 5e-4,
            "{} for depth {depth} width {width} nc {nc}",
            summary.gflops()
        );
    }
}

#[test]
fn the_light_models_are_lighter_than_yolov5n() {
    let summary = Summary::new(&build(&zoo_text("kinglet_small"), "kinglet_small", 80, 640));
    assert!(summary.params < 1_872_157 && summary.gflops() < 4.47, "{} {}", summary.params, summary.gflops());
}
