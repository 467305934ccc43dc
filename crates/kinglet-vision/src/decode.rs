//! Reading pictures: format by content, size limits before any pixel is allocated, upright RGB out.
//!
//! What is not plain 8-bit RGB is converted and said so in a note: grey is replicated, 16 bits keep their upper 8,
//! alpha is dropped (not blended), CMYK becomes RGB, EXIF orientation is applied.
//! Untrusted input: a file can be refused but must not crash the program or exhaust its memory.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ExtendedColorType, ImageBuffer, ImageDecoder, ImageError, ImageFormat, Pixel};

use crate::image::Image;
use crate::image::Region;
use crate::jpeg::{self, Scale};
use crate::resize;

/// File name extensions that count as pictures, in lower case. What a file *is* follows from its content.
pub const EXTENSIONS: [&str; 8] = ["bmp", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"];

/// Extensions of pictures that are not read in folders: to be mentioned, not passed over in silence.
pub const UNDECODABLE_EXTENSIONS: [&str; 6] = ["avif", "dng", "gif", "heic", "heif", "pfm"];

/// So much of a file is read for its dimensions at first; headers are mostly shorter.
const HEADER_BYTES: u64 = 128 << 10;
/// A JPEG block of 8x8 pixels takes a bit or more in each colour; twice the room for odd encoders.
const JPEG_PIXELS_PER_BYTE: u64 = 1024;

/// What is refused before decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels in a row or rows.
    pub max_side: u32,
    /// Most pixels in all.
    pub max_pixels: u64,
    /// Most bytes of the file.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_side: 20_000, max_pixels: 178_000_000, max_bytes: 512 << 20 }
    }
}

impl Limits {
    /// Checks a picture's size.
    ///
    /// # Errors
    /// No pixels, or too many.
    pub fn check(&self, width: u32, height: u32) -> Result<(), DecodeError> {
        if width == 0 || height == 0 {
            return Err(DecodeError::NoPixels { width, height });
        }
        let Limits { max_side, max_pixels, .. } = *self;
        if width > max_side || height > max_side || u64::from(width) * u64::from(height) > max_pixels {
            return Err(DecodeError::TooLarge { width, height, max_side, max_pixels });
        }
        Ok(())
    }
}

/// A container that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG, including the first picture of an MPO file.
    Jpeg,
    /// PNG.
    Png,
    /// Windows bitmap.
    Bmp,
    /// TIFF.
    Tiff,
    /// WebP, lossy or lossless.
    WebP,
    /// GIF, its first picture.
    Gif,
}

impl Format {
    /// The name people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
        }
    }

    /// Whether a file of this format is expected under this extension (without the dot, any case).
    pub fn has_extension(self, extension: &str) -> bool {
        let extension = extension.to_ascii_lowercase();
        let own: &[&str] = match self {
            Self::Jpeg => &["jpg", "jpeg", "mpo", "jpe", "jfif"],
            Self::Png => &["png", "apng"],
            Self::Bmp => &["bmp", "dib"],
            Self::Tiff => &["tif", "tiff", "dng"],
            Self::WebP => &["webp"],
            Self::Gif => &["gif"],
        };
        own.contains(&extension.as_str())
    }

    fn codec(self) -> ImageFormat {
        match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tiff => ImageFormat::Tiff,
            Self::WebP => ImageFormat::WebP,
            Self::Gif => ImageFormat::Gif,
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Something about a file that is worth knowing but does not stop it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeNote {
    /// Grey was copied to the three channels.
    Grey,
    /// 16-bit samples lost their lower 8 bits.
    SixteenBit,
    /// The alpha channel was dropped.
    Alpha,
    /// CMYK was converted to RGB.
    Cmyk,
    /// The picture was turned or mirrored as its EXIF orientation (2 to 8) says.
    ExifRotated(u8),
    /// The content is of another format than the extension says.
    ExtensionMismatch {
        /// What the content is.
        found: Format,
    },
    /// A JPEG without its end marker; all its pixels are there.
    TruncatedTail,
}

impl std::fmt::Display for DecodeNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Grey => f.write_str("grey picture, copied to three channels"),
            Self::SixteenBit => f.write_str("16-bit picture, upper 8 bits used"),
            Self::Alpha => f.write_str("alpha channel dropped"),
            Self::Cmyk => f.write_str("CMYK converted to RGB"),
            Self::ExifRotated(value) => write!(f, "turned upright by EXIF orientation {value}"),
            Self::ExtensionMismatch { found } => write!(f, "the content is {found}, whatever the extension says"),
            Self::TruncatedTail => f.write_str("JPEG without its end marker, decoded all the same"),
        }
    }
}

