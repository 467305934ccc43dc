//! Prints the speed of convolution layers in GFLOP/s: `cargo run --release --example conv_speed [threads]`.

use std::time::Instant;

use kinglet_kernels::ConvShape;
use kinglet_kernels::conv::{ChannelStats, conv_backward_input, conv_backward_weight, conv_forward};
use kinglet_kernels::threads::set_threads;

/// The best of a few runs, in GFLOP/s.
fn speed(s: &ConvShape, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    let runs = (0.15 / start.elapsed().as_secs_f64()).clamp(3.0, 50.0) as usize;
    let best = (0..runs).map(|_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    });
    2.0 * s.macs() as f64 / best.fold(f64::INFINITY, f64::min) / 1e9
}

fn main() {
    let threads: Vec<usize> = match std::env::args().nth(1).and_then(|a| a.parse().ok()) {
        Some(n) => vec![n],
        None => vec![1, 2],
    };
    // Name, batch, input, channels, kernel, stride.
    let layers = [
        ("1x1 16-64 @160", 16, 160, [16, 64], 1, 1),
        ("1x1 64-24 @80", 16, 80, [64, 24], 1, 1),
        ("1x1 72-40 @40", 16, 40, [72, 40], 1, 1),
        ("1x1 672-160 @20", 16, 20, [672, 160], 1, 1),
        ("1x1 256-128 @20", 16, 20, [256, 128], 1, 1),
        ("3x3 128-128 @20", 16, 20, [128, 128], 3, 1),
        ("3x3s2 128-128 @40", 16, 40, [128, 128], 3, 2),
        ("3x3s2 3-16 @320", 16, 320, [3, 16], 3, 2),
        ("3x3 32-32 @80", 16, 80, [32, 32], 3, 1),
        ("1x1 960-160 @10 b1", 1, 10, [960, 160], 1, 1),
        ("fc 240-960 b16", 16, 1, [240, 960], 1, 1),
    ];
    println!("{:20} {:>7} {:>9} {:>9} {:>9}", "layer", "threads", "forward", "dX", "dW");
    for (name, batch, size, [c_in, c_out], k, stride) in layers {
        let s = ConvShape::new(batch, [size; 2], c_in, c_out, [k; 2], [stride; 2], [k / 2; 2], [1; 2], 1);
        let x: Vec<f32> = (0..s.input_len()).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
        let w: Vec<f32> = (0..s.weight_len()).map(|i| (i % 13) as f32 / 13.0 - 0.5).collect();
        let (mut y, mut dx, mut dw) = (vec![0.0; s.output_len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        let mut stats = ChannelStats::new(c_out);
        for &n in &threads {
            set_threads(n);
            let forward = speed(&s, || conv_forward(&s, &x, &w, None, &mut y, Some(&mut stats)));
            let input = speed(&s, || conv_backward_input(&s, &w, &y, &mut dx, false));
            let weight = speed(&s, || conv_backward_weight(&s, &x, &y, &mut dw));
            println!("{name:20} {n:7} {forward:9.1} {input:9.1} {weight:9.1}");
        }
    }
}
