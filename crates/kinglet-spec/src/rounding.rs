//! The channel and repeat rounding rules.
//!
//! Source: YOLOv5's parser (up to a multiple of 8; Python's `round`, ties to even) and the MobileNet papers' rule
//! (nearest multiple of 8, at least 90 % of the value). Two different rules that go by the same name elsewhere.

/// Rounds up to a multiple of `divisor`, as YOLOv5 rounds channels.
pub fn round_up_to(value: f64, divisor: usize) -> usize {
    let divisor = divisor.max(1);
    ((value / divisor as f64).ceil() as usize).saturating_mul(divisor)
}

/// Rounds to the nearest multiple of 8, never below 8 or below 90 % of the value, as the MobileNet papers do.
pub fn round_channels_mobilenet(value: f64) -> usize {
    let rounded = (((value + 4.0) / 8.0).floor() as usize).saturating_mul(8).max(8);
    if (rounded as f64) < 0.9 * value { rounded + 8 } else { rounded }
}

/// The repeat count after the depth multiple: counts above one are scaled, ties to even, at least one.
pub fn repeats_after_depth(number: usize, depth_multiple: f64) -> usize {
    if number > 1 { ((number as f64 * depth_multiple).round_ties_even() as usize).max(1) } else { number }
}

/// Channels after the width multiple; a count equal to the head's outputs a cell, na * (nc + 5), stays as it is.
pub fn scaled_channels(c_out: usize, width_multiple: f64, divisor: usize, head_outputs: usize) -> usize {
    if c_out == head_outputs { c_out } else { round_up_to(c_out as f64 * width_multiple, divisor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mobilenet_rounding_of_worked_values() {
        // 18 -> 16 is under 90 % of 18 (16.2), so 24; 30 -> 32; 16 stays; 3 -> 8.
        for (value, expected) in [(18.0, 24), (30.0, 32), (16.0, 16), (3.0, 8), (10.0, 16), (120.0, 120)] {
            assert_eq!(round_channels_mobilenet(value), expected, "{value}");
        }
    }

    #[test]
    fn a_count_equal_to_the_heads_outputs_is_not_scaled() {
        assert_eq!(scaled_channels(24, 0.25, 8, 24), 24);
        assert_eq!(scaled_channels(24, 0.25, 8, 255), 8);
    }
}
