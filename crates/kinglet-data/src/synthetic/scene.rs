//! Composes one picture: ground, clutter, objects with shadows, lens and grain; and the boxes of what is visible.

use super::painter::{Canvas, Colour, Noise, coverage, hsv, mix, shade};
use super::shapes::{NAMES, Shape};
use crate::labels::Label;
use crate::rng::Rng;
use kinglet_vision::Image;

/// Picture sizes, width and height.
const SIZES: [(usize, usize); 6] = [(320, 240), (320, 240), (240, 320), (288, 288), (360, 240), (400, 300)];
/// Smallest diameter of an object in pixels.
const MIN_DIAMETER: f64 = 14.0;
/// An object is labelled when at least this share of it can be seen; placing sees to it that nearly all are.
const MIN_VISIBLE: f32 = 0.25;
/// A visible part must be this large on both sides, in pixels.
const MIN_SIDE: usize = 5;
/// Boxes overlap at most this much of the smaller one.
const MAX_OVERLAP: f32 = 0.40;

struct Placed {
    shape: Shape,
    centre: [f32; 2],
    radius: f32,
    turn: f32,
}

impl Placed {
    /// A picture point in the object's own plane.
    fn local(&self, x: f32, y: f32) -> (f32, f32) {
        let (sin, cos) = self.turn.sin_cos();
        let (dx, dy) = ((x - self.centre[0]) / self.radius, (y - self.centre[1]) / self.radius);
        (dx * cos + dy * sin, dy * cos - dx * sin)
    }

    fn bounds(&self, margin: f32) -> [f32; 4] {
        let r = self.radius * 1.08 + margin;
        [self.centre[0] - r, self.centre[1] - r, self.centre[0] + r, self.centre[1] + r]
    }
}

fn ground(width: usize, height: usize, rng: &mut Rng) -> Canvas {
    let mut u = |a: f64, b: f64| rng.uniform(a, b) as f32;
    let h = u(0.0, 1.0);
    let (s, v) = (u(0.03, 0.55), u(0.2, 0.9));
    let from = hsv(h, s, v);
    let to = hsv(h + u(-0.12, 0.12), (s + u(-0.2, 0.2)).clamp(0.0, 0.7), (v + u(-0.3, 0.3)).clamp(0.12, 0.95));
    let spot = hsv(u(0.0, 1.0), u(0.0, 0.4), u(0.1, 0.9));
    let angle = u(0.0, std::f64::consts::TAU);
    let (sin, cos) = angle.sin_cos();
    let (coarse, fine) = (u(25.0, 90.0), u(2.5, 7.0));
    let (rough, stretch) = (u(0.03, 0.22), u(1.0, 6.0));
    let kind = rng.below(5);
    let period = rng.uniform(9.0, 40.0) as f32;
    let contrast = rng.uniform(0.06, 0.22) as f32;
    let noise = Noise::new(rng);
    let diagonal = (width as f32).hypot(height as f32);
    Canvas::from_fn(width, height, |x, y| {
        let (along, across) = (x * cos + y * sin, y * cos - x * sin);
        let mut colour = mix(from, to, (along / diagonal + 0.5).clamp(0.0, 1.0));
        let cloud = noise.at(x / coarse, y / coarse);
        let grain = noise.at(along / (fine * stretch) + 17.0, across / fine + 31.0);
        let pattern = match kind {
            0 => 0.0,
            // Planks or fabric: lines along one direction, bent by the clouds.
            1 => ((across + 6.0 * cloud) / period * std::f32::consts::TAU).sin(),
            // Tiles with dark joints.
            2 => {
                let edge = |t: f32| ((t / period).rem_euclid(1.0) - 0.5).abs();
                if edge(along).max(edge(across)) > 0.46 { -1.6 } else { 0.2 }
            }
            // Checks, softened.
            3 => (along / period * std::f32::consts::PI).sin() * (across / period * std::f32::consts::PI).sin(),
            // Marble.
            _ => ((along / period + 2.5 * cloud) * std::f32::consts::PI).sin().abs() * 2.0 - 1.0,
        };
        colour = mix(colour, spot, (cloud - 0.2).clamp(0.0, 0.6));
        shade(colour, 1.0 + rough * grain * 1.4 + contrast * pattern)
    })
}

