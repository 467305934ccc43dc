//! Copy-paste: objects with an outline appear a second time, mirrored left-right across the scene.
//!
//! Source: Ghiasi et al. 2021, arXiv:2012.07177, in YOLOv5's reduced form: round(p * n) objects, each kept only if its
//! mirrored box covers less than 30 % of every existing box.

use super::{Object, Scene};
use crate::rng::Rng;
use kinglet_vision::boxes::intersection;

/// A mirrored object may hide less than this share of any box.
const MAX_COVERED: f32 = 0.30;

/// Copies round(`p` * objects) of the scene's objects; does nothing where none has an outline.
pub fn copy_paste(scene: &mut Scene, p: f64, rng: &mut Rng) {
    let candidates: Vec<usize> = (0..scene.objects.len()).filter(|&i| scene.objects[i].polygon.is_some()).collect();
    let count = (p * candidates.len() as f64).round_ties_even() as usize;
    if count == 0 {
        return;
    }
    let mut chosen = candidates;
    rng.shuffle(&mut chosen);
    chosen.truncate(count);
    let original = scene.image.clone();
    let width = original.width as f32;
    for index in chosen {
        let object = &scene.objects[index];
        let [x1, y1, x2, y2] = object.xyxy;
        let mirrored = [width - x2, y1, width - x1, y2];
        if scene.objects.iter().any(|o| covered(mirrored, o.xyxy) >= MAX_COVERED) {
            continue;
        }
        let polygon: Vec<[f32; 2]> = object.polygon.iter().flatten().map(|q| [width - q[0], q[1]]).collect();
        let class = object.class;
        fill(&polygon, original.width, original.height, |x, y| {
            let colour = original.pixel(original.width - 1 - x, y);
            scene.image.set_pixel(x, y, colour);
        });
        scene.objects.push(Object { class, xyxy: mirrored, polygon: Some(polygon) });
    }
}

/// Share of `under` that `over` covers.
fn covered(over: [f32; 4], under: [f32; 4]) -> f32 {
    intersection(over, under) / ((under[2] - under[0]) * (under[3] - under[1]) + 1e-16)
}

/// Visits every pixel whose centre lies inside the outline (even-odd rule).
fn fill(polygon: &[[f32; 2]], width: usize, height: usize, mut visit: impl FnMut(usize, usize)) {
    let top = polygon.iter().map(|p| p[1]).fold(f32::MAX, f32::min).max(0.0) as usize;
    let bottom = polygon.iter().map(|p| p[1]).fold(f32::MIN, f32::max).clamp(0.0, height as f32).ceil() as usize;
    let mut crossings = Vec::new();
    for y in top..bottom.min(height) {
        let line = y as f32 + 0.5;
        crossings.clear();
        for (i, a) in polygon.iter().enumerate() {
            let b = polygon[(i + 1) % polygon.len()];
            if (a[1] <= line) != (b[1] <= line) {
                crossings.push(a[0] + (line - a[1]) / (b[1] - a[1]) * (b[0] - a[0]));
            }
        }
        crossings.sort_by(f32::total_cmp);
        for pair in crossings.chunks_exact(2) {
            let first = (pair[0] - 0.5).ceil().max(0.0) as usize;
            let last = (pair[1] - 0.5).ceil().clamp(0.0, width as f32) as usize;
            (first..last).for_each(|x| visit(x, y));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_vision::Image;

    fn scene(x: f32) -> Scene {
        let mut image = Image::new(40, 20, [0; 3]);
        for y in 5..15 {
            for px in 0..10 {
                image.set_pixel(x as usize + px, y, [200, 10, 10]);
            }
        }
        let polygon = Some(vec![[x, 5.0], [x + 10.0, 5.0], [x + 10.0, 15.0], [x, 15.0]]);
        Scene { image, objects: vec![Object { class: 1, xyxy: [x, 5.0, x + 10.0, 15.0], polygon }] }
    }

    #[test]
    fn an_object_appears_mirrored_with_its_pixels() {
        let mut s = scene(2.0);
        copy_paste(&mut s, 1.0, &mut Rng::new(0));
        assert_eq!(s.objects.len(), 2);
        assert_eq!(s.objects[1].xyxy, [28.0, 5.0, 38.0, 15.0]);
        let red: usize = s.image.data.chunks_exact(3).filter(|p| p[0] == 200).count();
        assert_eq!(red, 200);
        assert_eq!(s.image.pixel(28, 5), [200, 10, 10]);
        assert_eq!(s.image.pixel(37, 14), [200, 10, 10]);
    }

    #[test]
    fn an_object_that_would_hide_another_stays_single() {
        let mut s = scene(15.0); // mirrored onto itself
        copy_paste(&mut s, 1.0, &mut Rng::new(0));
        assert_eq!(s.objects.len(), 1);
    }

    #[test]
    fn without_outlines_nothing_happens() {
        let mut s = scene(2.0);
        s.objects[0].polygon = None;
        copy_paste(&mut s, 1.0, &mut Rng::new(0));
        assert_eq!(s.objects.len(), 1);
    }
}
