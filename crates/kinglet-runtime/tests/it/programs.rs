//! Every model of the zoo, compiled, gives what its recorded graph gives.

use kinglet_nn::{Model, WeightsFile};
use kinglet_runtime::Detector;
use kinglet_spec::ResolveOptions;
use kinglet_tensor::{Mode, ParamKind, Session};
use std::path::{Path, PathBuf};

/// Relative to the largest value of an output.
const CLOSE: f32 = 1e-4;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn build(text: &str, name: &str, nc: usize) -> Model {
    let options = ResolveOptions { nc: Some(nc), ..Default::default() };
    let mut model = Model::from_yaml(text, name, &options).unwrap_or_else(|e| panic!("{e}"));
    model.params.initialise(3);
    // Statistics and factors that a trained model might have: a fresh model's BatchNorm would hide a wrong fold.
    let kinds: Vec<(ParamKind, bool)> =
        model.params.iter().map(|(_, p)| (p.kind, p.name.ends_with("running_var"))).collect();
    for (i, (values, (kind, variance))) in model.params.values_mut().iter_mut().zip(kinds).enumerate() {
        for (j, v) in values.iter_mut().enumerate() {
            let wave = ((i * 31 + j * 17) % 101) as f32 / 101.0 - 0.5;
            match kind {
                ParamKind::NormWeight => *v = 1.2 + 0.6 * wave,
                ParamKind::Bias => *v += 0.3 * wave,
                ParamKind::Statistic if variance => *v = 0.3 + 0.4 * wave,
                ParamKind::Statistic => *v = 0.2 * wave,
                ParamKind::Weight => {}
            }
        }
    }
    model
}

fn images([n, h, w]: [usize; 3]) -> Vec<f32> {
    (0..n * h * w * 3).map(|i| ((i * 7919 + i / 97) % 256) as f32 / 255.0).collect()
}

fn assert_close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst =
        got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, |m, d| if d.is_nan() { d } else { m.max(d) });
    assert!(worst <= CLOSE * largest, "{what}: off by {worst}, largest {largest}");
}

/// The detector's raw levels, after a comparison with the recorded graph's.
fn compare(detector: &mut Detector, size: [usize; 3], what: &str) -> Vec<Vec<f32>> {
    let images = images(size);
    let mut model = detector.model().clone();
    let recording = model.record(size[0], [size[1], size[2]]).unwrap();
    let mut session = Session::default();
    session.forward(&recording.graph, &mut model.params, &images, Mode::Evaluate);
    let raw = detector.forward(&images, size).unwrap();
    assert_eq!(raw.shapes, recording.head_shapes(), "{what}");
    for (level, (got, &want)) in raw.levels.iter().zip(recording.graph.outputs()).enumerate() {
        assert_close(got, session.value(want), &format!("{what} level {level}"));
    }
    raw.levels.iter().map(|l| l.to_vec()).collect()
}

#[test]
fn a_threshold_changes_no_row_above_it() {
    let (_, text) = models().into_iter().find(|(name, _)| name == "yolov5n").unwrap();
    let mut detector = Detector::new(build(&text, "yolov5n", 7));
    let (head, size) = (detector.model().head(), [2, 96, 160]);
    let images = images(size);
    let raw = detector.forward(&images, size).unwrap();
    let all: Vec<Vec<f32>> = (0..2).map(|i| head.decode(&raw.levels, &raw.shapes, i)).collect();
    let mut objectness: Vec<f32> = all.iter().flatten().skip(4).step_by(12).copied().collect();
    objectness.sort_by(f32::total_cmp);
    for share in [0.0, 0.5, 0.99] {
        let conf = objectness[(objectness.len() as f64 * share) as usize];
        // Other programs have left their values where class scores are not computed.
        detector.forward(&vec![0.3; images.len()], size).unwrap();
        let (rows, _) = detector.predict(&images, size, conf).unwrap();
        detector = detector.all_scores(true);
        let (every, _) = detector.predict(&images, size, conf).unwrap();
        detector = detector.all_scores(false);
        for ((rows, every), all) in rows.iter().zip(&every).zip(&all) {
            let above = |rows: &[f32]| -> Vec<f32> {
                rows.chunks_exact(12).filter(|row| row[4] > conf).flatten().copied().collect()
            };
            assert_eq!(above(rows), above(all), "above {conf}");
            assert_eq!(above(every), above(all), "all scores, above {conf}");
            assert!(!above(rows).is_empty());
        }
    }
}

fn models() -> Vec<(String, String)> {
    let mut models: Vec<(String, String)> = std::fs::read_dir(root().join("zoo/models"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap()))
        .collect();
    models.sort();
    assert!(models.len() >= 34);
    models
}

