//! Fast convolutions against the reference on every instruction set, and the reference against finite differences.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kinglet_kernels::conv::{
    ChannelStats, PackedConv, conv_backward_bias, conv_backward_input, conv_backward_weight, conv_forward,
    conv_forward_packed,
};
use kinglet_kernels::reference::{activation, conv as reference};
use kinglet_kernels::simd::{Isa, set_isa};
use kinglet_kernels::threads::set_threads;
use kinglet_kernels::{Activation, ConvShape};

/// The instruction set and the number of threads belong to the process: one test at a time.
fn serial() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values in -1..1 from a seed.
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}

fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().map(|&x| f64::from(x)).collect()
}

/// Checks `got` against `want`, relative to the largest value that the sum could have had.
fn close(what: &str, s: &ConvShape, got: &[f32], want: &[f64], scale: f64) {
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(g) - w).abs();
        assert!(error <= 1e-5 * scale, "{what}[{i}] is {g}, should be {w} (error {error:e}, scale {scale}) for {s:?}");
    }
}

/// A shape with square kernel, stride, padding and dilation.
#[allow(clippy::too_many_arguments)]
fn shape(
    batch: usize,
    input: [usize; 2],
    c: [usize; 2],
    k: usize,
    s: usize,
    p: usize,
    d: usize,
    g: usize,
) -> ConvShape {
    ConvShape::new(batch, input, c[0], c[1], [k; 2], [s; 2], [p; 2], [d; 2], g)
}

fn shapes() -> Vec<ConvShape> {
    let mut all = vec![
        shape(16, [1, 1], [40, 127], 1, 1, 0, 1, 1),
        shape(1, [1, 1], [128, 40], 1, 1, 0, 1, 1),
        shape(1, [13, 13], [7, 255], 1, 1, 0, 1, 1),
        shape(2, [40, 40], [16, 40], 1, 1, 0, 1, 1),
        shape(1, [10, 10], [640, 64], 1, 1, 0, 1, 1),
        shape(2, [20, 20], [127, 18], 3, 1, 1, 1, 1),
        shape(1, [20, 20], [128, 128], 3, 2, 1, 1, 1),
        // Enough tiles for fewer multiplications, forwards and backwards.
        shape(4, [18, 17], [24, 40], 3, 1, 1, 1, 1),
        shape(3, [22, 19], [64, 16], 3, 1, 0, 1, 1),
        shape(3, [18, 21], [17, 130], 3, 1, 2, 1, 1),
        shape(2, [64, 63], [48, 50], 3, 2, 1, 1, 1),
        // Two blocks of tiles.
        shape(5, [36, 35], [96, 64], 3, 1, 1, 1, 1),
        shape(3, [33, 31], [3, 16], 6, 2, 2, 1, 1),
        shape(1, [64, 200], [3, 16], 3, 2, 1, 1, 1),
        shape(3, [2, 3], [40, 24], 3, 1, 1, 1, 1),
        shape(1, [5, 300], [40, 5], 3, 1, 1, 1, 1),
        shape(2, [9, 9], [16, 7], 1, 2, 0, 1, 1),
        shape(2, [9, 8], [5, 13], 3, 1, 2, 2, 1),
        shape(1, [9, 8], [5, 13], 3, 2, 2, 2, 1),
        shape(2, [9, 9], [12, 8], 3, 1, 1, 1, 4),
        shape(1, [9, 9], [6, 18], 3, 2, 1, 1, 3),
        shape(2, [7, 7], [16, 16], 1, 1, 0, 1, 2),
        shape(2, [7, 7], [16, 16], 3, 1, 1, 1, 16),
        shape(1, [4, 4], [3, 5], 5, 1, 0, 1, 1), // the kernel does not fit: no output
        shape(0, [4, 4], [3, 5], 3, 1, 1, 1, 1),
        shape(1, [4, 4], [3, 0], 3, 1, 1, 1, 1),
        shape(1, [4, 4], [0, 3], 3, 1, 1, 1, 1),
    ];
    for c_in in [1, 3, 5, 13, 16] {
        for c_out in [1, 7, 16, 18, 40, 60] {
            for k in [1, 3, 5, 6] {
                for s in [1, 2] {
                    let p = (c_in + c_out + s) % 3;
                    all.push(shape(1 + (c_in + k) % 3, [8, 11], [c_in, c_out], k, s, p, 1, 1));
                }
            }
        }
    }
    // Different along the two axes.
    all.push(ConvShape::new(2, [11, 14], 5, 9, [3, 1], [2, 1], [0, 2], [1, 1], 1));
    all.push(ConvShape::new(2, [11, 14], 5, 9, [1, 5], [1, 3], [1, 0], [1, 2], 1));
    all
}

