//! Exports, interpreted operator by operator, give what Kinglet's engine gives: for every block and activation.

use crate::interpreter::{Value, run};
use crate::options::model;
use kinglet_nn::Model;
use kinglet_onnx::{ExportOptions, export_model};
use kinglet_tensor::{Mode, Session};

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

fn compare(text: &str, opset: u32) {
    let mut model = model(text, "every block");
    give_statistics(&mut model);
    let (batch, size) = (2, [64, 32]);
    let recording = model.record(batch, size).unwrap();
    let nhwc: Vec<f32> = (0..batch * size[0] * size[1] * 3).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
    let mut session = Session::default();
    session.forward(&recording.graph, &mut model.params, &nhwc, Mode::Evaluate);
    let raw: Vec<&[f32]> = recording.graph.outputs().iter().map(|&v| session.value(v)).collect();
    let shapes = recording.head_shapes();
    let want: Vec<f32> = (0..batch).flat_map(|i| model.head().decode(&raw, &shapes, i)).collect();

    let pixels = size[0] * size[1];
    let nchw = (0..batch * 3 * pixels).map(|i| nhwc[(i / (3 * pixels) * pixels + i % pixels) * 3 + i / pixels % 3]);
    let input = Value { dims: vec![batch, 3, size[0], size[1]], data: nchw.collect() };
    let options = ExportOptions { size, batch, opset, ..Default::default() };
    let file = export_model(&model, &options).unwrap();
    let got = run(&file.graph, input.clone()).remove(0);
    assert_eq!(got.dims, [batch, want.len() / batch / 8, 8]);
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (g, w) in got.data.iter().zip(&want) {
        assert!((g - w).abs() <= 1e-5 * largest, "{g} instead of {w}, operator set {opset}");
    }

    let options = ExportOptions { decode: false, ..options };
    let levels = run(&export_model(&model, &options).unwrap().graph, input);
    for ((level, want), s) in levels.iter().zip(&raw).zip(&shapes) {
        assert_eq!(level.dims, [s.n, s.c, s.h, s.w]);
        let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (at, g) in level.data.iter().enumerate() {
            let (pixel, channel, image) = (at % s.pixels(), at / s.pixels() % s.c, at / (s.pixels() * s.c));
            let w = want[(image * s.pixels() + pixel) * s.c + channel];
            assert!((g - w).abs() <= 1e-5 * largest, "{g} instead of {w}");
        }
    }
}

#[test]
fn every_block_in_the_oldest_and_the_newest_operator_set() {
    for opset in [12, 14, 17] {
        compare(EVERY_BLOCK, opset);
        compare(RARE_BLOCKS, opset);
    }
}

#[test]
fn every_activation() {
    for activation in ["nn.ReLU()", "nn.ReLU6()", "nn.LeakyReLU(0.1)", "nn.Hardswish()", "nn.Mish()", "nn.Identity()"] {
        let text = format!("activation: {activation}\n{}", EVERY_BLOCK.trim_start());
        compare(&text, 13);
    }
}
