//! Safe code on bytes, compiled once per instruction set.
//!
//! For work that the compiler turns into vectors by itself once it may use the instructions. Results are the same bits
//! on every instruction set: Rust neither reorders nor fuses arithmetic.

use crate::simd::{Isa, isa};

/// A piece of work for [`vectorise`], with its arguments.
pub trait Vectorise {
    /// The result.
    type Output;

    /// Does the work. The implementation and what it calls must be `#[inline(always)]`: only code that is inlined
    /// gets the instruction set.
    fn run(self) -> Self::Output;
}

/// Does the work with the instruction set in use.
pub fn vectorise<W: Vectorise>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn avx2<W: Vectorise>(work: W) -> W::Output {
        work.run()
    }
    match isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512
            if is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt") =>
        {
            // SAFETY: the machine has all the features.
            unsafe { avx2(work) }
        }
        // NEON is part of every AArch64 target; elsewhere the build decides.
        _ => work.run(),
    }
}
