//! TensorBoard's event file: the scalars of each epoch under YOLOv5's names.
//!
//! Source: the TFRecord format (length as u64, its masked CRC-32C, the bytes, their masked CRC-32C; all little-endian) and
//! the messages `Event` and `Summary` of TensorFlow (event.proto, summary.proto). A run adds a file, as TensorBoard expects;
//! it begins with a session start, which tells readers that steps of older files from there on do not count.
//! Oracle: published check values and bytes worked by hand, in the tests below; TensorBoard's own reader.

use crate::errors::CliError;
use kinglet_onnx::wire::Writer;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// CRC-32C (Castagnoli), reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// What TFRecord adds to a turned checksum, so that checksums of checksums are not trivial.
const MASK: u32 = 0xa282_ead8;
/// `SessionLog.SessionStatus.START`.
const SESSION_START: i64 = 1;

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 })
    };
    !bytes.iter().fold(!0, step)
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(MASK).to_le_bytes()
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), payload, &masked(payload)].concat()
}

fn event(seconds: f64, step: usize, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut event = Writer::default();
    event.double(1, seconds);
    if step > 0 {
        event.int(2, step as i64);
    }
    write(&mut event);
    record(&event.finish())
}

fn version_event(seconds: f64) -> Vec<u8> {
    event(seconds, 0, |event| event.text(3, "brain.Event:2"))
}

fn start_event(seconds: f64, step: usize) -> Vec<u8> {
    event(seconds, step, |event| event.message(7, |session| session.int(1, SESSION_START)))
}

fn scalar_event(seconds: f64, step: usize, scalars: &[(&str, f64)]) -> Vec<u8> {
    event(seconds, step, |event| {
        event.message(5, |summary| {
            for (tag, value) in scalars {
                summary.message(1, |scalar| {
                    scalar.text(1, tag);
                    scalar.float(2, *value as f32);
                });
            }
        });
    })
}

/// An event file that is being written.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `folder` for a run that goes on at step `first`.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn create(folder: &Path, first: usize) -> Result<Self, CliError> {
        let seconds = now();
        // Seconds, host, process, number: the host's name is nobody's business.
        let name = format!("events.out.tfevents.{:.0}.kinglet.{}.0", seconds.trunc(), std::process::id());
        let path = folder.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| CliError::write(&path, &e))?;
        let mut events = EventFile { path, file };
        events.write(&version_event(seconds))?;
        events.write(&start_event(seconds, first))?;
        Ok(events)
    }

    /// Begins anew at step `first`: what stands there of it and of later steps no longer counts.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn restart(&mut self, first: usize) -> Result<(), CliError> {
        self.write(&start_event(now(), first))
    }

    /// Adds the scalars of a step.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&mut self, step: usize, scalars: &[(&str, f64)]) -> Result<(), CliError> {
        self.write(&scalar_event(now(), step, scalars))
    }

    /// One record in one write: readers stop before a record that is not whole.
    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).map_err(|error| CliError::write(&self.path, &error))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_has_its_published_values() {
        // The check value of CRC-32C, and two of RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        // Turned right by 15 bits: e3069283 >> 15 = 1c60d, its low 15 bits 1283 go on top: 2507c60d; plus the mask.
        assert_eq!(masked(b"123456789"), 0xc78a_b0e5u32.to_le_bytes());
    }

    #[test]
    fn a_record_is_length_checksum_bytes_checksum() {
        let bytes = record(b"123456789");
        assert_eq!(bytes.len(), 8 + 4 + 9 + 4);
        assert_eq!(bytes[..8], [9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[8..12], masked(&[9, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(&bytes[12..21], b"123456789");
        assert_eq!(bytes[21..], 0xc78a_b0e5u32.to_le_bytes());
    }

    #[test]
    fn events_are_the_messages_that_tensorboard_reads() {
        // 1.0 as a double behind key 1 << 3 | 1.
        let wall = [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
        let payload = |record: Vec<u8>| record[12..record.len() - 4].to_vec();
        let version = [&wall[..], &[0x1a, 13], b"brain.Event:2"].concat();
        assert_eq!(payload(version_event(1.0)), version);
        // Step 5 (key 2), session log (key 7) with status 1.
        assert_eq!(payload(start_event(1.0, 5)), [&wall[..], &[0x10, 5, 0x3a, 2, 0x08, 1]].concat());
        // Summary (key 5) of 11 bytes: a value (key 1) of 9: tag (key 1) "ab", simple value (key 2, four bytes) 1.0.
        let summary = [0x10, 5, 0x2a, 11, 0x0a, 9, 0x0a, 2, b'a', b'b', 0x15, 0, 0, 0x80, 0x3f];
        assert_eq!(payload(scalar_event(1.0, 5, &[("ab", 1.0)])), [&wall[..], &summary].concat());
        // Step 0 is left out, as protocol buffers have it.
        assert_eq!(payload(scalar_event(1.0, 0, &[])), [&wall[..], &[0x2a, 0]].concat());
    }
}
