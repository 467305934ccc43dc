//! Draws a data set of bars, trains a small model to tell wide ones from tall ones, and uses what was learnt.
//!
//! `cargo run --release -p kinglet --example train_tiny -- runs/tiny` takes less than a minute.

use kinglet::data::Rng;
use kinglet::train::events::{EpochDone, Observer};
use kinglet::train::options::TrainOptions;
use kinglet::train::trainer::Trainer;
use kinglet::{Detector, Image};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Side of the images in pixels.
const SIDE: usize = 96;

/// One level of stride 16, with anchors for bars that lie, bars that stand, and what is between.
const MODEL: &str = "
nc: 2
anchors:
  - [45, 15, 15, 45, 30, 30]
backbone:
  - [-1, 1, Conv, [16, 3, 2]] # 0, stride 2
  - [-1, 1, Conv, [32, 3, 2]] # 1, stride 4
  - [-1, 1, Conv, [64, 3, 2]] # 2, stride 8
  - [-1, 1, C3, [64]] # 3
  - [-1, 1, Conv, [128, 3, 2]] # 4, stride 16
  - [-1, 1, C3, [128]] # 5
head:
  - [[5], 1, Detect, [nc, anchors]]
";

/// A whole number from `low` to below `high`.
fn between(rng: &mut Rng, low: usize, high: usize) -> usize {
    low + rng.below(high - low)
}

/// A dark, noisy image with a bar, and its label: class, centre and size, as fractions of the image.
fn draw(rng: &mut Rng) -> (Image, String) {
    let mut image = Image::new(SIDE, SIDE, [0; 3]);
    image.data.iter_mut().for_each(|byte| *byte = between(rng, 30, 90) as u8);
    let (long, short) = (between(rng, 30, 60), between(rng, 10, 20));
    let class = rng.below(2);
    let (width, height) = if class == 0 { (long, short) } else { (short, long) };
    let (left, top) = (rng.below(SIDE - width), rng.below(SIDE - height));
    let bar = Image::new(width, height, [(); 3].map(|()| between(rng, 120, 255) as u8));
    image.paste(&bar, left as isize, top as isize);
    let share = |pixels: f64| pixels / SIDE as f64;
    let (x, y) = (share(left as f64 + width as f64 / 2.0), share(top as f64 + height as f64 / 2.0));
    (image, format!("{class} {x} {y} {} {}\n", share(width as f64), share(height as f64)))
}

/// A data set on disk: images, a text file of labels for each, and a page that says where they are.
fn draw_data_set(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    for (split, count) in [("train", 64), ("val", 16)] {
        let (images, labels) = (folder.join("images").join(split), folder.join("labels").join(split));
        fs::create_dir_all(&images)?;
        fs::create_dir_all(&labels)?;
        for i in 0..count {
            let (image, label) = draw(&mut Rng::for_sample(0, split.len(), i));
            image.save(images.join(format!("{i}.png")))?;
            fs::write(labels.join(format!("{i}.txt")), label)?;
        }
    }
    let yaml = folder.join("data.yaml");
    fs::write(&yaml, "train: images/train\nval: images/val\nnames: [wide, tall]\n")?;
    Ok(yaml)
}

/// Prints each epoch. An observer hears of batches, findings and pictures, too.
struct Print;

impl Observer for Print {
    fn epoch(&mut self, epoch: &EpochDone) {
        let map50 = epoch.validation.as_ref().map_or(0.0, |validation| validation.report.map50);
        println!("epoch {:>2} of {}: mAP50 {map50:.3}", epoch.epoch + 1, epoch.epochs);
    }
}

/// Draws, trains and detects in `folder`. Gives the mAP50 that was reached.
pub fn train_tiny(folder: &Path) -> Result<f64, Box<dyn Error>> {
    let data = draw_data_set(&folder.join("data"))?;
    let options = TrainOptions { epochs: 40, batch: 8, img: SIDE, ..TrainOptions::new(MODEL, data, folder) };
    // Set from elsewhere, by Ctrl-C say, this ends the run after a batch; `Trainer::resume` goes on with it.
    let stop = AtomicBool::new(false);
    let finished = Trainer::new(options, &mut Print)?.run(&stop, &mut Print)?;
    println!("weights: {}", finished.best.display());

    let mut detector = Detector::load(&finished.best)?;
    let (image, label) = draw(&mut Rng::new(7));
    for detection in detector.detect(&image) {
        println!("found: {} {:.2} at {:.0?}", detector.name(&detection), detection.score, detection.xyxy);
    }
    println!("drawn: {}", label.trim_end());
    Ok(finished.validation.map_or(0.0, |validation| validation.report.map50))
}

#[allow(dead_code, reason = "the tests call the function above")]
fn main() -> std::process::ExitCode {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "runs/tiny".to_owned());
    if let Err(error) = train_tiny(Path::new(&folder)) {
        eprintln!("error: {error}");
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}
