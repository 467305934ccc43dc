//! Reading good, odd and broken files.

use std::io::Cursor;

use ::image::codecs::jpeg::JpegEncoder;
use ::image::{DynamicImage, ExtendedColorType, ImageFormat};
use kinglet_vision::Image;
use kinglet_vision::decode as decoding;
use kinglet_vision::decode::{
    DecodeError, DecodeNote, Format, Limits, decode, dimensions, read, read_dimensions, sniff_format,
};
use kinglet_vision::encode::{jpeg_bytes, png_bytes, write_jpeg, write_png};

use crate::opencv::pattern;

fn encoded(pixels: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn noise(width: u32, height: u32) -> ::image::RgbImage {
    let mut state = 1u32;
    ::image::RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ::image::Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
    })
}

fn all_formats(pixels: &DynamicImage) -> Vec<(Format, Vec<u8>)> {
    [
        (Format::Png, ImageFormat::Png),
        (Format::Bmp, ImageFormat::Bmp),
        (Format::Tiff, ImageFormat::Tiff),
        (Format::WebP, ImageFormat::WebP),
        (Format::Jpeg, ImageFormat::Jpeg),
    ]
    .map(|(format, codec)| (format, encoded(pixels, codec)))
    .to_vec()
}

#[test]
fn every_lossless_format_gives_the_pixels_back() {
    let original = noise(37, 23);
    for (format, bytes) in all_formats(&DynamicImage::ImageRgb8(original.clone())) {
        assert_eq!(sniff_format(&bytes), Some(format));
        let decoded = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!((decoded.format, decoded.image.width, decoded.image.height), (format, 37, 23));
        assert!(decoded.findings.is_empty(), "{format}: {:?}", decoded.findings);
        assert_eq!(dimensions(&bytes).unwrap(), (37, 23, format));
        if format != Format::Jpeg {
            assert_eq!(decoded.image.data, *original.as_raw(), "{format}");
        }
    }
}

#[test]
fn grey_sixteen_bit_and_alpha_become_rgb_with_a_note() {
    use DecodeNote::{Alpha, Grey, SixteenBit};
    let grey = ::image::GrayImage::from_pixel(3, 2, ::image::Luma([77]));
    let grey_alpha = ::image::GrayAlphaImage::from_pixel(3, 2, ::image::LumaA([77, 0]));
    let alpha = ::image::RgbaImage::from_pixel(3, 2, ::image::Rgba([1, 2, 3, 0]));
    let deep = ::image::ImageBuffer::from_pixel(3, 2, ::image::Rgb([0x01ffu16, 0x80ff, 0xffff]));
    let deep_grey = ::image::ImageBuffer::from_pixel(3, 2, ::image::Luma([0x4dffu16]));
    for (pixels, colour, notes) in [
        (DynamicImage::ImageLuma8(grey), [77; 3], vec![Grey]),
        (DynamicImage::ImageLumaA8(grey_alpha), [77; 3], vec![Grey, Alpha]),
        (DynamicImage::ImageRgba8(alpha), [1, 2, 3], vec![Alpha]),
        (DynamicImage::ImageRgb16(deep), [0x01, 0x80, 0xff], vec![SixteenBit]),
        (DynamicImage::ImageLuma16(deep_grey), [0x4d; 3], vec![Grey, SixteenBit]),
    ] {
        let decoded = decode(&encoded(&pixels, ImageFormat::Png), &Limits::default()).unwrap();
        assert_eq!(decoded.image, Image::new(3, 2, colour));
        assert_eq!(decoded.findings, notes);
    }
    let grey = ::image::GrayImage::from_pixel(9, 9, ::image::Luma([50]));
    let decoded = decode(&encoded(&DynamicImage::ImageLuma8(grey), ImageFormat::Jpeg), &Limits::default()).unwrap();
    assert_eq!((decoded.image.pixel(4, 4), decoded.findings), ([50; 3], vec![Grey]));
}

#[test]
fn cmyk_jpeg_becomes_sane_rgb() {
    let bytes = std::fs::read(format!("{}/tests/data/cmyk.jpg", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let decoded = decode(&bytes, &Limits::default()).unwrap();
    assert_eq!(decoded.findings, vec![DecodeNote::Cmyk]);
    for (x, expected) in [(2, [255, 55, 55]), (12, [55, 55, 55])] {
        let got = decoded.image.pixel(x, 2);
        assert!(got.iter().zip(expected).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 3), "{got:?} expected {expected:?}");
    }
}

/// A JPEG whose EXIF block holds this orientation.
fn oriented(image: &Image, orientation: u8) -> Vec<u8> {
    let plain = jpeg_bytes(image, 100).unwrap();
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1];
    bytes.extend(((exif.len() + 2) as u16).to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&plain[2..]);
    bytes
}

