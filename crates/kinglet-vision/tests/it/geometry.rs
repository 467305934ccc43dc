//! Resizing, warping and the letterbox.

use kinglet_vision::letterbox::{LETTERBOX_GREY, Letterbox};
use kinglet_vision::resize::{resize_area, resize_bilinear, resize_numbers};
use kinglet_vision::warp::{invert, warp};
use kinglet_vision::{Image, boxes};
use proptest::prelude::*;

use crate::opencv::pattern;

/// Whole pixels at f32 rounding.
const ROUNDING: f32 = 1e-2;

#[test]
fn letterbox_is_that_of_the_golden_table() {
    // h, w, size, auto, scaleup -> out h, out w, ratio, half of the padding in x and y
    let cases = [
        (480, 640, 320, false, true, 320, 320, 0.5, 0.0, 40.0),
        (480, 640, 416, true, true, 320, 416, 0.65, 0.0, 4.0),
        (31, 31, 640, false, false, 640, 640, 1.0, 304.5, 304.5),
        (31, 31, 640, true, true, 640, 640, 640.0 / 31.0, 0.0, 0.0),
        (31, 31, 640, true, false, 32, 32, 1.0, 0.5, 0.5),
    ];
    for (h, w, size, auto, scaleup, out_h, out_w, ratio, pad_w, pad_h) in cases {
        check_letterbox([h, w, size], auto, scaleup, [out_h, out_w], [ratio, pad_w, pad_h]);
    }
    let Some(table) = crate::golden_numbers("letterbox") else { return };
    let rows = table.as_array().unwrap();
    assert!(rows.len() > 100);
    for row in rows {
        let whole = |key: &str| row[key].as_u64().unwrap() as usize;
        let number = |key: &str| row[key].as_f64().unwrap() as f32;
        let flag = |key: &str| row[key].as_bool().unwrap();
        check_letterbox(
            ["h", "w", "size"].map(whole),
            flag("auto"),
            flag("scaleup"),
            ["out_h", "out_w"].map(whole),
            ["ratio", "pad_w", "pad_h"].map(number),
        );
    }
}

fn check_letterbox([h, w, size]: [usize; 3], auto: bool, scaleup: bool, out: [usize; 2], numbers: [f32; 3]) {
    let plan = Letterbox::plan(h, w, [size, size], auto, scaleup, 32);
    let context = format!("{h}x{w} to {size}, auto {auto}, scaleup {scaleup}: {plan:?}");
    assert_eq!([plan.out.1, plan.out.0], out, "{context}");
    let half_pad = [plan.out.0 - plan.new_size.0, plan.out.1 - plan.new_size.1].map(|pad| pad as f32 / 2.0);
    let got = [plan.ratio, half_pad[0], half_pad[1]];
    for (got, expected) in got.iter().zip(numbers) {
        assert!((got - expected).abs() < 1e-5 * expected.max(1.0), "{context}: expected {numbers:?}");
    }
    // round(d - 0.1) on the left and round(d + 0.1) on the right.
    for (axis, (new, out)) in [(plan.new_size.0, plan.out.0), (plan.new_size.1, plan.out.1)].into_iter().enumerate() {
        let half = half_pad[axis];
        assert_eq!(plan.pad[axis], (half - 0.1).round_ties_even() as usize, "{context}");
        assert_eq!(out - new - plan.pad[axis], (half + 0.1).round_ties_even() as usize, "{context}");
    }
}

#[test]
fn letterboxed_picture_has_grey_where_the_plan_says() {
    let image = Image::new(20, 10, [200, 10, 10]);
    let plan = Letterbox::plan(10, 20, [32, 32], false, true, 32);
    let out = plan.apply(&image);
    assert_eq!((out.width, out.height), (32, 32));
    for y in 0..32 {
        let inside = (8..24).contains(&y);
        for x in 0..32 {
            assert_eq!(out.pixel(x, y), if inside { [200, 10, 10] } else { LETTERBOX_GREY }, "{x} {y}");
        }
    }
}

#[test]
fn extreme_shapes_never_vanish() {
    for (h, w) in [(2, 20_000), (20_000, 2), (1, 1), (1, 3000)] {
        let plan = Letterbox::plan(h, w, [640, 640], false, true, 32);
        assert_eq!(plan.out, (640, 640));
        assert!(plan.new_size.0 >= 1 && plan.new_size.1 >= 1);
        let out = plan.apply(&Image::new(w, h, [9; 3]));
        assert_eq!(out.data.iter().filter(|&&v| v == 9).count(), plan.new_size.0 * plan.new_size.1 * 3);
    }
}