struct Results {
    y: Vec<f32>,
    stats: ChannelStats,
    packed: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Vec<f32>,
}

struct Inputs {
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    dy: Vec<f32>,
}

fn inputs(s: &ConvShape) -> Inputs {
    let (x, w) = (values(s.input_len(), 1), values(s.weight_len(), 2));
    Inputs { x, w, b: values(s.c_out, 3), dy: values(s.output_len(), 4) }
}

/// Everything the fast path computes; gradients start from ones, so that adding is tested.
fn fast(s: &ConvShape, i: &Inputs) -> Results {
    let mut r = Results {
        y: vec![f32::NAN; i.dy.len()],
        stats: ChannelStats::new(1),
        packed: vec![f32::NAN; i.dy.len()],
        dx: vec![f32::NAN; i.x.len()],
        dw: vec![1.0; i.w.len()],
        db: vec![1.0; i.b.len()],
    };
    conv_forward(s, &i.x, &i.w, Some(&i.b), &mut r.y, Some(&mut r.stats));
    let packed = PackedConv::new(s, &i.w);
    conv_forward_packed(s, &i.x, &packed, Some(&i.b), Activation::HardSwish, &mut r.packed);
    conv_backward_input(s, &i.w, &i.dy, &mut r.dx, false);
    conv_backward_weight(s, &i.x, &i.dy, &mut r.dw);
    conv_backward_bias(s, &i.dy, &mut r.db);
    r
}

