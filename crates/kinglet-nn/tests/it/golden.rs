//! Layer outputs, decoded boxes and batch statistics of four models against PyTorch.

use kinglet_nn::{Model, WeightsFile};
use kinglet_spec::ResolveOptions;
use kinglet_tensor::{Mode, Session, Shape};
use std::path::PathBuf;

/// Layer outputs, relative to the layer's largest value.
const LAYER: f32 = 1e-4;

/// The folder of reference numbers, where it is present.
pub(crate) fn golden() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no reference numbers at {}", path.display());
    None
}

const CASES: [&str; 4] = ["article_nc2", "yolov5n_nc4", "yolov5n_c3_replaced_nc3", "yolov5n_layer_added_nc3"];

fn model_text(golden: &std::path::Path, case: &str) -> (String, usize) {
    let read = |p: PathBuf| std::fs::read_to_string(&p).unwrap_or_else(|e| panic!("{}: {e}", p.display()));
    let variants = || serde_json::from_str::<serde_json::Value>(&read(golden.join("variants.json"))).unwrap();
    match case {
        "article_nc2" => (read(golden.join("article_nc2/model.yaml")), 2),
        "yolov5n_nc4" => (read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../zoo/models/yolov5n.yaml")), 4),
        "yolov5n_c3_replaced_nc3" => (variants()["yolov5n_c3_replaced"].to_string(), 3),
        _ => (variants()["yolov5n_layer_added"].to_string(), 3),
    }
}

fn load(case: &str) -> Option<(Model, WeightsFile)> {
    let golden = golden()?;
    let (text, nc) = model_text(&golden, case);
    let options = ResolveOptions { nc: Some(nc), ..Default::default() };
    let mut model = Model::from_yaml(&text, case, &options).unwrap_or_else(|e| panic!("{e}"));
    model.params.initialise(0);
    let weights = WeightsFile::load(&golden.join(case).join("weights.safetensors")).unwrap();
    let report = weights.transfer(&mut model);
    assert!(report.complete(), "{case}: {report:?}");
    let unexpected: Vec<_> =
        report.unexpected.iter().filter(|n| !n.ends_with("anchors") && !n.ends_with("num_batches_tracked")).collect();
    assert!(unexpected.is_empty(), "{case}: {unexpected:?}");
    Some((model, WeightsFile::load(&golden.join(case).join("case.safetensors")).unwrap()))
}

/// NCHW to NHWC.
pub(crate) fn to_nhwc(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let [n, c, h, w] = shape.try_into().unwrap();
    let mut out = Vec::with_capacity(values.len());
    for i in 0..n {
        for pixel in 0..h * w {
            out.extend((0..c).map(|ch| values[(i * c + ch) * h * w + pixel]));
        }
    }
    out
}

/// `[n, anchors, h, w, values]` of the reference to our `[n, h, w, anchors x values]`.
fn raw_to_nhwc(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let [n, a, h, w, v] = shape.try_into().unwrap();
    let mut out = Vec::with_capacity(values.len());
    for i in 0..n {
        for pixel in 0..h * w {
            for anchor in 0..a {
                out.extend_from_slice(&values[((i * a + anchor) * h * w + pixel) * v..][..v]);
            }
        }
    }
    out
}

pub(crate) fn assert_close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let (at, difference) = got
        .iter()
        .zip(want)
        .map(|(g, w)| (g - w).abs())
        .enumerate()
        .fold((0, 0f32), |m, (i, d)| if d > m.1 || d.is_nan() { (i, d) } else { m });
    assert!(
        difference <= tolerance * largest,
        "{what}: {} instead of {} at {at}, largest {largest}",
        got[at],
        want[at]
    );
}

#[test]
fn every_layer_agrees_in_evaluation_mode() {
    for case in CASES {
        let Some((mut model, reference)) = load(case) else { return };
        let (shape, images) = &reference.tensors["images"];
        let recording = model.record(shape[0], [shape[2], shape[3]]).unwrap();
        let mut session = Session::keeping_values();
        session.forward(&recording.graph, &mut model.params, &to_nhwc(images, shape), Mode::Evaluate);
        let mut compared = 0;
        for (index, &var) in recording.layers.iter().enumerate() {
            if let Some((shape, want)) = reference.tensors.get(&format!("eval.layer.{index}")) {
                assert_close(session.value(var), &to_nhwc(want, shape), LAYER, &format!("{case} layer {index}"));
                compared += 1;
            }
        }
        assert_eq!(compared, recording.layers.len() - 1, "{case}: every layer but the head");
        for (level, &var) in recording.graph.outputs().iter().enumerate() {
            let (shape, want) = &reference.tensors[&format!("eval.raw.{level}")];
            assert_close(session.value(var), &raw_to_nhwc(want, shape), LAYER, &format!("{case} level {level}"));
        }
        let raw: Vec<&[f32]> = recording.graph.outputs().iter().map(|&v| session.value(v)).collect();
        let head = model.head();
        let decoded: Vec<f32> = (0..shape[0]).flat_map(|i| head.decode(&raw, &recording.head_shapes(), i)).collect();
        assert_close(&decoded, &reference.tensors["eval.decoded"].1, LAYER, &format!("{case} decoded"));
    }
}

#[test]
fn batch_statistics_agree_in_training_mode() {
    for case in CASES {
        let Some((mut model, reference)) = load(case) else { return };
        let (shape, images) = &reference.tensors["images"];
        let recording = model.record(shape[0], [shape[2], shape[3]]).unwrap();
        let mut session = Session::default();
        session.forward(&recording.graph, &mut model.params, &to_nhwc(images, shape), Mode::TRAIN);
        for (level, &var) in recording.graph.outputs().iter().enumerate() {
            let (shape, want) = &reference.tensors[&format!("train.raw.{level}")];
            assert_close(session.value(var), &raw_to_nhwc(want, shape), LAYER, &format!("{case} level {level}"));
        }
        let mut compared = 0;
        for (name, (_, want)) in reference.tensors.iter().filter(|(n, _)| n.starts_with("train.stats.")) {
            let id = model.params.find(&name["train.stats.".len()..]).unwrap_or_else(|| panic!("{case}: {name}"));
            assert_close(model.params.get(id), want, LAYER, &format!("{case} {name}"));
            compared += 1;
        }
        assert!(compared > 10, "{case}: {compared} statistics");
    }
}

#[test]
fn a_batch_gives_what_its_images_give_alone() {
    let Some((mut model, reference)) = load("article_nc2") else { return };
    let (shape, images) = &reference.tensors["images"];
    let images = to_nhwc(images, shape);
    let size = [shape[2], shape[3]];
    let one = Shape::new(1, size[0], size[1], 3).len();
    let mut session = Session::default();
    let both = model.record(2, size).unwrap();
    session.forward(&both.graph, &mut model.params, &images, Mode::Evaluate);
    let both: Vec<Vec<f32>> = both.graph.outputs().iter().map(|&v| session.value(v).to_vec()).collect();
    let alone = model.record(1, size).unwrap();
    for image in 0..2 {
        session.forward(&alone.graph, &mut model.params, &images[image * one..][..one], Mode::Evaluate);
        for (level, &var) in alone.graph.outputs().iter().enumerate() {
            let value = session.value(var);
            let part = &both[level][image * value.len()..][..value.len()];
            assert_close(value, part, 1e-6, &format!("image {image} level {level}"));
        }
    }
}