#[test]
fn resizing_keeps_a_plain_colour_and_the_mean() {
    for (w, h) in [(1, 1), (5, 90), (64, 3), (37, 23), (200, 100)] {
        for resize in [resize_bilinear, resize_area] {
            let out = resize(&Image::new(37, 23, [255, 128, 1]), w, h);
            assert!(out.data.chunks(3).all(|p| p == [255, 128, 1]), "{w}x{h}");
        }
    }
    let mean = |image: &Image| image.data.iter().map(|&v| f64::from(v)).sum::<f64>() / image.data.len() as f64;
    let (image, shrunk) = (pattern(), resize_area(&pattern(), 11, 7));
    assert!((mean(&image) - mean(&shrunk)).abs() < 0.5);
    assert_eq!(resize_bilinear(&Image::new(0, 4, [0; 3]), 3, 2).data.len(), 18);
}

#[test]
fn identity_and_whole_pixel_shifts_are_exact() {
    let image = pattern();
    let shift = |x: f64, y: f64| [1.0, 0.0, x, 0.0, 1.0, y, 0.0, 0.0, 1.0];
    assert_eq!(warp(&image, shift(0.0, 0.0), 37, 23, [114; 3]), image);
    let mut expected = Image::new(40, 30, [114; 3]);
    expected.paste(&image, 5, -3);
    assert_eq!(warp(&image, shift(5.0, -3.0), 40, 30, [114; 3]), expected);
    // The same through the perspective path.
    let mut perspective = shift(5.0, -3.0);
    perspective[7] = 1e-15;
    assert_eq!(warp(&image, perspective, 40, 30, [114; 3]), expected);
}

#[test]
fn a_matrix_without_inverse_and_one_far_away_give_border() {
    let image = pattern();
    for matrix in [[0.0; 9], [f64::NAN; 9], [1.0, 0.0, 1e30, 0.0, 1.0, -1e30, 0.0, 0.0, 1.0]] {
        assert_eq!(warp(&image, matrix, 8, 8, [114; 3]), Image::new(8, 8, [114; 3]));
    }
}

proptest! {
    #[test]
    fn letterbox_maps_boxes_there_and_back(
        (h, w) in (1usize..3000, 1usize..3000), (th, tw) in (1usize..40, 1usize..40),
        auto: bool, scaleup: bool, corners in prop::array::uniform4(0f32..1.0),
    ) {
        let plan = Letterbox::plan(h, w, [th * 32, tw * 32], auto, scaleup, 32);
        prop_assert!(plan.out.0 <= tw * 32 && plan.out.1 <= th * 32);
        prop_assert!(plan.new_size.0 + plan.pad[0] <= plan.out.0 && plan.new_size.1 + plan.pad[1] <= plan.out.1);
        let [a, b, c, d] = corners;
        let original = [a.min(c) * w as f32, b.min(d) * h as f32, a.max(c) * w as f32, b.max(d) * h as f32];
        let back = plan.unmap_box(plan.map_box(original));
        for (back, original) in back.iter().zip(original) {
            prop_assert!((back - original).abs() < ROUNDING * (1.0 / plan.ratio).max(1.0), "{back} {original} {plan:?}");
        }
        // Anything comes back inside the picture.
        let clipped = plan.unmap_box([-1e6, -1e6, 1e6, 1e6]);
        prop_assert_eq!(clipped, [0.0, 0.0, w as f32, h as f32]);
        prop_assert!(boxes::area(clipped) > 0.0);
    }

    #[test]
    fn inverse_matrices_undo_each_other(m in prop::array::uniform9(-2f64..2.0), x in 0f64..100.0, y in 0f64..100.0) {
        let mut m = m;
        (m[6], m[7], m[8]) = (m[6] * 1e-4, m[7] * 1e-4, 1.0);
        if let Some(inverse) = invert(m) && inverse.iter().all(|v| v.abs() < 1e4) {
            let map = |m: &[f64; 9], (x, y): (f64, f64)| {
                let w = m[6] * x + m[7] * y + m[8];
                ((m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w)
            };
            let (back_x, back_y) = map(&inverse, map(&m, (x, y)));
            prop_assert!((back_x - x).abs() < 1e-3 && (back_y - y).abs() < 1e-3);
        }
    }

    #[test]
    fn resizing_any_to_any_stays_within_the_values(w in 1usize..40, h in 1usize..40, nw in 1usize..60, nh in 1usize..60) {
        let image = pattern().crop(0, 0, w, h);
        for out in [resize_bilinear(&image, nw, nh), resize_area(&image, nw, nh)] {
            prop_assert_eq!((out.width, out.height, out.data.len()), (nw, nh, nw * nh * 3));
            let (low, high) = (image.data.iter().min().unwrap(), image.data.iter().max().unwrap());
            // The fixed-point rounding may end one level lower.
            prop_assert!(out.data.iter().all(|v| *v >= low.saturating_sub(1) && v <= high));
        }
    }
}

#[test]
fn doubling_a_ramp_interpolates_between_centres() {
    // One row 0, 1: half-pixel centres give 0, 0.25, 0.75, 1.
    let out = resize_numbers(&[0.0, 0.0, 0.0, 1.0, 1.0, 1.0], 1, [1, 2], [1, 4]);
    assert_eq!(out.iter().step_by(3).copied().collect::<Vec<_>>(), [0.0, 0.25, 0.75, 1.0]);
}
