//! Geometry of a convolution as row pointers and segments, and its cut into tiles.
//!
//! Both the forward pass and each phase of the gradient of the input are one [`Problem`]: outputs on a grid, each a sum
//! over taps of an input pixel's channels. Along an axis the output with index `j` sits at `start + step * j` and reads
//! the input at `stride * j + tap`.

use std::cell::Cell;
use std::ops::Range;

use super::gemm::{Block, Segment};
use crate::AlignedVec;

/// Reduction rows of a block: 288 rows of 24 columns are 27 KiB, of 16 columns 18 KiB.
const BLOCK: usize = 288;
/// Floats of the padded copy of a tile's input: 384 KiB. The part that a block of the reduction reads is much smaller.
const STRIP: usize = 96 * 1024;

/// One spatial axis.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// Outputs.
    pub count: usize,
    /// Coordinate of the first output and distance between outputs.
    pub start: usize,
    pub step: usize,
    /// Distance in the input between the windows of neighbouring outputs.
    pub stride: usize,
    /// Offsets in the input with the kernel's index, ascending.
    pub taps: Vec<(isize, usize)>,
    pub in_len: usize,
    pub out_len: usize,
}

impl Axis {
    fn low(&self) -> isize {
        self.taps.first().map_or(0, |t| t.0)
    }
    /// Input positions that one window spans.
    fn span(&self) -> usize {
        self.taps.last().map_or(1, |t| (t.0 - self.low()) as usize + 1)
    }
    /// Whether no window leaves the input.
    fn inside(&self) -> bool {
        let last = (self.count.saturating_sub(1) * self.stride) as isize + self.low() + self.span() as isize;
        self.low() >= 0 && last <= self.in_len as isize
    }
    fn is_plain(&self) -> bool {
        self.taps.len() == 1
            && self.taps[0].0 == 0
            && self.stride == 1
            && self.step == 1
            && self.start == 0
            && self.count == self.in_len
            && self.count == self.out_len
    }
}

/// A convolution of one group.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub batch: usize,
    /// Vertical, horizontal.
    pub axes: [Axis; 2],
    /// Floats between input pixels, first channel, channels.
    pub in_ld: usize,
    pub in_c0: usize,
    pub c_in: usize,
    /// The same of the output.
    pub out_ld: usize,
    pub out_c0: usize,
    pub c_out: usize,
}

impl Problem {
    /// Length of the reduction.
    fn k(&self) -> usize {
        self.axes[0].taps.len() * self.axes[1].taps.len() * self.c_in
    }

    /// Whether no window leaves the input: rows need no padded copy.
    fn direct(&self) -> bool {
        self.k() == 0 || self.axes.iter().all(Axis::inside)
    }
}

/// A problem cut into tiles.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub p: Problem,
    /// Outputs of a tile: images, rows, columns.
    pub size: [usize; 3],
    /// Tiles: the same.
    count: [usize; 3],
    /// Rows read the input itself, with no padded copy.
    pub direct: bool,
    /// Height and width of the copy.
    strip: [usize; 2],
    pub segments: Vec<Segment>,
    pub blocks: Vec<Block>,
    /// Length of the reduction.
    pub k: usize,
}

/// Buffers that a thread reuses from task to task.
#[derive(Default)]
pub(crate) struct Scratch {
    pub strip: AlignedVec,
    pub a_off: Vec<usize>,
    pub y_off: Vec<usize>,
    pub r_off: Vec<usize>,
    pub pack_a: AlignedVec,
    pub pack_b: AlignedVec,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
    static FLOATS: Cell<AlignedVec> = Cell::default();
}

/// Runs `f` with this thread's buffers.
pub(crate) fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take();
    let result = f(&mut scratch);
    SCRATCH.set(scratch);
    result
}

/// Runs `f` with `len` floats of any value, kept by this thread.
pub(crate) fn with_floats<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut floats = FLOATS.take();
    floats.grow(len);
    let result = f(&mut floats[..len]);
    FLOATS.set(floats);
    result
}

