//! The model of a command that takes trained weights or a model file.

use super::{USUAL_SIDE, load_weights};
use crate::args::ModelChoice;
use crate::errors::CliError;
use crate::printer::Printer;
use crate::zoo;
use kinglet_data::Rng;
use kinglet_data::synthetic::draw_scene;
use kinglet_nn::Model;
use kinglet_spec::ResolveOptions;
use kinglet_tensor::{Mode, Session};
use std::path::Path;

/// Side of the pictures that random parameters are calibrated with: small, not to show in the memory that is measured.
const CALIBRATION_SIDE: usize = 64;

/// A model with values for its parameters.
pub(crate) struct ChosenModel {
    /// The model.
    pub model: Model,
    /// Class names; empty where the parameters are random.
    pub names: Vec<String>,
    /// Image side of the training, or the usual one.
    pub img: usize,
    /// Name without folder and extension.
    pub stem: String,
    /// Whether the parameters come from weights.
    pub trained: bool,
}

/// Loads weights, or gives a model file random parameters.
///
/// # Errors
/// Whatever is wrong with either; neither named and no `default`.
pub(crate) fn choose(choice: &ModelChoice, default: Option<&str>, printer: &Printer) -> Result<ChosenModel, CliError> {
    if let Some(path) = &choice.weights {
        let loaded = load_weights(path)?;
        return Ok(ChosenModel {
            model: loaded.model,
            names: loaded.names,
            img: loaded.img,
            stem: stem(path),
            trained: true,
        });
    }
    let Some(cfg) = choice.cfg.as_deref().or(default) else {
        return Err(CliError::usage("which model? Name weights with --weights, or a model file with --cfg"));
    };
    let found = zoo::model(cfg)?;
    let options = ResolveOptions { nc: choice.nc, ..Default::default() };
    let mut model = Model::from_yaml(&found.text, &found.file, &options)?;
    model.spec.warnings.iter().for_each(|warning| printer.say(&warning.to_string()));
    model.params.initialise(0);
    calibrate(&mut model)?;
    Ok(ChosenModel { model, names: Vec::new(), img: USUAL_SIDE, stem: stem(Path::new(&found.file)), trained: false })
}

/// Gives BatchNorm the statistics of a few drawn pictures. With those of a fresh model the values fade from layer to layer
/// until the outputs are the head's biases and nothing else, which no trained model does. A tenth of the fresh variance stays:
/// with the pictures' alone, channels of nearly equal values are blown up and rounding with them, from layer to layer. The
/// outputs of two engines then differ by 1e-4 to 2e-3 of the largest value, and still by 1e-5 to 3e-4 with pictures of 256.
fn calibrate(model: &mut Model) -> Result<(), CliError> {
    const PICTURES: usize = 2;
    let side = super::raised(CALIBRATION_SIDE, model.max_stride());
    let pictures =
        (0..PICTURES).flat_map(|i| super::bench::input(&draw_scene(&mut Rng::for_sample(0, 2, i)).0, [side; 2]));
    let pictures: Vec<f32> = pictures.collect();
    let recording = model.record(PICTURES, [side; 2]).map_err(CliError::input)?;
    Session::default().forward(&recording.graph, &mut model.params, &pictures, Mode::Train { momentum: 0.9 });
    Ok(())
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned())
}

/// Height and width from `--imgsz`, raised to multiples of the stride.
pub(crate) fn size(imgsz: &[usize], chosen: &ChosenModel, printer: &Printer) -> [usize; 2] {
    let wanted = match *imgsz {
        [side] => [side; 2],
        [height, width] => [height, width],
        _ => [chosen.img; 2],
    };
    let stride = chosen.model.max_stride();
    let size = wanted.map(|side| super::raised(side, stride));
    if size != wanted {
        printer.say(&format!("image size {wanted:?} raised to {size:?}, multiples of the model's stride {stride}"));
    }
    size
}
