//! Exports, run by rten, give what Kinglet's engine gives: for every block and activation, input, output and operator set.

use crate::options::{every_kind, model};
use kinglet_nn::Model;
use kinglet_onnx::verify::{Case, verify};
use kinglet_onnx::{ExportOptions, Output, Suppression, export};
use kinglet_runtime::Detector;
use kinglet_tensor::{Mode, Session};
use kinglet_vision::{Image, resize};

/// One of each block that has operations of its own, narrow and shallow.
const EVERY_BLOCK: &str = "
nc: 3
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [10, 13, 16, 30, 33, 23]
  - [30, 61, 62, 45, 59, 119]
backbone:
  - [-1, 1, Focus, [8, 3]]
  - [-1, 1, Conv3BN, [8, 2]]
  - [-1, 1, MobileNetv3, [8, 16, 3, 2, 1, 1]]
  - [-1, 1, InvertedResidual, [8, 16, 5, 1, 1, 0]]
  - [-1, 1, BottleneckCSP, [8]]
  - [-1, 1, DWConv, [16, 3, 1, 2]]
  - [-1, 1, SPP, [16, [3, 5]]]
  - [-1, 1, nn.ZeroPad2d, [[0, 1, 0, 1]]]
  - [-1, 1, nn.MaxPool2d, [2, 2, 0]]
  - [-1, 1, SPPF, [16, 5]]
head:
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 6], 1, Concat, [1]]
  - [-1, 1, C3, [8]]
  - [[12, 9], 1, Detect, [nc, anchors]]
";

/// The others: those whose operations came with YOLOv5's rarer models and with light backbones.
pub const RARE_BLOCKS: &str = "
nc: 3
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [10, 13, 16, 30, 33, 23]
  - [30, 61, 62, 45, 59, 119]
  - [116, 90, 156, 198, 373, 326]
backbone:
  - [-1, 1, Contract, [2]]
  - [-1, 1, GhostConv, [16, 3, 2]]
  - [-1, 1, GhostBottleneck, [16, 3, 1]]
  - [-1, 1, GhostBottleneck, [24, 5, 2]]
  - [-1, 1, C3TR, [24]]
  - [-1, 1, C3x, [16, True, 2]]
  - [-1, 1, MixConv2d, [16, [1, 3], 1]]
  - [-1, 1, ShuffleNetv2, [24, 2]]
  - [-1, 1, ShuffleNetv2, [24, 1]]
  - [-1, 1, C3SPP, [16, [3]]]
head:
  - [-1, 1, nn.ConvTranspose2d, [12, 3, 2, 1, 1, 4]]
  - [[-1, 6], 1, Concat, [1]]
  - [9, 1, Expand, [2]]
  - [[-1, 11], 1, Concat, [1]]
  - [-1, 1, C3Ghost, [16, False]]
  - [[3, 14], 1, Concat, [1]]
  - [-1, 1, DWConvTranspose2d, [8, 2, 2]]
  - [-1, 1, MobileNetv2, [8, 2, 3, 2]]
  - [-1, 1, GhostNet, [16, 24, 5, 2, 1]]
  - [-1, 1, CrossConv, [16, 3, 2, 2]]
  - [[17, 18, 19], 1, Detect, [nc, anchors]]
";

/// Gives BatchNorm statistics and affine values that a trained model would have, so that folding shows.
fn give_statistics(model: &mut Model) {
    for (id, name) in model.params.iter().map(|(id, p)| (id, p.name.clone())).collect::<Vec<_>>() {
        for (i, v) in model.params.get_mut(id).iter_mut().enumerate() {
            let wave = ((i * 7 + name.len() * 3) % 11) as f32 / 11.0 - 0.4;
            if name.ends_with("running_mean") || name.ends_with("bias") {
                *v += 0.5 * wave;
            } else if name.ends_with("running_var") {
                *v += wave;
            } else if name.ends_with("bn.weight") {
                *v += 0.3 * wave;
            }
        }
    }
}

/// Blobs of several sizes and colours, so that outputs differ from place to place.
fn pictures() -> Vec<(String, Image)> {
    [(90, 50), (64, 64), (33, 70)]
        .map(|(width, height)| {
            let mut image = Image::new(width, height, [90, 120, 60]);
            for y in 0..height {
                for x in 0..width {
                    let wave = (x * x / 7 + y * 5) % 97 + (x / 11 + y / 9) % 2 * 120;
                    image.set_pixel(x, y, [wave as u8, (x * 255 / width) as u8, (y * 255 / height) as u8]);
                }
            }
            (format!("{width}x{height}"), image)
        })
        .to_vec()
}

