//! Blocks side by side: coefficients as they are read, then pixels at half the picture's size.

use kinglet_kernels::idct::{BLOCKS, Basis, Lanes, inverse};
use kinglet_kernels::vectorise::{Vectorise, vectorise};
use std::sync::LazyLock;

/// The cosines of the 8-point transform: means of two neighbours for four places, as they are for eight.
static BASES: LazyLock<[Basis; 2]> = LazyLock::new(|| {
    let whole = |k: usize, x: usize| {
        let scale = if k == 0 { 0.125f64.sqrt() } else { 0.5 };
        scale * ((2 * x + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos()
    };
    let mean = |k: usize, x: usize| (whole(k, 2 * x) + whole(k, 2 * x + 1)) / 2.0;
    let table = |f: &dyn Fn(usize, usize) -> f64, places: usize| -> Basis {
        std::array::from_fn(|k| std::array::from_fn(|x| if x < places { f(k, x) as f32 } else { 0.0 }))
    };
    [table(&mean, 4), table(&whole, 8)]
});

/// Blocks that lie side by side, up to [`BLOCKS`].
pub(super) struct Batch {
    /// By place in a block, rows first; zero where nothing was read.
    coefficients: Box<[Lanes; 64]>,
    /// By place in a block's pixels.
    values: Box<[Lanes; 64]>,
    /// How many blocks were read.
    count: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        let zeros = || Box::new([[0.0; BLOCKS]; 64]);
        Batch { coefficients: zeros(), values: zeros(), count: 0 }
    }

    /// How many blocks there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Gives the next block the coefficient of a place.
    #[inline(always)]
    pub(super) fn put(&mut self, place: usize, value: f32) {
        // Both are in range already; this way the compiler knows.
        self.coefficients[place % 64][self.count % BLOCKS] = value;
    }

    /// The next block is complete.
    #[inline(always)]
    pub(super) fn next(&mut self) {
        self.count += 1;
    }

    /// Writes the blocks' pixels, `sides` across and down, to the upper left of `out`, as grey levels in whole numbers of
    /// `1 / 2^level_bits`. No block is left.
    pub(super) fn finish(&mut self, sides: [usize; 2], level_bits: u32, out: &mut [u16], stride: usize) {
        inverse(&mut self.coefficients, sides, sides.map(|side| &BASES[side / 8]), &mut self.values);
        let len = self.count * sides[0];
        let values = &self.values[..sides[0] * sides[1]];
        vectorise(Weave { values, across: sides[0], level_bits, out, stride, len });
        self.count = 0;
    }
}

/// Rows of pixels, `len` each, from values by their place in the blocks.
struct Weave<'a> {
    values: &'a [Lanes],
    across: usize,
    level_bits: u32,
    out: &'a mut [u16],
    stride: usize,
    len: usize,
}

impl Vectorise for Weave<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { values, across, level_bits, out, stride, len } = self;
        let one = (1 << level_bits) as f32;
        for (values, out) in values.chunks_exact(across).zip(out.chunks_mut(stride)) {
            for (i, [a, b, c, d]) in values.as_chunks().0.iter().enumerate() {
                // Four neighbouring pixels of each block.
                let mut fours = [0u64; BLOCKS];
                for ((((four, &a), &b), &c), &d) in fours.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    let low = u64::from(level(a, one) | level(b, one) << 16);
                    *four = u64::from(level(c, one) | level(d, one) << 16) << 32 | low;
                }
                for (block, four) in out[..len].chunks_exact_mut(across).zip(fours) {
                    if let Some(pixels) = block[4 * i..].first_chunk_mut() {
                        *pixels = [four as u16, (four >> 16) as u16, (four >> 32) as u16, (four >> 48) as u16];
                    }
                }
            }
        }
    }
}

/// A value around 0 as a grey level around 128, in whole numbers of `1 / one`.
#[inline(always)]
fn level(value: f32, one: f32) -> u32 {
    // Adding 1.5 * 2^23 leaves the nearest whole number in the lower bits.
    const ROUND: f32 = 12_582_912.0;
    let whole = (value * one + (ROUND + 128.0 * one)).to_bits() as i32 - ROUND.to_bits() as i32;
    whole.clamp(0, 255 * one as i32) as u32
}
