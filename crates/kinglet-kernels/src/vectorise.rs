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
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,bmi1,bmi2,lzcnt")]
    fn avx512<W: Vectorise>(work: W) -> W::Output {
        work.run()
    }
    #[cfg(target_arch = "x86_64")]
    {
        let bits = || {
            is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("lzcnt")
        };
        let bytes = || {
            is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
        };
        match isa() {
            // SAFETY: `isa` gives what the machine has, and the other features were asked for.
            Isa::Avx512 if bits() && bytes() => return unsafe { avx512(work) },
            // SAFETY: likewise.
            Isa::Avx512 | Isa::Avx2 if bits() => return unsafe { avx2(work) },
            _ => {}
        }
    }
    // NEON is part of every AArch64 target; elsewhere the build decides.
    work.run()
}