#[test]
fn exif_orientation_is_applied_to_pixels_and_dimensions() {
    // Left half black, right half white; where the white half ends up tells the orientation apart.
    let mut image = Image::new(32, 16, [0; 3]);
    image.paste(&Image::new(16, 16, [255; 3]), 16, 0);
    // (orientation, size, a point that must be white)
    for (orientation, size, white) in [
        (1, (32, 16), (24, 8)),
        (2, (32, 16), (8, 8)),
        (3, (32, 16), (8, 8)),
        (4, (32, 16), (24, 8)),
        (5, (16, 32), (8, 24)),
        (6, (16, 32), (8, 24)),
        (7, (16, 32), (8, 8)),
        (8, (16, 32), (8, 8)),
    ] {
        let bytes = oriented(&image, orientation);
        let decoded = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!((decoded.image.width, decoded.image.height), size, "orientation {orientation}");
        assert_eq!(dimensions(&bytes).unwrap(), (size.0, size.1, Format::Jpeg));
        assert!(decoded.image.pixel(white.0, white.1)[0] > 250, "orientation {orientation}");
        let noted = decoded.findings.contains(&DecodeNote::ExifRotated(orientation));
        assert_eq!(noted, orientation != 1);
    }
}

#[test]
fn files_cut_anywhere_are_refused_with_the_reason_and_never_panic() {
    let pixels = DynamicImage::ImageRgb8(noise(64, 48));
    for (format, bytes) in all_formats(&pixels) {
        for eighth in 0..8 {
            let cut = &bytes[..bytes.len() * eighth / 8];
            let error = match decode(cut, &Limits::default()) {
                Err(error) => error,
                Ok(_) => panic!("{format} cut to {eighth}/8 was accepted"),
            };
            if eighth == 0 {
                assert!(matches!(error, DecodeError::Empty));
            } else {
                assert!(matches!(error, DecodeError::Truncated { .. }), "{format} cut to {eighth}/8: {error:?}");
                assert!(error.to_string().starts_with("the file ends early: "), "{error}");
            }
        }
        // Every short beginning and some damage: an error or a picture, no panic.
        for length in 0..bytes.len().min(300) {
            let _ = decode(&bytes[..length], &Limits::default());
            let _ = dimensions(&bytes[..length]);
        }
        for at in (0..bytes.len()).step_by(1 + bytes.len() / 150) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5a;
            let _ = decode(&damaged, &Limits { max_side: 4096, max_pixels: 1 << 20, ..Limits::default() });
        }
    }
}

#[test]
fn a_jpeg_without_its_end_marker_is_read_with_a_note() {
    let whole = jpeg_bytes(&pattern(), 90).unwrap();
    assert!(whole.ends_with(&[0xff, 0xd9]));
    let expected = decode(&whole, &Limits::default()).unwrap().image;
    for missing in [1, 2] {
        let decoded = decode(&whole[..whole.len() - missing], &Limits::default()).unwrap();
        assert_eq!(decoded.findings, vec![DecodeNote::TruncatedTail]);
        assert_eq!(decoded.image, expected);
    }
    // Bytes after the end marker are common and harmless.
    let trailing = [&whole[..], &[0; 100]].concat();
    let decoded = decode(&trailing, &Limits::default()).unwrap();
    assert!(decoded.findings.is_empty());
    assert_eq!(decoded.image, expected);
    // A little more is missing: pixels are gone.
    let error = decode(&whole[..whole.len() - 30], &Limits::default()).unwrap_err();
    assert!(matches!(error, DecodeError::Truncated { .. }), "{error:?}");
}

#[test]
fn sizes_from_one_pixel_to_very_long_are_read_and_too_large_is_refused() {
    for (w, h) in [(1, 1), (20_000, 2), (2, 20_000), (3, 1)] {
        for bytes in [png_bytes(&Image::new(w, h, [9; 3])).unwrap(), jpeg_bytes(&Image::new(w, h, [9; 3]), 90).unwrap()]
        {
            let decoded = decode(&bytes, &Limits::default()).unwrap();
            assert_eq!((decoded.image.width, decoded.image.height), (w, h));
        }
    }
    let wide = png_bytes(&Image::new(20_001, 1, [9; 3])).unwrap();
    let message = decode(&wide, &Limits::default()).unwrap_err().to_string();
    assert!(message.contains("20001x1 px") && message.contains("20000 px a side"), "{message}");
    assert_eq!(dimensions(&wide).unwrap().0, 20_001);
    // 20,000 x 20,000 by its header alone: nothing of that size is allocated.
    let mut bomb = png_bytes(&Image::new(1, 1, [0; 3])).unwrap();
    for side in [[0, 0, 0x4e, 0x20], [0x7f, 0xff, 0xff, 0xff]] {
        bomb[16..24].copy_from_slice(&[side, side].concat());
        assert!(matches!(decode(&bomb, &Limits::default()).unwrap_err(), DecodeError::TooLarge { .. }));
    }
    let mut jpeg = jpeg_bytes(&Image::new(8, 8, [0; 3]), 90).unwrap();
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
    assert!(matches!(decode(&jpeg, &Limits::default()).unwrap_err(), DecodeError::TooLarge { width: 20_000, .. }));
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x2e, 0x20, 0x2e, 0x20]);
    assert!(matches!(decode(&jpeg, &Limits::default()).unwrap_err(), DecodeError::Truncated { .. }));
    let small = Limits { max_bytes: 10, ..Limits::default() };
    assert!(matches!(decode(&wide, &small).unwrap_err(), DecodeError::TooManyBytes { max_bytes: 10, .. }));
}

