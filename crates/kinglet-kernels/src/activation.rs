//! Activations and their derivatives, on vectors and on whole slices.
//!
//! Oracle: `reference/activation.rs`. Values agree to rounding (division by 6 is a multiplication here); NaN passes
//! through every activation.

use crate::dispatch;
use crate::elementwise::for_each_chunk;
use crate::simd::Simd;
use crate::threads::SendPtr;

/// A pointwise non-linearity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x where positive, slope * x elsewhere
    LeakyRelu(f32),
    /// relu6(x + 3) / 6
    HardSigmoid,
    /// x * relu6(x + 3) / 6
    HardSwish,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// x * sigmoid(x)
    Silu,
    /// x * tanh(ln(1 + e^x))
    Mish,
}

/// Runs `$body` with `$a` bound to the activation as a constant, so that inlined kernels lose their `match`.
macro_rules! specialise {
    ($activation:expr, $a:ident => $body:expr) => {{
        use $crate::Activation as Act;
        match $activation {
            Act::Identity => {
                let $a = Act::Identity;
                $body
            }
            Act::Relu => {
                let $a = Act::Relu;
                $body
            }
            Act::Relu6 => {
                let $a = Act::Relu6;
                $body
            }
            Act::LeakyRelu(slope) => {
                let $a = Act::LeakyRelu(slope);
                $body
            }
            Act::HardSigmoid => {
                let $a = Act::HardSigmoid;
                $body
            }
            Act::HardSwish => {
                let $a = Act::HardSwish;
                $body
            }
            Act::Sigmoid => {
                let $a = Act::Sigmoid;
                $body
            }
            Act::Silu => {
                let $a = Act::Silu;
                $body
            }
            Act::Mish => {
                let $a = Act::Mish;
                $body
            }
        }
    }};
}
pub(crate) use specialise;

const SIXTH: f32 = 1.0 / 6.0;
const THIRD: f32 = 1.0 / 3.0;

#[inline(always)]
unsafe fn hard_sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { S::min(S::splat(1.0), S::max(S::splat(0.0), S::fma(x, S::splat(SIXTH), S::splat(0.5)))) }
}

/// tanh(ln(1 + e^x)) and its derivative. With n = e^x (e^x + 2) they are n / (n + 2) and 4 e^x (e^x + 1) / (n + 2)^2; from
/// x = 20 on they are 1 and 0 to rounding, which keeps the square from overflowing.
#[inline(always)]
unsafe fn mish_gate<S: Simd>(x: S::V) -> (S::V, S::V) {
    // SAFETY: the caller's promise.
    unsafe {
        let (one, two) = (S::splat(1.0), S::splat(2.0));
        let e = S::exp(S::min(x, S::splat(20.0)));
        let n = S::mul(e, S::add(e, two));
        let below = S::add(n, two);
        let slope = S::div(S::mul(S::mul(S::splat(4.0), e), S::add(e, one)), S::mul(below, below));
        (S::div(n, below), slope)
    }
}

/// `activation(x)`, lane by lane.
///
/// # Safety
/// The instruction set of `S` is present (see [`Simd`]).
#[inline(always)]
pub unsafe fn apply_simd<S: Simd>(activation: Activation, x: S::V) -> S::V {
    // SAFETY: the caller's promise. In `max(0, x)` x stands second because x86 returns the second operand for NaN.
    unsafe {
        let zero = S::splat(0.0);
        match activation {
            Activation::Identity => x,
            Activation::Relu => S::max(zero, x),
            Activation::Relu6 => S::min(S::splat(6.0), S::max(zero, x)),
            Activation::LeakyRelu(slope) => S::select_gt(x, zero, x, S::mul(x, S::splat(slope))),
            Activation::HardSigmoid => hard_sigmoid::<S>(x),
            Activation::HardSwish => S::mul(x, hard_sigmoid::<S>(x)),
            Activation::Sigmoid => S::sigmoid(x),
            Activation::Silu => S::div(x, S::sigmoid_divisor(x)),
            Activation::Mish => S::mul(x, mish_gate::<S>(x).0),
        }
    }
}

