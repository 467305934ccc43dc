//! A small painter: float colours, coverage from signed distances, smooth noise, blur.
//!
//! Units: pixels; colours are linear numbers from 0 to 1 written out as they are. Anti-aliasing: a shape's coverage of
//! a pixel is its signed distance at the pixel's centre, clamped to half a pixel either way.

use crate::rng::Rng;
use kinglet_vision::Image;

/// A colour from 0 to 1.
pub(super) type Colour = [f32; 3];

/// Hue in turns, saturation and value from 0 to 1.
pub(super) fn hsv(h: f32, s: f32, v: f32) -> Colour {
    let channel = |n: f32| {
        let k = (n + h.rem_euclid(1.0) * 6.0) % 6.0;
        v - v * s * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// `a` moved towards `b` by `t`.
pub(super) fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

/// Every channel times `f`.
pub(super) fn shade(a: Colour, f: f32) -> Colour {
    a.map(|v| v * f)
}

/// Coverage of a pixel at signed distance `d` (negative inside).
pub(super) fn coverage(d: f32) -> f32 {
    (0.5 - d).clamp(0.0, 1.0)
}

/// Smooth noise in -1..1: random values on a grid, blended with a smooth step.
pub(super) struct Noise {
    grid: Vec<f32>,
}

impl Noise {
    const SIDE: usize = 64;

    pub(super) fn new(rng: &mut Rng) -> Self {
        Noise { grid: (0..Self::SIDE * Self::SIDE).map(|_| rng.uniform(-1.0, 1.0) as f32).collect() }
    }

    /// The noise at a point; features are about one unit large.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let (fx, fy) = (x.floor(), y.floor());
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let (tx, ty) = (smooth(x - fx), smooth(y - fy));
        let cell = |i: i32, j: i32| {
            let side = Self::SIDE as i32;
            self.grid[(j.rem_euclid(side) * side + i.rem_euclid(side)) as usize]
        };
        let (i, j) = (fx as i32, fy as i32);
        let top = cell(i, j) + (cell(i + 1, j) - cell(i, j)) * tx;
        let bottom = cell(i, j + 1) + (cell(i + 1, j + 1) - cell(i, j + 1)) * tx;
        top + (bottom - top) * ty
    }
}

/// A picture under the brush.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<Colour>,
}

impl Canvas {
    /// A canvas whose colours `f` gives for pixel centres.
    pub(super) fn from_fn(width: usize, height: usize, f: impl Fn(f32, f32) -> Colour) -> Self {
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            pixels.extend((0..width).map(|x| f(x as f32 + 0.5, y as f32 + 0.5)));
        }
        Canvas { width, height, pixels }
    }

    /// Paints inside a rectangle of pixels: `f` gives colour and coverage for pixel centres.
    pub(super) fn paint(&mut self, [x1, y1, x2, y2]: [f32; 4], mut f: impl FnMut(f32, f32) -> (Colour, f32)) {
        let column = |v: f32| v.clamp(0.0, self.width as f32) as usize;
        let row = |v: f32| v.clamp(0.0, self.height as f32) as usize;
        let (columns, rows) = (column(x1.floor())..column(x2.ceil()), row(y1.floor())..row(y2.ceil()));
        for y in rows {
            for x in columns.clone() {
                let (colour, alpha) = f(x as f32 + 0.5, y as f32 + 0.5);
                if alpha > 0.0 {
                    let pixel = &mut self.pixels[y * self.width + x];
                    *pixel = mix(*pixel, colour, alpha);
                }
            }
        }
    }

    /// A line with round ends.
    pub(super) fn line(&mut self, [ax, ay]: [f32; 2], [bx, by]: [f32; 2], half: f32, colour: Colour, opacity: f32) {
        let (dx, dy) = (bx - ax, by - ay);
        let length = (dx * dx + dy * dy).max(1e-6);
        let margin = half + 1.0;
        let bounds = [ax.min(bx) - margin, ay.min(by) - margin, ax.max(bx) + margin, ay.max(by) + margin];
        self.paint(bounds, |x, y| {
            let t = (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0);
            let d = (x - ax - t * dx).hypot(y - ay - t * dy) - half;
            (colour, coverage(d) * opacity)
        });
    }

    /// Blurs with three box-like passes of the kernel (w, 1 - 2w, w) on either axis.
    pub(super) fn blur(&mut self, passes: usize, w: f32) {
        let (width, height) = (self.width, self.height);
        for _ in 0..passes {
            let mut out = self.pixels.clone();
            for y in 0..height {
                let row = &self.pixels[y * width..(y + 1) * width];
                for x in 0..width {
                    let (a, b) = (row[x.saturating_sub(1)], row[(x + 1).min(width - 1)]);
                    out[y * width + x] = std::array::from_fn(|c| row[x][c] * (1.0 - 2.0 * w) + (a[c] + b[c]) * w);
                }
            }
            for y in 0..height {
                let (above, below) = (y.saturating_sub(1) * width, (y + 1).min(height - 1) * width);
                for x in 0..width {
                    let (a, b, m) = (out[above + x], out[below + x], out[y * width + x]);
                    self.pixels[y * width + x] = std::array::from_fn(|c| m[c] * (1.0 - 2.0 * w) + (a[c] + b[c]) * w);
                }
            }
        }
    }

    /// Writes the colours out with grain of the given strength: brightness mostly, a little colour.
    pub(super) fn develop(&self, grain: f32, rng: &mut Rng) -> Image {
        let mut data = Vec::with_capacity(self.pixels.len() * 3);
        for pixel in &self.pixels {
            // Sums of uniform bytes are near enough to normal for grain, and need one draw a pixel.
            let bits = rng.next_u64();
            let byte = |i: u32| ((bits >> (8 * i)) & 255) as f32 / 127.5 - 1.0;
            let common = (byte(0) + byte(1) + byte(2)) * grain;
            for (c, v) in pixel.iter().enumerate() {
                let own = (byte(3 + c as u32)) * grain * 0.6;
                data.push(((v + common + own).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8);
            }
        }
        Image { width: self.width, height: self.height, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_hues_are_the_primaries() {
        assert_eq!(hsv(0.0, 1.0, 1.0), [1.0, 0.0, 0.0]);
        assert_eq!(hsv(1.0 / 3.0, 1.0, 0.5).map(|v| (v * 100.0).round_ties_even()), [0.0, 50.0, 0.0]);
        assert_eq!(hsv(0.7, 0.0, 0.3), [0.3; 3]);
    }

    #[test]
    fn blur_keeps_a_flat_picture() {
        let mut canvas = Canvas::from_fn(5, 4, |_, _| [0.25, 0.5, 0.75]);
        canvas.blur(2, 0.25);
        assert!(canvas.pixels.iter().all(|p| (p[0] - 0.25).abs() < 1e-6 && (p[2] - 0.75).abs() < 1e-6));
    }
}
