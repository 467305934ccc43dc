//! Backbones of torchvision and timm, matched by their structure.

use crate::golden::{assert_close, golden, to_nhwc};
use kinglet_nn::{Model, TorchInfo, WeightsFile};
use kinglet_spec::ResolveOptions;
use kinglet_tensor::{Mode, Session};
use std::path::PathBuf;

fn built_in(name: &str) -> Model {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../zoo/models/{name}.yaml"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut model = Model::from_yaml(&text, name, &ResolveOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    model.params.initialise(0);
    model
}

#[test]
fn features_of_torchvision_are_reproduced() {
    let Some(golden) = golden() else { return };
    let folder = golden.join("torchvision");
    let weights = WeightsFile::load(&folder.join("mobilenet_v3_small.pth")).unwrap();
    let reference = WeightsFile::load(&folder.join("mobilenet_v3_small.safetensors")).unwrap();
    for name in ["mobilenetv3_small", "kinglet_small"] {
        let mut model = built_in(name);
        let report = weights.clone().transfer(&mut model);
        let in_backbone = |name: &String| model.layer_of(name).is_some_and(|layer| layer < model.spec.backbone_len);
        assert!(report.by_structure && report.mismatched.is_empty());
        assert!(report.loaded.iter().all(in_backbone) && !report.missing.iter().any(in_backbone));
        assert_eq!(report.total(), model.params.iter().count());
        // The last 1x1 convolution (5) and the classifier (4) are not part of the detector.
        assert_eq!(report.unexpected.len(), 9, "{:?}", report.unexpected);
        let (shape, images) = &reference.tensors["images"];
        let recording = model.record(shape[0], [shape[2], shape[3]]).unwrap();
        let mut session = Session::keeping_values();
        session.forward(&recording.graph, &mut model.params, &to_nhwc(images, shape), Mode::Evaluate);
        for layer in 0..model.spec.backbone_len {
            let (shape, want) = &reference.tensors[&format!("features.{layer}")];
            let what = format!("{name} features.{layer}");
            assert_close(session.value(recording.layers[layer]), &to_nhwc(want, shape), 1e-4, &what);
        }
    }
}

#[test]
fn a_state_dict_of_another_size_is_told_and_changes_nothing() {
    let Some(golden) = golden() else { return };
    let weights = WeightsFile::load(&golden.join("torchvision/mobilenet_v3_small.pth")).unwrap();
    let mut model = built_in("mobilenetv3_large");
    let before = model.params.values().to_vec();
    let report = weights.clone().transfer(&mut model);
    assert!(report.by_structure && report.loaded.is_empty());
    let (name, found, expected) = &report.mismatched[0];
    // The first block of Small squeezes 16 channels to 8, that of Large does not.
    assert_eq!((name.as_str(), found[0], expected[0]), ("features.1.block.1.fc1.weight", 8, 16));
    assert_eq!(model.params.values(), before);
    assert!(!weights.transfer(&mut built_in("yolov5n")).by_structure);
}

/// timm's names for our backbone: `conv_stem`, `bn1`, then `blocks.STAGE.BLOCK` with named convolutions. A stage begins with
/// each change of channels.
fn timm_names(model: &Model) -> Vec<(String, String)> {
    let mut names = Vec::new();
    let (mut stage, mut block, mut channels) = (0, 0, 0);
    for layer in 0..model.spec.backbone_len {
        let prefix = format!("model.{layer}.");
        let own: Vec<String> =
            model.params.iter().map(|(_, p)| p.name.clone()).filter(|name| name.starts_with(&prefix)).collect();
        if layer == 0 {
            let stem = |name: &str| name.replace("model.0.conv", "conv_stem").replace("model.0.bn", "bn1");
            names.extend(own.iter().map(|name| (stem(name), name.clone())));
            continue;
        }
        let output = model.spec.layers[layer].output.channels;
        (stage, block) = if layer == 1 {
            (0, 0)
        } else if output == channels && model.spec.layers[layer].stride == model.spec.layers[layer - 1].stride {
            (stage, block + 1)
        } else {
            (stage + 1, 0)
        };
        channels = output;
        let squeezes = own.iter().any(|name| name.contains("fc1"));
        let parts = own.iter().filter(|name| name.ends_with("1.running_mean")).count();
        let convolutions = if parts == 3 { &["conv_pw", "conv_dw", "conv_pwl"][..] } else { &["conv_dw", "conv_pw"] };
        let mut number = 0;
        for (i, convolution) in convolutions.iter().enumerate() {
            if squeezes && i + 1 == convolutions.len() {
                for (ours, theirs) in [("fc1", "conv_reduce"), ("fc2", "conv_expand")] {
                    for leaf in ["weight", "bias"] {
                        let name = format!("{prefix}block.{number}.{ours}.{leaf}");
                        names.push((format!("blocks.{stage}.{block}.se.{theirs}.{leaf}"), name));
                    }
                }
                number += 1;
            }
            let at = format!("blocks.{stage}.{block}");
            names.push((format!("{at}.{convolution}.weight"), format!("{prefix}block.{number}.0.weight")));
            for leaf in ["weight", "bias", "running_mean", "running_var"] {
                names.push((format!("{at}.bn{}.{leaf}", i + 1), format!("{prefix}block.{number}.1.{leaf}")));
            }
            number += 1;
        }
    }
    names
}

