//! `kinglet train` without a data set: draw one, learn it, show what was learnt.
//!
//! The constants are chosen together: about two minutes on two ordinary cores, and detections worth looking at.

use crate::errors::CliError;
use crate::printer::Printer;
use kinglet_data::DataError;
use kinglet_data::synthetic::{SyntheticOptions, generate};
use std::path::{Path, PathBuf};

/// Where the drawn images go.
pub const FOLDER: &str = "runs/demo-data";
/// The model.
pub const MODEL: &str = "kinglet_small";
/// Passes over the images.
pub const EPOCHS: usize = 90;
/// Image side in pixels.
pub const IMG: usize = 192;
/// Images a step.
pub const BATCH: usize = 16;

/// Hyperparameters that differ from scratch-low: the things are small and alike at this size, so half of the pictures stay
/// whole, and telling classes apart counts more.
pub const HYP: &str = "mosaic: 0.5\ncls: 1.5\n";

/// Draws the set, or finds it; gives the path of its data YAML.
///
/// # Errors
/// A folder that cannot be written, or that holds something else.
pub fn prepare(printer: &Printer) -> Result<PathBuf, CliError> {
    let options = SyntheticOptions::default();
    let folder = Path::new(FOLDER);
    printer.say("No --data: here is a demo on drawn images. It takes about two minutes.");
    if !folder.join("data.yaml").exists() {
        let images = options.train + options.val + options.test;
        printer.say(&format!("drawing {images} images of five kinds of things into {FOLDER}"));
    }
    // A set that was only half drawn (the program was stopped) has no data YAML and is ours to draw again.
    if folder.is_dir() && !folder.join("data.yaml").exists() && holds_only_ours(folder) {
        std::fs::remove_dir_all(folder).map_err(|error| CliError::write(folder, &error))?;
    }
    generate(folder, options).map_err(|error| match error {
        DataError::Io { action: "create" | "write", .. } => {
            CliError::input(format!("{error}; change to a folder that can be written and has some space"))
        }
        other => CliError::from(other),
    })
}

/// Whether nothing but `images` and `labels` is in the folder.
fn holds_only_ours(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|e| e.file_name()).all(|name| name == "images" || name == "labels")
}

/// What to do next.
pub fn next_steps(weights: &Path, drawn: &Path) -> String {
    format!(
        "\nThat was the demo. Look at the pictures in {}, then try:\n\
         \x20 kinglet detect --weights {} --source {FOLDER}/images/val\n\
         For your own objects, put images into images/train and images/val, a .txt of `class x y width height` lines \
         (fractions of the image)\nfor each into labels/train and labels/val, and write a data.yaml:\n\
         \x20 train: images/train\n\
         \x20 val: images/val\n\
         \x20 names: [first, second]\n\
         Then: kinglet train --data data.yaml --img 320",
        drawn.display(),
        weights.display()
    )
}
