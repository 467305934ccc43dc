//! Exports run by ONNX Runtime, against outputs of the reference implementation.
//!
//! Needs the reference data beside the repository, and a Python with `numpy` and `onnxruntime`: `python3`, or the one that
//! the variable `KINGLET_PYTHON` names. Skips with a message where either is absent.

use crate::options::model;
use crate::same_as_engine::RARE_BLOCKS;
use kinglet_nn::{Model, WeightsFile};
use kinglet_onnx::{ExportOptions, Input, Output, Suppression, export};
use kinglet_runtime::{Detector, Fit};
use kinglet_spec::ResolveOptions;
use kinglet_tensor::{Mode, Session};
use kinglet_vision::{Image, NmsOptions, iou};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Largest difference, relative to the largest value of the output.
const TOLERANCE: f32 = 1e-4;

/// Runs `model.onnx` on `images.bin` of the given shape; writes each output to `<name>.bin`, and prints what the file says
/// of itself.
const RUN: &str = "
import sys, os, numpy as np, onnxruntime as ort
folder = sys.argv[1]
session = ort.InferenceSession(os.path.join(folder, 'model.onnx'), providers=['CPUExecutionProvider'])
image = session.get_inputs()[0]
kind = np.uint8 if image.type == 'tensor(uint8)' else np.float32
values = np.fromfile(os.path.join(folder, 'images.bin'), kind).reshape([int(n) for n in sys.argv[2:]] or image.shape)
for out, value in zip(session.get_outputs(), session.run(None, {image.name: values})):
    assert all(isinstance(n, str) or n == m for n, m in zip(out.shape, value.shape)), (value.shape, out.shape)
    value.astype(np.float32).tofile(os.path.join(folder, out.name + '.bin'))
meta = session.get_modelmeta().custom_metadata_map
print(image.name, image.shape, [o.name for o in session.get_outputs()], meta['stride'], eval(meta['names']))
";

/// A Python that can run ONNX files.
pub fn python() -> Option<String> {
    let python = std::env::var("KINGLET_PYTHON").unwrap_or_else(|_| "python3".into());
    let check = Command::new(&python).args(["-c", "import numpy, onnxruntime"]).output();
    if check.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: `{python}` has no onnxruntime; set KINGLET_PYTHON to one that has");
    None
}

fn golden() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no reference numbers at {}", path.display());
    None
}

