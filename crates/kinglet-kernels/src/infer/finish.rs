//! Activations on a register tile, before it is stored.
//!
//! The four usual activations are written out; the others go through the general form. SiLU has its own shorter
//! exponential: relative error below 3e-7 against the 1e-4 that layers are held to.

use crate::Activation;
use crate::activation::apply_simd;
use crate::simd::Simd;

/// 2^f on -0.5..=0.5: fitted for the least largest relative error, 7.5e-8.
const EXP2: [f32; 6] = [1.000_000_1, 0.693_146_94, 0.240_221_2, 0.055_507_135, 0.009_675_541, 0.001_327_646_7];

/// x / (1 + e^-x).
///
/// # Safety
/// The instruction set of `S` is present.
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        let t = S::mul(x, S::splat(-std::f32::consts::LOG2_E));
        // In this order a NaN passes through both on x86, where the second operand is returned.
        let t = S::min(S::splat(126.0), S::max(S::splat(-126.0), t));
        let n = S::round(t);
        let f = S::sub(t, n);
        let mut p = S::splat(EXP2[5]);
        for c in [EXP2[4], EXP2[3], EXP2[2], EXP2[1], EXP2[0]] {
            p = S::fma(p, f, S::splat(c));
        }
        S::div(x, S::fma(p, S::pow2(n), S::splat(1.0)))
    }
}

/// Applies `activation` to every vector of a tile.
///
/// # Safety
/// The instruction set of `S` is present.
#[inline(always)]
pub(crate) unsafe fn finish<S: Simd, const N: usize, const M: usize>(activation: Activation, acc: &mut [[S::V; N]; M]) {
    // SAFETY: the caller's promise.
    unsafe {
        match activation {
            Activation::Identity => {}
            Activation::Relu => {
                for v in acc.as_flattened_mut() {
                    *v = apply_simd::<S>(Activation::Relu, *v);
                }
            }
            Activation::HardSwish => {
                for v in acc.as_flattened_mut() {
                    *v = apply_simd::<S>(Activation::HardSwish, *v);
                }
            }
            Activation::Silu => {
                for v in acc.as_flattened_mut() {
                    *v = silu::<S>(*v);
                }
            }
            other => {
                // A copy, so that the tile itself stays in registers.
                let mut copy = *acc;
                for v in copy.as_flattened_mut() {
                    *v = apply_simd::<S>(other, *v);
                }
                *acc = copy;
            }
        }
    }
}
