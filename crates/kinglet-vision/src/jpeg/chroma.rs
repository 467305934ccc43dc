//! Planes that are stored at half the picture's size, which chroma mostly is: row by row at the picture's own, or at half.

use super::{Plane, Scale};
use kinglet_kernels::vectorise::{Vectorise, vectorise};

/// The rows of a plane as the picture has them.
pub(super) struct Interpolated<'a> {
    plane: &'a Plane,
    scale: Scale,
    /// Width and height of what the picture needs of the plane.
    size: [usize; 2],
    between: Vec<u16>,
    row: Vec<u16>,
}

impl<'a> Interpolated<'a> {
    /// For a picture of this scale and size.
    pub(super) fn new(plane: &'a Plane, scale: Scale, size: [usize; 2]) -> Self {
        let is_doubled = |i: usize| scale == Scale::Whole && plane.halved[i];
        let size = std::array::from_fn(|i| if is_doubled(i) { size[i].div_ceil(2) } else { size[i] });
        Interpolated { plane, scale, size, between: vec![0; size[0] + 2], row: vec![0; 2 * size[0]] }
    }

    /// Row `y` of the picture, or more of it.
    pub(super) fn row(&mut self, y: usize) -> &[u16] {
        let Interpolated { plane, scale, size: [width, height], between, row } = self;
        let part = |y: usize| &plane.pixels[(y - plane.top) * plane.width..][..*width];
        let [across, is_down] = plane.halved;
        match scale {
            _ if !across && !is_down => return part(y),
            Scale::Half => {
                let rows = [part(y.saturating_sub(1)), part(y), part((y + 1).min(*height - 1))];
                vectorise(Smooth { rows, sums: between, smoothed: plane.halved, out: &mut row[..*width] });
            }
            Scale::Whole => {
                let [here, near] = match is_down {
                    // Above the middle of a pixel, the row above is the next one.
                    true if y.is_multiple_of(2) => [y / 2, (y / 2).saturating_sub(1)],
                    true => [y / 2, (y / 2 + 1).min(*height - 1)],
                    false => [y, y],
                };
                let down = is_down.then_some(y % 2);
                vectorise(Double { here: part(here), near: part(near), across, down, between, out: row });
            }
        }
        row
    }
}

/// A row of a plane that is stored at half size, for half the picture. Interpolation gives (3a + b) / 4 on both sides of a
/// pixel a; the mean of these is (6a + b + c) / 8 with its two neighbours b and c. From the rows above, here and below; `sums`
/// has a place more on each side.
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

/// A row at twice the plane's size: a pixel is three quarters of the nearest and one of the next, along each side. Halves are
/// rounded up and down by turns, where OpenCV's decoder does. `between` has a place more on each side.
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
