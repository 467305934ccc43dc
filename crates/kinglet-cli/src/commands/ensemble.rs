//! The weights that `val` and `detect` take: one file, or several as an ensemble.

use super::load_weights;
use crate::errors::CliError;
use crate::printer::Printer;
use kinglet_nn::Model;
use kinglet_runtime::Detector;
use std::path::PathBuf;

/// Names shown of a list of classes.
const SHOWN_CLASSES: usize = 8;

/// The number of classes and the names of the first.
pub(crate) fn few(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN_CLASSES).map(String::as_str).collect::<Vec<_>>().join(", ");
    format!("{} ({shown}{})", names.len(), if names.len() > SHOWN_CLASSES { ", ..." } else { "" })
}

/// Models that know the same classes.
pub(crate) struct Ensemble {
    models: Vec<Model>,
    /// Class names.
    pub names: Vec<String>,
    /// Image side of the first file's training.
    pub img: usize,
}

impl Ensemble {
    /// Loads each file; `side` tells whether the user has chosen an image side.
    ///
    /// # Errors
    /// A file that is missing or no checkpoint; files whose classes differ.
    pub fn load(paths: &[PathBuf], side: bool, printer: &Printer) -> Result<Self, CliError> {
        let mut loaded = paths.iter().map(|path| load_weights(path).map(|l| (path.display(), l)));
        let (first_path, first) = loaded.next().expect("the parser asks for at least one")?;
        let (mut models, names, img) = (vec![first.model], first.names, first.img);
        for other in loaded {
            let (path, other) = other?;
            if other.names != names {
                return Err(CliError::input(format!(
                    "the models of an ensemble must know the same classes in the same order: `{first_path}` has {}, \
                     `{path}` has {}; leave out the one that differs",
                    few(&names),
                    few(&other.names)
                )));
            }
            if other.img != img && !side {
                printer.warn(&format!(
                    "`{first_path}` was trained at {img} pixels, `{path}` at {}; all see images at {img}, --img chooses \
                     another side",
                    other.img
                ));
            }
            models.push(other.model);
        }
        Ok(Ensemble { models, names, img })
    }

    /// The models, ready to detect together.
    pub fn detector(self, augment: bool) -> Result<Detector, CliError> {
        Ok(Detector::ensemble(self.models).map_err(CliError::input)?.augmented(augment))
    }
}
