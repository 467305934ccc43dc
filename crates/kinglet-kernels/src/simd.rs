//! One vector vocabulary for every instruction set.
//!
//! A kernel is written once, generic over [`Simd`] and `#[inline(always)]`, and compiled once per instruction set by
//! [`dispatch!`](crate::dispatch), which wraps it in a `#[target_feature]` function. [`isa`] says which one this process uses.
//!
//! Results agree between instruction sets to rounding (width of the partial sums, fused or separate multiply-add), and
//! are bit-equal between runs and thread counts on one of them.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Isa {
    /// Portable code, four lanes that the compiler may vectorise.
    Scalar = 1,
    /// x86-64 with AVX2 and FMA.
    Avx2 = 2,
    /// x86-64 with AVX-512F.
    Avx512 = 3,
    /// AArch64.
    Neon = 4,
}

impl Isa {
    /// The name printed by `kinglet bench`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2+fma",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// The instruction sets that this machine can run, best first. Never empty: [`Isa::Scalar`] is last.
    pub fn available() -> Vec<Isa> {
        let mut list = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
            {
                list.push(Isa::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                list.push(Isa::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        list.push(Isa::Neon);
        list.push(Isa::Scalar);
        list
    }
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The instruction set in use: the best that the machine has, unless [`set_isa`] chose another.
pub fn isa() -> Isa {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Isa::Scalar,
        #[cfg(target_arch = "x86_64")]
        2 => Isa::Avx2,
        #[cfg(target_arch = "x86_64")]
        3 => Isa::Avx512,
        #[cfg(target_arch = "aarch64")]
        4 => Isa::Neon,
        _ => {
            let best = Isa::available()[0];
            CHOSEN.store(best as u8, Ordering::Relaxed);
            best
        }
    }
}

/// Chooses the instruction set of this process, for tests and comparisons.
///
/// # Panics
/// If the machine lacks it.
pub fn set_isa(isa: Isa) {
    assert!(Isa::available().contains(&isa), "this machine has no {}", isa.name());
    CHOSEN.store(isa as u8, Ordering::Relaxed);
}

/// By how many floats a kernel that makes a pass over a map asks for its cache lines ahead, or zero.
///
/// Intel's processors foresee a stream by some 20 lines, which is too few for a server's memory: asked for 64 lines ahead,
/// the loop of a normalisation reads 1.8 times as fast there, and a training step takes 1 to 5 % less time. On an AMD EPYC an
/// earlier form of this, into the first-level cache, took more.
pub(crate) fn stream_ahead() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        static INTEL: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        // "GenuineIntel", in the order in which the instruction gives it.
        let intel = INTEL.get_or_init(|| {
            let id = std::arch::x86_64::__cpuid(0);
            [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
        });
        if *intel { 1024 } else { 0 }
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// A set of vector operations on `f32` lanes.
///
/// # Safety
/// The methods may only run where the instruction set is present: inside a function made by [`dispatch!`](crate::dispatch).
/// Pointer arguments must be valid for the lanes that are read or written; no alignment is required.
#[allow(clippy::missing_safety_doc, missing_docs)]
pub unsafe trait Simd: Copy {
    /// Lanes of a vector.
    const LANES: usize;
    /// A vector of [`Self::LANES`] floats.
    type V: Copy;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Asks for the cache line of `p`, which need not be readable. Nothing where the instruction set cannot.
    #[inline(always)]
    unsafe fn prefetch(_p: *const f32) {}
    /// The same for what is read later: into the second-level cache.
    #[inline(always)]
    unsafe fn prefetch_second(_p: *const f32) {}
    /// Loads `n <= LANES` floats, zero elsewhere.
    unsafe fn load_partial(p: *const f32, n: usize) -> Self::V;
    /// Stores the first `n <= LANES` lanes.
    unsafe fn store_partial(p: *mut f32, v: Self::V, n: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, fused where the instruction set can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `if a > b { x } else { y }`, lane by lane.
    unsafe fn select_gt(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2 to the power of an integral `a` in -126..=127.
    unsafe fn pow2(a: Self::V) -> Self::V;

    /// e^x with a relative error below 3e-7 for x in -87..=88, clamped outside.
    ///
    /// Source: range reduction x = n ln 2 + r, then the degree-6 Taylor polynomial of e^r in Horner form on |r| <= ln 2 / 2.
    #[inline(always)]
    unsafe fn exp(x: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe {
            let x = Self::min(Self::max(x, Self::splat(-87.0)), Self::splat(88.0));
            let n = Self::round(Self::mul(x, Self::splat(std::f32::consts::LOG2_E)));
            let r = Self::fma(n, Self::splat(-0.693_359_4), x); // high part of ln 2, exact in few bits
            let r = Self::fma(n, Self::splat(2.121_944_4e-4), r); // minus the low part
            let mut p = Self::splat(1.0 / 5040.0);
            for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
                p = Self::fma(p, r, Self::splat(c));
            }
            Self::mul(p, Self::pow2(n))
        }
    }

    /// 2^t with a relative error below 2e-7 for t in -126..=126; 2^-126 below, and no less than 2^126 above.
    #[inline(always)]
    unsafe fn exp2(t: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe {
            // In this order a NaN passes through both on x86, where the second operand is returned.
            let t = Self::min(Self::splat(126.0), Self::max(Self::splat(-126.0), t));
            let n = Self::round(t);
            Self::mul(exp2_near_zero::<Self>(Self::sub(t, n)), Self::pow2(n))
        }
    }

    /// 1 + e^-x, which divides 1 to the sigmoid and x to SiLU.
    #[inline(always)]
    unsafe fn sigmoid_divisor(x: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { Self::add(Self::splat(1.0), Self::exp2(Self::mul(x, Self::splat(-std::f32::consts::LOG2_E)))) }
    }

    /// 1 / (1 + e^-x).
    #[inline(always)]
    unsafe fn sigmoid(x: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { Self::div(Self::splat(1.0), Self::sigmoid_divisor(x)) }
    }
}

/// 2^f on -0.5..=0.5, fitted for the least largest relative error, 7.5e-8.
#[inline(always)]
unsafe fn exp2_near_zero<S: Simd>(f: S::V) -> S::V {
    const FIT: [f32; 6] = [1.000_000_1, 0.693_146_94, 0.240_221_2, 0.055_507_135, 0.009_675_541, 0.001_327_646_7];
    // SAFETY: the caller's promise.
    unsafe {
        let mut p = S::splat(FIT[5]);
        for c in [FIT[4], FIT[3], FIT[2], FIT[1], FIT[0]] {
            p = S::fma(p, f, S::splat(c));
        }
        p
    }
}

/// Portable lanes.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

// SAFETY: plain array code; needs no instruction set.
unsafe impl Simd for Scalar {
    const LANES: usize = 4;
    type V = [f32; 4];
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> Self::V {
        let mut v = [0.0; 4];
        for (i, lane) in v.iter_mut().enumerate().take(n) {
            *lane = unsafe { *p.add(i) };
        }
        v
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: Self::V, n: usize) {
        for (i, lane) in v.iter().enumerate().take(n) {
            unsafe { *p.add(i) = *lane };
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn select_gt(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i].round_ties_even())
    }
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    unsafe fn pow2(a: Self::V) -> Self::V {
        std::array::from_fn(|i| f32::from_bits(((a[i] as i32 + 127) << 23) as u32))
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Simd, exp2_near_zero};
    use std::arch::x86_64::*;

    /// Eight lanes, AVX2 and FMA.
    #[derive(Debug, Clone, Copy)]
    pub struct Avx2;

    #[inline(always)]
    fn mask8(n: usize) -> *const i32 {
        const M: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        debug_assert!(n <= 8);
        // SAFETY: n <= 8 keeps the eight lanes read from here inside the table.
        unsafe { M.as_ptr().add(8 - n) }
    }

    // SAFETY: callers run under the `avx2,fma` target features.
    unsafe impl Simd for Avx2 {
        const LANES: usize = 8;
        type V = __m256;
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn prefetch(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn prefetch_second(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_partial(p: *const f32, n: usize) -> __m256 {
            unsafe { _mm256_maskload_ps(p, _mm256_loadu_si256(mask8(n).cast())) }
        }
        #[inline(always)]
        unsafe fn store_partial(p: *mut f32, v: __m256, n: usize) {
            unsafe { _mm256_maskstore_ps(p, _mm256_loadu_si256(mask8(n).cast()), v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn select_gt(a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
            unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
        }
        #[inline(always)]
        unsafe fn round(a: __m256) -> __m256 {
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn pow2(a: __m256) -> __m256 {
            unsafe {
                let n = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n))
            }
        }
    }

    /// Sixteen lanes, AVX-512F.
    #[derive(Debug, Clone, Copy)]
    pub struct Avx512;

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)]
    fn mask16(n: usize) -> __mmask16 {
        debug_assert!(n <= 16);
        ((1u32 << n) - 1) as __mmask16
    }

    // SAFETY: callers run under the `avx512f` target feature.
    unsafe impl Simd for Avx512 {
        const LANES: usize = 16;
        type V = __m512;
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn prefetch(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn prefetch_second(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_partial(p: *const f32, n: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps(mask16(n), p) }
        }
        #[inline(always)]
        unsafe fn store_partial(p: *mut f32, v: __m512, n: usize) {
            unsafe { _mm512_mask_storeu_ps(p, mask16(n), v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn select_gt(a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x) }
        }
        #[inline(always)]
        unsafe fn round(a: __m512) -> __m512 {
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn pow2(a: __m512) -> __m512 {
            unsafe {
                let n = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n))
            }
        }
        #[inline(always)]
        unsafe fn exp2(t: __m512) -> __m512 {
            // Its scaling saturates by itself.
            unsafe {
                let t = _mm512_max_ps(_mm512_set1_ps(-126.0), t);
                let n = Self::round(t);
                _mm512_scalef_ps(exp2_near_zero::<Self>(_mm512_sub_ps(t, n)), n)
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Simd;
    use std::arch::aarch64::*;

    /// Four lanes, NEON.
    #[derive(Debug, Clone, Copy)]
    pub struct Neon;

    // SAFETY: NEON is part of the AArch64 baseline.
    unsafe impl Simd for Neon {
        const LANES: usize = 4;
        type V = float32x4_t;
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::V {
            unsafe { vdupq_n_f32(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self::V {
            unsafe { vld1q_f32(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: Self::V) {
            unsafe { vst1q_f32(p, v) }
        }
        #[inline(always)]
        unsafe fn load_partial(p: *const f32, n: usize) -> Self::V {
            let mut t = [0.0f32; 4];
            unsafe { std::ptr::copy_nonoverlapping(p, t.as_mut_ptr(), n) };
            unsafe { vld1q_f32(t.as_ptr()) }
        }
        #[inline(always)]
        unsafe fn store_partial(p: *mut f32, v: Self::V, n: usize) {
            let mut t = [0.0f32; 4];
            unsafe { vst1q_f32(t.as_mut_ptr(), v) };
            unsafe { std::ptr::copy_nonoverlapping(t.as_ptr(), p, n) };
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            unsafe { vsubq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            unsafe { vmulq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
            unsafe { vdivq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
            unsafe { vmaxq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
            unsafe { vminq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn select_gt(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
            unsafe { vbslq_f32(vcgtq_f32(a, b), x, y) }
        }
        #[inline(always)]
        unsafe fn round(a: Self::V) -> Self::V {
            unsafe { vrndnq_f32(a) }
        }
        #[inline(always)]
        unsafe fn pow2(a: Self::V) -> Self::V {
            unsafe {
                let n = vaddq_s32(vcvtnq_s32_f32(a), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(n))
            }
        }
    }
}

/// Defines a function that runs an `#[inline(always)]` generic kernel with the instruction set in use.
///
/// `dispatch!(fn row_sum(x: &[f32]) -> f32 = row_sum_kernel)` makes `unsafe fn row_sum(x)` call
/// `row_sum_kernel::<S>(x)` with `S` one of the [`Simd`] types, compiled with its target features.
/// The kernel is an `unsafe fn` whose other promises pass on to the caller of the defined function.
#[macro_export]
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $kernel:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                unsafe { $kernel::<$crate::simd::Avx2>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                unsafe { $kernel::<$crate::simd::Avx512>($($arg),*) }
            }
            match $crate::simd::isa() {
                // SAFETY: `isa` returns only what this machine has; the rest is the caller's promise.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                $crate::simd::Isa::Neon => unsafe { $kernel::<$crate::simd::Neon>($($arg),*) },
                _ => unsafe { $kernel::<$crate::simd::Scalar>($($arg),*) },
            }
        }
    };
}
