//! A demo data set drawn on the spot: no download, no licence question, the same bytes for the same seed.
//!
//! Five kinds of objects (ring, star, key, leaf, die) of varying size, colour, turn and light lie on textured, cluttered
//! grounds, hide each other and reach over the frame; pictures are blurred and noisy to different degrees and of
//! different sizes near 320x240. Boxes enclose the visible part.

mod painter;
mod scene;
mod shapes;

pub use scene::draw_scene;
pub use shapes::NAMES;

use crate::error::DataError;
use crate::rng::Rng;
use crate::scan::{NoProgress, run_parallel};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// How large a set to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntheticOptions {
    /// Training images.
    pub train: usize,
    /// Validation images.
    pub val: usize,
    /// Test images.
    pub test: usize,
    /// Another seed, another set.
    pub seed: u64,
}

impl Default for SyntheticOptions {
    fn default() -> Self {
        SyntheticOptions { train: 200, val: 60, test: 12, seed: 0 }
    }
}

/// Bumped when the same seed no longer gives the same pictures.
const VERSION: u32 = 1;
/// JPEG quality: visible but mild artefacts, as in most data sets.
const QUALITY: u8 = 90;

fn header(o: &SyntheticOptions) -> String {
    format!(
        "# Kinglet's demo data set, version {VERSION}: drawn with seed {}, {} train, {} val, {} test images.",
        o.seed, o.train, o.val, o.test
    )
}

/// Draws the set into `dir` (`images/`, `labels/`, `data.yaml`) and returns the path of its `data.yaml`.
///
/// A folder that already holds the same set is left as it is.
///
/// # Errors
/// `dir` holds something else, or cannot be written.
pub fn generate(dir: impl AsRef<Path>, options: SyntheticOptions) -> Result<PathBuf, DataError> {
    let dir = dir.as_ref();
    let yaml = dir.join("data.yaml");
    let header = header(&options);
    // `data.yaml` is written last, so its presence means that the set is complete.
    if std::fs::read_to_string(&yaml).is_ok_and(|text| text.starts_with(&header)) {
        return Ok(yaml);
    }
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(DataError::FolderNotEmpty(dir.to_path_buf()));
    }
    let splits = [("train", options.train), ("val", options.val), ("test", options.test)];
    let mut jobs = Vec::new();
    for (number, (split, count)) in splits.into_iter().enumerate() {
        for kind in ["images", "labels"] {
            let folder = dir.join(kind).join(split);
            std::fs::create_dir_all(&folder).map_err(|e| DataError::io("create", &folder, e))?;
        }
        jobs.extend((0..count).map(|i| (number, split, i)));
    }
    let written = run_parallel(&jobs, 0, &NoProgress, |&(number, split, index)| {
        write_one(dir, split, index, &mut Rng::for_sample(options.seed, number, index))
    });
    written.into_iter().collect::<Result<Vec<()>, _>>()?;

    let mut text = format!(
        "{header}\n# Ring, star, key, leaf and die on cluttered grounds; made for trying things out, not for publication.\n\
         path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames:\n"
    );
    for (class, name) in NAMES.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {class}: {name}");
    }
    std::fs::write(&yaml, text).map_err(|e| DataError::io("write", &yaml, e))?;
    Ok(yaml)
}

fn write_one(dir: &Path, split: &str, index: usize, rng: &mut Rng) -> Result<(), DataError> {
    let (image, labels) = draw_scene(rng);
    let path = dir.join("images").join(split).join(format!("{index:04}.jpg"));
    kinglet_vision::encode::write_jpeg(&image, &path, QUALITY)
        .map_err(|e| DataError::io("write", &path, std::io::Error::other(e)))?;
    let mut text = String::new();
    for label in labels {
        let [cx, cy, w, h] = label.cxcywh;
        let _ = writeln!(text, "{} {cx:.6} {cy:.6} {w:.6} {h:.6}", label.class);
    }
    let path = dir.join("labels").join(split).join(format!("{index:04}.txt"));
    std::fs::write(&path, text).map_err(|e| DataError::io("write", &path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, ScanOptions, Split};

    #[test]
    fn set_is_clean_varied_and_the_same_for_one_seed() {
        let small = SyntheticOptions { train: 24, val: 6, test: 2, seed: 3 };
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let yaml = generate(a.path(), small).unwrap();
        generate(b.path(), small).unwrap();
        for file in ["images/train/0005.jpg", "labels/train/0005.txt", "images/val/0001.jpg", "data.yaml"] {
            assert_eq!(std::fs::read(a.path().join(file)).unwrap(), std::fs::read(b.path().join(file)).unwrap());
        }
        let set = Dataset::open(&yaml, Split::Train, ScanOptions::default(), &NoProgress).unwrap();
        assert_eq!((set.samples.len(), set.names.len()), (24, 5));
        assert!(set.findings.is_empty(), "{:?}", set.findings);
        assert!(set.summary.boxes_per_class.iter().all(|&n| n > 3), "{:?}", set.summary);
        assert_eq!(generate(a.path(), small).unwrap(), yaml);
        let other = generate(a.path(), SyntheticOptions { seed: 4, ..small });
        assert!(matches!(other, Err(DataError::FolderNotEmpty(_))));
    }
}