impl Plan {
    /// Cuts `p` into tiles of about `target` rows.
    pub fn new(mut p: Problem, target: usize) -> Plan {
        if p.axes.iter().all(Axis::is_plain) {
            // Every output pixel reads its own input pixel: one long row of pixels.
            let pixels = p.batch * p.axes[0].count * p.axes[1].count;
            p.batch = 1;
            p.axes = [1, pixels].map(|n| Axis {
                count: n,
                start: 0,
                step: 1,
                stride: 1,
                taps: vec![(0, 0)],
                in_len: n,
                out_len: n,
            });
        }
        let [ay, ax] = &p.axes;
        let direct = p.direct();
        let width = |n: usize| (n - 1) * ax.stride + ax.span();
        let height = |n: usize| (n - 1) * ay.stride + ay.span();

        let mut tx = ax.count.clamp(1, target.max(1));
        if !direct {
            while tx > 8 && height(1) * width(tx) * p.c_in > STRIP {
                tx = tx.div_ceil(2);
            }
        }
        let most = (target / tx).clamp(1, ay.count.max(1));
        let fits = |ty: usize| direct || ty == 1 || height(ty) * width(tx) * p.c_in <= STRIP;
        // Of the heights in the upper half of what fits, the one whose row groups of six are fullest.
        let most = (1..=most).rev().find(|&ty| fits(ty)).unwrap_or(1);
        let padded = |ty: usize| {
            let groups = |rows: usize| (rows * tx).div_ceil(6);
            (ay.count / ty) * groups(ty) + groups(ay.count % ty)
        };
        let ty = (most.div_ceil(2)..=most).rev().min_by_key(|&ty| padded(ty)).unwrap_or(1);
        let mut tn = 1;
        if ty == ay.count && tx == ax.count {
            tn = (target / (ty * tx)).clamp(1, p.batch.max(1));
            while tn > 1 && !direct && tn * height(ty) * width(tx) * p.c_in > STRIP {
                tn -= 1;
            }
        }
        Plan::with_size(p, [tn, ty, tx])
    }

    /// Cuts `p` into tiles of `size` outputs: images, rows, columns.
    pub fn with_size(p: Problem, size: [usize; 3]) -> Plan {
        let [ay, ax] = &p.axes;
        let [tn, ty, tx] = size;
        let (k, direct) = (p.k(), p.direct());
        let strip = [(ty - 1) * ay.stride + ay.span(), (tx - 1) * ax.stride + ax.span()];
        let count = [p.batch.div_ceil(tn), ay.count.div_ceil(ty), ax.count.div_ceil(tx)];

        let (row, pixel) = if direct { (ax.in_len * p.in_ld, p.in_ld) } else { (strip[1] * p.c_in, p.c_in) };
        let mut segments: Vec<Segment> = Vec::new();
        for &(y, _) in &ay.taps {
            for (i, &(x, _)) in ax.taps.iter().enumerate() {
                let offset = (y - ay.low()) as usize * row + (x - ax.low()) as usize * pixel;
                match segments.last_mut() {
                    Some(s) if i > 0 && s.offset + s.len == offset => s.len += p.c_in,
                    _ => segments.push(Segment { offset, len: p.c_in }),
                }
            }
        }
        let (segments, blocks) = cut(&segments, k);
        Plan { size, count, direct, strip, segments, blocks, k, p }
    }

    /// How many tiles there are.
    pub fn tiles(&self) -> usize {
        self.count.iter().product()
    }

    /// The most rows that a tile has.
    pub fn max_rows(&self) -> usize {
        self.size.iter().product()
    }

    /// Fills the row offsets of `tile` (into the returned pointer's array, and into the output), copying its input with
    /// zero padding where windows leave it.
    pub fn load(&self, tile: usize, x: &[f32], s: &mut Scratch) -> *const f32 {
        assert!(x.len() >= self.input_span(), "input of a convolution");
        // SAFETY: the input's values were counted.
        unsafe { self.load_from(tile, x.as_ptr(), s) }
    }

    /// Floats from the first to the last that the problem may read.
    pub fn input_span(&self) -> usize {
        let p = &self.p;
        let pixels = p.batch * p.axes[0].in_len * p.axes[1].in_len;
        if pixels == 0 { 0 } else { (pixels - 1) * p.in_ld + p.in_c0 + p.c_in }
    }

