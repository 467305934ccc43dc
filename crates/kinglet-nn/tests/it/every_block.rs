//! Every block in a small model: one training step, and its gradients against differences of the loss.

use kinglet_nn::{Model, REGISTRY};
use kinglet_spec::{Repeats, ResolveOptions, SpecError, find_block};
use kinglet_tensor::{Gradients, Mode, Params, Session};

/// Rows that bring every block, behind a convolution to 16 channels.
const ROWS: [&str; 45] = [
    "Conv, [16, 3, 1]",
    "DWConv, [16, 3, 1]",
    "nn.ConvTranspose2d, [16, 4, 2, 1, 0, 2]",
    "nn.ConvTranspose2d, [16, 3, 2, 1, 1, 1, False]",
    "DWConvTranspose2d, [16, 2, 2]",
    "GhostConv, [16, 3, 1]",
    "CrossConv, [16, 3, 1, 1, 0.5, True]",
    "CrossConv, [24, 5, 1, 4]",
    "CrossConv, [16, 3, 2]",
    "CrossConv, [16, 5, 2, 16, 1.0]",
    "MixConv2d, [16]",
    "MixConv2d, [20, [1, 3, 5], 2, False]",
    "Focus, [16, 3]",
    "Bottleneck, [16]",
    "GhostBottleneck, [16]",
    "GhostBottleneck, [24, 5, 2]",
    "BottleneckCSP, [16]",
    "C3, [16]",
    "C3x, [16]",
    "C3TR, [16]",
    "C3TR, [24, True, 1, 1.0]",
    "C3SPP, [16, [3, 5]]",
    "C3Ghost, [16]",
    "SPP, [16, [3, 5]]",
    "SPPF, [16, 3]",
    "Conv3BN, [16, 2]",
    "MobileNetv3, [16, 32, 3, 1, 1, 1]",
    "MobileNetv3, [24, 16, 5, 2, 1, 0]",
    "InvertedResidual, [16, 32, 3, 1, 1, 1]",
    "InvertedResidual, [24, 32, 5, 2, 0, 0]",
    "MobileNetv2, [16, 2, 3, 1]",
    "MobileNetv2, [24, 1, 5, 2]",
    "ShuffleNetv2, [16, 1]",
    "ShuffleNetv2, [24, 2]",
    "GhostNet, [16, 32, 3, 1, 0]",
    "GhostNet, [24, 32, 5, 1, 1]",
    "GhostNet, [24, 32, 5, 2, 1]",
    "Concat, [1]",
    "nn.Upsample, [None, 2, nearest]",
    "Contract, [2]",
    "Contract, [4]",
    "Expand, [2]",
    "Expand, [4]",
    "nn.MaxPool2d, [2, 2, 0]",
    "nn.ZeroPad2d, [[0, 2, 2, 0]]",
];

const SIDE: usize = 16;
const BATCH: usize = 2;

/// A model whose layer 1 is the row. Its head takes another layer, so that the row's output may have any size.
fn model(row: &str) -> Model {
    let mut model = read(row).unwrap_or_else(|e| panic!("{e}"));
    model.params.initialise(7);
    model
}

fn read(row: &str) -> Result<Model, SpecError> {
    let text = format!(
        "nc: 2\nchannel_multiple: 1\nactivation: nn.Mish()\nanchors: [[4, 5, 9, 7]]\nbackbone:\n  - [-1, 1, Conv, [16, 3, 2]]\n  \
         - [-1, 2, {row}]\nhead:\n  - [0, 1, Conv, [8, 3, 2]]\n  - [[2], 1, Detect, [nc, anchors]]\n"
    );
    // Two of the inner parts of blocks that repeat these; others would not all fit behind themselves.
    let block = row.split(',').next().and_then(|name| find_block(REGISTRY, name)).unwrap();
    let number = if block.repeats() == Repeats::Inside { 2 } else { 1 };
    let text = text.replacen("- [-1, 2, ", &format!("- [-1, {number}, "), 1);
    let options = ResolveOptions { image: [SIDE; 2], ..Default::default() };
    Model::from_yaml(&text, row, &options)
}

/// Numbers without a pattern, in -1..1.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Step along a gradient's direction, relative to the parameter's norm. Small enough to meet few kinks of ReLU and of
/// pooling, large enough that the rounding of `f32` does not show.
const STEP: f64 = 1e-3;
/// Largest difference between the slope and the gradient's norm, relative to the largest norm of the model.
const CLOSE: f64 = 2e-2;

#[test]
fn every_block_is_in_the_list() {
    for block in REGISTRY.iter().filter(|b| !b.is_head()) {
        let known = ROWS.iter().any(|row| row.split(',').next() == Some(block.name()));
        assert!(known, "add a row of {} to the list", block.name());
    }
}

