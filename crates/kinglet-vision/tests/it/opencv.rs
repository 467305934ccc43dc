//! Against OpenCV's own results (see `tests/data/make_opencv.py`).

use kinglet_vision::Image;
use kinglet_vision::colour::{apply_hsv_gains, hsv_to_rgb, rgb_to_hsv};
use kinglet_vision::resize::{resize_area, resize_bilinear};
use kinglet_vision::warp::warp;

/// Rounding of fixed-point weights: one grey level.
const ROUNDING: u8 = 1;
/// Newer OpenCV interpolates warps with exact fractions, older with 1/32 pixel; the made-up picture is steep.
const WARP_FRACTION: u8 = 8;

pub fn pattern() -> Image {
    let mut image = Image::new(37, 23, [0; 3]);
    for y in 0..23 {
        for x in 0..37 {
            let colour = [x * 7 + y * 13 + x * y, x * x + 3 * y, 255 + 2 * y * y + 256 - x * 5];
            image.set_pixel(x, y, colour.map(|v| (v % 256) as u8));
        }
    }
    image
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Largest difference, and the share of differing bytes.
fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let differing = a.iter().zip(b).filter(|(a, b)| a != b).count();
    (a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0), differing as f64 / a.len() as f64)
}

#[test]
fn bilinear_resize_is_that_of_opencv() {
    for (w, h) in [(50, 31), (20, 11), (37, 40), (1, 1)] {
        let (worst, share) =
            difference(&resize_bilinear(&pattern(), w, h).data, &golden(&format!("linear_{w}x{h}.rgb")));
        eprintln!("linear {w}x{h}: {worst} {share}");
        assert!(worst <= ROUNDING && share < 0.1, "{w}x{h}: differs by {worst} in {share} of the bytes");
    }
}

#[test]
fn area_resize_is_that_of_opencv() {
    for (w, h) in [(20, 11), (12, 7), (1, 1), (37, 9)] {
        let (worst, share) = difference(&resize_area(&pattern(), w, h).data, &golden(&format!("area_{w}x{h}.rgb")));
        eprintln!("area {w}x{h}: {worst} {share}");
        assert!(worst <= ROUNDING && share < 0.1, "{w}x{h}: differs by {worst} in {share} of the bytes");
    }
}

#[test]
fn warps_are_those_of_opencv() {
    let affine = [1.1, 0.2, -3.3, -0.15, 0.9, 4.7, 0.0, 0.0, 1.0];
    let perspective = [1.1, 0.2, -3.3, -0.15, 0.9, 4.7, 0.001, -0.002, 1.0];
    for (matrix, name) in [(affine, "affine"), (perspective, "perspective")] {
        let out = warp(&pattern(), matrix, 40, 30, [114; 3]);
        let expected = golden(&format!("{name}_40x30.rgb"));
        let (worst, share) = difference(&out.data, &expected);
        let mean =
            out.data.iter().zip(&expected).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / expected.len() as f64;
        eprintln!("{name}: {worst} {share} {mean}");
        assert!(worst <= WARP_FRACTION && mean < 1.0, "{name}: differs by up to {worst}, {mean} on average");
    }
}

#[test]
fn hsv_is_that_of_opencv() {
    let steps = || (0..=255u8).step_by(17);
    let mut forward = Vec::new();
    let mut backward = Vec::new();
    for a in steps() {
        for b in steps() {
            for c in steps() {
                forward.extend(rgb_to_hsv([a, b, c]));
            }
        }
    }
    for a in (0..180u8).step_by(12) {
        for b in steps() {
            for c in steps() {
                backward.extend(hsv_to_rgb([a, b, c]));
            }
        }
    }
    let (worst, share) = difference(&forward, &golden("rgb_to_hsv.bin"));
    assert!(worst == 0, "to HSV: differs by {worst} in {share}");
    let (worst, share) = difference(&backward, &golden("hsv_to_rgb.bin"));
    eprintln!("to rgb {worst} {share}");
    assert!(worst <= ROUNDING && share < 0.02, "to RGB: differs by {worst} in {share}");
}

#[test]
fn hsv_gains_of_one_change_little_and_extremes_clip() {
    let original = pattern();
    let mut same = original.clone();
    apply_hsv_gains(&mut same, [1.0; 3]);
    // HSV has fewer steps than RGB: two to six levels are lost on the way.
    assert!(difference(&same.data, &original.data).0 <= 6);
    let mut dark = original.clone();
    apply_hsv_gains(&mut dark, [1.0, 1.0, 0.0]);
    assert!(dark.data.iter().all(|&v| v == 0));
    let mut grey = original.clone();
    apply_hsv_gains(&mut grey, [1.0, 0.0, 9.0]);
    assert!(grey.data.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]));
}
