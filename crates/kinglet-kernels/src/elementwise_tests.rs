//! Tests of `elementwise.rs`, and what the tests of the memory-bound kernels share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;
use crate::simd::{Isa, set_isa};
use crate::threads::set_threads;

/// Held by a test that sets the instruction set or the number of threads, which belong to the process.
fn exclusive() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `f` under every instruction set of this machine.
pub(crate) fn each_isa(f: impl Fn()) {
    let _guard = exclusive();
    for isa in Isa::available() {
        set_isa(isa);
        f();
    }
    set_isa(Isa::available()[0]);
}

/// Checks that `f` returns the same bits on 1, 2 and 5 threads, under every instruction set.
pub(crate) fn same_bits(f: impl Fn() -> Vec<f32>) {
    each_isa(|| {
        let [one, two, five] = [1, 2, 5].map(|n| {
            set_threads(n);
            f().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        });
        set_threads(0);
        assert!(one == two && one == five, "results depend on the number of threads");
    });
}

/// Values in -2..2 from a seed (splitmix64).
pub(crate) fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..len).map(|_| next()).collect()
}

/// Checks `got` against `want` to `tolerance`, relative for values above 1.
pub(crate) fn close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs();
        assert!(error <= tolerance * want.abs().max(1.0), "{what}: got {got}, expected {want} at {i}");
    }
}

#[test]
fn sums_over_several_chunks() {
    let n = 2 * CHUNK + 17;
    let (a, b) = (random(1, n), random(2, n));
    let mut y = b.clone();
    add_assign(&mut y, &a);
    assert!((0..n).all(|i| y[i] == b[i] + a[i]));
    let want: f64 = a.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    assert!((sum_sq(&a) - want).abs() < 1e-9 * want);
    assert_eq!(sum_sq(&[]), 0.0);
}

#[test]
fn sgd_follows_two_steps_worked_by_hand() {
    // w 1, grad 2 scaled by 0.5, decay 0.1: d = 1.1, buf = 1.1, nesterov d + 0.9 buf = 2.09, w = 1 - 0.1 * 2.09.
    let (mut w, mut buf) = ([1.0], [0.0]);
    sgd_step(&mut w, &[2.0], &mut buf, 0.1, 0.9, 0.1, true, 0.5);
    close(&w, &[0.791], 1e-6, "first step");
    // d = 1 + 0.0791 = 1.0791, buf = 0.99 + 1.0791 = 2.0691, w = 0.791 - 0.1 * 2.0691.
    sgd_step(&mut w, &[2.0], &mut buf, 0.1, 0.9, 0.1, false, 0.5);
    close(&w, &[0.58409], 1e-6, "second step");
    close(&buf, &[2.0691], 1e-6, "buffer");
}

#[test]
fn adam_follows_its_formula_in_f64() {
    for decoupled in [false, true] {
        let (lr, b1, b2, eps, decay) = (0.01, 0.9, 0.999, 1e-8, 0.1);
        let (mut w, mut m, mut v) = ([0.5f32], [0.0f32], [0.0f32]);
        let (mut w64, mut m64, mut v64) = (0.5f64, 0.0f64, 0.0f64);
        for step in 1..=20u64 {
            let raw = (step as f32 * 0.7).sin();
            let mut g = f64::from(raw) * 0.25;
            if decoupled {
                w64 -= lr * decay * w64
            } else {
                g += decay * w64
            }
            m64 = b1 * m64 + (1.0 - b1) * g;
            v64 = b2 * v64 + (1.0 - b2) * g * g;
            let (mh, vh) = (m64 / (1.0 - b1.powi(step as i32)), v64 / (1.0 - b2.powi(step as i32)));
            w64 -= lr * mh / (vh.sqrt() + eps);
            adam_step(&mut w, &[raw], &mut m, &mut v, step, lr, b1, b2, eps, decay, decoupled, 0.25);
            close(&w, &[w64 as f32], 2e-6, "adam");
        }
    }
}

#[test]
fn ema_moves_by_one_minus_decay() {
    let mut ema = [1.0, 2.0];
    ema_step(&mut ema, &[3.0, 2.0], 0.75);
    assert_eq!(ema, [1.5, 2.0]);
}

#[test]
fn channels_are_copied_there_and_back() {
    let (rows, parts) = (5000, [3, 8, 1]);
    let total: usize = parts.iter().sum();
    let sources: Vec<Vec<f32>> = parts.iter().map(|&c| random(c as u64, rows * c)).collect();
    let mut whole = vec![f32::NAN; rows * total];
    let mut offset = 0;
    for (src, c) in sources.iter().zip(parts) {
        copy_channels_into(src, c, &mut whole, total, offset);
        let mut back = vec![1.0; rows * c];
        copy_channels_from(&whole, total, offset, &mut back, c, true);
        assert!(back.iter().zip(src).all(|(back, src)| *back == 1.0 + src));
        copy_channels_from(&whole, total, offset, &mut back, c, false);
        assert_eq!(&back, src);
        assert_eq!(whole[7 * total + offset], src[7 * c]);
        offset += c;
    }
}