#[test]
fn names_of_timm_find_their_places() {
    for size in ["mobilenetv3_small", "mobilenetv3_large"] {
        let mut model = built_in(size);
        let names = timm_names(&model);
        let mut file = WeightsFile::default();
        let mut order = Vec::new();
        for (number, (theirs, ours)) in names.iter().enumerate() {
            let id = model.params.find(ours).unwrap_or_else(|| panic!("{ours}"));
            let len = model.params.get(id).len();
            let shape = model.params.iter().nth(id.index()).unwrap().1.shape.clone();
            // Every tensor has a value of its own.
            file.insert(theirs, &shape, &vec![number as f32; len]);
            order.push(theirs.clone());
        }
        file.insert("classifier.weight", &[1000, 1280], &vec![0.0; 1_280_000]);
        order.push("classifier.weight".into());
        file.torch = Some(TorchInfo { order, ..TorchInfo::default() });
        let report = file.transfer(&mut model);
        assert_eq!(
            (report.loaded.len(), report.unexpected.as_slice()),
            (names.len(), &["classifier.weight".into()][..])
        );
        for (number, (_, ours)) in names.iter().enumerate() {
            let id = model.params.find(ours).unwrap();
            assert!(model.params.get(id).iter().all(|&v| v == number as f32), "{size} {ours}");
        }
    }
}

/// torchvision's MobileNetV2 and ShuffleNetV2 have our names within a block, and each convolution before its BatchNorm.
#[test]
fn names_of_torchvision_find_their_places() {
    for (name, blocks) in [("mobilenetv2", 17), ("shufflenetv2", 16)] {
        let mut model = built_in(name);
        let backbone = |p: &str| model.layer_of(p).is_some_and(|layer| layer < model.spec.backbone_len);
        let ours: Vec<(String, Vec<usize>)> = model
            .params
            .iter()
            .filter(|(_, p)| backbone(&p.name))
            .map(|(_, p)| (p.name.clone(), p.shape.clone()))
            .collect();
        let mut file = WeightsFile::default();
        let mut order = Vec::new();
        // Ours are declared BatchNorm first: four tensors, then the convolution's.
        let units = ours.chunks_exact(5).flat_map(|unit| std::iter::once(&unit[4]).chain(&unit[..4]));
        for (number, (ours, shape)) in units.enumerate() {
            let theirs = ours.replacen("model.", "features.", 1);
            file.insert(&theirs, shape, &vec![number as f32; shape.iter().product()]);
            order.push(theirs);
        }
        file.torch = Some(TorchInfo { order: order.clone(), ..TorchInfo::default() });
        let report = file.transfer(&mut model);
        assert!(report.by_structure && report.mismatched.is_empty(), "{name}");
        assert_eq!((report.loaded.len(), report.unexpected.len()), (ours.len(), 0), "{name}");
        for (number, theirs) in order.iter().enumerate() {
            let id = model.params.find(&theirs.replacen("features.", "model.", 1)).unwrap();
            assert!(model.params.get(id).iter().all(|&v| v == number as f32), "{name} {theirs}");
        }
        let stacked: usize = model.spec.layers[..model.spec.backbone_len].iter().map(|l| l.number).sum();
        // The stem, and ShuffleNet's pooling, are rows too.
        assert_eq!(stacked, blocks + if name == "shufflenetv2" { 2 } else { 1 });
    }
}
