//! The model of a command that takes trained weights or a model file.

use super::{USUAL_SIDE, image_size, load_weights};
use crate::args::ModelChoice;
use crate::errors::CliError;
use crate::printer::Printer;
use crate::zoo;
use kinglet_data::Rng;
use kinglet_data::synthetic::draw_scene;
use kinglet_nn::{Model, least_logit};
use kinglet_spec::ResolveOptions;
use kinglet_tensor::ops::{ConvUnit, Op};
use kinglet_tensor::{Mode, Session};
use std::path::{Path, PathBuf};

/// Side of the pictures that random parameters are calibrated with: small, not to show in the memory that is measured.
const CALIBRATION_SIDE: usize = 64;
/// One cell and anchor in so many may hold an object: about what trained models find on photographs.
const CELLS_AN_OBJECT: usize = 100;

/// A model with values for its parameters.
pub(crate) struct ChosenModel {
    /// The model.
    pub model: Model,
    /// Class names; empty where the parameters are random.
    pub names: Vec<String>,
    /// Image side of the training, or the usual one.
    pub img: usize,
    /// The data set of the training, as it was named.
    pub data: Option<PathBuf>,
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
            data: loaded.options.map(|options| options.data),
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
    let stem = stem(Path::new(&found.file));
    Ok(ChosenModel { model, names: Vec::new(), img: USUAL_SIDE, data: None, stem, trained: false })
}

/// Gives BatchNorm the statistics of a few drawn pictures. With those of a fresh model the values fade from layer to layer
/// until the outputs are the head's biases and nothing else, which no trained model does. A tenth of the fresh variance stays:
/// with the pictures' alone, channels of nearly equal values are blown up and rounding with them, from layer to layer. The
/// outputs of two engines then differ by 1e-4 to 2e-3 of the largest value, and still by 1e-5 to 3e-4 with pictures of 256.
fn calibrate(model: &mut Model) -> Result<(), CliError> {
    const PICTURES: usize = 2;
    let side = kinglet_runtime::raised(CALIBRATION_SIDE, model.max_stride());
    let pictures =
        (0..PICTURES).flat_map(|i| super::bench::input(&draw_scene(&mut Rng::for_sample(0, 2, i)).0, [side; 2]));
    let pictures: Vec<f32> = pictures.collect();
    let recording = model.record(PICTURES, [side; 2]).map_err(CliError::input)?;
    Session::default().forward(&recording.graph, &mut model.params, &pictures, Mode::Train { momentum: 0.9 });
    Ok(())
}

/// Shifts the objectness of random parameters so that one cell in [`CELLS_AN_OBJECT`] passes the threshold on this picture,
/// `[1, height, width, 3]`: how many do decides what is left to compute.
pub(super) fn expect_few_objects(
    model: &mut Model,
    picture: &[f32],
    size: [usize; 2],
    conf: f32,
) -> Result<(), CliError> {
    let recording = model.record(1, size).map_err(CliError::input)?;
    let mut session = Session::default();
    session.forward(&recording.graph, &mut model.params, picture, Mode::Evaluate);
    let values = model.head().values();
    for &level in recording.graph.outputs() {
        let Some(Op::ConvUnit(ConvUnit { bias: Some(bias), .. })) = &recording.graph.nodes()[level.index()].op else {
            continue;
        };
        let mut logits: Vec<f32> = session.value(level).iter().skip(4).step_by(values).copied().collect();
        logits.sort_by(|a, b| b.total_cmp(a));
        if let Some(at) = logits.get(logits.len() / CELLS_AN_OBJECT) {
            let shift = least_logit(conf) - at;
            model.params.get_mut(*bias).iter_mut().skip(4).step_by(values).for_each(|b| *b += shift);
        }
    }
    Ok(())
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned())
}

/// Height and width from `--imgsz`, raised to multiples of the stride.
pub(crate) fn size(imgsz: &[usize], chosen: &ChosenModel, printer: &Printer) -> [usize; 2] {
    image_size(imgsz, chosen.img, chosen.model.max_stride(), printer)
}