#[test]
fn every_zoo_model_agrees_with_its_recorded_graph() {
    for (name, text) in models() {
        // The largest differ from yolov5s and yolov5s6 in depth and width only.
        if ["yolov5m", "yolov5l", "yolov5x", "yolov5m6", "yolov5l6", "yolov5x6"].contains(&name.as_str()) {
            continue;
        }
        let mut model = build(&text, &name, 7);
        if model.params.learnt_values() > 20_000_000 {
            model = build(&narrow(&text), &name, 7);
        }
        let s = model.max_stride();
        let mut detector = Detector::new(model);
        for size in [[1, 2 * s, 2 * s], [2, 3 * s, 2 * s], [1, 2 * s, 5 * s]] {
            compare(&mut detector, size, &format!("{name} at {size:?}"));
        }
        // Back to the first shape: the arena has served others.
        compare(&mut detector, [1, 2 * s, 2 * s], &name);
    }
}

/// A model file with the multiples of YOLOv5n.
fn narrow(text: &str) -> String {
    let line = |line: &str| match line.split(':').next() {
        Some("depth_multiple") => "depth_multiple: 0.33\n".to_owned(),
        Some("width_multiple") => "width_multiple: 0.25\n".to_owned(),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Blocks that no zoo model has, or not in this place: a squeeze whose product two layers read, a residual around a
/// depthwise convolution, a concatenation of a concatenation, the same value twice, Focus, borders, plain poolings.
const UNUSUAL: &str = "
nc: 3
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [10, 13, 16, 30, 33, 23]
  - [30, 61, 62, 45, 59, 119]
backbone:
  - [-1, 1, Focus, [20, 3]]
  - [-1, 1, nn.ZeroPad2d, [[1, 1, 1, 1]]]
  - [-1, 1, nn.MaxPool2d, [3, 1, 0]]
  - [-1, 1, MobileNetv3, [20, 20, 3, 1, 1, 1]]
  - [-1, 1, Conv, [40, 3, 2]]
  - [-1, 1, Bottleneck, [40, True, 40, 1.0]]
  - [-1, 2, Bottleneck, [40, True, 4, 1.0]]
  - [-1, 1, BottleneckCSP, [44]]
  - [-1, 1, DWConv, [88, 3, 2]]
  - [-1, 1, SPP, [52, [3, 5]]]
head:
  - [[-1, -1], 1, Concat, [1]]
  - [[-1, 9], 1, Concat, [1]]
  - [[-1, 8], 1, Concat, [1]]
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 7], 1, Concat, [1]]
  - [-1, 1, InvertedResidual, [24, 100, 5, 1, 1, 1]]
  - [-1, 1, Conv, [24, 1, 2]]
  - [[15, 16], 1, Detect, [nc, anchors]]
";

/// Blocks whose operations have no kernels for compiled models, before and within concatenations; sums of values that
/// others read too.
const PLAIN: &str = "
nc: 3
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [10, 13, 16, 30, 33, 23]
  - [30, 61, 62, 45, 59, 119]
  - [116, 90, 156, 198, 373, 326]
backbone:
  - [-1, 1, Contract, [2]]
  - [-1, 1, GhostBottleneck, [16, 5, 2]]
  - [-1, 2, GhostBottleneck, [16, 3, 1]]
  - [-1, 1, MixConv2d, [24, [1, 3, 5], 1]]
  - [-1, 1, CrossConv, [24, 3, 1, 2, 1.0, True]]
  - [-1, 1, ShuffleNetv2, [32, 2]]
  - [-1, 2, ShuffleNetv2, [32, 1]]
  - [-1, 2, C3TR, [32]]
  - [-1, 1, C3SPP, [32, [3, 5]]]
  - [-1, 2, C3x, [40, True, 2]]
head:
  - [-1, 1, nn.ConvTranspose2d, [24, 3, 2, 1, 1]]
  - [[-1, 4], 1, Concat, [1]]
  - [7, 1, Expand, [2]]
  - [[-1, 11, 3], 1, Concat, [1]]
  - [[5, 6, 7, 9], 1, Concat, [1]]
  - [-1, 1, DWConvTranspose2d, [32, 2, 2]]
  - [-1, 1, C3Ghost, [32, False]]
  - [[-1, 13, 16], 1, Concat, [1]]
  - [-1, 1, GhostNet, [24, 36, 3, 1, 1]]
  - [-1, 1, GhostNet, [24, 36, 3, 2, 1]]
  - [-1, 2, MobileNetv2, [24, 2, 5, 1]]
  - [-1, 1, CrossConv, [24, 3, 2, 3]]
  - [-1, 1, CrossConv, [24, 5, 1, 24]]
  - [[18, 20, 22], 1, Detect, [nc, anchors]]
";

