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
    draw(folder, options).map_err(|error| match error {
        DataError::Io { action: "create" | "write", .. } => {
            CliError::input(format!("{error}; change to a folder that can be written and has some space"))
        }
        other => CliError::from(other),
    })
}

/// Draws the set beside its folder, which therefore is whole where it is there, or not ours. Nothing that is there goes away.
fn draw(folder: &Path, options: SyntheticOptions) -> Result<PathBuf, DataError> {
    let is_free = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if !is_free {
        return generate(folder, options);
    }
    let draft = folder.with_file_name(format!(".demo-data.{}.tmp", std::process::id()));
    let drawn = generate(&draft, options).and_then(|_| {
        // An empty folder makes room by itself, but not on every system.
        let _ = std::fs::remove_dir(folder);
        std::fs::rename(&draft, folder).map_err(|source| DataError::Io {
            action: "create",
            path: folder.to_owned(),
            source,
        })
    });
    if let Err(error) = drawn {
        // Best effort: the first error is the one to tell.
        let _ = std::fs::remove_dir_all(&draft);
        return Err(error);
    }
    Ok(folder.join("data.yaml"))
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

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: SyntheticOptions = SyntheticOptions { train: 2, val: 1, test: 1, seed: 0 };

    #[test]
    fn the_set_is_drawn_once_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("demo-data");
        let yaml = draw(&folder, SMALL).unwrap();
        let before = std::fs::metadata(&yaml).unwrap().modified().unwrap();
        assert_eq!(draw(&folder, SMALL).unwrap(), yaml);
        assert_eq!(std::fs::metadata(&yaml).unwrap().modified().unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn pictures_of_the_user_stay_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let mine = dir.path().join("demo-data/images/mine.jpg");
        std::fs::create_dir_all(mine.parent().unwrap()).unwrap();
        std::fs::create_dir_all(dir.path().join("demo-data/labels")).unwrap();
        std::fs::write(&mine, "mine").unwrap();
        let error = draw(&dir.path().join("demo-data"), SMALL).unwrap_err();
        assert!(matches!(error, DataError::FolderNotEmpty(_)), "{error}");
        assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
    }
}
