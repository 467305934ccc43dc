//! Frames, labels and text.

use kinglet_vision::draw::{PALETTE, draw_label, draw_line, draw_rectangle, readable_on};
use kinglet_vision::text::{draw_text, text_width};
use kinglet_vision::{Detection, DrawOptions, Image, draw_detections};

#[test]
fn a_frame_has_its_thickness_and_stays_in_the_picture() {
    let mut image = Image::new(40, 30, [0; 3]);
    draw_rectangle(&mut image, [10.0, 8.0, 30.0, 22.0], 2, [255; 3]);
    assert_eq!(image.pixel(9, 15), [255; 3]);
    assert_eq!(image.pixel(10, 15), [255; 3]);
    assert_eq!(image.pixel(8, 15), [0; 3]);
    assert_eq!(image.pixel(11, 15), [0; 3]);
    assert_eq!(image.pixel(20, 22), [255; 3]);
    for wild in [[-1e9, -5.0, 1e9, 50.0], [f32::NAN; 4], [f32::INFINITY, 0.0, 1.0, 1.0], [30.0, 30.0, 2.0, 2.0]] {
        draw_rectangle(&mut image, wild, 5, [9; 3]);
        draw_label(&mut image, wild, "x", 1, [9; 3]);
    }
    draw_line(&mut image, [f32::NAN, 0.0], [1.0, 1.0], 1.0, [1; 3]);
    draw_line(&mut image, [-1e9, -1e9], [1e9, 1e9], 1.0, [1; 3]);
}

#[test]
fn no_thickness_asks_for_more_than_the_picture_has_room_for() {
    let found = [Detection { xyxy: [10.0, 8.0, 30.0, 22.0], score: 0.5, class: 3 }];
    let drawn = |line_thickness| {
        let mut image = Image::new(40, 24, [0; 3]);
        draw_detections(&mut image, &found, &[], &DrawOptions { line_thickness, ..DrawOptions::default() });
        image
    };
    // 8 is an eighth of 40 + 24. Letters of usize::MAX x 5 pixels would need all memory there is.
    assert_eq!(drawn(usize::MAX), drawn(8));
    assert_ne!(drawn(8), drawn(7));
}

/// Bounds of all pixels that are not black.
fn extent(image: &Image) -> Option<[usize; 4]> {
    let mut bounds: Option<[usize; 4]> = None;
    for y in 0..image.height {
        for x in 0..image.width {
            if image.pixel(x, y) != [0; 3] {
                let [x1, y1, x2, y2] = bounds.unwrap_or([x, y, x, y]);
                bounds = Some([x1.min(x), y1.min(y), x2.max(x), y2.max(y)]);
            }
        }
    }
    bounds
}

#[test]
fn a_label_at_any_edge_is_wholly_visible() {
    let size_of = |xyxy| {
        let mut image = Image::new(200, 150, [0; 3]);
        draw_label(&mut image, xyxy, "person 0.87", 2, [0, 0, 250]);
        let [x1, y1, x2, y2] = extent(&image).unwrap();
        (x2 - x1, y2 - y1)
    };
    let free = size_of([60.0, 60.0, 100.0, 100.0]);
    for xyxy in
        [[-20.0, -20.0, 50.0, 50.0], [190.0, 10.0, 199.0, 20.0], [150.0, 149.0, 199.0, 160.0], [0.0, 0.0, 200.0, 150.0]]
    {
        assert_eq!(size_of(xyxy), free, "{xyxy:?}");
    }
}

#[test]
fn text_in_three_scripts_is_drawn_about_as_wide_as_measured() {
    for text in ["Red blood cell", "Größe façade", "Ελλάδα", "Дорожный знак"] {
        let mut image = Image::new(400, 40, [0; 3]);
        draw_text(&mut image, 5.0, 5.0, text, 24.0, [255; 3]);
        let [x1, y1, x2, y2] = extent(&image).unwrap();
        let width = text_width(text, 24.0);
        assert!((x2 - x1).abs_diff(width) <= 5, "{text}: drawn {} measured {width}", x2 - x1);
        assert!(y1 >= 5 && y2 <= 5 + 24, "{text}: rows {y1} to {y2}");
        // Anti-aliased: greys between black and white.
        assert!(image.data.iter().any(|&v| v > 40 && v < 210));
    }
    assert_eq!(text_width("", 24.0), 0);
}

#[test]
fn palette_colours_are_distinct_and_text_on_them_is_readable() {
    for (i, a) in PALETTE.iter().enumerate() {
        for b in &PALETTE[..i] {
            let distance: i32 = a.iter().zip(b).map(|(a, b)| (i32::from(*a) - i32::from(*b)).pow(2)).sum();
            assert!(distance > 900, "{a:?} and {b:?}");
        }
        let luminance = |colour: [u8; 3]| {
            let linear = colour.map(|c| (f64::from(c) / 255.0).powf(2.2));
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let (ground, text) = (luminance(*a), luminance(readable_on(*a)));
        let contrast = (ground.max(text) + 0.05) / (ground.min(text) + 0.05);
        assert!(contrast >= 3.5, "{a:?}: contrast {contrast}");
    }
}

#[test]
fn detections_are_drawn_with_frames_and_labels_unless_hidden() {
    let detection = Detection { xyxy: [40.0, 60.0, 140.0, 120.0], score: 0.9, class: 1 };
    let names = ["cat".to_owned(), "dog".to_owned()];
    let draw = |options: &DrawOptions| {
        let mut image = Image::new(200, 150, [0; 3]);
        draw_detections(&mut image, &[detection], &names, options);
        image
    };
    let plain = draw(&DrawOptions { hide_labels: true, ..DrawOptions::default() });
    assert_eq!(plain.pixel(100, 60), PALETTE[1]);
    assert_eq!(plain.pixel(100, 50), [0; 3]);
    let named = draw(&DrawOptions { hide_conf: true, ..DrawOptions::default() });
    let full = draw(&DrawOptions::default());
    let coloured = |image: &Image| image.data.chunks(3).filter(|p| **p != [0; 3]).count();
    assert!(coloured(&plain) < coloured(&named) && coloured(&named) < coloured(&full));
    // A class without a name and an empty list are no trouble.
    let mut image = Image::new(20, 20, [0; 3]);
    draw_detections(&mut image, &[Detection { class: 99, ..detection }], &[], &DrawOptions::default());
    draw_detections(&mut Image::new(0, 0, [0; 3]), &[detection], &names, &DrawOptions::default());
}
