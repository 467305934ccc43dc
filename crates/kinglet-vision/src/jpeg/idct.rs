//! The inverse cosine transform in whole numbers, to the bit that of libjpeg and so of OpenCV.
//!
//! Source: Loeffler, Ligtenberg, Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", 1989; with factors in
//! 13 bits and two more bits than grey levels between columns and rows.
//! Shapes: a number of each of [`BLOCKS`] blocks, by its place in the block, rows first. Oracle: OpenCV, in the tests.

use kinglet_kernels::idct::{BLOCKS, Lanes};
use kinglet_kernels::vectorise::Vectorise;
use std::num::Wrapping;

/// A whole number of each block.
pub(super) type WholeLanes = [i32; BLOCKS];

/// Bits of the factors, and the bits that columns keep for rows.
const FACTOR_BITS: u32 = 13;
const KEPT_BITS: u32 = 2;
/// What the transform is too large by, for rows and columns together.
const GAIN_BITS: u32 = 3;

/// Grey levels of blocks from their coefficients, whole numbers, in whose place zeros stay.
pub(super) struct Inverse<'a> {
    pub coefficients: &'a mut [Lanes; 64],
    /// Between the columns and the rows.
    pub columns: &'a mut [WholeLanes; 64],
    pub levels: &'a mut [WholeLanes; 64],
}

impl Vectorise for Inverse<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // Adding 1.5 * 2^23 leaves a whole number in the lower bits.
        const WHOLE: f32 = 12_582_912.0;
        let coefficients = self.coefficients.as_flattened_mut();
        for (level, coefficient) in self.levels.as_flattened_mut().iter_mut().zip(coefficients) {
            *level = (*coefficient + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32;
            *coefficient = 0.0;
        }
        for x in 0..8 {
            line::<8, { FACTOR_BITS - KEPT_BITS }>(self.levels, x, self.columns);
        }
        for y in 0..8 {
            line::<1, { FACTOR_BITS + KEPT_BITS + GAIN_BITS }>(self.columns, 8 * y, self.levels);
        }
        for level in self.levels.as_flattened_mut() {
            *level = level.saturating_add(128).clamp(0, 255);
        }
    }
}

/// The transform of eight places, `STEP` from each other; the result is divided by `2^SHIFT` and rounded.
#[inline(always)]
fn line<const STEP: usize, const SHIFT: u32>(from: &[WholeLanes; 64], first: usize, to: &mut [WholeLanes; 64]) {
    // One by one: closures over arrays do not always become part of this function.
    let at = |k: usize| &from[first + k * STEP];
    let [p0, p1, p2, p3, p4, p5, p6, p7] = [at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)];
    let mut out = [[0; BLOCKS]; 8];
    let [o0, o1, o2, o3, o4, o5, o6, o7] = &mut out;
    for i in 0..BLOCKS {
        // The coefficients of damaged files are of any size.
        let (c0, c1, c2, c3) = (Wrapping(p0[i]), Wrapping(p1[i]), Wrapping(p2[i]), Wrapping(p3[i]));
        let (c4, c5, c6, c7) = (Wrapping(p4[i]), Wrapping(p5[i]), Wrapping(p6[i]), Wrapping(p7[i]));
        // Cosines of even frequencies: of 0 and 4, and a rotation of 2 and 6.
        let (sum, difference) = ((c0 + c4) << FACTOR_BITS as usize, (c0 - c4) << FACTOR_BITS as usize);
        let both = (c2 + c6) * factor(0.541_196_1);
        let (low, high) = (both + c2 * factor(0.765_366_865), both - c6 * factor(1.847_759_065));
        let even = [sum + low, difference + high, difference - high, sum - low];
        // Those of odd ones: rotations that share their products.
        let all = (c7 + c3 + c5 + c1) * factor(1.175_875_602);
        let a = -(c7 + c1) * factor(0.899_976_223);
        let b = -(c5 + c3) * factor(2.562_915_447);
        let c = all - (c7 + c3) * factor(1.961_570_560);
        let d = all - (c5 + c1) * factor(0.390_180_644);
        let odd = [
            c1 * factor(1.501_321_110) + a + d,
            c3 * factor(3.072_711_026) + b + c,
            c5 * factor(2.053_119_869) + b + d,
            c7 * factor(0.298_631_336) + a + c,
        ];
        (o0[i], o7[i]) = (rounded::<SHIFT>(even[0] + odd[0]), rounded::<SHIFT>(even[0] - odd[0]));
        (o1[i], o6[i]) = (rounded::<SHIFT>(even[1] + odd[1]), rounded::<SHIFT>(even[1] - odd[1]));
        (o2[i], o5[i]) = (rounded::<SHIFT>(even[2] + odd[2]), rounded::<SHIFT>(even[2] - odd[2]));
        (o3[i], o4[i]) = (rounded::<SHIFT>(even[3] + odd[3]), rounded::<SHIFT>(even[3] - odd[3]));
    }
    for (k, out) in out.iter().enumerate() {
        to[first + k * STEP] = *out;
    }
}

/// A factor in whole numbers.
#[inline(always)]
const fn factor(x: f64) -> Wrapping<i32> {
    Wrapping((x * (1 << FACTOR_BITS) as f64 + 0.5) as i32)
}

#[inline(always)]
fn rounded<const SHIFT: u32>(x: Wrapping<i32>) -> i32 {
    (x + Wrapping(1 << (SHIFT - 1))).0 >> SHIFT
}