fn compared(model: &Model, options: &ExportOptions) -> Vec<Case> {
    let bytes = export(model, options).unwrap();
    verify(bytes, &mut Detector::new(model.clone()), options, &pictures())
        .unwrap_or_else(|e| panic!("{options:?}: {e}"))
}

fn compare(text: &str, options: &ExportOptions) {
    let mut model = model(text, "every block");
    give_statistics(&mut model);
    for case in compared(&model, options) {
        assert_eq!(case.fault(), None, "{options:?}\n{case:?}");
        assert!(case.values <= 1e-5, "{options:?}\n{case:?}");
    }
}

#[test]
fn every_block_in_the_oldest_and_the_newest_operator_set() {
    for opset in [12, 14, 17] {
        for (dynamic, batch, output) in
            [(false, 2, Output::Decoded), (false, 1, Output::Raw), (true, 1, Output::Decoded), (true, 1, Output::Raw)]
        {
            let options = ExportOptions { size: [64, 32], batch, dynamic, opset, output, ..Default::default() };
            compare(EVERY_BLOCK, &options);
            compare(RARE_BLOCKS, &options);
        }
    }
}

#[test]
fn every_activation() {
    for activation in ["nn.ReLU()", "nn.ReLU6()", "nn.LeakyReLU(0.1)", "nn.Hardswish()", "nn.Mish()", "nn.Identity()"] {
        let text = format!("activation: {activation}\n{}", EVERY_BLOCK.trim_start());
        compare(&text, &ExportOptions { size: [64, 32], opset: 13, ..Default::default() });
    }
}

/// Gives BatchNorm the statistics of pictures and the scores larger weights: with those of a fresh model values fade from layer
/// to layer, and every place looks the same.
fn make_decisive(model: &mut Model) {
    let images = pictures().into_iter().flat_map(|(_, image)| resize::resize_bilinear(&image, 96, 64).data);
    let values: Vec<f32> = images.map(|v| f32::from(v) / 255.0).collect();
    let recording = model.record(3, [64, 96]).unwrap();
    Session::default().forward(&recording.graph, &mut model.params, &values, Mode::Train { momentum: 1.0 });
    let head = format!("model.{}.", model.spec.layers.len() - 1);
    let weights = model.params.iter().filter(|(_, p)| p.name.starts_with(&head) && p.name.ends_with("weight"));
    for id in weights.map(|(id, _)| id).collect::<Vec<_>>() {
        let row = model.params.param(id).shape[1];
        // Rows of x, y, w, h, objectness, three classes.
        let scores = model.params.get_mut(id).chunks_mut(row).enumerate().filter(|(i, _)| i % 8 >= 4);
        scores.for_each(|(_, row)| row.iter_mut().for_each(|w| *w *= 4.0));
    }
}

#[test]
fn every_kind_of_file_gives_the_boxes_of_detect() {
    let mut model = model(EVERY_BLOCK, "every block");
    make_decisive(&mut model);
    for options in every_kind() {
        let cases = compared(&model, &options);
        // Each picture, and with free sizes two more sizes of which one has two images.
        assert_eq!(cases.len(), if options.dynamic { 5 } else { 3 });
        for case in &cases {
            assert_eq!(case.fault(), None, "{options:?}\n{case:?}");
        }
        if matches!(options.output, Output::Detections(_)) {
            assert!(cases.iter().all(|case| case.boxes > 0), "{options:?}\n{cases:?}");
        }
    }
}

#[test]
fn a_file_of_another_model_is_found_out() {
    let mut model = model(EVERY_BLOCK, "every block");
    give_statistics(&mut model);
    let output = Output::Detections(Suppression { conf: 0.02, ..Default::default() });
    let options = ExportOptions { size: [64, 96], output, ..Default::default() };
    let mut other = model.clone();
    let last = other.params.iter().map(|(id, _)| id).last().unwrap();
    other.params.get_mut(last)[0] += 0.01;
    let bytes = export(&other, &options).unwrap();
    let cases = verify(bytes, &mut Detector::new(model.clone()), &options, &pictures()).unwrap();
    assert!(cases[0].fault().unwrap().starts_with("values differ by"), "{cases:?}");
    let error = verify(b"no file".to_vec(), &mut Detector::new(other), &ExportOptions::default(), &pictures());
    assert!(error.unwrap_err().to_string().starts_with("rten 0.27 cannot run the file: "));
}
