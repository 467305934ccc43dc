//! Frames as they come through the pipe: PPM pictures, each with its own size, one after another.
//!
//! Source: Netpbm's `ppm` page, binary form (P6) with 255 levels, as ffmpeg writes it: no comments.

use kinglet_vision::{Image, Limits};
use std::io::{BufRead, Error, ErrorKind, Read};

/// Longest line of a header.
const LINE: u64 = 32;

/// The next frame; `None` where the stream ends between two frames.
///
/// # Errors
/// A stream that ends within a frame (`UnexpectedEof`), or holds something else (`InvalidData`).
pub fn next_frame(stream: &mut impl BufRead) -> std::io::Result<Option<Image>> {
    if stream.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let strange = |found: &str| Error::new(ErrorKind::InvalidData, format!("expected a PPM frame, found `{found}`"));
    let magic = line(stream)?;
    if magic != "P6" {
        return Err(strange(&magic));
    }
    let size = line(stream)?;
    let sides = size.split_once(' ').and_then(|(w, h)| Some((w.parse::<usize>().ok()?, h.parse::<usize>().ok()?)));
    let (width, height) = sides.filter(|&(w, h)| w > 0 && h > 0).ok_or_else(|| strange(&size))?;
    let levels = line(stream)?;
    if levels != "255" {
        return Err(strange(&levels));
    }
    let (w, h) = (u32::try_from(width).unwrap_or(u32::MAX), u32::try_from(height).unwrap_or(u32::MAX));
    Limits::default().check(w, h).map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))?;
    let mut data = vec![0; width * height * 3];
    stream.read_exact(&mut data)?;
    Ok(Image::from_raw(width, height, data))
}

fn line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    stream.take(LINE).read_until(b'\n', &mut bytes)?;
    match bytes.pop() {
        Some(b'\n') => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Some(_) if bytes.len() as u64 + 1 >= LINE => Err(Error::new(ErrorKind::InvalidData, "expected a PPM header")),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<u8> {
        let mut bytes = b"P6\n2 1\n255\n".to_vec();
        bytes.extend([1, 2, 3, 4, 5, 6]);
        bytes.extend(b"P6\n1 2\n255\n");
        bytes.extend(b"P6\n255");
        bytes
    }

    #[test]
    fn frames_follow_each_other_and_may_change_size() {
        let bytes = two();
        let mut stream = &bytes[..];
        let first = next_frame(&mut stream).unwrap().unwrap();
        assert_eq!((first.width, first.height, &first.data[..]), (2, 1, &[1, 2, 3, 4, 5, 6][..]));
        let second = next_frame(&mut stream).unwrap().unwrap();
        assert_eq!((second.width, second.height, &second.data[..]), (1, 2, &b"P6\n255"[..]));
        assert!(next_frame(&mut stream).unwrap().is_none());
    }

    #[test]
    fn a_stream_cut_anywhere_ends_with_an_error_but_between_frames() {
        let bytes = two();
        for cut in 0..bytes.len() {
            let mut stream = &bytes[..cut];
            let mut frames = 0;
            let end = loop {
                match next_frame(&mut stream) {
                    Ok(Some(_)) => frames += 1,
                    Ok(None) => break None,
                    Err(error) => break Some(error.kind()),
                }
            };
            let expected = if cut == 0 || cut == 17 { None } else { Some(ErrorKind::UnexpectedEof) };
            assert_eq!((frames, end), (usize::from(cut >= 17), expected), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_before_memory_is_taken() {
        for text in [
            "P5\n2 1\n255\n",
            "P6\n0 1\n255\n",
            "P6\nx\n255\n",
            "P6\n1 1\n65535\n",
            "P6\n99999999 9999999\n255\n",
            "no newline in the first thirty-two bytes",
        ] {
            assert_eq!(next_frame(&mut text.as_bytes()).unwrap_err().kind(), ErrorKind::InvalidData, "{text}");
        }
    }
}
