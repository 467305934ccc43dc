//! Transforms weights and packs them for the products over channels, in one go.

use super::{G_NARROW, G_WIDE, KINDS, NARROW, WEIGHTS, side};
use crate::conv::gemm::{lanes, panel_count, panel_width};
use crate::threads::{SendPtr, parallel_for};
use crate::vectorise::{Vectorise, vectorise};
use crate::{AlignedVec, ConvShape};

/// 3x3 kernels as they lie in memory.
#[derive(Clone, Copy)]
pub(crate) struct Kernels<'a> {
    weight: &'a [f32],
    /// Floats from the kernel of one output channel, and of one input channel, to that of the next.
    steps: [usize; 2],
    /// Whether the taps are taken from the last to the first.
    turned: bool,
}

impl<'a> Kernels<'a> {
    /// Those of the convolution `s`, `[c_out, c_in, 3, 3]`.
    pub fn new(s: &ConvShape, weight: &'a [f32]) -> Kernels<'a> {
        assert_eq!(weight.len(), s.weight_len(), "weight length of {s:?}");
        Kernels { weight, steps: [9 * s.c_in, 9], turned: false }
    }

    /// Those of the convolution that gives the gradient by the input of `s`: channels exchanged, taps turned by half a
    /// turn.
    pub fn transposed(s: &ConvShape, weight: &'a [f32]) -> Kernels<'a> {
        let Kernels { weight, steps: [out, input], .. } = Kernels::new(s, weight);
        Kernels { weight, steps: [input, out], turned: true }
    }
}

/// Transformed and packed weights, in floats that somebody else has.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub lanes: usize,
    /// The weights of one kind after those of another, rows of kinds first.
    floats: &'a [f32],
}

impl<'a> Packed<'a> {
    /// Floats that the weights of `s` take.
    pub fn len(s: &ConvShape) -> usize {
        WEIGHTS * s.c_in * s.c_out.next_multiple_of(lanes())
    }

    /// Transforms and packs the weights of `s` for the instruction set in use.
    pub fn new(s: &ConvShape, kernels: Kernels<'_>, floats: &'a mut [f32]) -> Packed<'a> {
        /// Input channels of a task.
        const CHANNELS: usize = 16;
        assert_eq!(floats.len(), Packed::len(s), "packed weights of {s:?}");
        let (lanes, matrix) = (lanes(), if side(s) == NARROW { &G_NARROW } else { &G_WIDE });
        let (vectors, blocks) = (s.c_out.div_ceil(lanes), s.c_in.div_ceil(CHANNELS));
        let out = SendPtr(floats.as_mut_ptr());
        parallel_for(panel_count(vectors) * blocks, |task| {
            let (panel, first) = (task / blocks, task % blocks * CHANNELS);
            let (column, width) = (2 * panel * lanes, panel_width(panel, vectors) * lanes);
            vectorise(Panel {
                kernels,
                matrix,
                column,
                width,
                exist: width.min(s.c_out - column),
                channels: first..s.c_in.min(first + CHANNELS),
                // SAFETY: panels end at the length of a kind, which is a part in `WEIGHTS` of the floats.
                out: SendPtr(unsafe { out.get().add(column * s.c_in) }),
                step: Packed::len(s) / WEIGHTS,
            });
        });
        Packed { lanes, floats }
    }

    /// The weights of a kind, as the micro-kernel takes them.
    pub fn kind(&self, kind: usize) -> &'a [f32] {
        let len = self.floats.len() / WEIGHTS;
        &self.floats[kind * len..(kind + 1) * len]
    }
}

/// Some input channels of a panel of output channels, of all kinds: `G W G^T`.
struct Panel<'a> {
    kernels: Kernels<'a>,
    matrix: &'a [[f64; 3]; KINDS],
    /// The first output channel, those of the panel, and those among them that exist; the others become zero.
    column: usize,
    width: usize,
    exist: usize,
    channels: std::ops::Range<usize>,
    /// The panel of the first kind, and the floats from one kind to the next. No other task has these channels of it.
    out: SendPtr<f32>,
    step: usize,
}

impl Vectorise for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        /// Kernels that are transformed together: a cache line of results.
        const LANES: usize = 16;
        let Kernels { weight, steps: [next_column, next_channel], turned } = self.kernels;
        for channel in self.channels {
            for at in (0..self.width).step_by(LANES) {
                let mut taps = [[0.0f64; LANES]; 9];
                for lane in 0..self.exist.saturating_sub(at).min(LANES) {
                    let kernel = &weight[(self.column + at + lane) * next_column + channel * next_channel..][..9];
                    for (tap, &w) in kernel.iter().enumerate() {
                        taps[if turned { 8 - tap } else { tap }][lane] = f64::from(w);
                    }
                }
                let len = LANES.min(self.width - at);
                for (y, g) in self.matrix.iter().enumerate() {
                    let mut half = [[0.0f64; LANES]; 3];
                    for x in 0..3 {
                        for lane in 0..LANES {
                            half[x][lane] = g[0] * taps[x][lane] + g[1] * taps[3 + x][lane] + g[2] * taps[6 + x][lane];
                        }
                    }
                    for (x, g) in self.matrix.iter().enumerate() {
                        let mut values = [0.0f32; LANES];
                        for lane in 0..LANES {
                            values[lane] = (g[0] * half[0][lane] + g[1] * half[1][lane] + g[2] * half[2][lane]) as f32;
                        }
                        // SAFETY: the panel has `width` floats for each channel of each kind, and this task alone
                        // writes those of its channels.
                        unsafe {
                            let to = self.out.get().add((y * KINDS + x) * self.step + channel * self.width + at);
                            if len == LANES {
                                to.cast::<[f32; LANES]>().write(values);
                            } else {
                                to.copy_from_nonoverlapping(values.as_ptr(), len);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Weights transformed and packed once, for inference.
#[derive(Debug, Clone)]
pub struct WinogradWeights {
    side: usize,
    /// Input and output channels.
    channels: [usize; 2],
    lanes: usize,
    data: AlignedVec,
}

impl WinogradWeights {
    /// From `[c_out, c_in, 3, 3]`.
    ///
    /// # Panics
    /// If `weight` has another length than the shape says.
    pub fn new(s: &ConvShape, weight: &[f32]) -> WinogradWeights {
        let mut data = AlignedVec::zeros(Packed::len(s));
        let lanes = Packed::new(s, Kernels::new(s, weight), &mut data).lanes;
        WinogradWeights { side: side(s), channels: [s.c_in, s.c_out], lanes, data }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * self.data.len()
    }

    /// Whether these are weights for such a convolution.
    pub(crate) fn fit(&self, s: &ConvShape) -> bool {
        self.side == side(s) && self.channels == [s.c_in, s.c_out]
    }

    pub(crate) fn packed(&self) -> Packed<'_> {
        Packed { lanes: self.lanes, floats: &self.data }
    }
}
