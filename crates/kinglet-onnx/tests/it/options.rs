//! What cannot be exported, and what the message says; the shape of a file.

use kinglet_nn::Model;
use kinglet_onnx::{ExportError, ExportOptions, export, export_model};
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
        for decode in [true, false] {
            let options = ExportOptions { size: [64, 64], decode, ..Default::default() };
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
            }
            used.extend(graph.outputs.iter().map(|v| v.name.as_str()));
            let unused: Vec<&&str> = known.iter().filter(|v| !used.contains(*v)).collect();
            assert!(unused.is_empty(), "{name}: {unused:?} serve nothing");
        }
    }
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
