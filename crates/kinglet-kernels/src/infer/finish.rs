//! Activations on a register tile, before it is stored.
//!
//! The four usual activations are written out; the others go through the general form.

use crate::Activation;
use crate::activation::apply_simd;
use crate::simd::Simd;

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
                    *v = apply_simd::<S>(Activation::Silu, *v);
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