/// The derivative of `activation` at `x`, lane by lane; at a kink the value that PyTorch uses.
///
/// # Safety
/// The instruction set of `S` is present (see [`Simd`]).
#[inline(always)]
pub unsafe fn derivative_simd<S: Simd>(activation: Activation, x: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        match activation {
            Activation::Identity => one,
            Activation::Relu => S::select_gt(x, zero, one, zero),
            Activation::Relu6 => S::select_gt(x, zero, S::select_gt(S::splat(6.0), x, one, zero), zero),
            Activation::LeakyRelu(slope) => S::select_gt(x, zero, one, S::splat(slope)),
            Activation::HardSigmoid => {
                let inside = S::select_gt(S::splat(3.0), x, S::splat(SIXTH), zero);
                S::select_gt(x, S::splat(-3.0), inside, zero)
            }
            Activation::HardSwish => {
                let inside = S::fma(x, S::splat(THIRD), S::splat(0.5));
                let above = S::select_gt(x, S::splat(3.0), one, inside);
                S::select_gt(S::splat(-3.0), x, zero, above)
            }
            Activation::Sigmoid => {
                let s = S::sigmoid(x);
                S::mul(s, S::sub(one, s))
            }
            Activation::Silu => {
                let s = S::sigmoid(x);
                S::mul(s, S::fma(x, S::sub(one, s), one))
            }
            Activation::Mish => {
                let (gate, slope) = mish_gate::<S>(x);
                S::fma(x, slope, gate)
            }
        }
    }
}

/// `y = activation(x)` over `n` values; `y` may be `x`.
///
/// # Safety
/// `n` values are readable at `x` and writable at `y`, and the instruction set of `S` is present.
#[inline(always)]
pub(crate) unsafe fn forward_kernel<S: Simd>(activation: Activation, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: `i + LANES <= n` or a partial access of `n - i` lanes.
    unsafe {
        specialise!(activation, a => {
            let mut i = 0;
            while i + S::LANES <= n {
                S::store(y.add(i), apply_simd::<S>(a, S::load(x.add(i))));
                i += S::LANES;
            }
            if i < n {
                S::store_partial(y.add(i), apply_simd::<S>(a, S::load_partial(x.add(i), n - i)), n - i);
            }
        });
    }
}
dispatch!(fn forward_chunk(activation: Activation, x: *const f32, y: *mut f32, n: usize) = forward_kernel);

#[inline(always)]
unsafe fn backward_kernel<S: Simd>(
    activation: Activation,
    x: *const f32,
    dy: *const f32,
    dx: *mut f32,
    n: usize,
    accumulate: bool,
) {
    // SAFETY: `i + LANES <= n` or a partial access of `n - i` lanes.
    unsafe {
        specialise!(activation, a => {
            let mut i = 0;
            while i + S::LANES <= n {
                let start = if accumulate { S::load(dx.add(i)) } else { S::splat(0.0) };
                let d = derivative_simd::<S>(a, S::load(x.add(i)));
                S::store(dx.add(i), S::fma(d, S::load(dy.add(i)), start));
                i += S::LANES;
            }
            if i < n {
                let rest = n - i;
                let start = if accumulate { S::load_partial(dx.add(i), rest) } else { S::splat(0.0) };
                let d = derivative_simd::<S>(a, S::load_partial(x.add(i), rest));
                S::store_partial(dx.add(i), S::fma(d, S::load_partial(dy.add(i), rest), start), rest);
            }
        });
    }
}
dispatch!(fn backward_chunk(activation: Activation, x: *const f32, dy: *const f32, dx: *mut f32, n: usize,
    accumulate: bool) = backward_kernel);

/// `y = activation(x)`.
///
/// # Panics
/// If the lengths differ.
pub fn forward(activation: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "activation: x and y differ in length");
    let out = SendPtr(y.as_mut_ptr());
    for_each_chunk(x.len(), |start, n| {
        // SAFETY: chunks lie inside both slices and do not overlap.
        unsafe { forward_chunk(activation, x.as_ptr().add(start), out.get().add(start), n) }
    });
}

/// `y = activation(y)`.
pub fn forward_in_place(activation: Activation, y: &mut [f32]) {
    if activation == Activation::Identity {
        return;
    }
    let out = SendPtr(y.as_mut_ptr());
    for_each_chunk(y.len(), |start, n| {
        // SAFETY: chunks lie inside the slice and do not overlap; each value is read before it is written.
        unsafe { forward_chunk(activation, out.get().add(start), out.get().add(start), n) }
    });
}

