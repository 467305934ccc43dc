//! Frames of any source, one after another.

use crate::{Ffmpeg, Input, LiveSet, Next, Rate, Reader, Reopen, VideoError};
use kinglet_vision::Image;
use std::time::Duration;

/// A frame.
#[derive(Debug)]
pub struct Frame {
    /// Counted from 1; of a live source, frames that were dropped count as well.
    pub number: u64,
    /// The picture.
    pub image: Image,
}

/// The frames of a source: every one of a video, the newest one of what is live.
#[derive(Debug)]
pub struct Frames(Kind);

#[derive(Debug)]
enum Kind {
    /// With the number of frames so far.
    Video(Reader, u64),
    Live(LiveSet),
    /// The end has been told.
    Over,
}

/// A live source is asked again after this time.
const PATIENCE: Duration = Duration::from_secs(1);

impl Frames {
    /// Opens a source. What is wrong with it shows with the first frame.
    ///
    /// # Errors
    /// ffmpeg cannot be started.
    pub fn open(ffmpeg: &Ffmpeg, input: &Input) -> Result<Self, VideoError> {
        Ok(Frames(if input.is_live() {
            Kind::Live(LiveSet::open(ffmpeg, std::slice::from_ref(input), 1, Reopen::default()))
        } else {
            Kind::Video(Reader::open(ffmpeg, input, 1)?, 0)
        }))
    }

    /// Frames a second; before the first frame, and where the source names no rate, the usual one.
    pub fn rate(&self) -> Rate {
        let named = match &self.0 {
            Kind::Video(reader, _) => reader.rate(),
            Kind::Live(set) => set.rate(0),
            Kind::Over => None,
        };
        named.unwrap_or(Rate::USUAL)
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = match &mut self.0 {
            Kind::Video(reader, number) => {
                *number += 1;
                reader.next_frame().transpose().map(|image| Ok(Frame { number: *number, image: image? }))
            }
            Kind::Live(set) => loop {
                match set.next(PATIENCE) {
                    Next::Frame(_, frame) => break Some(Ok(Frame { number: frame.number, image: frame.image })),
                    Next::Nothing | Next::Changed(..) => {}
                    Next::Ended(_, error) => break Some(Err(error)),
                    Next::AllEnded => break None,
                }
            },
            Kind::Over => None,
        };
        if !matches!(found, Some(Ok(_))) {
            self.0 = Kind::Over;
        }
        found
    }
}
