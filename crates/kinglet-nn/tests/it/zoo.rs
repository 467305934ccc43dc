//! Every model file of the zoo builds, with the counts of the reference implementation.

use crate::golden::golden;
use kinglet_nn::{Model, Summary};
use kinglet_spec::ResolveOptions;
use std::path::PathBuf;

fn zoo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../zoo/models")
}

fn build(text: &str, name: &str, nc: usize, side: usize) -> Model {
    let options = ResolveOptions { nc: Some(nc), image: [side, side], ..Default::default() };
    Model::from_yaml(text, name, &options).unwrap_or_else(|e| panic!("{e}"))
}

fn zoo_text(name: &str) -> String {
    std::fs::read_to_string(zoo().join(format!("{name}.yaml"))).unwrap()
}

#[test]
fn every_zoo_model_builds() {
    let mut built = 0;
    for entry in std::fs::read_dir(zoo()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let model = build(&text, &path.display().to_string(), 80, 640);
        let summary = Summary::new(&model);
        assert_eq!(summary.strides, strides(&path.file_stem().unwrap().to_string_lossy()), "{}", path.display());
        assert_eq!(summary.layers.iter().map(|l| l.params).sum::<usize>(), summary.params);
        println!("{}: {} parameters, {:.2} GFLOP", path.display(), summary.params, summary.gflops());
        built += 1;
    }
    assert!(built >= 34, "{built} models");
}

/// What a model's name says of its levels.
fn strides(name: &str) -> Vec<usize> {
    match name {
        "yolov5-p2" => vec![4, 8, 16, 32],
        "yolov5-p34" => vec![8, 16],
        "yolov5-p7" => vec![8, 16, 32, 64, 128],
        "yolov3-tiny" => vec![16, 32],
        _ if name.ends_with('6') => vec![8, 16, 32, 64],
        _ => vec![8, 16, 32],
    }
}

