//! The five kinds of objects as signed distances with their inner drawing.
//!
//! Units: an object's own plane, in which it reaches to about 1 from its centre. A distance is negative inside and
//! near enough to Euclidean for anti-aliasing at the edge.

use super::painter::{Colour, hsv, mix, shade};
use crate::rng::Rng;

/// Class names in the order of their numbers.
pub const NAMES: [&str; 5] = ["ring", "star", "key", "leaf", "die"];

/// One object's looks.
pub(super) struct Shape {
    pub(super) class: usize,
    main: Colour,
    second: Colour,
    /// Direction of the light in the object's own plane.
    light: [f32; 2],
    /// Class-specific: thickness, points, spots.
    variant: f32,
    spots: usize,
}

fn rounded_box(x: f32, y: f32, w: f32, h: f32, r: f32) -> f32 {
    let (dx, dy) = (x.abs() - w + r, y.abs() - h + r);
    dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - r
}

impl Shape {
    /// Draws the looks of an object of `class`, lit from `light` (in its own plane).
    pub(super) fn draw(class: usize, light: [f32; 2], rng: &mut Rng) -> Self {
        let mut u = |a: f64, b: f64| rng.uniform(a, b) as f32;
        let (main, second) = match class {
            // Metal in gold, silver, copper or a coloured enamel.
            0 => (hsv(u(0.0, 1.0), u(0.05, 0.75), u(0.6, 0.98)), hsv(u(0.0, 1.0), 0.1, 1.0)),
            1 => {
                let h = u(0.0, 1.0);
                (hsv(h, u(0.5, 0.95), u(0.7, 1.0)), hsv(h + u(0.05, 0.15), u(0.4, 0.9), u(0.5, 0.8)))
            }
            2 => (hsv(u(0.05, 0.17), u(0.1, 0.75), u(0.45, 0.95)), hsv(0.1, 0.2, 0.25)),
            // Green to autumn.
            3 => {
                let h = u(0.02, 0.40);
                (hsv(h, u(0.5, 0.9), u(0.4, 0.85)), hsv(h + 0.04, 0.5, u(0.75, 0.95)))
            }
            _ => {
                if u(0.0, 1.0) < 0.5 {
                    (hsv(u(0.0, 1.0), u(0.0, 0.15), u(0.85, 1.0)), hsv(u(0.0, 1.0), u(0.0, 0.9), u(0.05, 0.35)))
                } else {
                    (hsv(u(0.0, 1.0), u(0.6, 0.95), u(0.35, 0.85)), hsv(0.0, 0.0, u(0.9, 1.0)))
                }
            }
        };
        let variant = u(0.0, 1.0);
        Shape { class, main, second, light, variant, spots: 1 + rng.below(6) }
    }

