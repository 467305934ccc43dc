//! Times the kernels that memory bounds: a depthwise convolution and a fused batch normalisation.
//!
//! `cargo run --release -p kinglet-kernels --example depthwise_speed [threads]`; the best of several runs is printed.

use std::time::Instant;

use kinglet_kernels::rows::{InputGradient, Rows};
use kinglet_kernels::{Activation, ConvShape, batchnorm, conv::ChannelStats, depthwise, simd, threads};

fn best(mut f: impl FnMut()) -> f64 {
    f();
    let times = (0..7).map(|_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64() * 1e3
    });
    times.fold(f64::INFINITY, f64::min)
}

fn data(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0).collect()
}

fn layer(c: usize, side: usize, kernel: usize, stride: usize, batch: usize) {
    let out = (side + 2 * (kernel / 2) - kernel) / stride + 1;
    let s = ConvShape {
        batch,
        input: [side; 2],
        c_in: c,
        output: [out; 2],
        c_out: c,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 2],
        dilation: [1; 2],
        groups: c,
    };
    let x = data(batch * side * side * c);
    let mut y = data(batch * out * out * c);
    let (weight, mut dx, mut dweight) = (data(c * kernel * kernel), x.clone(), vec![0.0; c * kernel * kernel]);
    let mut stats = ChannelStats { sum: vec![0.0; c], sum_sq: vec![0.0; c] };
    let forward = best(|| depthwise::forward(&s, Rows::Whole(&x), &weight, None, &mut y, None));
    let with_stats = best(|| depthwise::forward(&s, Rows::Whole(&x), &weight, None, &mut y, Some(&mut stats)));
    let act = best(|| depthwise::forward_act(&s, &x, &weight, None, Activation::HardSwish, &mut y));
    let input = best(|| {
        let dx = InputGradient { values: &mut dx, accumulate: false, sums: None };
        depthwise::backward(&s, Rows::Whole(&x), &weight, Rows::Whole(&y), None, Some(dx));
    });
    let gradient =
        best(|| depthwise::backward(&s, Rows::Whole(&x), &weight, Rows::Whole(&y), Some(&mut dweight), None));
    println!(
        "depthwise {kernel}x{kernel} s{stride}, {c} channels at {side}, batch {batch}: forward {forward:.2} \
         (with sums {with_stats:.2}, with h-swish {act:.2}), dX {input:.2}, dW {gradient:.2} ms"
    );
}

fn norm(c: usize, side: usize, batch: usize, activation: Activation) {
    let z = data(batch * side * side * c);
    let (mut y, mut dy) = (z.clone(), z.clone());
    let (gamma, beta) = (vec![1.0; c], vec![0.1; c]);
    let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
    let stats = best(|| drop(batchnorm::channel_stats(&z, c)));
    let forward = best(|| batchnorm::forward(&z, c, &gamma, &beta, activation, None, &mut y));
    let backward = best(|| {
        let m = batchnorm::Moments { mean: &beta, inv_std: &gamma, scale: &gamma, shift: &beta };
        let mut sums = vec![0.0; 2 * c];
        batchnorm::add_gradient_sums(&z, &dy, m, activation, &mut sums);
        batchnorm::Gradient::new(&sums, z.len() / c, m, activation, [&mut dgamma, &mut dbeta])
            .rows_in_place(&z, &mut dy);
    });
    println!(
        "BatchNorm and {activation:?}, {c} channels at {side}, batch {batch}: sums {stats:.1}, forward {forward:.1}, \
         backward {backward:.1}; forward and backward {:.1} ms",
        forward + backward
    );
}

fn main() {
    if let Some(n) = std::env::args().nth(1).and_then(|n| n.parse().ok()) {
        threads::set_threads(n);
    }
    println!("{}, {} threads", simd::isa().name(), threads::threads());
    layer(64, 320, 3, 2, 8);
    layer(64, 160, 3, 1, 8);
    layer(120, 40, 5, 1, 8);
    layer(576, 20, 5, 1, 8);
    norm(64, 320, 8, Activation::HardSwish);
    norm(64, 320, 8, Activation::Silu);
}
