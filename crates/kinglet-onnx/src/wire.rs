//! The wire format of protocol buffers, as far as ONNX and TensorBoard need it.
//!
//! Source: protobuf.dev, "Encoding". A field is a key (`number << 3 | type`) and a payload: a varint (type 0), or a
//! length and bytes (type 2), or eight (type 1) or four bytes (type 5). Oracle: the worked examples of that page, in the tests below.

/// A message while it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writer {
    bytes: Vec<u8>,
}

const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FOUR_BYTES: u64 = 5;

impl Writer {
    /// The bytes written so far.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn key(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    /// An `int32`, `int64` or enum. Negative numbers take ten bytes, as the format demands.
    pub fn int(&mut self, field: u32, value: i64) {
        self.key(field, VARINT);
        self.varint(value as u64);
    }

    /// A `float`.
    pub fn float(&mut self, field: u32, value: f32) {
        self.key(field, FOUR_BYTES);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A `double`.
    pub fn double(&mut self, field: u32, value: f64) {
        self.key(field, EIGHT_BYTES);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A `string` or `bytes`.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// A `string`, left out where it is empty.
    pub fn text(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.bytes(field, value.as_bytes());
        }
    }

    /// A message inside this one.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::default();
        write(&mut inner);
        self.bytes(field, &inner.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut w = Writer::default();
        write(&mut w);
        w.finish()
    }

    #[test]
    fn the_worked_examples_of_the_encoding_page() {
        assert_eq!(written(|w| w.int(1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(written(|w| w.text(2, "testing")), [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        assert_eq!(written(|w| w.message(3, |w| w.int(1, 150))), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let minus_two = [0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(written(|w| w.int(1, -2)), minus_two);
    }

    #[test]
    fn floats_are_little_endian_and_large_fields_take_two_key_bytes() {
        // 1.0 is 0x3f800000; field 2 of type 5 is 2 << 3 | 5 = 0x15.
        assert_eq!(written(|w| w.float(2, 1.0)), [0x15, 0x00, 0x00, 0x80, 0x3f]);
        // 1.0 is 0x3ff0 and 48 zero bits; field 1 of type 1 is 1 << 3 | 1 = 9.
        assert_eq!(written(|w| w.double(1, 1.0)), [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        // 20 << 3 = 160 = 0b1_0100000.
        assert_eq!(written(|w| w.int(20, 7)), [0xa0, 0x01, 0x07]);
    }

    #[test]
    fn empty_text_is_left_out_and_empty_bytes_are_not() {
        assert!(written(|w| w.text(1, "")).is_empty());
        assert_eq!(written(|w| w.bytes(1, b"")), [0x0a, 0x00]);
    }
}
