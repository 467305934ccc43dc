//! Pictures against OpenCV's decoding and resizing; damage of all kinds.

use super::*;
use crate::encode::jpeg_bytes;

const SAMPLINGS: [&str; 4] = ["420", "422", "444", "440"];

const ALL: Region = Region { columns: 0..usize::MAX, rows: 0..usize::MAX };

/// A file of `tests/data/make_opencv.py`.
fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Largest and mean difference.
fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let all = || a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    (all().max().unwrap(), all().map(f64::from).sum::<f64>() / a.len() as f64)
}

#[test]
fn whole_pictures_are_those_of_opencv() {
    let equal = |file: &str, pixels: &str, size: [usize; 2]| {
        let found = decode(&data(&format!("{file}.jpg")), Scale::Whole, &ALL).unwrap();
        assert_eq!([found.width, found.height], size);
        assert!(found.data == data(&format!("{pixels}.rgb")), "{file}");
    };
    for sampling in SAMPLINGS {
        equal(&format!("half_{sampling}"), &format!("whole_{sampling}"), [74, 46]);
    }
    for name in ["odd_420", "odd_422", "odd_440"] {
        equal(name, name, [73, 45]);
    }
}

#[test]
fn halves_are_those_of_opencv_to_rounding() {
    for sampling in SAMPLINGS {
        let half = decode(&data(&format!("half_{sampling}.jpg")), Scale::Half, &ALL).unwrap();
        assert_eq!([half.width, half.height], [37, 23]);
        let (worst, mean) = difference(&half.data, &data(&format!("half_{sampling}.rgb")));
        // OpenCV rounds each pixel, its chroma and its colours; here only the result is rounded.
        assert!(worst <= 2 && mean < 0.4, "{sampling}: differs by up to {worst}, {mean} on average");
    }
}

#[test]
fn grey_is_copied_to_three_channels() {
    let grey = ::image::GrayImage::from_fn(32, 18, |x, y| ::image::Luma([(x * 5 + y * 3) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    grey.write_to(&mut bytes, ::image::ImageFormat::Jpeg).unwrap();
    let half = decode(bytes.get_ref(), Scale::Half, &ALL).unwrap();
    assert_eq!((half.width, half.height), (16, 9));
    for y in 0..9 {
        for x in 0..16 {
            let [r, g, b] = half.pixel(x, y);
            // The mean of 5x + 3y over pixels 2x, 2x + 1 and rows 2y, 2y + 1.
            let expected = 10.0 * x as f64 + 2.5 + 6.0 * y as f64 + 1.5;
            assert!(r == g && g == b && (f64::from(r) - expected).abs() < 4.0, "{x}, {y}: {r} for {expected}");
        }
    }
}

#[test]
fn odd_sides_have_no_half() {
    assert!(decode(&data("odd_420.jpg"), Scale::Half, &ALL).is_none());
    for (width, height) in [(15, 16), (16, 15), (1, 1)] {
        let bytes = jpeg_bytes(&Image::new(width, height, [9, 99, 200]), 90).unwrap();
        assert!(decode(&bytes, Scale::Half, &ALL).is_none());
        let [r, g, b] = decode(&bytes, Scale::Whole, &ALL).unwrap().pixel(width - 1, height - 1);
        assert!(r.abs_diff(9).max(g.abs_diff(99)).max(b.abs_diff(200)) <= 3, "{r} {g} {b}");
    }
}

#[test]
fn other_colours_are_left_to_the_general_decoder_and_luma_may_be_small() {
    let bytes = data("half_422.jpg");
    let place = |marker: u8| bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
    // Behind the frame's sizes: a byte for the name of each plane, its blocks, its table.
    let (frame, scan) = (place(0xc0), place(0xda));
    let mut rgb = bytes.clone();
    for (i, name) in b"RGB".iter().enumerate() {
        (rgb[frame + 10 + 3 * i], rgb[scan + 5 + 2 * i]) = (*name, *name);
    }
    assert!(decode(&bytes, Scale::Whole, &ALL).is_some() && decode(&rgb, Scale::Whole, &ALL).is_none());
    // One MCU of 16x16 pixels: a block of luma, and four times two of chroma, all of them grey.
    let mut small = [&bytes[..scan + 14], &[0b0010_1000, 0, 0, 0, 0b11, 0xff, 0xd9]].concat();
    small[frame + 5..frame + 9].copy_from_slice(&[0, 16, 0, 16]);
    (small[frame + 11], small[frame + 14], small[frame + 17]) = (0x11, 0x22, 0x22);
    assert!(decode(&small, Scale::Half, &ALL).unwrap() == Image::new(8, 8, [128; 3]));
    assert!(decode(&small, Scale::Whole, &ALL).unwrap() == Image::new(16, 16, [128; 3]));
}

#[test]
fn a_region_is_that_of_the_whole_picture() {
    let mut rng = 1u32;
    let mut below = |n: usize| {
        rng = rng.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (rng >> 8) as usize % n
    };
    for name in ["half_420", "half_422", "half_444", "half_440", "odd_420", "odd_422", "odd_440"] {
        let bytes = data(&format!("{name}.jpg"));
        for scale in [Scale::Whole, Scale::Half] {
            let Some(all) = decode(&bytes, scale, &ALL) else { continue };
            for _ in 0..60 {
                let mut range = |side: usize| {
                    let start = below(side + 1);
                    start..start + below(side + 1 - start)
                };
                let region = Region { columns: range(all.width), rows: range(all.height) };
                let part = decode(&bytes, scale, &region).unwrap();
                assert_eq!((part.width, part.height), (all.width, all.height));
                for y in region.rows.clone() {
                    let bytes = region.columns.start * 3..region.columns.end * 3;
                    assert_eq!(part.row(y)[bytes.clone()], all.row(y)[bytes], "{name} {scale:?} {region:?}, row {y}");
                }
            }
        }
    }
}

#[test]
fn cut_files_are_left_to_the_general_decoder() {
    for name in SAMPLINGS {
        let bytes = data(&format!("half_{name}.jpg"));
        for length in 0..bytes.len() {
            assert!(
                [Scale::Whole, Scale::Half].iter().all(|&scale| decode(&bytes[..length], scale, &ALL).is_none()),
                "{name} cut to {length} bytes"
            );
        }
    }
}

#[test]
fn damaged_files_do_not_panic() {
    let mut state = 7u32;
    for name in SAMPLINGS {
        let bytes = data(&format!("half_{name}.jpg"));
        for at in 0..bytes.len() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (state >> 29);
            // A picture or none.
            let _ = (decode(&damaged, Scale::Half, &ALL), decode(&damaged, Scale::Whole, &ALL));
            damaged[at] = 0xff;
            let _ = (decode(&damaged, Scale::Half, &ALL), decode(&damaged, Scale::Whole, &ALL));
        }
    }
}
