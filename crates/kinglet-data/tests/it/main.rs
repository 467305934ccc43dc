//! Data sets from the folder to the batch.
#![allow(clippy::unwrap_used, missing_docs)]

mod check;
mod convert;
mod damage;
mod formats;
mod hostile;
mod loader;
mod scan;
mod trees;

use kinglet_data::{Dataset, NoProgress, ScanOptions, Split};
use kinglet_vision::{Image, encode};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A data set under construction in a folder of its own.
pub struct Fixture {
    pub dir: tempfile::TempDir,
}

impl Fixture {
    /// Two classes, `train` and `val` in images/ and labels/.
    pub fn two_classes() -> Self {
        let fixture = Fixture { dir: tempfile::tempdir().unwrap() };
        fixture.write("data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [a, b]\n");
        fixture
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn image(&self, name: &str, image: &Image) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name.ends_with(".jpg") {
            encode::write_jpeg(image, &path, 90).unwrap();
        } else {
            encode::write_png(image, &path).unwrap();
        }
    }

    /// An image of `width` x `height` in one colour with these label lines.
    pub fn sample(&self, stem: &str, (width, height): (usize, usize), labels: &str) {
        self.image(&format!("images/{stem}.png"), &Image::new(width, height, [90, 120, 150]));
        self.write(&format!("labels/{stem}.txt"), labels);
    }

    pub fn open(&self, split: Split) -> Result<Dataset, kinglet_data::DataError> {
        Dataset::open(self.path("data.yaml"), split, ScanOptions::default(), &NoProgress)
    }

    pub fn train(&self) -> Arc<Dataset> {
        Arc::new(self.open(Split::Train).unwrap())
    }

    /// A message with this fixture's folder written as `DIR`.
    pub fn message(&self, error: &kinglet_data::DataError) -> String {
        error.to_string().replace(&self.dir.path().display().to_string(), "DIR")
    }
}

/// The folder of golden data and data sets beside the repository, where there is one.
pub fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no `shared` folder beside the repository");
    None
}