    /// [`Self::load`] from a pointer.
    ///
    /// # Safety
    /// [`Self::input_span`] values are readable at `x`.
    pub unsafe fn load_from(&self, tile: usize, x: *const f32, s: &mut Scratch) -> *const f32 {
        let p = &self.p;
        let [ay, ax] = &p.axes;
        let rest = tile / self.count[2];
        let at = [rest / self.count[1], rest % self.count[1], tile % self.count[2]];
        let [images, rows, columns] = std::array::from_fn(|i| {
            let first = at[i] * self.size[i];
            first..(first + self.size[i]).min([p.batch, ay.count, ax.count][i])
        });
        s.y_off.clear();
        for n in images.clone() {
            for y in rows.clone() {
                let (oy, ox) = (ay.start + y * ay.step, ax.start + columns.start * ax.step);
                let o = ((n * ay.out_len + oy) * ax.out_len + ox) * p.out_ld + p.out_c0;
                s.y_off.extend((0..columns.len()).map(|j| o + j * ax.step * p.out_ld));
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.load_part([images, rows, columns], x, s) }
    }

    /// Fills the row offsets of these outputs (images, rows, columns; no more of each than a tile has) into the returned
    /// pointer's array.
    ///
    /// # Safety
    /// As [`Self::load_from`].
    pub unsafe fn load_part(&self, part: [Range<usize>; 3], x: *const f32, s: &mut Scratch) -> *const f32 {
        let p = &self.p;
        let [ay, ax] = &p.axes;
        debug_assert!(part.iter().zip(self.size).all(|(part, size)| part.len() <= size), "{part:?} of {:?}", self.size);
        let [Range { start: n0, end: n1 }, Range { start: y0, end: y1 }, Range { start: x0, end: x1 }] = part;
        s.a_off.clear();
        let (base_y, base_x, row, image, pixel) = if self.direct {
            (ay.low(), ax.low(), ax.in_len * p.in_ld, ay.in_len * ax.in_len * p.in_ld, p.in_ld)
        } else {
            (0, 0, self.strip[1] * p.c_in, self.strip[0] * self.strip[1] * p.c_in, p.c_in)
        };
        for n in n0..n1 {
            for y in y0..y1 {
                let (an, ay_j, ax_j) = if self.direct { (n, y, x0) } else { (n - n0, y - y0, 0) };
                let iy = if self.k == 0 { 0 } else { (ay_j * ay.stride) as isize + base_y };
                let ix = if self.k == 0 { 0 } else { (ax_j * ax.stride) as isize + base_x };
                let a = an * image + iy as usize * row + ix as usize * pixel + if self.direct { p.in_c0 } else { 0 };
                s.a_off.extend((0..x1 - x0).map(|j| a + j * ax.stride * pixel));
            }
        }
        if self.direct {
            return x;
        }
        s.strip.grow(self.size[0] * image);
        let top = (y0 * ay.stride) as isize + ay.low();
        let left = (x0 * ax.stride) as isize + ax.low();
        let height = (y1 - y0 - 1) * ay.stride + ay.span();
        let width = (x1 - x0 - 1) * ax.stride + ax.span();
        // Columns of the copy that lie in the input.
        let from = left.clamp(-(width as isize), 0).unsigned_abs();
        let to = (ax.in_len as isize - left).clamp(from as isize, width as isize) as usize;
        for n in n0..n1 {
            for h in 0..height {
                let at = (n - n0) * image + h * row;
                let out = &mut s.strip[at..at + width * p.c_in];
                let y = top + h as isize;
                if y < 0 || y >= ay.in_len as isize || from >= to {
                    out.fill(0.0);
                    continue;
                }
                out[..from * p.c_in].fill(0.0);
                out[to * p.c_in..].fill(0.0);
                let first = (n * ay.in_len + y as usize) * ax.in_len + (left + from as isize) as usize;
                let out = &mut out[from * p.c_in..to * p.c_in];
                // SAFETY: these columns lie in the input; the copy is a buffer of its own.
                unsafe {
                    let mut x = x.add(first * p.in_ld + p.in_c0);
                    if p.in_ld == p.c_in {
                        std::ptr::copy_nonoverlapping(x, out.as_mut_ptr(), out.len());
                        continue;
                    }
                    for pixel in out.chunks_exact_mut(p.c_in) {
                        std::ptr::copy_nonoverlapping(x, pixel.as_mut_ptr(), p.c_in);
                        x = x.wrapping_add(p.in_ld);
                    }
                }
            }
        }
        s.strip.as_ptr()
    }

    /// The distances between neighbouring rows of input and output, where they are the same for all rows of a tile.
    pub fn even(&self) -> Option<[usize; 2]> {
        let one_line = self.size[0] == 1 && self.size[1] == 1;
        let pixel = if self.direct { self.p.in_ld } else { self.p.c_in };
        one_line.then(|| [self.p.axes[1].stride * pixel, self.p.axes[1].step * self.p.out_ld])
    }

    /// Whether the reduction is contiguous in a row.
    pub fn one_run(&self) -> bool {
        self.segments.windows(2).all(|s| s[0].offset + s[0].len == s[1].offset)
    }
}

/// Cuts segments into blocks of nearly equal length, at most [`BLOCK`].
fn cut(segments: &[Segment], k: usize) -> (Vec<Segment>, Vec<Block>) {
    let block = k.div_ceil(k.div_ceil(BLOCK).max(1)).next_multiple_of(4);
    let mut pieces = Vec::new();
    let mut blocks = vec![Block { segments: 0..0, k0: 0 }];
    let (mut at, mut room) = (0, block);
    for s in segments {
        let mut s = *s;
        while s.len > 0 {
            if room == 0 {
                blocks.push(Block { segments: pieces.len()..pieces.len(), k0: at });
                room = block;
            }
            let len = s.len.min(room);
            pieces.push(Segment { offset: s.offset, len });
            blocks.last_mut().expect("starts with one").segments.end = pieces.len();
            s = Segment { offset: s.offset + len, len: s.len - len };
            at += len;
            room -= len;
        }
    }
    (pieces, blocks)
}