/// The tables were taken at 128 pixels and scaled by 25, so linear layers on pooled maps count 25 times there.
#[test]
fn parameters_and_arithmetic_equal_the_reference_tables() {
    let Some(golden) = golden() else { return };
    let text = std::fs::read_to_string(golden.join("model_tables.json")).unwrap();
    let tables: serde_json::Value = serde_json::from_str(&text).unwrap();
    let tables = tables.as_object().unwrap();
    assert!(tables.len() >= 24);
    for (name, table) in tables {
        let file = if name == "yolov5_mobilenetv3_nc80" { "yolov5_mobilenetv3" } else { name };
        let summary = Summary::new(&build(&zoo_text(file), file, 80, 128));
        let strides: Vec<f64> = table["stride"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
        assert_eq!(summary.strides.iter().map(|&s| s as f64).collect::<Vec<_>>(), strides, "{file}");
        assert_eq!(summary.params as u64, table["params"].as_u64().unwrap(), "{file}");
        assert_eq!(summary.macs * 25, table["macs_at_640"].as_u64().unwrap(), "{file}");
        let layers = table["layers"].as_array().unwrap();
        assert_eq!(layers.len(), summary.layers.len(), "{file}");
        for (want, got) in layers.iter().zip(&summary.layers) {
            assert_eq!(got.params as u64, want["params"].as_u64().unwrap(), "{file} layer {}", got.index);
            assert_eq!(got.macs * 25, want["macs_at_640"].as_u64().unwrap(), "{file} layer {}", got.index);
            let from = want["from"].as_i64().map_or_else(
                || want["from"].as_array().unwrap().iter().map(|f| f.as_i64().unwrap()).collect(),
                |from| vec![from],
            );
            assert_eq!(got.from, from, "{file} layer {}", got.index);
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
    let summary = |name: &str| Summary::new(&build(&zoo_text(name), name, 80, 640));
    let (small, large) = (summary("kinglet_small"), summary("kinglet_large"));
    assert!(small.params < 1_872_157 && small.gflops() < 4.47, "{} {}", small.params, small.gflops());
    // The paper's backbone alone has more parameters than yolov5n.
    assert!(large.gflops() < 4.47, "{}", large.gflops());
}

/// Parameters of a convolution without bias and its BatchNorm.
fn conv(c_in: usize, c_out: usize, kernel: usize) -> usize {
    c_in * c_out * kernel * kernel + 2 * c_out
}

/// The same of a depthwise one.
fn depthwise(c: usize, kernel: usize) -> usize {
    conv(1, c, kernel)
}

/// Parameters and multiply-adds at 224 x 224 of the layers before the head, and of the taps' channels by stride.
fn backbone(name: &str, levels: [usize; 3]) -> (usize, u64) {
    let model = build(&zoo_text(name), name, 80, 224);
    let summary = Summary::new(&model);
    let rows = model.spec.backbone_len;
    // The head takes P5 as its first input, and P4 and P3 in its first two concatenations.
    let joined: Vec<usize> = model
        .spec
        .layers
        .iter()
        .filter(|l| l.block == "Concat")
        .filter_map(|l| l.from.iter().find(|f| (0..rows as i64).contains(f)).map(|f| *f as usize))
        .collect();
    let taps = [joined[1], joined[0], rows - 1].map(|l| (summary.layers[l].stride, summary.layers[l].shape.channels));
    assert_eq!(taps, [(8, levels[0]), (16, levels[1]), (32, levels[2])], "{name}");
    let layers = &summary.layers[..rows];
    (layers.iter().map(|l| l.params).sum(), layers.iter().map(|l| l.macs).sum())
}

/// The published counts are of whole classifiers; what stands behind the backbone is subtracted.
#[test]
fn light_backbones_have_the_published_counts() {
    // torchvision, mobilenet_v2: 3,504,872 parameters, 300.77 million multiply-adds.
    let (params, macs) = backbone("mobilenetv2", [32, 96, 320]);
    assert_eq!(params, 3_504_872 - conv(320, 1280, 1) - (1280 * 1000 + 1000));
    let published = macs + 320 * 1280 * 49 + 1280 * 1000;
    assert_eq!((published as f64 / 1e4).round_ties_even(), 30_077.0);

    // torchvision, shufflenet_v2_x1_0: 2,278,604 parameters, 0.145 billion multiply-adds.
    let (params, macs) = backbone("shufflenetv2", [116, 232, 464]);
    assert_eq!(params, 2_278_604 - conv(464, 1024, 1) - (1024 * 1000 + 1000));
    let published = macs + 464 * 1024 * 49 + 1024 * 1000;
    assert_eq!((published as f64 / 1e6).round_ties_even(), 145.0);

    // The paper, table 7: 5.2 million parameters, 141 million multiply-adds.
    let (params, macs) = backbone("ghostnet", [40, 112, 160]);
    let behind = conv(160, 960, 1) + (960 * 1280 + 1280) + (1280 * 1000 + 1000);
    assert_eq!(((params + behind) as f64 / 1e5).round_ties_even(), 52.0);
    let published = macs + 160 * 960 * 49 + 960 * 1280 + 1280 * 1000;
    assert_eq!((published as f64 / 1e6).round_ties_even(), 141.0);

    // torchvision, efficientnet_b0: 5,288,548 parameters, 0.386 billion multiply-adds. It is the same with squeezes, from
    // an expansion of the input channels to a quarter of these.
    let (params, macs) = backbone("efficientnet_lite0", [40, 112, 320]);
    let inputs = [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192];
    let widths = || std::iter::once((32, 8)).chain(inputs.iter().map(|c| (6 * c, c / 4)));
    let squeezes: usize = widths().map(|(wide, narrow)| 2 * wide * narrow + wide + narrow).sum();
    assert_eq!(params, 5_288_548 - squeezes - conv(320, 1280, 1) - (1280 * 1000 + 1000));
    let squeezing: usize = widths().map(|(wide, narrow)| 2 * wide * narrow).sum();
    let published = macs + (squeezing + 320 * 1280 * 49 + 1280 * 1000) as u64;
    assert_eq!((published as f64 / 1e6).round_ties_even(), 386.0);
}

/// The same backbones counted by the papers' tables, layer by layer.
#[test]
fn light_backbones_have_the_parameters_of_their_tables() {
    // Expansion, output channels, number, kernel.
    let mobile = |stages: &[[usize; 4]]| {
        let mut c = 32;
        let mut total = conv(3, c, 3);
        for &[t, c_out, n, k] in stages {
            for _ in 0..n {
                let wide = t * c;
                total += if t > 1 { conv(c, wide, 1) } else { 0 } + depthwise(wide, k) + conv(wide, c_out, 1);
                c = c_out;
            }
        }
        total
    };
    let v2 =
        [[1, 16, 1, 3], [6, 24, 2, 3], [6, 32, 3, 3], [6, 64, 4, 3], [6, 96, 3, 3], [6, 160, 3, 3], [6, 320, 1, 3]];
    assert_eq!(backbone("mobilenetv2", [32, 96, 320]).0, mobile(&v2));
    let lite =
        [[1, 16, 1, 3], [6, 24, 2, 3], [6, 40, 2, 5], [6, 80, 3, 3], [6, 112, 3, 5], [6, 192, 4, 5], [6, 320, 1, 3]];
    assert_eq!(backbone("efficientnet_lite0", [40, 112, 320]).0, mobile(&lite));

    let mut c = 24;
    let mut total = conv(3, c, 3);
    for (c_out, n) in [(116, 4), (232, 8), (464, 4)] {
        let half = c_out / 2;
        total += depthwise(c, 3) + conv(c, half, 1) + conv(c, half, 1) + depthwise(half, 3) + conv(half, half, 1);
        total += (n - 1) * (2 * conv(half, half, 1) + depthwise(half, 3));
        c = c_out;
    }
    assert_eq!(backbone("shufflenetv2", [116, 232, 464]).0, total);

    // Kernel, hidden, output, squeeze width, stride.
    let rows = [
        [3, 16, 16, 0, 1],
        [3, 48, 24, 0, 2],
        [3, 72, 24, 0, 1],
        [5, 72, 40, 20, 2],
        [5, 120, 40, 32, 1],
        [3, 240, 80, 0, 2],
        [3, 200, 80, 0, 1],
        [3, 184, 80, 0, 1],
        [3, 184, 80, 0, 1],
        [3, 480, 112, 120, 1],
        [3, 672, 112, 168, 1],
        [5, 672, 160, 168, 2],
        [5, 960, 160, 0, 1],
        [5, 960, 160, 240, 1],
        [5, 960, 160, 0, 1],
        [5, 960, 160, 240, 1],
    ];
    let ghost = |c_in: usize, c_out: usize| conv(c_in, c_out / 2, 1) + depthwise(c_out / 2, 3);
    let (mut c, mut total) = (16, conv(3, 16, 3));
    for [kernel, hidden, c_out, squeeze, stride] in rows {
        total += ghost(c, hidden) + ghost(hidden, c_out);
        total += if stride == 2 { depthwise(hidden, kernel) } else { 0 };
        total += if squeeze > 0 { 2 * hidden * squeeze + squeeze + hidden } else { 0 };
        total += if stride == 2 || c != c_out { depthwise(c, kernel) + conv(c, c_out, 1) } else { 0 };
        c = c_out;
    }
    assert_eq!(backbone("ghostnet", [40, 112, 160]).0, total);
}
