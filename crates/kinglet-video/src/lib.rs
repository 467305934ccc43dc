//! Moving pictures: frames in and out through the `ffmpeg` executable, and objects followed over frames.
//!
//! Frames come as RGB pictures from files ([`Reader`]), or from cameras, screens and streams, of which only the newest
//! frame counts ([`LiveSet`]); [`Writer`] makes an mp4. [`track::Tracker`] gives detections ids that stay. This crate knows no models.

#![forbid(unsafe_code)]

mod error;
mod ffmpeg;
mod frames;
mod input;
mod live;
mod log;
mod rate;
mod reader;
pub mod track;
mod writer;

pub use error::VideoError;
pub use ffmpeg::Ffmpeg;
pub use input::{Area, Input};
pub use live::{LiveFrame, LiveSet, Next, Reopen};
pub use rate::Rate;
pub use reader::Reader;
pub use writer::Writer;
