//! Tracking over whole scenes, and videos through a real and through a made-up ffmpeg.

#![allow(clippy::unwrap_used)]

mod tracking;
mod videos;
