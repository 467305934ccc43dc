//! Chroma that is stored at half the size: brought to the picture's, or smoothed for half of it.

use super::Plane;
use kinglet_kernels::vectorise::{Vectorise, vectorise};

/// Smooths a plane that is stored at half size. Interpolation gives (3a + b) / 4 on both sides of a pixel a; the mean of
/// these is (6a + b + c) / 8 with its two neighbours b and c.
pub(super) fn smooth(plane: &mut Plane, [width, height]: [usize; 2]) {
    let smoothed = plane.halved;
    if smoothed == [false, false] {
        return;
    }
    let before = plane.pixels.clone();
    let row = |y: usize| &before[y * plane.width..y * plane.width + width];
    let mut sums = vec![0u16; width + 2];
    for y in 0..height {
        let rows = [row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1))];
        let out = &mut plane.pixels[y * plane.width..y * plane.width + width];
        vectorise(Smooth { rows, sums: &mut sums, smoothed, out });
    }
}

/// One row of [`smooth`] from the rows above, here and below. `sums` has a place more on each side.
struct Smooth<'a> {
    rows: [&'a [u16]; 3],
    sums: &'a mut [u16],
    smoothed: [bool; 2],
    out: &'a mut [u16],
}

impl Vectorise for Smooth<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { rows: [above, here, below], sums, smoothed, out } = self;
        let width = out.len();
        let eighths = |smoothed: bool| if smoothed { [1u16, 6] } else { [0, 8] };
        let ([side, middle], inner) = (eighths(smoothed[1]), &mut sums[1..=width]);
        for (((sum, &a), &h), &b) in inner.iter_mut().zip(above).zip(here).zip(below) {
            *sum = side * (a + b) + middle * h; // at most 8 * 255 * 16
        }
        (sums[0], sums[width + 1]) = (sums[1], sums[width]);
        let [side, middle] = eighths(smoothed[0]).map(u32::from);
        for (((pixel, &left), &here), &right) in out.iter_mut().zip(&*sums).zip(&sums[1..]).zip(&sums[2..]) {
            let outer = u32::from(left) + u32::from(right);
            *pixel = ((side * outer + middle * u32::from(here) + 32) >> 6) as u16;
        }
    }
}

/// A plane of grey levels at twice its size, row by row: a pixel is three quarters of the nearest and one of the next, along
/// each side. Halves are rounded up and down by turns, where OpenCV's decoder does.
pub(super) struct Doubled<'a> {
    plane: &'a Plane,
    /// Width and height of what the picture needs of the plane.
    size: [usize; 2],
    /// A row between two, in quarters, with a place more on each side.
    between: Vec<u16>,
    row: Vec<u16>,
}

impl<'a> Doubled<'a> {
    /// For a picture of this size.
    pub(super) fn new(plane: &'a Plane, size: [usize; 2]) -> Self {
        let size = std::array::from_fn(|i| if plane.halved[i] { size[i].div_ceil(2) } else { size[i] });
        Doubled { plane, size, between: vec![0; size[0] + 2], row: vec![0; 2 * size[0]] }
    }

    /// Row `y` of the picture; more pixels where its width is odd.
    pub(super) fn row(&mut self, y: usize) -> &[u16] {
        let [here, near] = match self.plane.halved[1] {
            // Above the middle of a pixel, the row above is the next one.
            true if y.is_multiple_of(2) => [y / 2, (y / 2).saturating_sub(1)],
            true => [y / 2, (y / 2 + 1).min(self.size[1] - 1)],
            false => [y, y],
        };
        let [here, near] = [here, near].map(|y| &self.plane.row(y)[..self.size[0]]);
        let across = self.plane.halved[0];
        let down = self.plane.halved[1].then_some(y % 2);
        vectorise(Double { here, near, across, down, between: &mut self.between, out: &mut self.row });
        &self.row
    }
}

/// One row of [`Doubled`].
struct Double<'a> {
    here: &'a [u16],
    near: &'a [u16],
    across: bool,
    /// Which of the two rows it is, where rows are doubled.
    down: Option<usize>,
    between: &'a mut [u16],
    out: &'a mut [u16],
}

impl Vectorise for Double<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { here, near, across, down, between, out } = self;
        let width = here.len();
        for ((between, &here), &near) in between[1..=width].iter_mut().zip(here).zip(near) {
            *between = 3 * here + near;
        }
        if !across {
            let half = if down == Some(0) { 1 } else { 2 };
            out.iter_mut().zip(&between[1..=width]).for_each(|(out, &v)| *out = (v + half) >> 2);
            return;
        }
        (between[0], between[width + 1]) = (between[1], between[width]);
        let [left_half, right_half] = if down.is_some() { [8, 7] } else { [4, 8] };
        let neighbours = between.iter().zip(&between[1..]).zip(&between[2..]);
        for (pair, ((&left, &here), &right)) in out.as_chunks_mut().0.iter_mut().zip(neighbours) {
            *pair = [(3 * here + left + left_half) >> 4, (3 * here + right + right_half) >> 4];
        }
    }
}
