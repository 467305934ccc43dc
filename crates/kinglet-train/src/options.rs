//! What a training run is asked to do.

use crate::hyp::Hyp;
use crate::optim::OptimKind;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a run departs from YOLOv5's recipe, or not. `docs/recipe.md` explains each departure with its measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// Learns steadily from few images.
    #[default]
    Kinglet,
    /// YOLOv5's, to the letter.
    Yolov5,
}

/// Settings of a run, as saved with its checkpoints: enough to start it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Model YAML: its text.
    pub model_yaml: String,
    /// The model file's name, for messages.
    pub model_file: String,
    /// The data set: a data YAML, or whatever else describes it.
    pub data: PathBuf,
    /// Weights to start from; nothing for random ones.
    pub weights: Option<PathBuf>,
    /// Hyperparameters, as YAML text.
    pub hyp: String,
    /// Which recipe.
    pub recipe: Recipe,
    /// Epochs.
    pub epochs: usize,
    /// Images a batch.
    pub batch: usize,
    /// Image side in pixels.
    pub img: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Update rule: `SGD`, `Adam` or `AdamW`.
    pub optimizer: OptimKind,
    /// Cosine instead of linear schedule.
    pub cos_lr: bool,
    /// Epochs without improvement before stopping; 0 for never.
    pub patience: usize,
    /// Layers that do not learn.
    pub freeze: Vec<usize>,
    /// A checkpoint of its own every so many epochs.
    pub save_period: Option<usize>,
    /// Only the last checkpoint.
    pub nosave: bool,
    /// Validate after the last epoch only.
    pub noval: bool,
    /// Keep the model file's anchors.
    pub noautoanchor: bool,
    /// Rectangular batches.
    pub rect: bool,
    /// Vary the image size by half, batch by batch.
    pub multi_scale: bool,
    /// Draw images of badly found classes more often.
    pub image_weights: bool,
    /// All classes are one.
    pub single_cls: bool,
    /// Loader threads; 0 for as many as the machine has.
    pub workers: usize,
    /// The run folder.
    pub dir: PathBuf,
}

impl TrainOptions {
    /// The usual settings for a model file's text, a data set, and a folder for the results.
    pub fn new(model_yaml: &str, data: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        TrainOptions {
            model_yaml: model_yaml.to_owned(),
            model_file: "model.yaml".to_owned(),
            data: data.into(),
            weights: None,
            hyp: String::new(),
            recipe: Recipe::default(),
            epochs: 100,
            batch: 16,
            img: 640,
            seed: 0,
            optimizer: OptimKind::Sgd,
            cos_lr: false,
            patience: 100,
            freeze: Vec::new(),
            save_period: None,
            nosave: false,
            noval: false,
            noautoanchor: false,
            rect: false,
            multi_scale: false,
            image_weights: false,
            single_cls: false,
            workers: 0,
            dir: dir.into(),
        }
    }

    /// The hyperparameters.
    ///
    /// # Errors
    /// A wrong key or value, with its place.
    pub fn hyperparameters(&self) -> Result<Hyp, crate::hyp::HypError> {
        Hyp::parse(&self.hyp, "hyp.yaml")
    }
}
