//! Writing pictures; a file appears whole or not at all.

use std::path::{Path, PathBuf};

use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder, ImageError};

use crate::draft::write_whole;
use crate::image::Image;

/// Why a picture could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`: {source}", path.display())]
pub struct EncodeError {
    /// The file.
    pub path: PathBuf,
    /// What the system or the encoder said.
    pub source: ImageError,
}

/// Makes a PNG in memory.
///
/// # Errors
/// Where the picture has no pixels.
pub fn png_bytes(image: &Image) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let (width, height) = (image.width as u32, image.height as u32);
    PngEncoder::new(&mut bytes).write_image(&image.data, width, height, ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

/// Makes a JPEG of `quality` 1 to 100 in memory.
///
/// # Errors
/// Where the picture has no pixels or a side above 65,535.
pub fn jpeg_bytes(image: &Image, quality: u8) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let (width, height) = (image.width as u32, image.height as u32);
    JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100)).write_image(
        &image.data,
        width,
        height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

/// Writes a PNG, replacing the file at once.
///
/// # Errors
/// Where the folder cannot be written.
pub fn write_png(image: &Image, path: impl AsRef<Path>) -> Result<(), EncodeError> {
    let path = path.as_ref();
    png_bytes(image)
        .and_then(|bytes| write_whole(path, &bytes).map_err(ImageError::IoError))
        .map_err(|source| EncodeError { path: path.to_owned(), source })
}

/// Writes a JPEG of `quality` 1 to 100, replacing the file at once.
///
/// # Errors
/// Where the folder cannot be written or a side is above 65,535 px.
pub fn write_jpeg(image: &Image, path: impl AsRef<Path>, quality: u8) -> Result<(), EncodeError> {
    let path = path.as_ref();
    jpeg_bytes(image, quality)
        .and_then(|bytes| write_whole(path, &bytes).map_err(ImageError::IoError))
        .map_err(|source| EncodeError { path: path.to_owned(), source })
}

/// Quality of JPEG files where nobody says otherwise: hardly any loss.
const USUAL_QUALITY: u8 = 95;

impl Image {
    /// Writes the picture, as JPEG where the name ends so and else as PNG, replacing the file at once.
    ///
    /// # Errors
    /// As [`write_jpeg`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), EncodeError> {
        let path = path.as_ref();
        let is_jpeg = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jpg") || e.eq_ignore_ascii_case("jpeg"));
        if is_jpeg { write_jpeg(self, path, USUAL_QUALITY) } else { write_png(self, path) }
    }
}
