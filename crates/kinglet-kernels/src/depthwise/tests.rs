//! Depthwise convolution against `reference/conv.rs`.

use super::*;
use crate::elementwise::tests::{close, each_isa, random, same_bits};
use crate::reference::conv as reference;
use crate::rows::RowSums;

fn shape(
    c: usize,
    input: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Option<ConvShape> {
    let side = |size: usize| Some((size + 2 * padding).checked_sub(dilation * (kernel - 1) + 1)? / stride + 1);
    Some(ConvShape {
        batch: 2,
        input,
        c_in: c,
        output: [side(input[0])?, side(input[1])?],
        c_out: c,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [dilation; 2],
        groups: c,
    })
}

/// Awkward channels, sides, kernels, strides, paddings and dilations.
fn shapes() -> Vec<ConvShape> {
    let mut list = Vec::new();
    let channels = [1, 3, 5, 7, 8, 13, 16, 72, 127];
    let mut turn = 0;
    for kernel in [1, 2, 3, 4, 5, 7] {
        for stride in [1, 2, 3] {
            for dilation in [1, 2] {
                for input in [[1, 1], [2, 9], [5, 4], [7, 19], [19, 13]] {
                    let padding = [kernel / 2 * dilation, 0, kernel][turn % 3];
                    list.extend(shape(channels[turn % channels.len()], input, kernel, stride, padding, dilation));
                    turn += 1;
                }
            }
        }
    }
    list.extend([3, 5].into_iter().flat_map(|k| [1, 2].map(|s| shape(16, [19, 40], k, s, k / 2, 1))).flatten());
    // Inputs of several strips, the last of which is shorter.
    list.extend([[3, 1], [3, 2], [5, 1]].into_iter().flat_map(|[k, s]| shape(130, [23, 124], k, s, k / 2, 1)));
    // A rectangular kernel with different steps along the axes.
    list.push(ConvShape {
        batch: 1,
        input: [9, 12],
        c_in: 24,
        output: [4, 12],
        c_out: 24,
        kernel: [3, 5],
        stride: [2, 1],
        padding: [0, 2],
        dilation: [1, 1],
        groups: 24,
    });
    list
}

#[test]
fn every_kernel_agrees_with_the_reference_on_every_instruction_set() {
    let shapes = shapes();
    assert!(shapes.len() > 150);
    let cases: Vec<_> = shapes
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let (seed, c, taps) = (i as u64 * 10, s.c_in, s.kernel[0] * s.kernel[1]);
            let x = random(seed, s.batch * s.input[0] * s.input[1] * c);
            let dy = random(seed + 1, s.batch * s.output[0] * s.output[1] * c);
            let (weight, bias) = (random(seed + 2, c * taps), random(seed + 3, c));
            let mut y = dy.clone();
            reference::forward(s, &x, &weight, Some(&bias), &mut y);
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.5; weight.len()]);
            reference::backward_input(s, &weight, &dy, &mut dx, false);
            // In f64, since plain f32 sums over the image are themselves off by more than the tolerance.
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            reference::backward_weight(s, &wide(&x), &wide(&dy), &mut dw);
            let dw: Vec<f32> = dw.into_iter().map(|v| v as f32).collect();
            (s, x, dy, weight, bias, y, dx, dw)
        })
        .collect();
    each_isa(|| {
        for (s, x, dy, weight, bias, y, dx, dw) in &cases {
            let name = format!("{s:?}");
            let mut out = vec![f32::NAN; y.len()];
            let mut stats = ChannelStats::default();
            forward(s, Rows::Whole(x), weight, Some(bias), &mut out, Some(&mut stats));
            close(&out, y, 1e-5, &name);
            let (mut strips, mut strip_stats) = (vec![f32::NAN; y.len()], ChannelStats::default());
            let computed = |r: Range<usize>, to: &mut [f32]| to.copy_from_slice(&x[r.start * s.c_in..r.end * s.c_in]);
            let dy_computed =
                |r: Range<usize>, to: &mut [f32]| to.copy_from_slice(&dy[r.start * s.c_in..r.end * s.c_in]);
            forward(s, Rows::Computed(&computed), weight, Some(bias), &mut strips, Some(&mut strip_stats));
            assert!(strips == out, "{name}: strips");
            for ch in 0..s.c_in {
                let values = || y.iter().skip(ch).step_by(s.c_in).map(|&v| f64::from(v));
                let (sum, sum_sq): (f64, f64) = (values().sum(), values().map(|v| v * v).sum());
                let scale = 1.0 + sum_sq;
                for stats in [&stats, &strip_stats] {
                    assert!((stats.sum[ch] - sum).abs() < 1e-5 * scale, "{name}: {} {sum}", stats.sum[ch]);
                    assert!((stats.sum_sq[ch] - sum_sq).abs() < 1e-5 * scale, "{name}: {} {sum_sq}", stats.sum_sq[ch]);
                }
            }
            forward_act(s, x, weight, Some(bias), Activation::HardSwish, &mut out);
            let want: Vec<f32> =
                y.iter().map(|&y| crate::reference::activation::apply(Activation::HardSwish, y)).collect();
            close(&out, &want, 1e-5, &name);
            let mut got = vec![f32::NAN; dx.len()];
            for (times, accumulate) in [(1.0, false), (2.0, true)] {
                let wholes = [Rows::Whole(x), Rows::Whole(dy)];
                for [x, dy] in [wholes, [Rows::Computed(&computed), Rows::Computed(&dy_computed)]] {
                    let mut got_dw = vec![0.5; dw.len()];
                    let before = got.clone();
                    let (mut totals, mut rows) = (vec![0.0; s.c_in], std::sync::Mutex::new(0));
                    let add = |range: Range<usize>, dx: &[f32], sums: &mut [f64]| {
                        *rows.lock().unwrap() += range.len();
                        let pixels = dx.chunks_exact(s.c_in);
                        pixels.for_each(|px| sums.iter_mut().zip(px).for_each(|(sum, &v)| *sum += f64::from(v)));
                    };
                    let sums = RowSums { add: &add, totals: &mut totals };
                    let to = InputGradient { values: &mut got, accumulate, sums: Some(sums) };
                    backward(s, x, weight, dy, Some(&mut got_dw), Some(to));
                    close(&got, &dx.iter().map(|v| v * times).collect::<Vec<_>>(), 1e-5, &name);
                    close(&got_dw, dw, 1e-4, &name);
                    assert_eq!(*rows.get_mut().unwrap(), dx.len() / s.c_in, "{name}: every row once");
                    for (ch, &sum) in totals.iter().enumerate() {
                        let want: f64 = got.iter().skip(ch).step_by(s.c_in).map(|&v| f64::from(v)).sum();
                        assert!((sum - want).abs() < 1e-9 * dx.len() as f64, "{name}: {sum} {want}");
                    }
                    if accumulate {
                        got = before;
                    }
                }
            }
        }
    });
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let s = shape(24, [57, 61], 3, 2, 1, 1).expect("the kernel fits");
    let x = random(1, 2 * 57 * 61 * 24);
    let dy = random(2, s.batch * s.output[0] * s.output[1] * 24);
    let weight = random(3, 24 * 9);
    same_bits(|| {
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), vec![0.0; weight.len()]);
        let mut stats = ChannelStats::default();
        let computed = |r: Range<usize>, to: &mut [f32]| to.copy_from_slice(&x[r.start * 24..r.end * 24]);
        forward(&s, Rows::Computed(&computed), &weight, None, &mut y, Some(&mut stats));
        let to = InputGradient { values: &mut dx, accumulate: false, sums: None };
        backward(&s, Rows::Computed(&computed), &weight, Rows::Whole(&dy), Some(&mut dw), Some(to));
        let sums = stats.sum.iter().chain(&stats.sum_sq).map(|&v| v as f32);
        y.into_iter().chain(dx).chain(dw).chain(sums).collect()
    });
}