/// A picture and what was noticed while reading it.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Upright RGB pixels.
    pub image: Image,
    /// The container it came in.
    pub format: Format,
    /// What was noticed.
    pub findings: Vec<DecodeNote>,
}

/// Why a picture cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Wraps another error with the file's name.
    #[error("`{}`: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<DecodeError>,
    },
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Io(#[source] std::io::Error),
    /// No bytes at all.
    #[error("the file is empty; copy it again from its source or remove it")]
    Empty,
    /// The content is nothing that can be decoded.
    #[error("expected a JPEG, PNG, BMP, TIFF, WebP or GIF picture, found {found}; convert it to JPEG or PNG")]
    UnknownFormat {
        /// A guess at what it is, or its first bytes.
        found: String,
    },
    /// Larger than the limits allow.
    #[error(
        "the picture is {width}x{height} px, more than the limit of {max_side} px a side and {max_pixels} px in all; resize or tile it first"
    )]
    TooLarge {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The limit for either.
        max_side: u32,
        /// The limit for the product.
        max_pixels: u64,
    },
    /// The file has more bytes than the limits allow.
    #[error("the file has {bytes} bytes, more than the limit of {max_bytes}; resize the picture first")]
    TooManyBytes {
        /// Its length.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// A side of zero pixels.
    #[error("the picture is {width}x{height} px, expected at least 1x1")]
    NoPixels {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// The content stops before the last pixel.
    #[error("the file ends early: {detail} ({bytes} bytes of {format}); copy it again from its source or remove it")]
    Truncated {
        /// The container.
        format: Format,
        /// The length found.
        bytes: u64,
        /// What the decoder missed.
        detail: String,
    },
    /// The content contradicts itself.
    #[error("damaged {format}: {detail}; open and save it again with a picture editor or remove it")]
    Damaged {
        /// The container.
        format: Format,
        /// What the decoder found.
        detail: String,
    },
    /// A variant of the format that cannot be decoded.
    #[error("this kind of {format} is not supported: {detail}; convert it to an ordinary JPEG or PNG")]
    Unsupported {
        /// The container.
        format: Format,
        /// What is special about it.
        detail: String,
    },
}

/// Tells the format from the first bytes.
pub fn sniff_format(bytes: &[u8]) -> Option<Format> {
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        Some(Format::Jpeg)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(Format::Png)
    } else if bytes.starts_with(b"BM") {
        Some(Format::Bmp)
    } else if bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*") {
        Some(Format::Tiff)
    } else if bytes.len() >= 12 && bytes.starts_with(b"RIFF") && &bytes[8..12] == b"WEBP" {
        Some(Format::WebP)
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some(Format::Gif)
    } else {
        None
    }
}

/// Whether a path has an extension that counts as a picture.
pub fn has_image_extension(path: &Path) -> bool {
    extension_is_in(path, &EXTENSIONS)
}

/// Whether a path has one of the [`UNDECODABLE_EXTENSIONS`].
pub fn is_other_picture(path: &Path) -> bool {
    extension_is_in(path, &UNDECODABLE_EXTENSIONS)
}

fn extension_is_in(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| known.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Decodes a picture held in memory.
///
/// # Errors
/// Where the content is no picture, too large, cut short or damaged.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    let format = check_start(bytes, limits)?;
    let mut findings = Vec::new();
    let image = if format == Format::Jpeg && !jpeg_has_end(bytes) {
        findings.push(DecodeNote::TruncatedTail);
        decode_endless_jpeg(bytes, limits, &mut findings)?
    } else {
        decode_pixels(bytes, format, limits, &mut findings)?
    };
    Ok(Decoded { image, format, findings })
}