fn model_text(golden: &Path, case: &str) -> (String, usize) {
    let read = |p: PathBuf| std::fs::read_to_string(&p).unwrap_or_else(|e| panic!("{}: {e}", p.display()));
    let variants = || serde_json::from_str::<serde_json::Value>(&read(golden.join("variants.json"))).unwrap();
    match case {
        "article_nc2" => (read(golden.join("article_nc2/model.yaml")), 2),
        "yolov5n_nc4" => (read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../zoo/models/yolov5n.yaml")), 4),
        "yolov5n_c3_replaced_nc3" => (variants()["yolov5n_c3_replaced"].to_string(), 3),
        _ => (variants()["yolov5n_layer_added"].to_string(), 3),
    }
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Exports and runs one model; gives what Python printed.
pub fn run(python: &str, folder: &Path, model: &Model, options: &ExportOptions, images: &[f32]) -> String {
    std::fs::write(folder.join("model.onnx"), export(model, options).unwrap()).unwrap();
    let bytes: Vec<u8> = images.iter().flat_map(|v| v.to_le_bytes()).collect();
    run_file(python, folder, &bytes, &[])
}

/// Runs `model.onnx` of the folder.
fn run_file(python: &str, folder: &Path, images: &[u8], shape: &[usize]) -> String {
    std::fs::write(folder.join("images.bin"), images).unwrap();
    let shape = shape.iter().map(usize::to_string);
    let output = Command::new(python).args(["-c", RUN]).arg(folder).args(shape).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn assert_close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let difference = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
    assert!(difference <= TOLERANCE * largest && !got.iter().any(|v| v.is_nan()), "{what}: off by {difference}");
    eprintln!("{what}: off by {:.1e} of the largest value", difference / largest);
}

/// `[n, a, h, w, v]` of the reference to the export's `[n, a v, h, w]`.
fn raw_to_nchw(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let [n, a, h, w, v] = shape.try_into().unwrap();
    let mut out = Vec::with_capacity(values.len());
    for map in 0..n * a {
        for k in 0..v {
            out.extend((0..h * w).map(|pixel| values[(map * h * w + pixel) * v + k]));
        }
    }
    out
}

#[test]
fn onnx_runtime_gives_the_reference_boxes() {
    let (Some(golden), Some(python)) = (golden(), python()) else { return };
    for (case, opsets) in [
        ("article_nc2", &[12, 13, 14, 17][..]),
        ("yolov5n_nc4", &[12, 17]),
        ("yolov5n_c3_replaced_nc3", &[17]),
        ("yolov5n_layer_added_nc3", &[17]),
    ] {
        let (text, nc) = model_text(&golden, case);
        let options = ResolveOptions { nc: Some(nc), ..Default::default() };
        let mut model = Model::from_yaml(&text, case, &options).unwrap_or_else(|e| panic!("{e}"));
        model.params.initialise(0);
        let weights = WeightsFile::load(&golden.join(case).join("weights.safetensors")).unwrap();
        assert!(weights.transfer(&mut model).complete());
        let reference = WeightsFile::load(&golden.join(case).join("case.safetensors")).unwrap();
        let (shape, images) = &reference.tensors["images"];
        for &opset in opsets {
            for output in [Output::Decoded, Output::Raw] {
                let folder = tempfile::tempdir().unwrap();
                let size = [shape[2], shape[3]];
                let options = ExportOptions { size, batch: shape[0], opset, output, ..Default::default() };
                run(&python, folder.path(), &model, &options, images);
                let what = format!("{case}, operator set {opset}");
                if output == Output::Decoded {
                    let got = floats(&folder.path().join("output0.bin"));
                    assert_close(&got, &reference.tensors["eval.decoded"].1, &what);
                    continue;
                }
                for level in 0..3 {
                    let (shape, want) = &reference.tensors[&format!("eval.raw.{level}")];
                    let got = floats(&folder.path().join(format!("raw{level}.bin")));
                    assert_close(&got, &raw_to_nchw(want, shape), &format!("{what}, level {level}"));
                }
            }
        }
    }
}

#[test]
fn onnx_runtime_reads_names_and_shapes() {
    let Some(python) = python() else { return };
    let yaml = include_str!("../../../../zoo/models/kinglet_small.yaml");
    let options = ResolveOptions { nc: Some(2), ..Default::default() };
    let mut model = Model::from_yaml(yaml, "kinglet_small.yaml", &options).unwrap();
    model.params.initialise(0);
    let folder = tempfile::tempdir().unwrap();
    let names = vec!["a cat".to_owned(), "it's\\ \"b\"".to_owned()];
    let options = ExportOptions { size: [64, 96], names, ..Default::default() };
    let printed = run(&python, folder.path(), &model, &options, &vec![0.5; 3 * 64 * 96]);
    let stride = model.max_stride();
    assert_eq!(
        printed.trim(),
        format!("images [1, 3, 64, 96] ['output0'] {stride} {{0: 'a cat', 1: 'it\\'s\\\\ \"b\"'}}")
    );
}

/// Models without reference outputs: ONNX Runtime against Kinglet's own engine.
#[test]
fn onnx_runtime_gives_what_the_engine_gives() {
    let Some(python) = python() else { return };
    for (name, yaml) in [
        ("yolov5s-ghost", include_str!("../../../../zoo/models/yolov5s-ghost.yaml")),
        ("yolov5s-transformer", include_str!("../../../../zoo/models/yolov5s-transformer.yaml")),
        ("yolov5n6", include_str!("../../../../zoo/models/yolov5n6.yaml")),
        ("yolov3-tiny", include_str!("../../../../zoo/models/yolov3-tiny.yaml")),
        ("shufflenetv2", include_str!("../../../../zoo/models/shufflenetv2.yaml")),
        ("rare blocks", RARE_BLOCKS),
    ] {
        for opset in [12, 17] {
            let mut model = model(yaml, name);
            let size = [128, 192];
            let pixels = size[0] * size[1];
            let nchw: Vec<f32> = (0..3 * pixels).map(|i| ((i * 7919 + i / 97) % 256) as f32 / 255.0).collect();
            let nhwc: Vec<f32> = (0..3 * pixels).map(|i| nchw[i % 3 * pixels + i / 3]).collect();
            let recording = model.record(1, size).unwrap();
            let mut session = Session::default();
            // Mostly the picture's statistics: with those of a fresh model values fade from layer to layer, and with the
            // picture's alone the smallest maps make rounding large.
            session.forward(&recording.graph, &mut model.params, &nhwc, Mode::Train { momentum: 0.9 });
            session.forward(&recording.graph, &mut model.params, &nhwc, Mode::Evaluate);
            let folder = tempfile::tempdir().unwrap();
            let options = ExportOptions { size, opset, output: Output::Raw, ..Default::default() };
            run(&python, folder.path(), &model, &options, &nchw);
            for (level, &var) in recording.graph.outputs().iter().enumerate() {
                let (shape, value) = (recording.graph.shape(var), session.value(var));
                let channel = |c: usize| value.iter().skip(c).step_by(shape.c).copied();
                let want: Vec<f32> = (0..shape.c).flat_map(channel).collect();
                let got = floats(&folder.path().join(format!("raw{level}.bin")));
                assert_close(&got, &want, &format!("{name}, operator set {opset}, level {level}"));
                // The picture shows in the output: it is not the head's biases alone.
                let (low, high) = channel(0).fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
                assert!(high - low > 1e-2, "{name}, level {level}: from {low} to {high}");
            }
        }
    }
}

/// Letterbox and suppression inside the graph: the boxes of `detect`, with ONNX Runtime's `NonMaxSuppression`.
#[test]
fn onnx_runtime_gives_the_boxes_of_detect() {
    let Some(python) = python() else { return };
    let (width, height) = (203, 150);
    let mut picture = Image::new(width, height, [40; 3]);
    picture.data.iter_mut().enumerate().for_each(|(i, v)| *v = (i / 3 % width * 3 + i / 900 * 7 + i % 3 * 50) as u8);
    let mut model = model(include_str!("../../../../zoo/models/kinglet_small.yaml"), "kinglet_small");
    let nhwc: Vec<f32> = (0..3 * 128 * 128).map(|i| f32::from(picture.data[i]) / 255.0).collect();
    let recording = model.record(1, [128, 128]).unwrap();
    Session::default().forward(&recording.graph, &mut model.params, &nhwc, Mode::Train { momentum: 0.9 });
    for (agnostic, opset, dynamic) in [(false, 12, true), (true, 17, true), (false, 17, false)] {
        let suppression = Suppression { conf: 0.005, iou: 0.45, max_det: 50, agnostic };
        let options = ExportOptions {
            size: [160, 160],
            dynamic,
            opset,
            input: Input::Pictures([height, width]),
            output: Output::Detections(suppression),
            ..Default::default()
        };
        let nms = NmsOptions { conf: 0.005, iou: 0.45, max_det: 50, agnostic, ..Default::default() };
        let (want, ..) = Detector::new(model.clone()).detect(&picture, [160, 160], Fit::Stride, &nms).unwrap();
        assert!(want.len() > 5, "{} boxes", want.len());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.onnx"), export(&model, &options).unwrap()).unwrap();
        run_file(&python, folder.path(), &picture.data, &[1, height, width, 3]);
        let got = floats(&folder.path().join("output0.bin"));
        let got: Vec<&[f32]> = got.chunks_exact(6).take_while(|row| row[4] > 0.0).collect();
        let close = |row: &[f32]| {
            want.iter().any(|d| {
                let overlap = iou(d.xyxy, [row[0], row[1], row[2], row[3]]);
                overlap > 0.97 && d.class == row[5] as usize && (d.score - row[4]).abs() < 2e-3
            })
        };
        let found = got.iter().filter(|row| close(row)).count();
        eprintln!("{found} of {} boxes, {} in ONNX Runtime", want.len(), got.len());
        // Resizing rounds differently, so a box in twenty may fall to the other side of a threshold.
        assert!(20 * found >= 19 * want.len() && 20 * got.len() <= 21 * want.len(), "{got:?}\n{want:?}");
    }
}
