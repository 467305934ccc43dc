//! Frames a second, as a fraction.

use std::fmt;
use std::time::Duration;

/// Frames a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Frames.
    pub frames: u32,
    /// In so many seconds.
    pub seconds: u32,
}

impl Rate {
    /// The rate of sources that name none.
    pub const USUAL: Rate = Rate { frames: 30, seconds: 1 };

    /// The rate that ffmpeg prints with two decimals: 29.97 stands for 30000/1001.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value: f64 = text.parse().ok().filter(|v| (0.01..=1000.0).contains(v))?;
        let ntsc = (value * 1.001).round();
        if value.fract() != 0.0 && ntsc >= 1.0 && (value - ntsc / 1.001).abs() < 0.006 {
            return Some(Rate { frames: ntsc as u32 * 1000, seconds: 1001 });
        }
        let hundredths = (value * 100.0).round() as u32;
        Some(if hundredths.is_multiple_of(100) {
            Rate { frames: hundredths / 100, seconds: 1 }
        } else {
            Rate { frames: hundredths, seconds: 100 }
        })
    }

    /// Frames a second.
    pub fn per_second(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds)
    }

    /// The rate where only every `stride`-th frame is used.
    pub fn every(self, stride: usize) -> Self {
        Rate { seconds: self.seconds.saturating_mul(u32::try_from(stride).unwrap_or(u32::MAX)), ..self }
    }

    /// How many frames a video of this rate must have for the frame at `time` to be its last one.
    pub(crate) fn frames_until(self, time: Duration) -> usize {
        (time.as_secs_f64() * self.per_second()) as usize + 1
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.frames, self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_rates_are_read_as_the_fractions_they_stand_for() {
        for (text, frames, seconds) in [
            ("30", 30, 1),
            ("29.97", 30000, 1001),
            ("23.98", 24000, 1001),
            ("59.94", 60000, 1001),
            ("12.50", 1250, 100),
            ("25", 25, 1),
            ("0.50", 50, 100),
        ] {
            assert_eq!(Rate::parse(text), Some(Rate { frames, seconds }), "{text}");
        }
        for text in ["", "90k", "0", "-3", "nan", "1e9"] {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_frame_is_repeated_until_its_time() {
        let rate = Rate { frames: 10, seconds: 1 };
        // At 10 frames a second the frame at 0.25 s is the third: those at 0, 0.1 and 0.2 s come before its end.
        let until = |ms| rate.frames_until(Duration::from_millis(ms));
        assert_eq!([until(0), until(99), until(250), until(1000)], [1, 1, 3, 11]);
        assert_eq!(rate.every(5).per_second(), 2.0);
    }
}
