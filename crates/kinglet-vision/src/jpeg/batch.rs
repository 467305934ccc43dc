//! Blocks side by side: coefficients as they are read, then pixels.

use super::Scale;
use super::idct::{Inverse, WholeLanes};
use kinglet_kernels::idct::{self as means, BLOCKS, Basis, Lanes};
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
    /// Whole numbers by place in a block, rows first; zero where nothing was read.
    coefficients: Box<[Lanes; 64]>,
    /// How many blocks were read.
    count: usize,
}

/// Room for the steps from coefficients to pixels.
pub(super) struct Room {
    values: [Lanes; 64],
    columns: [WholeLanes; 64],
    levels: [WholeLanes; 64],
}

impl Room {
    pub(super) fn new() -> Box<Self> {
        let whole = [[0; BLOCKS]; 64];
        Box::new(Room { values: [[0.0; BLOCKS]; 64], columns: whole, levels: whole })
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        Batch { coefficients: Box::new([[0.0; BLOCKS]; 64]), count: 0 }
    }

    /// How many blocks there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Gives the next block the coefficient of a place.
    #[inline(always)]
    pub(super) fn put(&mut self, place: usize, value: i32) {
        // Both are in range already; this way the compiler knows.
        self.coefficients[place % 64][self.count % BLOCKS] = value as f32;
    }

    /// The next block is complete.
    #[inline(always)]
    pub(super) fn next(&mut self) {
        self.count += 1;
    }

    /// Forgets the blocks.
    pub(super) fn clear(&mut self) {
        self.coefficients.as_flattened_mut().fill(0.0);
        self.count = 0;
    }

    /// Writes the blocks' pixels, `sides` across and down, to the upper left of `out`, as `scale` has them. No block is left.
    pub(super) fn finish(&mut self, scale: Scale, sides: [usize; 2], room: &mut Room, out: &mut [u16], stride: usize) {
        let Room { values, columns, levels } = room;
        let levels = match scale {
            Scale::Whole => {
                vectorise(Inverse { coefficients: &mut self.coefficients, columns, levels });
                &levels[..]
            }
            Scale::Half => {
                let levels = &mut levels[..sides[0] * sides[1]];
                means::inverse(&mut self.coefficients, sides, sides.map(|side| &BASES[side / 8]), values);
                vectorise(ToLevels { values, level_bits: scale.level_bits(), levels });
                levels
            }
        };
        vectorise(Weave { levels, across: sides[0], out, stride, len: self.count * sides[0] });
        self.count = 0;
    }
}

/// Values around 0 as grey levels around 128, in whole numbers of `1 / 2^level_bits`.
struct ToLevels<'a> {
    values: &'a [Lanes; 64],
    level_bits: u32,
    levels: &'a mut [WholeLanes],
}

impl Vectorise for ToLevels<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // Adding 1.5 * 2^23 leaves the nearest whole number in the lower bits.
        const ROUND: f32 = 12_582_912.0;
        let one = (1 << self.level_bits) as f32;
        for (level, &value) in self.levels.as_flattened_mut().iter_mut().zip(self.values.as_flattened()) {
            let whole = (value * one + (ROUND + 128.0 * one)).to_bits() as i32 - ROUND.to_bits() as i32;
            *level = whole.clamp(0, 255 << self.level_bits);
        }
    }
}

/// Rows of pixels, `len` each, from levels by their place in the blocks.
struct Weave<'a> {
    levels: &'a [WholeLanes],
    across: usize,
    out: &'a mut [u16],
    stride: usize,
    len: usize,
}

impl Vectorise for Weave<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { levels, across, out, stride, len } = self;
        for (levels, out) in levels.chunks_exact(across).zip(out.chunks_mut(stride)) {
            for (i, [a, b, c, d]) in levels.as_chunks().0.iter().enumerate() {
                // Four neighbouring pixels of each block.
                let mut fours = [0u64; BLOCKS];
                for ((((four, &a), &b), &c), &d) in fours.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *four = u64::from((c | d << 16) as u32) << 32 | u64::from((a | b << 16) as u32);
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