#[test]
fn upsampling_repeats_and_its_gradient_sums() {
    // One image of 1 x 2 pixels with 1 channel.
    let mut y = [0.0; 8];
    upsample_nearest(&[1.0, 2.0], [1, 1, 2, 1], 2, &mut y);
    assert_eq!(y, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    let mut dx = [10.0, 10.0];
    upsample_nearest_backward(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [1, 1, 2, 1], 2, &mut dx, true);
    assert_eq!(dx, [24.0, 32.0]);
    let (shape, scale) = ([2, 3, 4, 5], 3);
    let x = random(1, 120);
    let mut y = vec![0.0; 120 * 9];
    upsample_nearest(&x, shape, scale, &mut y);
    for (i, &v) in y.iter().enumerate() {
        let (n, h, w, c) = (i / 5 / 12 / 9, i / 5 / 12 % 9, i / 5 % 12, i % 5);
        assert_eq!(v, x[((n * 3 + h / 3) * 4 + w / 3) * 5 + c]);
    }
    let mut dx = vec![f32::NAN; 120];
    upsample_nearest_backward(&y, shape, scale, &mut dx, false);
    close(&dx, &x.iter().map(|x| x * 9.0).collect::<Vec<_>>(), 1e-6, "upsample");
}

#[test]
fn space_to_depth_keeps_the_order_of_focus() {
    // A 2 x 2 image: rows [1 2] and [3 4].
    let mut y = [0.0; 4];
    space_to_depth(&[1.0, 2.0, 3.0, 4.0], [1, 2, 2, 1], &mut y);
    assert_eq!(y, [1.0, 3.0, 2.0, 4.0]);
    let (shape, x) = ([2, 4, 6, 3], random(4, 144));
    let mut y = vec![0.0; 144];
    space_to_depth(&x, shape, &mut y);
    let mut back = vec![f32::NAN; 144];
    space_to_depth_backward(&y, shape, &mut back, false);
    assert_eq!(back, x);
    space_to_depth_backward(&y, shape, &mut back, true);
    assert!(back.iter().zip(&x).all(|(back, x)| *back == x + x));
    // Image 1, output pixel (1, 2), group 2 (even rows, odd columns), channel 1: input row 2, column 5.
    assert_eq!(y[((2 + 1) * 3 + 2) * 12 + 2 * 3 + 1], x[((4 + 2) * 6 + 5) * 3 + 1]);
}

#[test]
fn padding_surrounds_and_its_gradient_cuts() {
    let padding = Padding { left: 1, right: 2, top: 3, bottom: 0 };
    let (shape, x) = ([2, 2, 3, 2], random(5, 24));
    let mut y = vec![f32::NAN; 2 * 5 * 6 * 2];
    zero_pad(&x, shape, padding, &mut y);
    assert_eq!(y[(5 + 3) * 12 + 2], x[12]); // image 1, row 3, column 1
    assert_eq!(y.iter().filter(|v| **v != 0.0).count(), 24);
    let mut back = vec![1.0; 24];
    zero_pad_backward(&y, shape, padding, &mut back, true);
    assert!(back.iter().zip(&x).all(|(back, x)| *back == 1.0 + x));
    zero_pad_backward(&y, shape, padding, &mut back, false);
    assert_eq!(back, x);
}

#[test]
fn gating_and_its_gradients_agree_with_plain_loops() {
    use crate::reference::activation::{apply, derivative};
    each_isa(|| {
        for c in [1, 3, 5, 7, 8, 13, 16, 72, 127] {
            for activation in [Activation::Identity, Activation::HardSwish] {
                let [n, hw] = [2, if c == 16 { 5000 } else { 21 }];
                let (x, dy) = (random(1, n * hw * c), random(2, n * hw * c));
                let gate = random(3, n * c);
                let at = |i: usize| gate[i / (hw * c) * c + i % c];
                let mut y = vec![f32::NAN; x.len()];
                scale_channels(&x, &gate, [n, hw, c], activation, &mut y);
                let want: Vec<f32> = (0..x.len()).map(|i| apply(activation, x[i] * at(i))).collect();
                close(&y, &want, 1e-5, "gated");
                let (mut dx, mut dgate) = (vec![1.0; x.len()], vec![f32::NAN; gate.len()]);
                scale_channels_backward(&x, &gate, &dy, [n, hw, c], activation, &mut dx, true, &mut dgate);
                let d: Vec<f32> = (0..x.len()).map(|i| dy[i] * derivative(activation, x[i] * at(i))).collect();
                let want: Vec<f32> = (0..x.len()).map(|i| 1.0 + d[i] * at(i)).collect();
                close(&dx, &want, 1e-4, "dx");
                let mut want = vec![0.0f64; gate.len()];
                (0..x.len()).for_each(|i| want[i / (hw * c) * c + i % c] += f64::from(d[i]) * f64::from(x[i]));
                let want: Vec<f32> = want.into_iter().map(|v| v as f32).collect();
                close(&dgate, &want, if hw > 100 { 1e-3 } else { 1e-4 }, "dgate");
            }
        }
    });
}

#[test]
fn gating_does_not_depend_on_the_number_of_threads() {
    let (x, dy, gate) = (random(1, 120_000), random(2, 120_000), random(3, 24));
    same_bits(|| {
        let (mut dx, mut dgate) = (x.clone(), gate.clone());
        scale_channels_backward(&x, &gate, &dy, [2, 5000, 12], Activation::Silu, &mut dx, false, &mut dgate);
        dx.extend(dgate);
        dx.push(sum_sq(&x) as f32);
        dx
    });
}
