//! Random rotation, scale, shear, translation and perspective of a scene.
//!
//! Source: YOLOv5 (behaviour): `M = T S R P C`; C moves the centre to the origin, P has entries U(+/-perspective),
//! R rotates by U(+/-degrees) and scales by U(1-scale, 1+scale), S shears by tan U(+/-shear), T moves the origin to
//! U(0.5-translate, 0.5+translate) of the result. Boxes become the extent of their four warped corners, or of their
//! outline at 1000 points inside the result. Coordinates: continuous, origin at the corner of the first pixel.

use super::{AugmentParams, Object, Scene};
use crate::rng::Rng;
use kinglet_vision::{LETTERBOX_GREY, image::Rows, warp};

/// A drawn transformation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perspective {
    /// Row-major 3x3, source pixel to result pixel.
    pub matrix: [f64; 9],
    /// The scale factor within it.
    pub scale: f64,
}

fn product(a: [f64; 9], b: [f64; 9]) -> [f64; 9] {
    std::array::from_fn(|i| (0..3).map(|k| a[i / 3 * 3 + k] * b[k * 3 + i % 3]).sum())
}

impl Perspective {
    /// Draws a transformation from a picture of `from` to one of `to` (width, height).
    pub fn draw(params: &AugmentParams, from: (usize, usize), to: (usize, usize), rng: &mut Rng) -> Self {
        let mut around = |range: f64| rng.uniform(-range, range);
        let (p, q) = (around(params.perspective), around(params.perspective));
        let angle = around(params.degrees).to_radians();
        let scale = 1.0 + around(params.scale);
        let (shear_x, shear_y) = (around(params.shear).to_radians().tan(), around(params.shear).to_radians().tan());
        let tx = (0.5 + around(params.translate)) * to.0 as f64;
        let ty = (0.5 + around(params.translate)) * to.1 as f64;

        let (sin, cos) = (angle.sin() * scale, angle.cos() * scale);
        let c = [1.0, 0.0, -(from.0 as f64) / 2.0, 0.0, 1.0, -(from.1 as f64) / 2.0, 0.0, 0.0, 1.0];
        let persp = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, p, q, 1.0];
        let r = [cos, sin, 0.0, -sin, cos, 0.0, 0.0, 0.0, 1.0];
        let s = [1.0, shear_x, 0.0, shear_y, 1.0, 0.0, 0.0, 0.0, 1.0];
        let t = [1.0, 0.0, tx, 0.0, 1.0, ty, 0.0, 0.0, 1.0];
        let matrix = product(t, product(s, product(r, product(persp, c))));
        Perspective { matrix, scale }
    }

    /// Where a point lands; `None` behind the viewer.
    pub fn map(&self, [x, y]: [f64; 2]) -> Option<[f64; 2]> {
        let m = &self.matrix;
        let w = m[6] * x + m[7] * y + m[8];
        (w > 1e-9).then(|| [(m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w])
    }

    /// The part of the rectangle `xyxy` (pixels of the source) that can be in a result of the size `to`; all of it with
    /// perspective.
    pub fn seen(&self, [x1, y1, x2, y2]: [f64; 4], to: (usize, usize)) -> Option<[f64; 4]> {
        // A pixel of the result mixes neighbours, and its place is rounded: one pixel more on each side.
        let corners = |[x1, y1, x2, y2]: [f64; 4]| {
            [[x1 - 1.0, y1 - 1.0], [x2 + 1.0, y1 - 1.0], [x1 - 1.0, y2 + 1.0], [x2 + 1.0, y2 + 1.0]]
        };
        let landed = corners([x1, y1, x2, y2]).into_iter().map(|p| self.map(p)).collect::<Option<Vec<_>>>();
        let Some(landed) = landed else { return Some([x1, y1, x2, y2]) };
        let outside = |axis: usize, size: usize| {
            landed.iter().all(|p| p[axis] < -1.0) || landed.iter().all(|p| p[axis] > size as f64 + 1.0)
        };
        if outside(0, to.0) || outside(1, to.1) {
            return None;
        }
        let is_affine = self.matrix[6] == 0.0 && self.matrix[7] == 0.0;
        let inverse = warp::invert(self.matrix).filter(|_| is_affine);
        let Some(inverse) = inverse.map(|matrix| Perspective { matrix, ..*self }) else {
            return Some([x1, y1, x2, y2]);
        };
        let view: Vec<_> =
            corners([0.0, 0.0, to.0 as f64, to.1 as f64]).map(|p| inverse.map(p)).into_iter().flatten().collect();
        let [left, top, right, bottom] = extent(&view)?;
        Some([x1.max(left - 2.0), y1.max(top - 2.0), x2.min(right + 2.0), y2.min(bottom + 2.0)])
    }

    /// Whether the result is the picture itself.
    pub fn is_identity(&self) -> bool {
        let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        self.matrix.iter().zip(identity).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    /// Warps the picture (grey 114 outside) and its objects; objects of which too little is left vanish.
    pub fn apply(&self, scene: Scene<impl Rows>, to: (usize, usize)) -> Scene {
        let image = if self.is_identity() && scene.image.size() == to {
            scene.image.picture().into_owned()
        } else {
            // `warp` counts from the centre of the first pixel, boxes from its corner.
            let half = |d: f64| [1.0, 0.0, d, 0.0, 1.0, d, 0.0, 0.0, 1.0];
            let centred = product(half(-0.5), product(self.matrix, half(0.5)));
            warp::warp(&scene.image, centred, to.0, to.1, LETTERBOX_GREY)
        };
        let objects = scene.objects.into_iter().filter_map(|o| self.apply_object(o, to)).collect();
        Scene { image, objects }
    }

    fn apply_object(&self, object: Object, to: (usize, usize)) -> Option<Object> {
        let (w, h) = (to.0 as f64, to.1 as f64);
        let [x1, y1, x2, y2] = object.xyxy.map(f64::from);
        let before = (x2 - x1) * (y2 - y1) * self.scale * self.scale;
        let mut polygon = None;
        let (extent, least_area) = match &object.polygon {
            None => {
                let corners = [[x1, y1], [x2, y2], [x1, y2], [x2, y1]];
                let corners = corners.into_iter().map(|p| self.map(p)).collect::<Option<Vec<_>>>()?;
                (extent(&corners)?, MIN_AREA_BOX)
            }
            Some(points) => {
                let warped: Vec<[f64; 2]> = resample(points).into_iter().filter_map(|p| self.map(p)).collect();
                let inside = |p: &&[f64; 2]| (0.0..=w).contains(&p[0]) && (0.0..=h).contains(&p[1]);
                let visible: Vec<[f64; 2]> = warped.iter().filter(inside).copied().collect();
                // Later steps need the outline itself, at the points the label had.
                let moved = points.iter().filter_map(|p| self.map(p.map(f64::from)));
                polygon = Some(moved.map(|p| [p[0].clamp(0.0, w) as f32, p[1].clamp(0.0, h) as f32]).collect());
                (extent(&visible)?, MIN_AREA_POLYGON)
            }
        };
        let [x1, y1, x2, y2] = extent;
        let kept = [x1.clamp(0.0, w), y1.clamp(0.0, h), x2.clamp(0.0, w), y2.clamp(0.0, h)];
        if !is_worth_keeping(before, kept, least_area) {
            return None;
        }
        Some(Object { class: object.class, xyxy: kept.map(|v| v as f32), polygon })
    }
}

/// Least side of a box after the warp, in pixels.
const MIN_SIDE: f64 = 2.0;
/// Least share of a box's (scaled) area that must be left.
const MIN_AREA_BOX: f64 = 0.10;
/// The same for outlines.
const MIN_AREA_POLYGON: f64 = 0.01;
/// Aspect ratios from here on are slivers.
const MAX_ASPECT: f64 = 100.0;
/// Points along an outline.
const OUTLINE_POINTS: usize = 1000;

fn is_worth_keeping(area_before: f64, [x1, y1, x2, y2]: [f64; 4], least_area: f64) -> bool {
    const EPS: f64 = 1e-16; // as in YOLOv5: keeps the ratios finite
    let (w, h) = (x2 - x1, y2 - y1);
    let aspect = (w / (h + EPS)).max(h / (w + EPS));
    w > MIN_SIDE && h > MIN_SIDE && w * h / (area_before + EPS) > least_area && aspect < MAX_ASPECT
}

fn extent(points: &[[f64; 2]]) -> Option<[f64; 4]> {
    let first = points.first()?;
    let start = [first[0], first[1], first[0], first[1]];
    Some(points.iter().fold(start, |e, p| [e[0].min(p[0]), e[1].min(p[1]), e[2].max(p[0]), e[3].max(p[1])]))
}

/// The closed outline at `OUTLINE_POINTS` points, evenly spaced by vertex number.
fn resample(points: &[[f32; 2]]) -> Vec<[f64; 2]> {
    let n = points.len();
    let step = n as f64 / (OUTLINE_POINTS - 1) as f64;
    (0..OUTLINE_POINTS)
        .map(|i| {
            let at = i as f64 * step;
            let (a, f) = (at.floor() as usize, at.fract());
            let (p, q) = (points[a % n].map(f64::from), points[(a + 1) % n].map(f64::from));
            [p[0] + (q[0] - p[0]) * f, p[1] + (q[1] - p[1]) * f]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(xyxy: [f32; 4]) -> Object {
        Object { class: 0, xyxy, polygon: None }
    }

    #[test]
    fn without_ranges_the_centre_of_the_canvas_is_cut_out() {
        let mut rng = Rng::new(0);
        let p = Perspective::draw(&AugmentParams::none(), (640, 640), (320, 320), &mut rng);
        assert_eq!(p.map([320.0, 320.0]), Some([160.0, 160.0]));
        assert_eq!(p.map([160.0, 480.0]), Some([0.0, 320.0]));
        assert!(!p.is_identity());
        assert!(Perspective::draw(&AugmentParams::none(), (320, 240), (320, 240), &mut rng).is_identity());
    }

    #[test]
    fn draws_stay_in_their_ranges() {
        let params = AugmentParams { translate: 0.1, scale: 0.5, ..AugmentParams::none() };
        let mut rng = Rng::new(5);
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for _ in 0..500 {
            let p = Perspective::draw(&params, (640, 640), (320, 320), &mut rng);
            assert_eq!((p.matrix[0], p.matrix[1], p.matrix[4]), (p.scale, 0.0, p.scale));
            let [x, y] = p.map([320.0, 320.0]).unwrap();
            assert!((128.0..192.0).contains(&x) && (128.0..192.0).contains(&y));
            (low, high) = (low.min(p.scale), high.max(p.scale));
        }
        assert!((0.5..0.52).contains(&low) && (1.48..1.5).contains(&high));
    }

    #[test]
    fn a_quarter_turn_moves_corners_as_worked_by_hand() {
        // Rotation by 90 degrees about the centre of a 100 x 100 picture: (x, y) goes to (y, 100 - x).
        let m = [0.0, 1.0, 0.0, -1.0, 0.0, 100.0, 0.0, 0.0, 1.0];
        let p = Perspective { matrix: m, scale: 1.0 };
        let out = p.apply_object(boxed([10.0, 20.0, 30.0, 60.0]), (100, 100)).unwrap();
        assert_eq!(out.xyxy, [20.0, 70.0, 60.0, 90.0]);
    }

    #[test]
    fn too_small_or_too_little_left_is_dropped() {
        let shift = |dx: f64| Perspective { matrix: [1.0, 0.0, dx, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], scale: 1.0 };
        let object = || boxed([0.0, 0.0, 50.0, 50.0]);
        assert!(shift(-44.0).apply_object(object(), (100, 100)).is_some()); // 12 % left
        assert!(shift(-46.0).apply_object(object(), (100, 100)).is_none()); // 8 % left
        assert!(shift(0.0).apply_object(boxed([0.0, 0.0, 2.0, 9.0]), (100, 100)).is_none());
    }

    #[test]
    fn outlines_give_tighter_boxes_than_their_corners() {
        // A diamond turned by 45 degrees is a square: its extent is sqrt(2) smaller than that of the warped corners.
        let (s, c) = std::f64::consts::FRAC_PI_4.sin_cos();
        let m = [c, s, 50.0 - 50.0 * (c + s), -s, c, 50.0 + 50.0 * (s - c), 0.0, 0.0, 1.0];
        let p = Perspective { matrix: m, scale: 1.0 };
        let diamond = vec![[50.0, 20.0], [80.0, 50.0], [50.0, 80.0], [20.0, 50.0]];
        let object = Object { class: 0, xyxy: [20.0, 20.0, 80.0, 80.0], polygon: Some(diamond) };
        let out = p.apply_object(object, (100, 100)).unwrap();
        let side = 60.0 / 2f32.sqrt();
        let expected = [50.0 - side / 2.0, 50.0 - side / 2.0, 50.0 + side / 2.0, 50.0 + side / 2.0];
        assert!(out.xyxy.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.2), "{:?}", out.xyxy);
    }

    #[test]
    fn what_is_not_seen_does_not_matter() {
        use crate::augment::mosaic::{self, Tile};
        let params = AugmentParams { degrees: 10.0, shear: 3.0, perspective: 0.0005, ..AugmentParams::scratch_low() };
        let picture = |grey: u8| kinglet_vision::Image::new(60, 44, [grey; 3]);
        let (plain, other) = ([10, 20, 30, 40].map(picture), picture(250));
        let mut rng = Rng::new(3);
        let (mut hidden, mut wrongly_seen, mut parts) = (0, 0, 0);
        for round in 0..300 {
            // Every second round without rotation and perspective.
            let params = if round % 2 == 0 { params } else { AugmentParams::scratch_low() };
            let centre = mosaic::draw_centre(64, &mut rng);
            let p = Perspective::draw(&params, (128, 128), (64, 64), &mut rng);
            let result = |images: [&kinglet_vision::Image; 4]| {
                let scene = mosaic::compose(images.map(|image| Tile { image, labels: &[] }), 64, centre);
                p.apply(scene, (64, 64)).image
            };
            let expected = result(plain.each_ref());
            for position in 0..4 {
                let (left, top) = mosaic::corner(position, (60, 44), centre);
                let (left, top) = (left as f64, top as f64);
                let mut images = plain.each_ref();
                images[position] = &other;
                let same = result(images) == expected;
                let Some([x1, y1, x2, y2]) = p.seen([left, top, left + 60.0, top + 44.0], (64, 64)) else {
                    assert!(same, "round {round}: picture {position} shows");
                    hidden += 1;
                    continue;
                };
                wrongly_seen += usize::from(same);
                // What is not seen of a picture does not matter either.
                let mut partly = plain[position].clone();
                for y in 0..44 {
                    for x in 0..60 {
                        let (at_x, at_y) = (x as f64 + left, y as f64 + top);
                        if at_x + 1.0 <= x1 || at_x >= x2 || at_y + 1.0 <= y1 || at_y >= y2 {
                            partly.set_pixel(x, y, [250; 3]);
                            parts += 1;
                        }
                    }
                }
                let mut images = plain.each_ref();
                images[position] = &partly;
                assert!(result(images) == expected, "round {round}: too little of picture {position}");
            }
        }
        assert!(hidden > 60 && wrongly_seen < 60, "{hidden} hidden, {wrongly_seen} seen for nothing");
        assert!(parts > 100_000, "{parts} pixels are not seen of pictures that are");
    }
}