/// Reads and decodes a file; adds a note where the extension does not fit the content.
///
/// # Errors
/// As [`decode`], with the file's name.
pub fn read(path: impl AsRef<Path>, limits: &Limits) -> Result<Decoded, DecodeError> {
    let path = path.as_ref();
    in_file(path, || {
        let bytes = read_bytes(path, limits)?;
        let mut decoded = decode(&bytes, limits)?;
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str())
            && !decoded.format.has_extension(extension)
        {
            decoded.findings.push(DecodeNote::ExtensionMismatch { found: decoded.format });
        }
        Ok(decoded)
    })
}

impl Image {
    /// Reads a picture from a file, within the usual limits; [`read`] tells more about it.
    ///
    /// # Errors
    /// As [`decode`], with the file's name.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, DecodeError> {
        Ok(read(path, &Limits::default())?.image)
    }
}

/// Reads a file and resizes the picture to `size` (width, height), by area where that is wanted.
///
/// A JPEG of exactly twice the size is not decoded in full: both ways of resizing are the mean of 2x2 pixels then, and
/// most of the work is saved. Rounding differs by a grey level or two.
///
/// Of the result `region` is wanted; other pixels may be anything, and of a JPEG they are mostly not made.
///
/// # Errors
/// As [`read`].
pub fn read_resized(
    path: impl AsRef<Path>,
    limits: &Limits,
    size: (usize, usize),
    by_area: bool,
    region: &Region,
) -> Result<Image, DecodeError> {
    let path = path.as_ref();
    in_file(path, || {
        let bytes = read_bytes(path, limits)?;
        let image = match decode_region(&bytes, limits, size, region) {
            Some(image) => image,
            None => decode(&bytes, limits)?.image,
        };
        Ok(if (image.width, image.height) == size {
            image
        } else if by_area {
            resize::resize_area(&image, size.0, size.1)
        } else {
            resize::resize_bilinear(&image, size.0, size.1)
        })
    })
}

/// An upright, ordinary JPEG, at half its size where that is `size`, with the pixels that `region` of that size needs.
fn decode_region(bytes: &[u8], limits: &Limits, size: (usize, usize), region: &Region) -> Option<Image> {
    // Where nobody reads to the end, an end that is missing would go unseen.
    if check_start(bytes, limits).ok()? != Format::Jpeg || !jpeg_has_end(bytes) {
        return None;
    }
    let mut decoder = open(bytes, Format::Jpeg).ok()?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height).ok()?;
    // Too few bytes for so many pixels is the general decoder's to tell.
    let plausible = u64::from(width) * u64::from(height) / JPEG_PIXELS_PER_BYTE <= bytes.len() as u64;
    let upright = decoder.orientation().ok()? == Orientation::NoTransforms;
    if !plausible || !upright {
        return None;
    }
    let full = (width as usize, height as usize);
    if full == (size.0 * 2, size.1 * 2) {
        jpeg::decode(bytes, Scale::Half, region)
    } else {
        jpeg::decode(bytes, Scale::Whole, &region.resized(size, full))
    }
}

/// Width and height of the upright picture, and its format, from the header alone.
///
/// # Errors
/// As [`decode`], but damage after the header and large sizes go unseen.
pub fn dimensions(bytes: &[u8]) -> Result<(usize, usize, Format), DecodeError> {
    let unlimited = Limits { max_side: u32::MAX, max_pixels: u64::MAX, max_bytes: u64::MAX };
    let format = check_start(bytes, &unlimited)?;
    let mut decoder = open(bytes, format)?;
    let (width, height) = decoder.dimensions();
    unlimited.check(width, height)?;
    let turned = matches!(
        decoder.orientation().unwrap_or(Orientation::NoTransforms),
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width, height) = if turned { (height, width) } else { (width, height) };
    Ok((width as usize, height as usize, format))
}