/// Lines, arcs, triangles and soft spots: nothing that is one of the classes.
fn clutter(canvas: &mut Canvas, rng: &mut Rng) {
    let (w, h) = (canvas.width as f32, canvas.height as f32);
    for _ in 0..2 + rng.below(9) {
        let kind = rng.below(4);
        let mut u = |a: f64, b: f64| rng.uniform(a, b) as f32;
        let colour = hsv(u(0.0, 1.0), u(0.0, 0.8), u(0.1, 1.0));
        let opacity = u(0.35, 0.95);
        let at = [u(-0.05, 1.05) * w, u(-0.05, 1.05) * h];
        let size = u(8.0, 70.0);
        let half = u(0.6, 2.6);
        let angle = u(0.0, std::f64::consts::TAU);
        let (sin, cos) = angle.sin_cos();
        match kind {
            0 => {
                let to = [at[0] + cos * size * 2.2, at[1] + sin * size * 2.2];
                canvas.line(at, to, half, colour, opacity);
            }
            1 => {
                // A half circle: a ring is closed, this is not.
                let sweep = u(0.6, 2.6);
                let bounds = [at[0] - size - 4.0, at[1] - size - 4.0, at[0] + size + 4.0, at[1] + size + 4.0];
                canvas.paint(bounds, |x, y| {
                    let (dx, dy) = (x - at[0], y - at[1]);
                    let off = (dy.atan2(dx) - angle).rem_euclid(std::f32::consts::TAU);
                    let d = (dx.hypot(dy) - size * 0.6).abs() - half;
                    (colour, if off < sweep { coverage(d) * opacity } else { 0.0 })
                });
            }
            2 => {
                let r = size * 0.45;
                let bounds = [at[0] - r * 2.0, at[1] - r * 2.0, at[0] + r * 2.0, at[1] + r * 2.0];
                canvas.paint(bounds, |x, y| {
                    let (dx, dy) = (x - at[0], y - at[1]);
                    let side = |k: f32| {
                        let (s, c) = (angle + k * std::f32::consts::TAU / 3.0).sin_cos();
                        dx * c + dy * s - r * 0.5
                    };
                    let d = side(0.0).max(side(1.0)).max(side(2.0));
                    (colour, coverage(d) * opacity)
                });
            }
            _ => {
                let bounds = [at[0] - size, at[1] - size, at[0] + size, at[1] + size];
                canvas.paint(bounds, |x, y| {
                    let d = (x - at[0]).hypot(y - at[1]) / size;
                    (colour, (1.0 - d).max(0.0).powi(2) * opacity * 0.7)
                });
            }
        }
    }
}

fn overlap_of_smaller(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |lo: usize| (a[lo + 2].min(b[lo + 2]) - a[lo].max(b[lo])).max(0.0);
    let area = |r: [f32; 4]| (r[2] - r[0]) * (r[3] - r[1]);
    side(0) * side(1) / area(a).min(area(b)).max(1.0)
}

/// Chooses the objects. Some reach over the frame, some over each other.
fn place(width: usize, height: usize, light: f32, rng: &mut Rng) -> Vec<Placed> {
    // One picture in sixteen shows nothing: detectors have to learn that, too.
    let wanted = if rng.below(16) == 0 { 0 } else { 1 + rng.below(4) + rng.below(4) };
    let largest = width.min(height) as f64 * 0.5;
    let mut placed: Vec<Placed> = Vec::new();
    for _ in 0..wanted * 12 {
        if placed.len() == wanted {
            break;
        }
        let diameter = MIN_DIAMETER * (largest / MIN_DIAMETER).powf(rng.unit().powf(0.6));
        let class = rng.below(NAMES.len());
        // Keys and leaves are slim: below this they would be a pixel thin.
        let least = if class == 2 || class == 3 { 22.0 } else { MIN_DIAMETER };
        let radius = (diameter.max(least) / 2.0) as f32;
        let inset = radius as f64 * rng.uniform(0.2, 1.2);
        let centre =
            [rng.uniform(inset, width as f64 - inset) as f32, rng.uniform(inset, height as f64 - inset) as f32];
        let turn = rng.uniform(0.0, std::f64::consts::TAU) as f32;
        let (sin, cos) = (light - turn).sin_cos();
        let candidate = Placed { shape: Shape::draw(class, [cos, sin], rng), centre, radius, turn };
        let bounds = candidate.bounds(0.0);
        if placed.iter().all(|p| overlap_of_smaller(p.bounds(0.0), bounds) < MAX_OVERLAP) {
            placed.push(candidate);
        }
    }
    placed
}

fn shadow(canvas: &mut Canvas, object: &Placed, light: f32, strength: f32) {
    let (sin, cos) = light.sin_cos();
    let reach = object.radius * 0.14 + 1.0;
    let soft = object.radius * 0.16 + 1.0;
    let ink: Colour = [0.02, 0.02, 0.04];
    canvas.paint(object.bounds(reach + soft), |x, y| {
        let (lx, ly) = object.local(x + cos * reach, y + sin * reach);
        let d = object.shape.distance(lx, ly) * object.radius;
        (ink, (0.5 - d / (2.0 * soft)).clamp(0.0, 1.0) * strength)
    });
}

