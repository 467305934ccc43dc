//! Changes to model files: the models that the MobileNetV3 tutorial has its readers make by hand, and every head of the zoo on
//! every light backbone.
//!
//! Oracle: `shared/golden/variants.json` (rows) and the weights beside it (parameters by name and shape).

use crate::golden::golden;
use kinglet_nn::zoo::MODELS;
use kinglet_nn::{Model, Summary, WeightsFile, edit};
use kinglet_spec::{Edit, GraphSpec, ResolveOptions, Source};
use kinglet_tensor::{Mode, Session};

const LIGHT: [&str; 9] = [
    "efficientnet_lite0",
    "ghostnet",
    "kinglet_large",
    "kinglet_small",
    "mobilenetv2",
    "mobilenetv3_large",
    "mobilenetv3_small",
    "shufflenetv2",
    "yolov5_mobilenetv3",
];

fn zoo(name: &str) -> &'static str {
    MODELS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn change(text: &str, change: Edit<'_>) -> GraphSpec {
    edit(text, "my.yaml", &ResolveOptions::default(), &change).unwrap_or_else(|e| panic!("{e}"))
}

/// Block, number, arguments and inputs of a layer.
type Essence<'a> = (&'a str, usize, &'a str, &'a [Source]);

fn essence(spec: &GraphSpec) -> Vec<Essence<'_>> {
    spec.layers.iter().map(|l| (l.block, l.number, &l.args_text[..], &l.inputs[..])).collect()
}

#[test]
fn the_tutorials_two_changes_give_its_models() {
    let Some(golden) = golden() else { return };
    let variants = std::fs::read_to_string(golden.join("variants.json")).unwrap();
    let variants: serde_json::Value = serde_json::from_str(&variants).unwrap();
    let replaced = Edit::Replace { row: 6, number: 1, with: "MobileNetv3 [512, 1024, 5, 1, 1, 1]" };
    let inserted = Edit::Insert { at: 9, number: 1, with: "MobileNetv3 [1024, 960, 3, 1, 1, 1]" };
    for (name, made) in [("yolov5n_c3_replaced", replaced), ("yolov5n_layer_added", inserted)] {
        let spec = change(zoo("yolov5n"), made);
        let options = ResolveOptions { nc: Some(3), ..Default::default() };
        let want = Model::from_yaml(&variants[name].to_string(), name, &options).unwrap_or_else(|e| panic!("{e}"));
        let mut got = Model::from_yaml(&spec.yaml, name, &options).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(essence(&got.spec), essence(&want.spec), "{name}");
        assert_eq!(got.spec.layers.iter().map(|l| &l.from).collect::<Vec<_>>(), {
            want.spec.layers.iter().map(|l| &l.from).collect::<Vec<_>>()
        });
        // The reference's weights fit, tensor by tensor.
        got.params.initialise(0);
        let weights = WeightsFile::load(&golden.join(format!("{name}_nc3/weights.safetensors"))).unwrap();
        let transfer = weights.transfer(&mut got);
        assert!(transfer.complete(), "{name}: {transfer:?}");
    }
}

/// The zoo's two models of this kind were written by hand.
#[test]
fn the_zoos_variants_are_what_the_changes_give() {
    let replaced = Edit::Replace { row: 6, number: 1, with: "MobileNetv3 [512, 1024, 5, 1, 1, 1]" };
    let inserted = Edit::Insert { at: 9, number: 1, with: "MobileNetv3 [1024, 960, 3, 1, 1, 1]" };
    for (name, made) in [("yolov5n_mobilenetv3_c3", replaced), ("yolov5n_mobilenetv3_added", inserted)] {
        let want = Model::from_yaml(zoo(name), name, &ResolveOptions::default()).unwrap();
        assert_eq!(essence(&change(zoo("yolov5n"), made)), essence(&want.spec), "{name}");
    }
}

/// Both have the head of `yolov5_mobilenetv3`; 3,761,437 is the reference's count of the paper's small backbone under it.
#[test]
fn swapping_light_backbones_gives_the_zoos_models() {
    for (name, params) in [("mobilenetv3_small", 3_761_437), ("yolov5_mobilenetv3", 5_416_699)] {
        for host in ["ghostnet", "mobilenetv3_large", "yolov5_mobilenetv3"] {
            let spec = change(zoo(host), Edit::Backbone { text: zoo(name), file: name });
            let want = Model::from_yaml(zoo(name), name, &ResolveOptions::default()).unwrap();
            assert_eq!(essence(&spec), essence(&want.spec), "{name} in {host}");
            assert_eq!(Summary::new(&Model::new(spec)).params, params, "{name} in {host}");
        }
    }
}

#[test]
fn every_head_of_the_zoo_runs_on_every_light_backbone_that_has_its_levels() {
    let (mut ran, mut too_coarse) = (0, 0);
    for (host, text) in MODELS {
        let levels = Model::from_yaml(text, host, &ResolveOptions::default()).unwrap().spec.head_strides.clone();
        for backbone in LIGHT {
            let made = Edit::Backbone { text: zoo(backbone), file: backbone };
            let spec = match edit(text, host, &ResolveOptions::default(), &made) {
                Ok(spec) => spec,
                Err(error) => {
                    assert!(levels.iter().any(|stride| *stride > 32), "{backbone} under {host}: {error}");
                    assert!(error.to_string().contains("has no level P"), "{error}");
                    too_coarse += 1;
                    continue;
                }
            };
            assert_eq!(spec.head_strides, levels, "{backbone} under {host}");
            assert!(spec.warnings.is_empty(), "{backbone} under {host}: {}", spec.warnings[0]);
            // The same head in a larger size computes nothing else, only longer.
            if ["yolov5m", "yolov5l", "yolov5x"].contains(host) {
                continue;
            }
            let mut model = Model::new(spec);
            model.params.initialise(0);
            let side = model.max_stride();
            let recording = model.record(1, [side; 2]).unwrap();
            let mut session = Session::default();
            session.forward(&recording.graph, &mut model.params, &vec![0.5; 3 * side * side], Mode::Evaluate);
            for &level in recording.graph.outputs() {
                assert!(session.value(level).iter().all(|v| v.is_finite()), "{backbone} under {host}");
            }
            ran += 1;
        }
    }
    assert!(ran >= 200 && too_coarse == LIGHT.len() * 7, "{ran} ran, {too_coarse} were refused");
}
