//! A detector in two lines: weights in, boxes out.

use kinglet_runtime::{Fit, raised};
use kinglet_train::TrainError;
use kinglet_train::checkpoint::load_model;
use kinglet_vision::{Detection, DrawOptions, Image, NmsOptions, draw_detections};
use std::path::Path;

/// Weights that are ready to find objects in images.
///
/// [`runtime::Detector`](crate::runtime::Detector) is the part that computes, and can do more: batches, ensembles, test-time
/// augmentation, tiles of large images.
#[derive(Debug)]
pub struct Detector {
    computes: kinglet_runtime::Detector,
    names: Vec<String>,
    side: usize,
    options: NmsOptions,
}

impl Detector {
    /// Loads weights: those of `kinglet train` (`best.safetensors`), or a checkpoint of YOLOv5's (`.pt`).
    ///
    /// # Errors
    /// A file that is missing, damaged, or holds no model.
    pub fn load(weights: impl AsRef<Path>) -> Result<Self, TrainError> {
        let loaded = load_model(weights.as_ref())?;
        let computes = kinglet_runtime::Detector::new(loaded.model);
        let side = raised(loaded.img, computes.max_stride());
        Ok(Detector { computes, names: loaded.names, side, options: NmsOptions::default() })
    }

    /// Which detections to keep: the lowest score, the largest overlap, the classes.
    #[must_use]
    pub fn with_options(self, options: NmsOptions) -> Self {
        Detector { options, ..self }
    }

    /// Looks at images of another side than that of the training, raised to a multiple of the model's stride. Smaller is
    /// faster; larger finds smaller objects.
    #[must_use]
    pub fn with_side(self, side: usize) -> Self {
        Detector { side: raised(side, self.computes.max_stride()), ..self }
    }

    /// Names of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The longer side of what the network sees, in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Finds objects, best first; boxes in pixels of the image. Gives what `kinglet detect` gives.
    pub fn detect(&mut self, image: &Image) -> Vec<Detection> {
        let found = self.computes.detect(image, [self.side; 2], Fit::Stride, &self.options);
        found.expect("the side is a multiple of the model's stride").0
    }

    /// The name of a detection's class; `?` where it is another detector's, with more classes.
    pub fn name(&self, detection: &Detection) -> &str {
        self.names.get(detection.class).map_or("?", String::as_str)
    }

    /// Draws frames with names and scores.
    pub fn draw(&self, image: &mut Image, detections: &[Detection]) {
        draw_detections(image, detections, &self.names, &DrawOptions::default());
    }
}