/// Draws one picture and the labels of its visible objects.
pub fn draw_scene(rng: &mut Rng) -> (Image, Vec<Label>) {
    let (width, height) = SIZES[rng.below(SIZES.len())];
    let mut canvas = ground(width, height, rng);
    clutter(&mut canvas, rng);
    let light = rng.uniform(0.0, std::f64::consts::TAU) as f32;
    let depth = rng.uniform(0.15, 0.6) as f32;
    let placed = place(width, height, light, rng);

    const NOBODY: usize = usize::MAX;
    let mut owner = vec![NOBODY; width * height];
    for (index, object) in placed.iter().enumerate() {
        shadow(&mut canvas, object, light, depth);
        let px = 1.0 / object.radius;
        canvas.paint(object.bounds(1.0), |x, y| {
            let (lx, ly) = object.local(x, y);
            let alpha = coverage(object.shape.distance(lx, ly) * object.radius);
            if alpha >= 0.5 {
                owner[y as usize * width + x as usize] = index;
            }
            (if alpha > 0.0 { object.shape.colour(lx, ly, px) } else { [0.0; 3] }, alpha)
        });
    }
    // A few thin lines in front of everything, as grass or cables are.
    for _ in 0..rng.below(3) {
        let mut u = |a: f64, b: f64| rng.uniform(a, b) as f32;
        let (w, h) = (width as f32, height as f32);
        let colour = hsv(u(0.0, 1.0), u(0.0, 0.6), u(0.1, 0.9));
        canvas.line([u(0.0, 1.0) * w, u(0.0, 1.0) * h], [u(0.0, 1.0) * w, u(0.0, 1.0) * h], u(0.5, 1.1), colour, 0.8);
    }
    let labels = visible_labels(&placed, &owner, width, height);

    // Lens: darker corners, softness; then grain.
    let vignette = rng.uniform(0.0, 0.35) as f32;
    let exposure = rng.uniform(0.75, 1.15) as f32;
    for (i, pixel) in canvas.pixels.iter_mut().enumerate() {
        let x = (i % width) as f32 / width as f32 - 0.5;
        let y = (i / width) as f32 / height as f32 - 0.5;
        *pixel = shade(*pixel, exposure * (1.0 - vignette * 2.0 * (x * x + y * y)));
    }
    let passes = [0, 0, 1, 1, 2][rng.below(5)];
    canvas.blur(passes, rng.uniform(0.08, 0.25) as f32);
    let grain = rng.uniform(0.004, 0.035) as f32;
    (canvas.develop(grain, rng), labels)
}

/// The extent of the pixels that each object owns in the end.
fn visible_labels(placed: &[Placed], owner: &[usize], width: usize, height: usize) -> Vec<Label> {
    let mut seen = vec![(width, height, 0usize, 0usize, 0usize); placed.len()];
    for (i, &who) in owner.iter().enumerate() {
        if let Some(s) = seen.get_mut(who) {
            let (x, y) = (i % width, i / width);
            *s = (s.0.min(x), s.1.min(y), s.2.max(x + 1), s.3.max(y + 1), s.4 + 1);
        }
    }
    let mut labels = Vec::new();
    for (object, (x1, y1, x2, y2, pixels)) in placed.iter().zip(seen) {
        if pixels == 0 || x2 - x1 < MIN_SIDE || y2 - y1 < MIN_SIDE {
            continue;
        }
        if (pixels as f32) < MIN_VISIBLE * whole_area(object) {
            continue;
        }
        let (w, h) = (width as f32, height as f32);
        let cxcywh =
            [(x1 + x2) as f32 / 2.0 / w, (y1 + y2) as f32 / 2.0 / h, (x2 - x1) as f32 / w, (y2 - y1) as f32 / h];
        labels.push(Label { class: object.shape.class, cxcywh, polygon: None });
    }
    labels
}

/// Pixels that an object would cover if nothing hid it, from a coarse grid in its own plane.
fn whole_area(object: &Placed) -> f32 {
    const N: usize = 48;
    let at = |k: usize| (k as f32 + 0.5) / N as f32 * 2.2 - 1.1;
    let inside = (0..N * N).filter(|&i| object.shape.distance(at(i % N), at(i / N)) < 0.0).count();
    inside as f32 * (2.2 / N as f32).powi(2) * object.radius * object.radius
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_lie_in_the_picture_and_sizes_vary() {
        let (mut boxes, mut empty, mut small, mut large) = (0, 0, 0, 0);
        for i in 0..40 {
            let (image, labels) = draw_scene(&mut Rng::for_sample(1, 0, i));
            assert_eq!(image.data.len(), image.width * image.height * 3);
            empty += usize::from(labels.is_empty());
            for l in labels {
                boxes += 1;
                let [cx, cy, w, h] = l.cxcywh;
                assert!(cx - w / 2.0 > -1e-6 && cy - h / 2.0 > -1e-6);
                assert!(cx + w / 2.0 < 1.0 + 1e-6 && cy + h / 2.0 < 1.0 + 1e-6);
                let side = w.max(h);
                small += usize::from(side < 0.1);
                large += usize::from(side > 0.3);
            }
        }
        assert!(boxes > 80 && (1..12).contains(&empty) && small > 10 && large > 10, "{boxes} {empty} {small} {large}");
    }
}
