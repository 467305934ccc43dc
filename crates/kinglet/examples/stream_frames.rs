//! Follows objects through a video, or before a camera, and prints the id of each in every frame.
//!
//! `cargo run --release -p kinglet --example stream_frames -- best.safetensors street.mp4`; a number, such as 0, is a camera.
//! Frames are read by the program `ffmpeg`.

use kinglet::video::track::{Tracker, TrackerOptions};
use kinglet::video::{Ffmpeg, Frames, Input};
use kinglet::{Detector, NmsOptions};
use std::error::Error;

/// Objects are shown from this score on.
const SCORE: f32 = 0.25;

/// `source` is the path of a video, or the number of a camera. Gives the number of frames.
pub fn stream_frames(weights: &str, source: &str) -> Result<u64, Box<dyn Error>> {
    // The tracker wants weak detections as well: they keep a half-hidden object alive.
    let options = NmsOptions { conf: TrackerOptions::LOW, ..NmsOptions::default() };
    let mut detector = Detector::load(weights)?.with_options(options);
    let input = source.parse().map_or_else(|_| Input::File(source.into()), Input::camera);
    let mut frames = Frames::open(&Ffmpeg::find(None)?, &input)?;
    let mut tracker = None;
    let mut count = 0;
    while let Some(frame) = frames.next() {
        let frame = frame?;
        // The rate, known with the first frame, says for how long an object may be out of sight.
        let tracker =
            tracker.get_or_insert_with(|| Tracker::new(TrackerOptions::new(SCORE, frames.rate().per_second())));
        let found = detector.detect(&frame.image);
        let tracked = tracker.update(frame.number, &found);
        let words = tracked.iter().map(|t| format!(" #{} {}", t.id, detector.name(&t.detection)));
        println!("frame {}:{}", frame.number, words.collect::<String>());
        count += 1;
    }
    Ok(count)
}

#[allow(dead_code, reason = "the tests call the function above")]
fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.as_slice() {
        [weights, source] => stream_frames(weights, source),
        _ => Err("usage: stream_frames WEIGHTS VIDEO|CAMERA".into()),
    };
    if let Err(error) = outcome {
        eprintln!("error: {error}");
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}