/// [`dimensions`] of a file; of most files only the beginning is read.
///
/// # Errors
/// As [`dimensions`], with the file's name.
pub fn read_dimensions(path: impl AsRef<Path>) -> Result<(usize, usize, Format), DecodeError> {
    let path = path.as_ref();
    in_file(path, || {
        let mut file = std::fs::File::open(path).map_err(DecodeError::Io)?;
        let mut bytes = Vec::new();
        (&mut file).take(HEADER_BYTES).read_to_end(&mut bytes).map_err(DecodeError::Io)?;
        // TIFF and WebP may keep what matters at the end of the file.
        let header_first = matches!(sniff_format(&bytes), Some(Format::Jpeg | Format::Png | Format::Bmp));
        if header_first && let Ok(found) = dimensions(&bytes) {
            return Ok(found);
        }
        file.take(Limits::default().max_bytes).read_to_end(&mut bytes).map_err(DecodeError::Io)?;
        dimensions(&bytes)
    })
}

fn in_file<T>(path: &Path, work: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    work().map_err(|source| DecodeError::InFile { path: path.to_owned(), source: Box::new(source) })
}

fn read_bytes(path: &Path, limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let file = std::fs::File::open(path).map_err(DecodeError::Io)?;
    let length = file.metadata().map_err(DecodeError::Io)?.len();
    if length > limits.max_bytes {
        return Err(DecodeError::TooManyBytes { bytes: length, max_bytes: limits.max_bytes });
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // A pipe or a growing file may hold more than its length says.
    file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(DecodeError::Io)?;
    Ok(bytes)
}

fn check_start(bytes: &[u8], limits: &Limits) -> Result<Format, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() as u64 > limits.max_bytes {
        return Err(DecodeError::TooManyBytes { bytes: bytes.len() as u64, max_bytes: limits.max_bytes });
    }
    sniff_format(bytes).ok_or_else(|| DecodeError::UnknownFormat { found: describe_unknown(bytes) })
}

/// Says in people's words what a file that is no picture looks like.
fn describe_unknown(bytes: &[u8]) -> String {
    let text = bytes.trim_ascii_start();
    let lower = text[..text.len().min(16)].to_ascii_lowercase();
    if bytes.len() >= 12 && &bytes[4..8] == b"ftyp" {
        let brand = &bytes[8..12];
        return match brand {
            b"heic" | b"heix" | b"mif1" | b"msf1" => "a HEIC picture".to_owned(),
            b"avif" | b"avis" => "an AVIF picture".to_owned(),
            _ => "a video or an ISO media file".to_owned(),
        };
    }
    for (start, name) in [
        (&b"version https://"[..], "a Git LFS pointer (run `git lfs pull`)"),
        (b"<!doctype", "a web page (the download went wrong)"),
        (b"<html", "a web page (the download went wrong)"),
        (b"<svg", "an SVG drawing"),
        (b"<?xml", "an XML file"),
        (b"%pdf", "a PDF document"),
        (b"pk\x03\x04", "a ZIP archive"),
        (b"pf\n", "a PFM picture"),
        (b"\xff\x0a", "a JPEG XL picture"),
    ] {
        if lower.starts_with(start) {
            return name.to_owned();
        }
    }
    if bytes.iter().take(64).all(|&byte| byte == 0) {
        return "nothing but zero bytes".to_owned();
    }
    let hex: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("a file that begins with the bytes {}", hex.join(" "))
}

fn open<'a>(bytes: &'a [u8], format: Format) -> Result<Box<dyn ImageDecoder + 'a>, DecodeError> {
    let mut reader = ::image::ImageReader::with_format(Cursor::new(bytes), format.codec());
    // The size is checked by `Limits::check`, with a message of ours, before pixels are allocated.
    reader.no_limits();
    let decoder = reader.into_decoder().map_err(|error| explain(&error, format, bytes))?;
    Ok(Box::new(decoder))
}

