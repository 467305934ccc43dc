//! Numbers in files, little-endian, as `f32`.

/// IEEE 754 binary16, exactly.
pub(crate) fn f16(bytes: &[u8]) -> Vec<f32> {
    pairs(bytes, half_to_f32)
}

/// The upper halves of `f32`, exactly.
pub(crate) fn bf16(bytes: &[u8]) -> Vec<f32> {
    pairs(bytes, |bits| f32::from_bits(u32::from(bits) << 16))
}

/// IEEE 754 binary32.
pub(crate) fn f32(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// IEEE 754 binary64, rounded.
pub(crate) fn f64(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()
}

fn pairs(bytes: &[u8], number: impl Fn(u16) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| number(u16::from_le_bytes(*b))).collect()
}

/// Exponent and fraction move to their places in an `f32`; a product corrects the exponent's bias, exactly, and makes
/// small numbers normal. No branches, so that a loop of it takes vectors.
fn half_to_f32(bits: u16) -> f32 {
    const REBIAS: f32 = f32::from_bits((127 + 127 - 15) << 23);
    let magnitude = (f32::from_bits(u32::from(bits & 0x7fff) << 13) * REBIAS).to_bits();
    // Exponents of infinities and of what is no number are all ones in both.
    let special = if bits & 0x7c00 == 0x7c00 { 0xff << 23 } else { 0 };
    f32::from_bits(magnitude | special | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition of the format.
    fn half(bits: u16) -> f64 {
        let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
        let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
        sign * match exponent {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            e => (1.0 + fraction / 1024.0) * 2f64.powi(e - 15),
        }
    }

    #[test]
    fn every_half_is_the_number_of_its_definition() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for (bits, found) in (0..=u16::MAX).zip(f16(&bytes)) {
            let expected = half(bits) as f32;
            let equal = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(equal, "{bits:04x}: {found} for {expected}");
        }
    }

    #[test]
    fn other_numbers_are_those_of_their_types() {
        assert_eq!(bf16(&[0xc0, 0x3f, 0x80, 0xff]), [1.5, f32::NEG_INFINITY]);
        assert_eq!(f32(&(-2.75f32).to_le_bytes()), [-2.75]);
        assert_eq!(f64(&0.1f64.to_le_bytes()), [0.1]);
    }
}