#[test]
fn unusual_graphs_agree_with_their_recording() {
    for (name, text) in [("unusual", UNUSUAL), ("plain", PLAIN)] {
        let mut detector = Detector::new(build(text, name, 3));
        for size in [[1, 64, 64], [3, 32, 96]] {
            compare(&mut detector, size, &format!("{name} at {size:?}"));
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let names = ["kinglet_small", "yolov5n", "yolov5s-transformer", "yolov5s-ghost", "shufflenetv2"];
    let small = names.map(|name| (name, [1, 128, 96]));
    // Large maps are not written between a depthwise convolution and the next.
    let large = [("yolov5_mobilenetv3", [1, 512, 512]), ("mobilenetv2", [1, 512, 544])];
    for (name, size) in small.into_iter().chain(large) {
        let text = std::fs::read_to_string(root().join("zoo/models").join(format!("{name}.yaml"))).unwrap();
        let mut detector = Detector::new(build(&text, name, 4));
        kinglet_kernels::threads::set_threads(1);
        let one = compare(&mut detector, size, name);
        for threads in [2, 3] {
            kinglet_kernels::threads::set_threads(threads);
            assert_eq!(compare(&mut detector, size, name), one, "{name} on {threads} threads");
        }
        kinglet_kernels::threads::set_threads(0);
    }
}

#[test]
fn new_values_are_used_at_once() {
    let text = std::fs::read_to_string(root().join("zoo/models/kinglet_small.yaml")).unwrap();
    let mut detector = Detector::new(build(&text, "kinglet_small", 2));
    let before = compare(&mut detector, [1, 64, 64], "before");
    let values: Vec<Vec<f32>> =
        detector.model().params.values().iter().map(|v| v.iter().map(|x| x * 0.97).collect()).collect();
    detector.set_values(&values);
    assert_ne!(compare(&mut detector, [1, 64, 64], "after"), before);
}

#[test]
fn a_size_off_the_stride_is_an_error() {
    let text = std::fs::read_to_string(root().join("zoo/models/kinglet_small.yaml")).unwrap();
    let mut detector = Detector::new(build(&text, "kinglet_small", 2));
    assert!(detector.forward(&images([1, 64, 40]), [1, 64, 40]).is_err());
}

fn golden() -> Option<PathBuf> {
    let path = root().join("../shared/golden");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no reference numbers at {}", path.display());
    None
}

fn case_text(golden: &Path, case: &str) -> (String, usize) {
    let read = |p: PathBuf| std::fs::read_to_string(&p).unwrap_or_else(|e| panic!("{}: {e}", p.display()));
    let variants = || serde_json::from_str::<serde_json::Value>(&read(golden.join("variants.json"))).unwrap();
    match case {
        "article_nc2" => (read(golden.join("article_nc2/model.yaml")), 2),
        "yolov5n_nc4" => (read(root().join("zoo/models/yolov5n.yaml")), 4),
        "yolov5n_c3_replaced_nc3" => (variants()["yolov5n_c3_replaced"].to_string(), 3),
        _ => (variants()["yolov5n_layer_added"].to_string(), 3),
    }
}

#[test]
fn raw_and_decoded_outputs_agree_with_the_reference() {
    let Some(golden) = golden() else { return };
    for case in ["article_nc2", "yolov5n_nc4", "yolov5n_c3_replaced_nc3", "yolov5n_layer_added_nc3"] {
        let (text, nc) = case_text(&golden, case);
        let mut model = build(&text, case, nc);
        let weights = WeightsFile::load(&golden.join(case).join("weights.safetensors")).unwrap();
        assert!(weights.transfer(&mut model).complete(), "{case}");
        let head = model.head();
        let mut detector = Detector::new(model);
        let reference = WeightsFile::load(&golden.join(case).join("case.safetensors")).unwrap();
        let (shape, values) = &reference.tensors["images"];
        let [n, c, h, w]: [usize; 4] = shape.as_slice().try_into().unwrap();
        let mut images = Vec::with_capacity(values.len());
        for i in 0..n {
            for pixel in 0..h * w {
                images.extend((0..c).map(|ch| values[(i * c + ch) * h * w + pixel]));
            }
        }
        let raw = detector.forward(&images, [n, h, w]).unwrap();
        for (level, got) in raw.levels.iter().enumerate() {
            let (shape, values) = &reference.tensors[&format!("eval.raw.{level}")];
            let [n, a, h, w, v]: [usize; 5] = shape.as_slice().try_into().unwrap();
            let mut want = Vec::with_capacity(values.len());
            for i in 0..n {
                for pixel in 0..h * w {
                    for anchor in 0..a {
                        want.extend_from_slice(&values[((i * a + anchor) * h * w + pixel) * v..][..v]);
                    }
                }
            }
            assert_close(got, &want, &format!("{case} level {level}"));
        }
        let decoded: Vec<f32> = (0..n).flat_map(|i| head.decode(&raw.levels, &raw.shapes, i)).collect();
        assert_close(&decoded, &reference.tensors["eval.decoded"].1, &format!("{case} decoded"));
    }
}