#[test]
fn fast_agrees_with_the_reference() {
    let _serial = serial();
    for s in shapes() {
        let i = inputs(&s);
        let (x, w, b, dy) = (wide(&i.x), wide(&i.w), wide(&i.b), wide(&i.dy));
        let mut y = vec![0.0; dy.len()];
        reference::forward(&s, &x, &w, Some(&b), &mut y);
        let acted: Vec<f64> = y.iter().map(|&v| activation::apply(Activation::HardSwish, v)).collect();
        let mut dx = vec![0.0; x.len()];
        reference::backward_input(&s, &w, &dy, &mut dx, false);
        let mut dw = vec![1.0; w.len()];
        reference::backward_weight(&s, &x, &dy, &mut dw);
        let mut db = vec![1.0; b.len()];
        reference::backward_bias(&s, &dy, &mut db);
        let (mut sum, mut sum_sq, mut sum_abs) = (vec![0.0; s.c_out], vec![0.0; s.c_out], vec![0.0; s.c_out]);
        for pixel in y.chunks(s.c_out.max(1)) {
            for c in 0..s.c_out {
                sum[c] += pixel[c];
                sum_abs[c] += pixel[c].abs();
                sum_sq[c] += pixel[c] * pixel[c];
            }
        }
        let area = (s.kernel[0] * s.kernel[1]) as f64;
        let k = (s.c_in / s.groups) as f64 * area;
        let pixels = (s.batch * s.output[0] * s.output[1]) as f64;
        for isa in Isa::available() {
            set_isa(isa);
            let r = fast(&s, &i);
            close("y", &s, &r.y, &y, k.sqrt() + 1.0);
            close("packed", &s, &r.packed, &acted, 2.0 * k.sqrt() + 1.0);
            close("dx", &s, &r.dx, &dx, ((s.c_out / s.groups) as f64 * area).sqrt() + 1.0);
            close("dw", &s, &r.dw, &dw, pixels.sqrt() + 1.0);
            close("db", &s, &r.db, &db, pixels.sqrt() + 1.0);
            for c in 0..s.c_out {
                let error = (r.stats.sum[c] - sum[c]).abs();
                assert!(error <= 1e-5 * sum_abs[c] + 1e-6, "sum[{c}]: {} {} {s:?}", r.stats.sum[c], sum[c]);
                let error = (r.stats.sum_sq[c] - sum_sq[c]).abs();
                assert!(error <= 1e-5 * sum_sq[c] + 1e-6, "sum_sq[{c}]: {} {} {s:?}", r.stats.sum_sq[c], sum_sq[c]);
            }
            let mut more = r.dx.clone();
            conv_backward_input(&s, &i.w, &i.dy, &mut more, true);
            let twice: Vec<f64> = dx.iter().map(|v| 2.0 * v).collect();
            close("dx accumulated", &s, &more, &twice, 2.0 * ((s.c_out / s.groups) as f64 * area).sqrt() + 2.0);
            let mut plain = vec![f32::NAN; r.y.len()];
            conv_forward(&s, &i.x, &i.w, None, &mut plain, None);
            let unbiased: Vec<f64> = y.iter().enumerate().map(|(n, v)| v - b[n % s.c_out]).collect();
            close("y without bias", &s, &plain, &unbiased, k.sqrt() + 1.0);
        }
        set_isa(Isa::available()[0]);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let _serial = serial();
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for s in [
        shape(2, [40, 40], [16, 40], 1, 1, 0, 1, 1),
        shape(16, [1, 1], [128, 127], 1, 1, 0, 1, 1),
        shape(2, [20, 20], [128, 40], 3, 1, 1, 1, 1),
        shape(4, [20, 20], [32, 64], 3, 1, 1, 1, 1),
        shape(4, [20, 20], [128, 136], 3, 1, 1, 1, 1),
        shape(4, [40, 40], [64, 64], 3, 2, 1, 1, 1),
        shape(1, [40, 41], [18, 40], 3, 2, 1, 1, 1),
        shape(1, [40, 41], [16, 40], 3, 2, 1, 1, 4),
    ] {
        let i = inputs(&s);
        let [one, two, three] = [1, 2, 3].map(|n| {
            set_threads(n);
            let r = fast(&s, &i);
            (bits(&r.y), r.stats, bits(&r.packed), bits(&r.dx), bits(&r.dw), bits(&r.db))
        });
        set_threads(0);
        assert!(one == two && one == three, "{s:?}");
    }
}

#[test]
#[allow(clippy::needless_range_loop)] // the index is also which value moves
fn reference_gradients_are_finite_differences() {
    for s in [
        shape(2, [5, 6], [4, 6], 3, 1, 1, 1, 2),
        shape(1, [7, 6], [3, 2], 3, 2, 2, 2, 1),
        ConvShape::new(1, [6, 5], 2, 3, [2, 3], [1, 2], [1, 0], [2, 1], 1),
    ] {
        let i = inputs(&s);
        let (x, w, dy) = (wide(&i.x), wide(&i.w), wide(&i.dy));
        // A linear function of each argument: any step is exact to rounding.
        let loss = |x: &[f64], w: &[f64]| {
            let mut y = vec![0.0; dy.len()];
            reference::forward(&s, x, w, None, &mut y);
            y.iter().zip(&dy).map(|(a, b)| a * b).sum::<f64>()
        };
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        reference::backward_input(&s, &w, &dy, &mut dx, false);
        reference::backward_weight(&s, &x, &dy, &mut dw);
        let at = |v: &[f64], n: usize, d: f64| {
            let mut v = v.to_vec();
            v[n] += d;
            v
        };
        for n in 0..x.len() {
            let want = (loss(&at(&x, n, 0.5), &w) - loss(&at(&x, n, -0.5), &w)) / 1.0;
            assert!((dx[n] - want).abs() < 1e-10, "dx[{n}] {} {want} {s:?}", dx[n]);
        }
        for n in 0..w.len() {
            let want = (loss(&x, &at(&w, n, 0.5)) - loss(&x, &at(&w, n, -0.5))) / 1.0;
            assert!((dw[n] - want).abs() < 1e-10, "dw[{n}] {} {want} {s:?}", dw[n]);
        }
    }
}

#[test]
fn a_hand_worked_convolution() {
    let _serial = serial();
    // 3x3 image 1..9, kernel of ones, padding 1: sums of the neighbourhoods.
    let s = shape(1, [3, 3], [1, 1], 3, 1, 1, 1, 1);
    let x: Vec<f32> = (1..=9).map(|v| v as f32).collect();
    let mut y = vec![0.0; 9];
    conv_forward(&s, &x, &[1.0; 9], Some(&[0.5]), &mut y, None);
    assert_eq!(y, [12.5, 21.5, 16.5, 27.5, 45.5, 33.5, 24.5, 39.5, 28.5]);
    assert_eq!(s.macs(), 81);
    let s = shape(2, [320, 320], [3, 16], 3, 2, 1, 1, 1);
    assert_eq!(s.output, [160, 160]);
    assert!(!s.is_pointwise() && !s.is_depthwise());
}

#[test]
fn a_wrong_length_is_named() {
    let s = shape(1, [3, 3], [1, 1], 3, 1, 1, 1, 1);
    let call = || conv_forward(&s, &[0.0; 9], &[1.0; 8], None, &mut [0.0; 9], None);
    let panic = std::panic::catch_unwind(call).expect_err("8 weights are not 9");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("weight length"), "{message}");
}
