//! Every model of the zoo is read without a word, has a header, and has the strides that its comments say.

use crate::registry::{OTHERS, REGISTRY};
use kinglet_spec::{ResolveOptions, resolve};
use std::fs;
use std::path::Path;

#[test]
fn every_zoo_model_resolves() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../zoo/models");
    let registry = [REGISTRY, OTHERS].concat();
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the zoo") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        count += 1;
        let file = path.display().to_string();
        let text = fs::read_to_string(&path).expect("a text");
        let graph = resolve(&text, &file, &registry, &ResolveOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        assert!(graph.warnings.is_empty(), "{file}: {}", graph.warnings[0]);
        assert_eq!(graph.nc, 80, "{file}");
        let anchors = text.lines().filter_map(|l| l.strip_prefix("  - [")?.rsplit_once("] # P")?.1.split_once('/'));
        let levels: Vec<usize> = anchors.map(|(_, stride)| stride.parse().expect("a stride")).collect();
        if !graph.placeholder_anchors {
            let levels = &levels[..graph.head_strides.len()];
            assert_eq!(graph.head_strides, levels, "{file}: levels of the anchors");
        }
        assert_eq!(graph.name, path.file_stem().expect("a stem").to_string_lossy());
        let header: Vec<&str> = text.lines().take(3).collect();
        assert!(header.iter().all(|l| l.starts_with("# ")), "{file} has no header");
        assert!(header[1].contains("parameters") && header[1].contains("GFLOP"), "{file}: {}", header[1]);
        for layer in &graph.layers {
            let line = text.lines().nth(layer.location.line - 1).expect("the row's line");
            let comment = line.rsplit_once("# ").expect("a comment").1;
            let mut words = comment.split(' ');
            assert_eq!(words.next(), Some(layer.index.to_string().as_str()), "{file}: {line}");
            if let Some(level) = words.next() {
                let stride = level.split_once('/').expect("level and stride").1;
                assert_eq!(stride, layer.stride.to_string(), "{file}: {line}");
            }
        }
    }
    assert!(count >= 34, "only {count} models");
}

#[test]
fn sizes_n_to_x_have_yolov5s_channels_and_repeats() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../zoo/models");
    // Channels of P5 and repeats of layers 2, 4, 6 (3, 6 and 9 in the file).
    for (size, channels, repeats) in [
        ("n", 256, [1, 2, 3]),
        ("s", 512, [1, 2, 3]),
        ("m", 768, [2, 4, 6]),
        ("l", 1024, [3, 6, 9]),
        ("x", 1280, [4, 8, 12]),
    ] {
        let text = fs::read_to_string(folder.join(format!("yolov5{size}.yaml"))).expect("a model");
        let graph = resolve(&text, "zoo", REGISTRY, &ResolveOptions::default()).expect("a graph");
        assert_eq!(graph.layers[23].output.channels, channels, "{size}");
        assert_eq!([2, 4, 6].map(|l: usize| graph.layers[l].number), repeats, "{size}");
    }
}