/// `dx = dy * activation'(x)`, or `dx += ..` with `accumulate`.
///
/// # Panics
/// If the lengths differ.
pub fn backward(activation: Activation, x: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    assert_eq!(x.len(), dy.len(), "activation: x and dy differ in length");
    assert_eq!(x.len(), dx.len(), "activation: x and dx differ in length");
    let out = SendPtr(dx.as_mut_ptr());
    for_each_chunk(x.len(), |start, n| {
        // SAFETY: chunks lie inside all three slices and do not overlap.
        unsafe {
            let (x, dy) = (x.as_ptr().add(start), dy.as_ptr().add(start));
            backward_chunk(activation, x, dy, out.get().add(start), n, accumulate);
        }
    });
}

/// `dy = dy * activation'(x)`.
///
/// # Panics
/// If the lengths differ.
pub fn backward_in_place(activation: Activation, x: &[f32], dy: &mut [f32]) {
    assert_eq!(x.len(), dy.len(), "activation: x and dy differ in length");
    if activation == Activation::Identity {
        return;
    }
    let out = SendPtr(dy.as_mut_ptr());
    for_each_chunk(x.len(), |start, n| {
        // SAFETY: chunks lie inside both slices and do not overlap; each value is read before it is written.
        unsafe {
            let at = out.get().add(start);
            backward_chunk(activation, x.as_ptr().add(start), at, at, n, false);
        }
    });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::reference;

    /// Every activation.
    pub(crate) const ALL: [Activation; 9] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu(0.1),
        Activation::HardSigmoid,
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::Silu,
        Activation::Mish,
    ];

    #[test]
    fn slices_agree_with_the_reference_on_every_instruction_set() {
        use crate::elementwise::tests::{close, each_isa};
        // Includes the kinks 0, 3, -3, 6 and both saturated ends.
        let x: Vec<f32> = (0..4001).map(|i| (i as f32 - 2000.0) * 0.0625).collect();
        let dy: Vec<f32> = (0..4001).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
        each_isa(|| {
            for a in ALL {
                let mut y = vec![0.0; x.len()];
                forward(a, &x, &mut y);
                let want: Vec<f32> = x.iter().map(|&x| reference::activation::apply(a, f64::from(x)) as f32).collect();
                close(&y, &want, 1e-6, &format!("{a:?} forward"));
                let mut same = x.clone();
                forward_in_place(a, &mut same);
                assert_eq!(same, y, "{a:?} in place");
                let mut in_place = dy.clone();
                backward_in_place(a, &x, &mut in_place);
                let mut apart = vec![0.0; x.len()];
                backward(a, &x, &dy, &mut apart, false);
                assert_eq!(in_place, apart, "{a:?} backward in place");
                let mut dx = vec![1.0; x.len()];
                backward(a, &x, &dy, &mut dx, true);
                let d = |x| reference::activation::derivative(a, f64::from(x)) as f32;
                let want: Vec<f32> = x.iter().zip(&dy).map(|(&x, dy)| 1.0 + d(x) * dy).collect();
                close(&dx, &want, 4e-6, &format!("{a:?} backward"));
                backward(a, &x, &dy, &mut dx, false);
                let want: Vec<f32> = x.iter().zip(&dy).map(|(&x, dy)| d(x) * dy).collect();
                close(&dx, &want, 4e-6, &format!("{a:?} backward, overwriting"));
            }
        });
    }

    #[test]
    fn nan_passes_through() {
        crate::elementwise::tests::each_isa(|| {
            for a in [Activation::Relu, Activation::Relu6, Activation::HardSwish, Activation::HardSigmoid] {
                let mut y = [0.0; 19];
                forward(a, &[f32::NAN; 19], &mut y);
                assert!(y.iter().all(|y| y.is_nan()), "{a:?}: {y:?}");
            }
        });
    }

    #[test]
    fn reference_derivatives_agree_with_finite_differences() {
        for a in ALL {
            for i in -80..80 {
                let x = f64::from(i) * 0.1 + 0.037; // never on a kink
                let h = 1e-6;
                let difference =
                    (reference::activation::apply(a, x + h) - reference::activation::apply(a, x - h)) / (2.0 * h);
                let d: f64 = reference::activation::derivative(a, x);
                assert!((d - difference).abs() < 1e-8, "{a:?} at {x}: {d} against {difference}");
            }
        }
    }
}