    /// Signed distance of a point of the object's plane.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        match self.class {
            0 => {
                let half = 0.13 + 0.12 * self.variant;
                (x.hypot(y) - (1.0 - half)).abs() - half
            }
            1 => {
                // Fold into half of one of the points, then the distance to its edge.
                let sector = std::f32::consts::TAU / 5.0;
                let angle = y.atan2(x).rem_euclid(sector);
                let angle = angle.min(sector - angle);
                let (px, py) = (x.hypot(y) * angle.cos(), x.hypot(y) * angle.sin());
                let inner = 0.42 + 0.12 * self.variant;
                let (ix, iy) = (inner * (sector / 2.0).cos(), inner * (sector / 2.0).sin());
                let (ex, ey) = (ix - 1.0, iy);
                // Positive on the outer side of the edge from the tip (1, 0) to the notch.
                (ey * (px - 1.0) - ex * py) / ex.hypot(ey)
            }
            2 => {
                let bow = ((x + 0.58).hypot(y) - 0.29).abs() - 0.13;
                let shaft = rounded_box(x - 0.32, y, 0.68, 0.10, 0.04);
                let tooth = rounded_box(x - 0.86, y - 0.18, 0.10, 0.22, 0.03);
                let second = rounded_box(x - 0.56, y - 0.15, 0.09, 0.18 * (0.7 + 0.5 * self.variant), 0.03);
                bow.min(shaft).min(tooth).min(second)
            }
            3 => {
                // Two circle arcs meet at the tips; wider leaves have smaller circles.
                let wide = 0.30 + 0.20 * self.variant;
                let radius = (1.0 + wide * wide) / (2.0 * wide);
                let centre = radius - wide;
                let blade = (x / 0.86 + 0.14).hypot(y.abs() + centre) - radius;
                let stem = rounded_box(x - 0.85, y, 0.16, 0.035, 0.03);
                blade.min(stem)
            }
            _ => rounded_box(x, y, 0.72, 0.72, 0.10 + 0.14 * self.variant),
        }
    }

    /// The colour of a point inside; `px` is the size of a pixel in the object's plane.
    pub(super) fn colour(&self, x: f32, y: f32, px: f32) -> Colour {
        let soft = |d: f32| (0.5 - d / px).clamp(0.0, 1.0);
        let towards = x * self.light[0] + y * self.light[1];
        match self.class {
            0 => {
                let half = 0.13 + 0.12 * self.variant;
                let r = x.hypot(y).max(1e-3);
                // A torus: the slope across the band decides how much light it catches.
                let slope = ((r - (1.0 - half)) / half).clamp(-1.0, 1.0);
                let lit = slope * towards / r;
                mix(shade(self.main, (0.72 + 0.38 * lit).clamp(0.2, 1.1)), self.second, (lit - 0.72).max(0.0) * 2.2)
            }
            1 => {
                // Each point is a folded ridge, light on one side.
                let sector = std::f32::consts::TAU / 5.0;
                let angle = y.atan2(x).rem_euclid(sector);
                let side = if angle < sector / 2.0 { 1.0 } else { 0.0 };
                mix(self.main, self.second, side * 0.8)
            }
            2 => {
                let edge = (-self.distance(x, y) / 0.13).clamp(0.0, 1.0);
                let base = mix(shade(self.main, 0.55), self.main, edge);
                mix(base, [1.0; 3], (towards * 0.25).max(0.0) * edge)
            }
            3 => {
                let vein = soft(y.abs() - 0.025);
                let along = x * 3.6 + y.abs() * 3.0;
                let side_vein = soft((along - along.round_ties_even()).abs() * 0.25 - 0.014) * 0.55;
                let base = shade(self.main, (0.85 + 0.25 * y * self.light[1].signum()).clamp(0.5, 1.15));
                mix(base, self.second, vein.max(side_vein))
            }
            _ => {
                let bevel = (-self.distance(x, y) / 0.16).clamp(0.0, 1.0);
                let base = shade(self.main, 0.78 + 0.22 * bevel + 0.12 * towards * (1.0 - bevel));
                let s = 0.36;
                let all = [(-s, -s), (s, s), (s, -s), (-s, s), (-s, 0.0), (s, 0.0), (0.0, 0.0)];
                let chosen: &[usize] = match self.spots {
                    1 => &[6],
                    2 => &[0, 1],
                    3 => &[0, 1, 6],
                    4 => &[0, 1, 2, 3],
                    5 => &[0, 1, 2, 3, 6],
                    _ => &[0, 1, 2, 3, 4, 5],
                };
                let nearest =
                    chosen.iter().map(|&i| (x - all[i].0).hypot(y - all[i].1) - 0.145).fold(f32::MAX, f32::min);
                mix(base, self.second, soft(nearest))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_fills_its_plane_and_stays_in_it() {
        let mut rng = Rng::new(1);
        for (class, name) in NAMES.iter().enumerate() {
            for _ in 0..20 {
                let shape = Shape::draw(class, [0.6, -0.8], &mut rng);
                let n = 200;
                let mut inside = 0;
                for i in 0..n * n {
                    let at = |k: usize| (k as f32 + 0.5) / n as f32 * 3.0 - 1.5;
                    let (x, y) = (at(i % n), at(i / n));
                    if shape.distance(x, y) < 0.0 {
                        inside += 1;
                        assert!(x.abs() <= 1.07 && y.abs() <= 1.07, "{name}: {x} {y}");
                        assert!(shape.colour(x, y, 0.05).iter().all(|v| (-0.01..1.3).contains(v)));
                    }
                }
                let area = inside as f32 * 9.0 / (n * n) as f32;
                assert!((0.35..2.8).contains(&area), "{name}: {area}");
            }
        }
    }
}
