//! Activations and their derivatives, one value at a time.

use super::Float;
use crate::Activation;

/// Applies `activation` to `x`.
pub fn apply<T: Float>(activation: Activation, x: T) -> T {
    let c = T::from_f64;
    let clamp01 = |v: T| {
        if v < T::ZERO {
            T::ZERO
        } else if v > T::ONE {
            T::ONE
        } else {
            v
        }
    };
    match activation {
        Activation::Identity => x,
        Activation::Relu => {
            if x > T::ZERO {
                x
            } else {
                T::ZERO
            }
        }
        Activation::Relu6 => {
            if x > c(6.0) {
                c(6.0)
            } else if x > T::ZERO {
                x
            } else {
                T::ZERO
            }
        }
        Activation::LeakyRelu(slope) => {
            if x > T::ZERO {
                x
            } else {
                x * c(f64::from(slope))
            }
        }
        Activation::HardSigmoid => clamp01((x + c(3.0)) / c(6.0)),
        Activation::HardSwish => x * clamp01((x + c(3.0)) / c(6.0)),
        Activation::Sigmoid => T::ONE / (T::ONE + (-x).exp()),
        Activation::Silu => x / (T::ONE + (-x).exp()),
        Activation::Mish => x * mish_gate(x),
    }
}

/// The derivative of `activation` at `x`. At a kink it is the one-sided value that PyTorch uses (0 for ReLU at 0).
pub fn derivative<T: Float>(activation: Activation, x: T) -> T {
    let c = T::from_f64;
    match activation {
        Activation::Identity => T::ONE,
        Activation::Relu => {
            if x > T::ZERO {
                T::ONE
            } else {
                T::ZERO
            }
        }
        Activation::Relu6 => {
            if x > T::ZERO && x < c(6.0) {
                T::ONE
            } else {
                T::ZERO
            }
        }
        Activation::LeakyRelu(slope) => {
            if x > T::ZERO {
                T::ONE
            } else {
                c(f64::from(slope))
            }
        }
        Activation::HardSigmoid => {
            if x > c(-3.0) && x < c(3.0) {
                T::ONE / c(6.0)
            } else {
                T::ZERO
            }
        }
        Activation::HardSwish => {
            if x < c(-3.0) {
                T::ZERO
            } else if x > c(3.0) {
                T::ONE
            } else {
                (x + x + c(3.0)) / c(6.0)
            }
        }
        Activation::Sigmoid => {
            let s = T::ONE / (T::ONE + (-x).exp());
            s * (T::ONE - s)
        }
        Activation::Mish => {
            let s = T::ONE / (T::ONE + (-x).exp());
            let t = mish_gate(x);
            t + x * s * (T::ONE - t * t)
        }
        Activation::Silu => {
            let s = T::ONE / (T::ONE + (-x).exp());
            s * (T::ONE + x * (T::ONE - s))
        }
    }
}

/// tanh(ln(1 + e^x)), without overflow.
fn mish_gate<T: Float>(x: T) -> T {
    if x > T::from_f64(20.0) {
        return T::ONE;
    }
    let e = x.exp();
    let n = e * (e + T::from_f64(2.0));
    n / (n + T::from_f64(2.0))
}