fn decode_pixels(
    bytes: &[u8],
    format: Format,
    limits: &Limits,
    findings: &mut Vec<DecodeNote>,
) -> Result<Image, DecodeError> {
    if let Some((width, height)) = png_size(bytes, format) {
        limits.check(width, height)?;
    }
    let mut decoder = open(bytes, format)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    let length = bytes.len() as u64;
    if format == Format::Jpeg && u64::from(width) * u64::from(height) / JPEG_PIXELS_PER_BYTE > length {
        let detail = format!("{width}x{height} px cannot be in so few bytes");
        return Err(DecodeError::Truncated { format, bytes: length, detail });
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    if decoder.original_color_type() == ExtendedColorType::Cmyk8 || (format == Format::Jpeg && jpeg_planes(bytes) == 4)
    {
        findings.push(DecodeNote::Cmyk);
    }
    let ordinary = if format == Format::Jpeg {
        jpeg::decode(bytes, Scale::Whole, &Region::whole(usize::MAX, usize::MAX))
    } else {
        None
    };
    let rgb = if let Some(rgb) = ordinary.and_then(|image| ImageBuffer::from_raw(width, height, image.data)) {
        findings.extend((jpeg_planes(bytes) == 1).then_some(DecodeNote::Grey));
        rgb
    } else {
        let pixels = DynamicImage::from_decoder(decoder).map_err(|error| explain(&error, format, bytes))?;
        to_rgb(pixels, format, findings)?
    };
    let mut pixels = DynamicImage::ImageRgb8(rgb);
    if orientation != Orientation::NoTransforms {
        findings.push(DecodeNote::ExifRotated(orientation.to_exif()));
        pixels.apply_orientation(orientation);
    }
    let rgb = pixels.into_rgb8();
    Ok(Image { width: rgb.width() as usize, height: rgb.height() as usize, data: rgb.into_raw() })
}

/// What the header of a PNG names as its size: its decoder calls sides beyond any memory a damage.
fn png_size(bytes: &[u8], format: Format) -> Option<(u32, u32)> {
    let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let has_header = format == Format::Png && bytes.get(12..16)? == b"IHDR";
    has_header.then_some((side(16)?, side(20)?))
}

fn to_rgb(pixels: DynamicImage, format: Format, notes: &mut Vec<DecodeNote>) -> Result<::image::RgbImage, DecodeError> {
    let mut note = |grey: bool, sixteen: bool, alpha: bool| {
        notes.extend(grey.then_some(DecodeNote::Grey));
        notes.extend(sixteen.then_some(DecodeNote::SixteenBit));
        notes.extend(alpha.then_some(DecodeNote::Alpha));
    };
    let high = |sample: u16| (sample >> 8) as u8;
    Ok(match pixels {
        DynamicImage::ImageRgb8(rgb) => rgb,
        DynamicImage::ImageLuma8(grey) => {
            note(true, false, false);
            convert(&grey, |p| [p[0]; 3])
        }
        DynamicImage::ImageLumaA8(grey) => {
            note(true, false, true);
            convert(&grey, |p| [p[0]; 3])
        }
        DynamicImage::ImageRgba8(rgba) => {
            note(false, false, true);
            convert(&rgba, |p| [p[0], p[1], p[2]])
        }
        DynamicImage::ImageLuma16(grey) => {
            note(true, true, false);
            convert(&grey, |p| [high(p[0]); 3])
        }
        DynamicImage::ImageLumaA16(grey) => {
            note(true, true, true);
            convert(&grey, |p| [high(p[0]); 3])
        }
        DynamicImage::ImageRgb16(rgb) => {
            note(false, true, false);
            convert(&rgb, |p| [high(p[0]), high(p[1]), high(p[2])])
        }
        DynamicImage::ImageRgba16(rgba) => {
            note(false, true, true);
            convert(&rgba, |p| [high(p[0]), high(p[1]), high(p[2])])
        }
        other => {
            return Err(DecodeError::Unsupported { format, detail: format!("samples of type {:?}", other.color()) });
        }
    })
}

fn convert<P: Pixel>(
    from: &ImageBuffer<P, Vec<P::Subpixel>>,
    rgb: impl Fn(&[P::Subpixel]) -> [u8; 3],
) -> ::image::RgbImage {
    let data = from.as_raw().chunks_exact(usize::from(P::CHANNEL_COUNT)).flat_map(rgb).collect();
    ImageBuffer::from_raw(from.width(), from.height(), data).expect("three bytes for each pixel")
}

/// Whether an end marker follows the last scan header; entropy-coded data cannot hold one by chance.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    bytes.ends_with(&[0xff, 0xd9]) || last(0xd9) > last(0xda)
}

