//! The examples do what they say, and the pages show what they hold.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

use kinglet::video::{Ffmpeg, Rate, Writer};
use kinglet::{Detector, Image};

#[path = "../examples/detect_image.rs"]
mod detect_image;
#[path = "../examples/stream_frames.rs"]
mod stream_frames;
#[path = "../examples/train_tiny.rs"]
mod train_tiny;

#[test]
fn what_is_trained_finds_objects_in_images_and_videos() {
    let folder = tempfile::tempdir().unwrap();
    let map50 = train_tiny::train_tiny(folder.path()).unwrap();
    assert!(map50 > 0.9, "bars are easy: {map50}");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (weights, image, drawn) = (path("weights/best.safetensors"), path("data/images/val/3.png"), path("drawn.png"));

    // The one bar of the image, by its label file.
    let label = std::fs::read_to_string(path("data/labels/val/3.txt")).unwrap();
    let values: Vec<f32> = label.split_whitespace().map(|value| value.parse().unwrap()).collect();
    let mut detector = Detector::load(&weights).unwrap();
    let found = detector.detect(&Image::load(&image).unwrap());
    let best = found.first().expect("the bar is found");
    let foreign = kinglet::Detection { class: 99, ..*best };
    assert_eq!((detector.name(best), detector.name(&foreign)), (&*detector.names()[best.class], "?"));
    assert_eq!(detector.with_side(100).side(), 112, "the next multiple of the model's stride, 16");
    let [left, top, right, bottom] = best.xyxy;
    assert_eq!(best.class, values[0] as usize);
    assert!(
        ((left + right) / 2.0 / 96.0 - values[1]).abs() < 0.05
            && ((top + bottom) / 2.0 / 96.0 - values[2]).abs() < 0.05
    );

    detect_image::detect_image(&weights, &image, &drawn).unwrap();
    assert_ne!(Image::load(&drawn).unwrap(), Image::load(&image).unwrap(), "the box is drawn");
    let error = detect_image::detect_image(&path("none.safetensors"), &image, &drawn).unwrap_err().to_string();
    assert!(error.contains("none.safetensors"), "{error}");

    let Ok(ffmpeg) = Ffmpeg::find(None) else {
        eprintln!("skipped: there is no ffmpeg, so no video is followed");
        return;
    };
    let mut writer = Writer::create(&ffmpeg, path("bar.mp4").as_ref(), (96, 96), Rate::USUAL).unwrap();
    (0..4).for_each(|_| writer.write(&Image::load(&image).unwrap()).unwrap());
    writer.finish().unwrap();
    assert_eq!(stream_frames::stream_frames(&weights, &path("bar.mp4")).unwrap(), 4);
    let error = stream_frames::stream_frames(&weights, &path("none.mp4")).unwrap_err().to_string();
    assert!(error.contains("none.mp4"), "{error}");
}

#[test]
fn the_page_shows_the_example() {
    let page = include_str!("../../../docs/add-a-block.md");
    let example = include_str!("../examples/custom_block.rs");
    let (_, block) = example.split_once("/// A convolution").expect("the example begins with the block");
    let (block, _) = block.split_once("const MODEL").expect("and goes on with a model");
    assert!(page.contains(block.trim_end()), "copy the block of examples/custom_block.rs into docs/add-a-block.md");
}