#[test]
fn the_content_decides_and_messages_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("really-a-png.jpg");
    std::fs::write(&path, png_bytes(&pattern()).unwrap()).unwrap();
    let decoded = read(&path, &Limits::default()).unwrap();
    assert_eq!(decoded.image, pattern());
    assert_eq!(decoded.findings, vec![DecodeNote::ExtensionMismatch { found: Format::Png }]);
    assert_eq!(read_dimensions(&path).unwrap(), (37, 23, Format::Png));

    for (content, words) in [
        (&b"<!DOCTYPE html><html>"[..], "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PF\n3 2\n-1.0\n", "a PFM picture"),
        (b"\0\0\0\x18ftypheic", "a HEIC picture"),
        (&[0; 100], "zero bytes"),
        (b"hello world", "68 65 6c 6c 6f"),
        (b"", "the file is empty"),
    ] {
        let path = folder.path().join("broken.png");
        std::fs::write(&path, content).unwrap();
        let message = read(&path, &Limits::default()).unwrap_err().to_string();
        assert!(message.contains("broken.png") && message.contains(words), "{message}");
        assert!(read_dimensions(&path).unwrap_err().to_string().contains("broken.png"));
    }
    let missing = read(folder.path().join("none.png"), &Limits::default()).unwrap_err();
    assert!(missing.to_string().contains("none.png"), "{missing}");
    assert!(read(folder.path(), &Limits::default()).is_err());
    assert!(decoding::has_image_extension(std::path::Path::new("a/B.JPG")));
    assert!(!decoding::has_image_extension(std::path::Path::new("a/b.txt")));
}

#[test]
fn written_files_read_back_and_leave_nothing_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let (png, jpeg) = (folder.path().join("a.png"), folder.path().join("a.jpg"));
    for _ in 0..2 {
        write_png(&pattern(), &png).unwrap();
        write_jpeg(&Image::new(40, 30, [200, 100, 50]), &jpeg, 95).unwrap();
    }
    assert_eq!(read(&png, &Limits::default()).unwrap().image, pattern());
    let pixel = read(&jpeg, &Limits::default()).unwrap().image.pixel(20, 10);
    assert!(pixel.iter().zip([200u8, 100, 50]).all(|(a, b)| a.abs_diff(b) <= 3));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let error = write_png(&pattern(), folder.path().join("no/such/folder.png")).unwrap_err();
    assert!(error.to_string().contains("folder.png"), "{error}");
    assert!(write_png(&Image::new(0, 0, [0; 3]), folder.path().join("empty.png")).is_err());
}

#[test]
fn real_photographs_agree_with_their_headers() {
    let Some(shared) = crate::shared() else { return };
    let mut files: Vec<_> = walk(&shared.join("data/coco256"));
    files.sort();
    for path in files.into_iter().take(12) {
        let decoded = read(&path, &Limits::default()).unwrap();
        assert_eq!(read_dimensions(&path).unwrap(), (decoded.image.width, decoded.image.height, Format::Jpeg));
        assert!(decoded.findings.iter().all(|note| *note == DecodeNote::Grey), "{path:?}: {:?}", decoded.findings);
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                walk(&path)
            } else if decoding::has_image_extension(&path) {
                vec![path]
            } else {
                Vec::new()
            }
        })
        .collect()
}

#[test]
fn a_progressive_or_subsampled_jpeg_cut_in_the_middle_is_refused() {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 60);
    encoder.encode(noise(65, 33).as_raw(), 65, 33, ExtendedColorType::Rgb8).unwrap();
    for cut in (bytes.len() / 2..bytes.len() - 8).step_by(37) {
        assert!(decode(&bytes[..cut], &Limits::default()).is_err(), "cut at {cut} of {}", bytes.len());
    }
}
