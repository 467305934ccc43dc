//! Moving pictures: frames in and out through the `ffmpeg` executable, and objects followed over frames.
//!
//! [`Frames`] gives the frames of anything, one after another. Below it, [`Reader`] reads every frame of a file, and
//! [`LiveSet`] the newest frame of each of several cameras, screens and streams; [`Writer`] makes an mp4.
//! [`track::Tracker`] gives detections ids that stay. This crate knows no models.

#![forbid(unsafe_code)]

mod error;
mod ffmpeg;
mod frames;
mod input;
mod live;
mod log;
mod ppm;
mod rate;
mod reader;
pub mod track;
mod writer;

pub use error::VideoError;
pub use ffmpeg::Ffmpeg;
pub use frames::{Frame, Frames};
pub use input::{Area, Input};
pub use live::{Change, LiveFrame, LiveSet, Next, Reopen};
pub use rate::Rate;
pub use reader::Reader;
pub use writer::Writer;
