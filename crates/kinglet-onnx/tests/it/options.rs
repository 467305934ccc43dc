//! What cannot be exported, and what the message says; the shape of a file.

use kinglet_nn::Model;
use kinglet_onnx::{ExportError, ExportOptions, Input, Output, Suppression, export, export_model};
use kinglet_spec::ResolveOptions;
use std::collections::HashSet;

pub const ZOO: [(&str, &str); 3] = [
    ("kinglet_small", include_str!("../../../../zoo/models/kinglet_small.yaml")),
    ("yolov5n", include_str!("../../../../zoo/models/yolov5n.yaml")),
    ("mobilenetv3_small", include_str!("../../../../zoo/models/mobilenetv3_small.yaml")),
];

pub fn model(text: &str, name: &str) -> Model {
    let options = ResolveOptions { nc: Some(3), ..Default::default() };
    let mut model = Model::from_yaml(text, name, &options).unwrap_or_else(|e| panic!("{e}"));
    model.params.initialise(1);
    model
}

#[test]
fn mistakes_are_told_before_anything_is_written() {
    let good = model(ZOO[0].1, ZOO[0].0);
    let with = |options: ExportOptions| export(&good, &options).unwrap_err().to_string();
    let base = ExportOptions { size: [64, 64], ..Default::default() };
    assert_eq!(with(ExportOptions { opset: 11, ..base.clone() }), "cannot write operator set 11; expected 12 to 17");
    assert_eq!(
        with(ExportOptions { names: vec!["a".into()], ..base.clone() }),
        "expected 3 class names, as many as the head has classes, found 1"
    );
    assert_eq!(with(ExportOptions { batch: 0, ..base.clone() }), "a batch needs at least one image, found 0");
    assert!(with(ExportOptions { size: [64, 65], ..base.clone() }).contains("found 64 x 65"));
    assert_eq!(
        with(ExportOptions { input: Input::Pictures([0, 5]), ..base.clone() }),
        "expected at least 1 for the sides of pictures, found 0"
    );
    let none = Output::Detections(Suppression { max_det: 0, ..Default::default() });
    assert_eq!(
        with(ExportOptions { output: none, ..base.clone() }),
        "expected at least 1 for the number of detections, found 0"
    );
    let mut bad = good.clone();
    let (id, name) = bad.params.iter().map(|(id, p)| (id, p.name.clone())).nth(3).unwrap();
    bad.params.get_mut(id)[0] = f32::NAN;
    assert_eq!(export(&bad, &base).unwrap_err(), ExportError::NotFinite { name });
    let options = ResolveOptions { nc: Some(3), ..Default::default() };
    let empty = Model::from_yaml(ZOO[0].1, ZOO[0].0, &options).unwrap();
    assert_eq!(export(&empty, &base).unwrap_err(), ExportError::NoValues);
}

#[test]
fn every_value_is_defined_once_and_before_its_use() {
    for (name, text) in ZOO {
        let model = model(text, name);
        for options in every_kind() {
            let graph = export_model(&model, &options).unwrap().graph;
            let mut known: HashSet<&str> = graph.inputs.iter().map(|v| v.name.as_str()).collect();
            for constant in &graph.constants {
                assert!(known.insert(&constant.name), "{name}: `{}` twice", constant.name);
            }
            let mut used = HashSet::new();
            for node in &graph.nodes {
                for input in node.inputs.iter().filter(|i| !i.is_empty()) {
                    assert!(known.contains(input.as_str()), "{name}: `{}` uses `{input}`", node.name);
                    used.insert(input.as_str());
                }
                assert!(known.insert(&node.name), "{name}: `{}` twice", node.name);
                if let Some(second) = &node.second {
                    assert!(known.insert(second), "{name}: `{second}` twice");
                    // The first output of these is there for the sake of the second.
                    used.insert(&node.name);
                }
            }
            used.extend(graph.outputs.iter().map(|v| v.name.as_str()));
            let unused: Vec<&&str> = known.iter().filter(|v| !used.contains(*v)).collect();
            assert!(unused.is_empty(), "{name}: {unused:?} serve nothing");
        }
    }
}

/// Every kind of input with every kind of output, of fixed and of free size, in the oldest and the newest set.
pub fn every_kind() -> Vec<ExportOptions> {
    let mut all = Vec::new();
    for opset in [12, 17] {
        for dynamic in [false, true] {
            for input in [Input::Floats, Input::Pictures([50, 90])] {
                for output in [
                    Output::Decoded,
                    Output::Raw,
                    Output::Detections(Suppression { conf: 0.02, max_det: 40, ..Default::default() }),
                    Output::Detections(Suppression { conf: 0.02, agnostic: true, ..Default::default() }),
                ] {
                    all.push(ExportOptions { size: [64, 96], dynamic, opset, input, output, ..Default::default() });
                }
            }
        }
    }
    all
}

#[test]
fn no_batch_norm_after_a_convolution_remains() {
    for (name, text) in ZOO {
        let options = ExportOptions { size: [64, 64], ..Default::default() };
        let graph = export_model(&model(text, name), &options).unwrap().graph;
        assert!(graph.nodes.iter().all(|n| n.op != "BatchNormalization"), "{name}");
    }
}

#[test]
fn the_decoded_output_has_yolov5s_shape() {
    let options = ExportOptions { size: [640, 640], ..Default::default() };
    let graph = export_model(&model(ZOO[1].1, ZOO[1].0), &options).unwrap().graph;
    // 3 anchors x (80^2 + 40^2 + 20^2) cells.
    assert_eq!(graph.outputs, [kinglet_onnx::proto::ValueInfo::fixed("output0", &[1, 25200, 8])]);
}

#[test]
fn free_sizes_have_names() {
    let options = ExportOptions { size: [64, 64], dynamic: true, ..Default::default() };
    let shown = |options: &ExportOptions| {
        let graph = export_model(&model(ZOO[1].1, ZOO[1].0), options).unwrap().graph;
        (graph.inputs[0].to_string(), graph.outputs[0].to_string())
    };
    let (input, output) = shown(&options);
    assert_eq!(input, "images [batch, 3, height, width]");
    assert_eq!(output, "output0 [batch, anchors, 8]");
    let output = Output::Detections(Suppression::default());
    let (input, output) = shown(&ExportOptions { input: Input::Pictures([1, 1]), output, ..options });
    assert_eq!(input, "images [batch, height, width, 3] uint8");
    assert_eq!(output, "output0 [batch, 300, 6]");
}

#[test]
fn the_file_says_what_it_is() {
    let metadata = vec![("license".to_owned(), "MIT".to_owned())];
    let output = Output::Detections(Suppression::default());
    let options = ExportOptions { size: [64, 96], output, metadata, ..Default::default() };
    let file = export_model(&model(ZOO[1].1, ZOO[1].0), &options).unwrap();
    let entry = |key: &str| file.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let expected = [
        ("stride", "32"),
        ("names", "{0: 'class0', 1: 'class1', 2: 'class2'}"),
        ("task", "detect"),
        ("imgsz", "[64, 96]"),
        ("batch", "1"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("conf", "0.25"),
        ("iou", "0.45"),
        ("max_det", "300"),
        ("agnostic_nms", "False"),
        ("license", "MIT"),
    ];
    expected.iter().for_each(|(key, value)| assert_eq!(entry(key), Some(*value), "{key}"));
}