#[test]
fn the_loss_changes_along_every_gradient_as_the_gradient_says() {
    for row in ROWS {
        let mut model = model(row);
        let recording = model.record(BATCH, [SIDE; 2]).unwrap();
        let mut graph = recording.graph.clone();
        graph.output(recording.layers[1]);
        let images = numbers(BATCH * SIDE * SIDE * 3, 1);
        let weights: Vec<Vec<f32>> =
            graph.outputs().iter().zip(2..).map(|(&v, seed)| numbers(graph.shape(v).len(), seed)).collect();
        let mut session = Session::default();
        let mut loss = |params: &mut Params| -> f64 {
            session.forward(&graph, params, &images, Mode::TRAIN);
            let outputs = graph.outputs().iter().zip(&weights);
            let products = outputs.flat_map(|(&v, w)| session.value(v).iter().zip(w));
            products.map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
        };
        let start = loss(&mut model.params);
        let mut grads = Gradients::new(&model.params, |_| true);
        let output_grads: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
        let mut backward = Session::default();
        backward.forward(&graph, &mut model.params, &images, Mode::TRAIN);
        backward.backward(&graph, &model.params, &mut grads, &output_grads);

        let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let learnt: Vec<_> = model.params.iter().filter(|(_, p)| p.kind.learns()).map(|(id, _)| id).collect();
        let largest = learnt.iter().map(|&id| norm(grads.get(id))).fold(0.0, f64::max);
        assert!(start.is_finite() && largest.is_finite() && largest > 0.0, "{row}: loss {start}, gradient {largest}");
        for &id in &learnt {
            let (before, gradient) = (model.params.get(id).to_vec(), grads.get(id).to_vec());
            let length = norm(&gradient);
            if length == 0.0 {
                continue;
            }
            let step = STEP * norm(&before).max(1.0);
            let mut moved = |sign: f64| {
                let values = model.params.get_mut(id).iter_mut().zip(&before).zip(&gradient);
                values.for_each(|((v, b), g)| *v = (f64::from(*b) + sign * step * f64::from(*g) / length) as f32);
                loss(&mut model.params)
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            model.params.get_mut(id).copy_from_slice(&before);
            let name = &model.params.param(id).name;
            assert!(
                (slope - length).abs() <= CLOSE * largest,
                "{row}: {name}: slope {slope}, gradient {length}, largest {largest}"
            );
        }
        // One step of gradient descent, downhill.
        let rate = 1e-3 * start.abs().max(1.0) / largest.powi(2);
        for &id in &learnt {
            let values = model.params.get_mut(id).iter_mut().zip(grads.get(id));
            values.for_each(|(v, g)| *v -= rate as f32 * g);
        }
        let after = loss(&mut model.params);
        assert!(after < start, "{row}: loss {start} before and {after} after a step");
    }
}

#[test]
fn rows_that_do_not_fit_are_refused_with_the_reason() {
    // Behind 16 channels of 8 x 8.
    for (row, want) in [
        ("GhostConv, [15]", "needs an even c_out, found 15"),
        ("GhostBottleneck, [24]", "as many output as input channels (16); found stride 1, kernel 3 and c_out = 24"),
        ("GhostBottleneck, [18, 3, 2]", "needs bottlenecks of a multiple of 4 channels, found 18"),
        ("C3Ghost, [20, True, 1, 0.5]", "needs bottlenecks of a multiple of 4 channels, found 10"),
        ("C3TR, [20, True, 1, 0.5]", "needs a hidden width (c_out x expansion) for 4 heads, found 10"),
        ("CrossConv, [16, 4]", "needs an odd kernel, found 4"),
        ("CrossConv, [16, 3, 2, 1, 1.0, True]", "cannot add its input at stride 2"),
        ("CrossConv, [16, 3, 1, 1, 1e9]", "the hidden width"),
        ("C3SPP, [16, [4]]", "needs odd pooling windows, found 4"),
        ("MixConv2d, [16, [2, 3]]", "needs odd kernels, found [2, 3]"),
        ("MixConv2d, [2, [1, 3, 5]]", "needs a channel for each of [1, 3, 5]"),
        ("Contract, [3]", "needs a height and width that are multiples of gain = 3"),
        ("Expand, [3]", "needs channels that are a multiple of gain x gain = 9"),
        ("nn.ConvTranspose2d, [16, 3, 2, 1, 2]", "needs an output padding below the stride 2, found 2"),
        ("nn.ConvTranspose2d, [16, 3, 2, 1, 1, 3]", "divisible by groups = 3, found 16 and 16"),
        ("nn.ConvTranspose2d, [16, 1, 1, 4]", "with padding 4 needs a larger map than 16 x 8 x 8"),
        ("MobileNetv2, [16, 6, 4]", "needs an odd kernel, found 4"),
        ("MobileNetv2, [16, 60000]", "the hidden width"),
        ("ShuffleNetv2, [24, 1]", "at stride 1 that of the input (16); found c_out = 24"),
        ("ShuffleNetv2, [16, 3]", "needs stride 1 or 2, found 3"),
        ("GhostNet, [15, 16, 3, 1, 0]", "needs an even c_out and hidden, found 15 and 16"),
    ] {
        let told = read(row).err().unwrap_or_else(|| panic!("{row} is refused")).to_string();
        assert!(told.contains(want), "{row}: {told}");
    }
}
