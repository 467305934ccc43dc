//! Half-size pictures against OpenCV's full decoding and resizing; damage of all kinds.

use super::*;
use crate::decode;
use crate::encode::jpeg_bytes;
use crate::resize::resize_bilinear;

const SAMPLINGS: [&str; 3] = ["420", "422", "444"];

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
fn halves_are_those_of_opencv_to_rounding() {
    for name in SAMPLINGS {
        let half = decode_half(&data(&format!("half_{name}.jpg"))).unwrap();
        assert_eq!((half.width, half.height), (37, 23));
        let (worst, mean) = difference(&half.data, &data(&format!("half_{name}.rgb")));
        let full = decode::decode(&data(&format!("half_{name}.jpg")), &decode::Limits::default()).unwrap().image;
        let usual = difference(&resize_bilinear(&full, 37, 23).data, &data(&format!("half_{name}.rgb")));
        eprintln!("{name}: {worst} {mean}; in full {usual:?}");
        // Full decoding rounds each pixel, its chroma and its colours; here only the result is rounded.
        assert!(worst <= 2 && mean < 0.4, "{name}: differs by up to {worst}, {mean} on average");
    }
}

#[test]
fn grey_is_copied_to_three_channels() {
    let grey = ::image::GrayImage::from_fn(32, 18, |x, y| ::image::Luma([(x * 5 + y * 3) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    grey.write_to(&mut bytes, ::image::ImageFormat::Jpeg).unwrap();
    let half = decode_half(bytes.get_ref()).unwrap();
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
fn odd_sides_are_left_to_the_general_decoder() {
    for (width, height) in [(15, 16), (16, 15)] {
        assert!(decode_half(&jpeg_bytes(&Image::new(width, height, [9, 99, 200]), 90).unwrap()).is_none());
    }
}

#[test]
fn cut_files_are_left_to_the_general_decoder() {
    for name in SAMPLINGS {
        let bytes = data(&format!("half_{name}.jpg"));
        for length in 0..bytes.len() {
            assert!(decode_half(&bytes[..length]).is_none(), "{name} cut to {length} bytes");
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
            let _ = decode_half(&damaged);
            damaged[at] = 0xff;
            let _ = decode_half(&damaged);
        }
    }
}
