//! Model files built into the program, found by name: `yolov5n` or `yolov5n.yaml`. A path that exists wins.

use crate::errors::CliError;
use kinglet_nn::zoo::{MODELS, find};
use std::path::Path;

/// A model file: its text and the name for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelText {
    /// The YAML.
    pub text: String,
    /// Its path, or `name.yaml` for a built-in one.
    pub file: String,
}

/// Names of the built-in models.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|(name, _)| *name)
}

fn builtin(written: &str) -> Option<ModelText> {
    // People bring paths such as `models/yolov5n.yaml` from other repositories: the file name decides.
    let name = Path::new(written).file_name()?.to_str()?;
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(name);
    Some(ModelText { text: find(stem)?.to_owned(), file: format!("{stem}.yaml") })
}

/// The model that `--cfg` names.
///
/// # Errors
/// Neither a file nor a built-in name; a file that is no text.
pub fn model(written: &str) -> Result<ModelText, CliError> {
    let path = Path::new(written);
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => CliError::input(format!(
                "`{written}` is no text; expected a model file (YAML) or the name of a built-in model. Weights hold a model \
                 file, too: `kinglet inspect {written}` shows its rows, and `--weights` takes them"
            )),
            _ => CliError::read(path, &error),
        })?;
        return Ok(ModelText { text, file: written.to_owned() });
    }
    if let Some(found) = builtin(written) {
        return Ok(found);
    }
    let stem = Path::new(written).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let hint = match kinglet_spec::nearest_names(&stem, names()).first() {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("built-in models: {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(CliError::input(format!("`{written}` is neither a file nor the name of a built-in model; {hint}")))
}

/// Hyperparameters: the text, and the name for messages. A path that exists wins over a built-in name.
///
/// # Errors
/// Neither a file nor a built-in name.
pub fn hyp(written: &str) -> Result<(String, String), CliError> {
    let path = Path::new(written);
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|error| CliError::read(path, &error))?;
        return Ok((text, written.to_owned()));
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match kinglet_train::hyp::builtin(&name) {
        Some(text) => Ok((text.to_owned(), name)),
        None => {
            let known = kinglet_train::hyp::builtin_names().collect::<Vec<_>>().join(", ");
            Err(CliError::input(format!(
                "`{written}` is neither a file nor the name of built-in hyperparameters; the latter are: {known}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_model_resolves() {
        for name in names() {
            let found = model(name).unwrap();
            let options = kinglet_spec::ResolveOptions::default();
            kinglet_nn::resolve(&found.text, &found.file, &options).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn names_and_familiar_paths_find_a_model_and_others_get_a_hint() {
        assert_eq!(model("yolov5n").unwrap(), model("models/yolov5n.yaml").unwrap());
        let error = model("yolo5n.yaml").unwrap_err().to_string();
        assert!(error.contains("did you mean `yolov5n`?"), "{error}");
    }

    #[test]
    fn familiar_hyp_paths_find_the_built_in_files() {
        assert_eq!(hyp("data/hyps/hyp.scratch-low.yaml").unwrap().0, hyp("scratch-low").unwrap().0);
        assert!(hyp("nothing").unwrap_err().to_string().contains("scratch-low"));
    }
}
