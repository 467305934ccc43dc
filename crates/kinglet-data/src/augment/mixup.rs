//! MixUp: two scenes blended, their objects together.
//!
//! Source: Zhang et al. 2018, arXiv:1710.09412; ratio from Beta(32, 32) as in YOLOv5.

use super::Scene;
use crate::rng::Rng;

/// Shape of the ratio's distribution: near one half.
const BETA: f64 = 32.0;

/// Blends `other` into `scene`; both pictures must have one size, otherwise `scene` comes back unchanged.
pub fn mixup(mut scene: Scene, other: Scene, rng: &mut Rng) -> Scene {
    let ratio = rng.beta(BETA, BETA);
    if scene.image.data.len() != other.image.data.len() {
        return scene;
    }
    // 8-bit fixed point: within one grey level of the exact blend.
    let a = (ratio * 256.0).round_ties_even() as u32;
    for (p, q) in scene.image.data.iter_mut().zip(&other.image.data) {
        *p = ((u32::from(*p) * a + u32::from(*q) * (256 - a)) >> 8) as u8;
    }
    scene.objects.extend(other.objects);
    scene
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Object;
    use kinglet_vision::Image;

    #[test]
    fn pictures_blend_near_one_half_and_objects_join() {
        let scene = |fill: u8| Scene {
            image: Image::new(4, 4, [fill; 3]),
            objects: vec![Object { class: usize::from(fill), xyxy: [0.0, 0.0, 2.0, 2.0], polygon: None }],
        };
        let mixed = mixup(scene(0), scene(200), &mut Rng::new(2));
        assert_eq!(mixed.objects.len(), 2);
        assert!((60..140).contains(&mixed.image.data[0]), "{}", mixed.image.data[0]);
        assert_eq!(mixup(scene(9), scene(9), &mut Rng::new(3)).image.data[0], 9);
    }
}