/// Decodes a JPEG without end marker and tells whether all pixels are there.
///
/// Decoders fill what is missing without a word. So two different continuations are appended: a complete picture
/// ignores both, in an incomplete one they show.
fn decode_endless_jpeg(bytes: &[u8], limits: &Limits, notes: &mut Vec<DecodeNote>) -> Result<Image, DecodeError> {
    // Half an end marker would turn the continuation into another marker.
    let bytes = bytes.strip_suffix(&[0xff]).unwrap_or(bytes);
    let with_tail = |filler: u8| {
        let mut extended = bytes.to_vec();
        extended.resize(bytes.len() + 4096, filler);
        extended.extend_from_slice(&[0xff, 0xd9]);
        extended
    };
    let truncated = |detail: &str| DecodeError::Truncated {
        format: Format::Jpeg,
        bytes: bytes.len() as u64,
        detail: detail.to_owned(),
    };
    // What the plain bytes say comes first, for the size limits and for damage in the header.
    decode_pixels(bytes, Format::Jpeg, limits, &mut Vec::new()).map_err(|error| match error {
        DecodeError::Damaged { detail, .. } => truncated(&detail),
        other => other,
    })?;
    let first = decode_pixels(&with_tail(0x00), Format::Jpeg, limits, &mut Vec::new());
    let second = decode_pixels(&with_tail(0x55), Format::Jpeg, limits, &mut Vec::new());
    match (first, second) {
        (Ok(first), Ok(second)) if first == second => {
            decode_pixels(&[bytes, &[0xff, 0xd9]].concat(), Format::Jpeg, limits, notes)
        }
        _ => Err(truncated("the end marker and part of the pixels are missing")),
    }
}

/// The number of colour planes that the frame header of a JPEG announces; 0 where there is none.
fn jpeg_planes(bytes: &[u8]) -> u8 {
    let mut at = 2;
    while at + 9 < bytes.len() {
        if bytes[at] != 0xff {
            return 0;
        }
        match bytes[at + 1] {
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return bytes[at + 9],
            0xd9 | 0xda => return 0,
            _ => at += 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])),
        }
    }
    0
}

fn explain(error: &ImageError, format: Format, bytes: &[u8]) -> DecodeError {
    // Some decoders end their message with a line break.
    let detail = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    if let ImageError::Unsupported(_) = error {
        return DecodeError::Unsupported { format, detail };
    }
    // Most decoders keep the reason only as text.
    let lower = detail.to_ascii_lowercase();
    let early = [
        "unexpected end",
        "unexpectedeof",
        "unexpected eof",
        "premature",
        "fill whole buffer",
        "exhausted",
        "no more bytes",
    ];
    let length = bytes.len() as u64;
    if let Some(announced) = announced_length(format, bytes)
        && announced > length
    {
        let detail = format!("its header announces {announced} bytes");
        return DecodeError::Truncated { format, bytes: length, detail };
    }
    if ends_early(error) || early.iter().any(|words| lower.contains(words)) {
        return DecodeError::Truncated { format, bytes: length, detail };
    }
    DecodeError::Damaged { format, detail }
}

/// The length of the file as its own header tells it, for formats that do.
fn announced_length(format: Format, bytes: &[u8]) -> Option<u64> {
    let number = |at: usize| Some(u64::from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)));
    match format {
        Format::WebP => Some(number(4)? + 8),
        Format::Bmp => number(2),
        _ => None,
    }
}

fn ends_early(error: &ImageError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::UnexpectedEof
        {
            return true;
        }
        if let Some(ImageError::IoError(io)) = error.downcast_ref::<ImageError>()
            && io.kind() == std::io::ErrorKind::UnexpectedEof
        {
            return true;
        }
        next = error.source();
    }
    false
}
