//! Finds the objects of one image, prints their boxes, and saves the image with the boxes drawn.
//!
//! `cargo run --release -p kinglet --example detect_image -- best.safetensors photo.jpg drawn.png`

use kinglet::{Detector, Image};
use std::error::Error;

/// Weights, image and result are paths.
pub fn detect_image(weights: &str, image: &str, drawn: &str) -> Result<(), Box<dyn Error>> {
    let mut detector = Detector::load(weights)?;
    let mut image = Image::load(image)?;
    let found = detector.detect(&image);
    println!("{:<16} {:>5} {:>6} {:>6} {:>6} {:>6}", "class", "score", "left", "top", "right", "bottom");
    for detection in &found {
        let [left, top, right, bottom] = detection.xyxy;
        let name = detector.name(detection);
        println!("{name:<16} {:>5.2} {left:>6.0} {top:>6.0} {right:>6.0} {bottom:>6.0}", detection.score);
    }
    detector.draw(&mut image, &found);
    image.save(drawn)?;
    println!("{} found, drawn in {drawn}", found.len());
    Ok(())
}

#[allow(dead_code, reason = "the tests call the function above")]
fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.as_slice() {
        [weights, image, drawn] => detect_image(weights, image, drawn),
        _ => Err("usage: detect_image WEIGHTS IMAGE RESULT".into()),
    };
    if let Err(error) = outcome {
        eprintln!("error: {error}");
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}
