//! What each fuzzer calls with arbitrary bytes, and what must hold of the answer beyond its being one.
//!
//! The fuzzers and the test that replays their corpora include this file.

#![allow(dead_code, reason = "a fuzzer calls one of the entries")]

use kinglet::data::Severity;
use kinglet::data::formats::{coco, data_yaml, voc};
use kinglet::data::labels::{Label, parse_labels};
use kinglet::data::pixel_box::Checked;
use kinglet::nn::{Model, WeightsFile};
use kinglet::spec::{Edit, ResolveOptions};
use std::path::Path;

/// Longest input: nothing that a reader does differently shows in more.
const LONGEST: usize = 1 << 16;

/// PyTorch's archives and old files, the pickle in them, and the model file in that.
pub fn pytorch(bytes: &[u8]) {
    weights(bytes);
}

/// Safetensors, and the header that Kinglet writes into them.
pub fn safetensors(bytes: &[u8]) {
    weights(bytes);
}

fn weights(bytes: &[u8]) {
    let path = Path::new("fuzzed");
    if bytes.len() > LONGEST {
        return;
    }
    let Ok(file) = WeightsFile::parse(bytes, path) else { return };
    for (name, (shape, values)) in &file.tensors {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        // One number for each byte, at the most.
        assert!(values.len() <= bytes.len(), "{name} has {} numbers from {} bytes", values.len(), bytes.len());
    }
    if let Some(model) = file.torch.as_ref().and_then(|info| info.model.as_ref()) {
        model_file(model.yaml.as_bytes());
    }
    if let Ok(header) = kinglet::train::checkpoint::header(&file, path) {
        model_file(header.model_yaml.as_bytes());
    }
}

/// Model files, and what is written of them after a change.
pub fn model_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.len() > LONGEST {
        return;
    }
    let options = ResolveOptions { image: [64; 2], ..Default::default() };
    let graph = match kinglet::nn::resolve(text, "fuzzed.yaml", &options) {
        Err(error) => {
            assert!(error.to_string().starts_with("error: "), "{error}");
            return;
        }
        Ok(graph) => graph,
    };
    let layers = graph.layers.len();
    if graph.layers.iter().map(|layer| layer.planned.len()).sum::<usize>() > 200 {
        return;
    }
    // Inserting a 1x1 maximum before the head leaves everything else as it is; the text is read again by `edit`.
    let change = Edit::Insert { at: layers - 1, number: 1, with: "nn.MaxPool2d [1, 1, 0]" };
    let changed = kinglet::nn::edit(text, "fuzzed.yaml", &options, &change).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let shapes = |graph: &kinglet::spec::GraphSpec| {
        graph.layers.iter().filter(|l| l.index + 1 != layers).map(|l| l.output).collect::<Vec<_>>()
    };
    assert_eq!(shapes(&changed)[..layers - 1], shapes(&graph)[..layers - 1], "{text}\n{}", changed.yaml);
    let _ = Model::new(graph);
}

/// `data.yaml`.
pub fn data_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.len() > LONGEST {
        return;
    }
    if let Err(error) = data_yaml::parse(text, Path::new("fuzzed.yaml")) {
        assert!(error.to_string().contains("fuzzed.yaml"), "{error}");
    }
}

/// Label files.
pub fn labels(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    for (nc, single) in [(Some(3), false), (None, true)] {
        let (labels, findings) = parse_labels(bytes, Path::new("fuzzed.txt"), nc, single);
        labels_hold(&labels, nc);
        let lines = bytes.split(|b| matches!(b, b'\n' | b'\r')).filter(|l| !l.trim_ascii().is_empty()).count();
        let dropped = findings.iter().filter(|f| f.severity == Severity::Dropped).count();
        assert!(labels.len() <= lines && dropped <= lines, "{lines} lines, {} labels, {dropped} dropped", labels.len());
    }
}

/// Boxes of some width and height with their middle in the image, of classes that there are.
fn labels_hold(labels: &[Label], nc: Option<usize>) {
    for label in labels {
        assert!(nc.is_none_or(|nc| label.class < nc), "{label:?}");
        box_holds(label.cxcywh);
        assert!(label.polygon.iter().flatten().flatten().all(|v| (0.0..=1.0).contains(v)), "{label:?}");
    }
}

fn box_holds([cx, cy, w, h]: [f32; 4]) {
    assert!([cx, cy].iter().all(|v| (0.0..=1.0).contains(v)), "{cx} {cy}");
    assert!([w, h].iter().all(|v| *v > 0.0 && *v <= 1.0), "{w} {h}");
}

fn checked_holds(checked: &Checked, nc: usize) {
    labels_hold(&checked.labels, Some(nc));
    assert_eq!(checked.labels.len(), checked.lines.len());
    checked.ignored.iter().for_each(|region| {
        assert!(region.class < nc, "{region:?}");
        box_holds(region.cxcywh);
    });
}

/// COCO JSON. An image `Cargo.toml` is found in the folder that fuzzers and tests are started in.
pub fn coco(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.len() > LONGEST {
        return;
    }
    let file = Path::new("fuzzed.json");
    let names = match coco::parse_names(text, file) {
        Ok(names) => names,
        Err(error) => {
            assert!(error.to_string().contains("fuzzed.json"), "{error}");
            assert!(coco::parse(text, file, &[], &[], true).is_err(), "classes are refused, the rest is not");
            return;
        }
    };
    assert!(!names.is_empty() && names.iter().all(|name| !name.trim().is_empty()), "{names:?}");
    let lines = text.matches('\n').count() + 1;
    for (single, nc) in [(false, names.len()), (true, 1)] {
        let Ok(found) = coco::parse(text, file, &names, &[], single) else { continue };
        assert!(found.findings.iter().all(|f| f.line.is_some_and(|line| (1..=lines).contains(&line))));
        for image in &found.images {
            let checked = image.checked(file, (64, 48));
            assert!(checked.labels.len() + checked.ignored.len() <= image.boxes.len());
            checked_holds(&checked, nc);
        }
    }
}

/// VOC XML.
pub fn voc(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.len() > LONGEST {
        return;
    }
    let names = ["cat", "dog"].map(str::to_owned);
    for (single, nc) in [(false, names.len()), (true, 1)] {
        match voc::parse(text, Path::new("fuzzed.xml"), &names, single, (64, 48)) {
            Ok(checked) => {
                assert!(checked.labels.len() + checked.ignored.len() <= text.matches("<object").count());
                checked_holds(&checked, nc);
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
}
