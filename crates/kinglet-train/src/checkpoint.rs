//! Checkpoints: safetensors with everything that a run needs to go on.
//!
//! The averaged weights stand under PyTorch's names, so that the file serves as weights too. `train.*` are the weights
//! being trained, `optim.*` the optimiser's state; both are absent once a run has finished. The metadata entry `kinglet` is
//! JSON: model YAML, class names, anchors, settings and progress. A checkpoint of YOLOv5's says the same in its own way.

use crate::TrainError;
use crate::options::TrainOptions;
use kinglet_nn::{IMAGE_SIDES, Model, TorchInfo, WeightsFile};
use kinglet_spec::ResolveOptions;
use kinglet_vision::Draft;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The metadata entry.
const KEY: &str = "kinglet";
/// Of the format.
pub(crate) const VERSION: u32 = 1;
/// Image side of a training that does not tell it, as in YOLOv5.
const USUAL_SIDE: usize = 640;

/// What a checkpoint says beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Format version.
    pub version: u32,
    /// The model file's text.
    pub model_yaml: String,
    /// The model file's name.
    pub model_file: String,
    /// Class names.
    pub names: Vec<String>,
    /// Anchors in pixels, by level.
    pub anchors: Vec<Vec<[f32; 2]>>,
    /// Image side of the training.
    pub img: usize,
    /// Settings of the run.
    pub options: Option<TrainOptions>,
    /// Progress; absent once the run has finished.
    pub progress: Option<Progress>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs done.
    pub epochs_done: usize,
    /// Best fitness so far; nothing before the first validation.
    pub best_fitness: Option<f64>,
    /// Its epoch.
    pub best_epoch: usize,
    /// Updates of the average.
    pub ema_updates: u64,
    /// Optimiser steps.
    pub optim_steps: u64,
    /// Iteration of the last optimiser step.
    pub last_step: i64,
    /// Objectness weights of the levels.
    pub balance: Vec<f64>,
    /// How often the learning rate was halved because numbers were not finite any more.
    #[serde(default)]
    pub halvings: u32,
    /// mAP of each class in the last validation, for class-weighted sampling.
    pub class_maps: Vec<f64>,
}

/// Weights with what is needed to use them.
#[derive(Debug)]
pub struct LoadedModel {
    /// The model with its (averaged) weights.
    pub model: Model,
    /// Class names.
    pub names: Vec<String>,
    /// Image side of the training.
    pub img: usize,
    /// Settings of the run.
    pub options: Option<TrainOptions>,
    /// What the file says about itself where it is one of PyTorch's.
    pub torch: Option<TorchInfo>,
}

impl LoadedModel {
    /// The bytes of a checkpoint with this model, as a finished run leaves it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = WeightsFile::default();
        file.insert_model(&self.model, "", self.model.params.values());
        let header = Header {
            version: VERSION,
            model_yaml: self.model.spec.yaml.clone(),
            model_file: self.model.spec.name.clone(),
            names: self.names.clone(),
            anchors: self.model.anchors.clone(),
            img: self.img,
            options: self.options.clone(),
            progress: None,
        };
        set_header(&mut file, &header);
        file.to_bytes().expect("shapes agree with values by construction")
    }
}

/// Writes a file so that it is either the old or the new one, whatever happens.
///
/// # Errors
/// Where the folder cannot be written or the disk is full; no partial file stays.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    // The kind alone: the message names the file, not the temporary one beside it.
    let failed = |source: std::io::Error| {
        let source = std::io::Error::from(source.kind());
        TrainError::Io { action: "write", path: path.to_owned(), source }
    };
    let write = || -> std::io::Result<()> {
        let mut draft = Draft::begin(path)?;
        draft.write_all(bytes)?;
        draft.sync()?;
        draft.finish()
    };
    write().map_err(failed)
}

/// The folder of the run that a checkpoint is of: that of its `weights`, or where it lies alone, its own.
pub fn run_folder(checkpoint: &Path) -> PathBuf {
    let own = match checkpoint.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        // Named from within its folder, whose own name is not in the path.
        _ => std::env::current_dir().unwrap_or_default(),
    };
    match own.parent() {
        Some(run) if own.ends_with("weights") && !run.as_os_str().is_empty() => run.to_owned(),
        _ if own.ends_with("weights") => PathBuf::from("."),
        _ => own,
    }
}

/// Adds the header to a weights file.
pub(crate) fn set_header(file: &mut WeightsFile, header: &Header) {
    let json = serde_json::to_string(header).expect("a header of numbers and strings is always valid JSON");
    file.metadata.insert(KEY.into(), json);
}

/// The header of a weights file.
///
/// # Errors
/// A file without one, or from a later version.
pub fn header(file: &WeightsFile, path: &Path) -> Result<Header, TrainError> {
    let wrong = |message: String| TrainError::Checkpoint { path: path.to_owned(), message };
    if let Some(model) = file.torch.as_ref().and_then(|info| info.model.as_ref()) {
        return Ok(Header {
            version: VERSION,
            model_yaml: model.yaml.clone(),
            model_file: model.file.clone(),
            names: model.names.clone(),
            anchors: model.anchors.clone(),
            img: model.img.unwrap_or(USUAL_SIDE),
            options: None,
            progress: None,
        });
    }
    let json = file.metadata.get(KEY).ok_or_else(|| {
        let expected = match file.torch {
            Some(_) => "a checkpoint with its model, as YOLOv5 saves it",
            None => "the metadata entry `kinglet` that `kinglet train` writes",
        };
        wrong(format!(
            "holds tensors but no model: expected {expected}; to begin a training from these tensors, name the model file as \
             well: `kinglet train --weights FILE --cfg MODEL`"
        ))
    })?;
    let header: Header = serde_json::from_str(json).map_err(|e| wrong(format!("has a damaged header: {e}")))?;
    if header.version != VERSION {
        return Err(wrong(format!("has format version {}, this program reads version {VERSION}", header.version)));
    }
    if !IMAGE_SIDES.contains(&header.img) {
        let [least, most] = [IMAGE_SIDES.start(), IMAGE_SIDES.end()];
        return Err(wrong(format!(
            "has an image side of {}, expected {least} to {most}: the file is damaged",
            header.img
        )));
    }
    Ok(header)
}

/// Loads a checkpoint's model with its averaged weights.
///
/// # Errors
/// A file that is no checkpoint, or lacks tensors of its own model.
pub fn load_model(path: &Path) -> Result<LoadedModel, TrainError> {
    let mut file = WeightsFile::load(path)?;
    let header = header(&file, path)?;
    file.check_finite(path)?;
    let mut model = build(&header, path)?;
    if let Some(torch) = file.torch.as_ref().and_then(|info| info.model.as_ref()) {
        let expected: Vec<f32> = model.spec.head_strides.iter().map(|&stride| stride as f32).collect();
        if torch.strides != expected {
            let message =
                format!("has the strides {:?}, its model file gives {expected:?}: the file is damaged", torch.strides);
            return Err(TrainError::Checkpoint { path: path.to_owned(), message });
        }
    }
    let torch = file.torch.take();
    let report = file.transfer(&mut model);
    if !report.complete() {
        let missing = report.missing.iter().chain(report.mismatched.iter().map(|m| &m.0)).next();
        let message = format!(
            "lacks {} of {} tensors of its own model (the first is `{}`): the file is damaged",
            report.missing.len() + report.mismatched.len(),
            report.total(),
            missing.map_or("", String::as_str)
        );
        return Err(TrainError::Checkpoint { path: path.to_owned(), message });
    }
    Ok(LoadedModel { model, names: header.names, img: header.img, options: header.options, torch })
}

/// Gives a model the anchors of a header.
///
/// # Errors
/// Other numbers of levels or of anchors than the model's head has; anchors that are no sizes.
pub(crate) fn take_anchors(model: &mut Model, header: &Header, path: &Path) -> Result<(), TrainError> {
    let counts = |anchors: &[Vec<[f32; 2]>]| anchors.iter().map(Vec::len).collect::<Vec<_>>();
    let (expected, found) = (counts(&model.anchors), counts(&header.anchors));
    if expected != found {
        let message =
            format!("has {found:?} anchors on its levels, the head of its model has {expected:?}: the file is damaged");
        return Err(TrainError::Checkpoint { path: path.to_owned(), message });
    }
    if let Some(wrong) = header.anchors.iter().flatten().flatten().find(|side| !side.is_finite() || **side <= 0.0) {
        let message = format!("has an anchor of {wrong} pixels, expected more than 0: the file is damaged");
        return Err(TrainError::Checkpoint { path: path.to_owned(), message });
    }
    model.anchors.clone_from(&header.anchors);
    Ok(())
}

/// The model of a header, with the header's anchors. Its parameters have no values.
fn build(header: &Header, path: &Path) -> Result<Model, TrainError> {
    let side = header.img.div_ceil(32).max(2) * 32;
    let options = ResolveOptions { nc: Some(header.names.len()), image: [side, side], ..Default::default() };
    let mut model = Model::from_yaml(&header.model_yaml, &header.model_file, &options)?;
    take_anchors(&mut model, header, path)?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_where_its_checkpoint_lies() {
        let folder = |path: &str| run_folder(Path::new(path));
        assert_eq!(folder("runs/train/exp/weights/last.safetensors"), Path::new("runs/train/exp"));
        assert_eq!(folder("/a/weights/last.safetensors"), Path::new("/a"));
        assert_eq!(folder("weights/last.safetensors"), Path::new("."));
        assert_eq!(folder("kept/last.safetensors"), Path::new("kept"));
        assert_eq!(folder("last.safetensors"), std::env::current_dir().unwrap());
    }

    #[test]
    fn sides_and_anchors_that_no_training_has_are_refused() {
        let yaml = kinglet_nn::zoo::find("kinglet_small").unwrap();
        let options = ResolveOptions { nc: Some(1), ..Default::default() };
        let mut model = Model::from_yaml(yaml, "kinglet_small", &options).unwrap();
        model.params.initialise(0);
        let names = vec!["a".to_owned()];
        let loaded = |img, model: &Model| {
            let model = LoadedModel { model: model.clone(), names: names.clone(), img, options: None, torch: None };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("w.safetensors");
            write_atomically(&path, &model.to_bytes()).unwrap();
            load_model(&path).map(|loaded| loaded.img).map_err(|error| error.to_string())
        };
        assert_eq!(loaded(320, &model), Ok(320));
        for img in [0, 31, 8193, usize::MAX] {
            assert!(loaded(img, &model).unwrap_err().contains("expected 32 to 8192"), "{img}");
        }
        for wrong in [0.0, -3.0] {
            model.anchors[1][0][1] = wrong;
            assert!(loaded(320, &model).unwrap_err().contains(&format!("an anchor of {wrong} pixels")));
        }
    }
}
