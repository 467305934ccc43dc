//! Weights on disk: safetensors with PyTorch's names and order, the model's YAML inside.

use crate::Model;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Why weights cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file cannot be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not safetensors.
    #[error("`{}` is not a safetensors file: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        message: String,
    },
    /// A tensor of a kind that weights do not have.
    #[error("`{}`: tensor `{name}` is {dtype}, expected F32 or F16", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
}

/// The content of a weights file.
#[derive(Debug, Clone, Default)]
pub struct WeightsFile {
    /// Tensors by name: shape and values.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Text entries: `model_yaml`, `names`, and whatever the writer added.
    pub metadata: HashMap<String, String>,
}

/// What became of a file's tensors in a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Loaded names.
    pub loaded: Vec<String>,
    /// Names of the model that the file lacks.
    pub missing: Vec<String>,
    /// Names of the file that the model lacks.
    pub unexpected: Vec<String>,
    /// Names with different shapes: (name, in the file, in the model).
    pub mismatched: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Transfer {
    /// Tensors of the model.
    pub fn total(&self) -> usize {
        self.loaded.len() + self.missing.len() + self.mismatched.len()
    }

    /// Whether every tensor of the model was found.
    pub fn complete(&self) -> bool {
        self.missing.is_empty() && self.mismatched.is_empty()
    }
}

fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction / 1024.0) * 2f32.powi(e - 15),
    }
}

impl WeightsFile {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// A file that cannot be read, is not safetensors, or holds other types than F32 and F16.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let bytes =
            std::fs::read(path).map_err(|source| WeightsError::Io { action: "read", path: path.to_owned(), source })?;
        Self::parse(&bytes, path)
    }

    /// Reads the bytes of a safetensors file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, WeightsError> {
        let format =
            |e: safetensors::SafeTensorError| WeightsError::Format { path: path.to_owned(), message: e.to_string() };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(format)?;
        let file = SafeTensors::deserialize(bytes).map_err(format)?;
        let mut out = WeightsFile { metadata: header.metadata().clone().unwrap_or_default(), ..Default::default() };
        for (name, view) in file.tensors() {
            let values = match view.dtype() {
                Dtype::F32 => {
                    view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
                }
                Dtype::F16 => {
                    view.data().chunks_exact(2).map(|b| half_to_f32(u16::from_le_bytes([b[0], b[1]]))).collect()
                }
                other => {
                    return Err(WeightsError::Dtype { path: path.to_owned(), name, dtype: format!("{other:?}") });
                }
            };
            out.tensors.insert(name, (view.shape().to_vec(), values));
        }
        Ok(out)
    }

    /// Adds a tensor.
    pub fn insert(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        self.tensors.insert(name.into(), (shape.to_vec(), values.to_vec()));
    }

    /// Adds all parameters and statistics of a model, its YAML and its anchors.
    pub fn insert_model(&mut self, model: &Model, prefix: &str, values: &[Vec<f32>]) {
        for ((_, param), values) in model.params.iter().zip(values) {
            self.insert(format!("{prefix}{}", param.name), &param.shape, values);
        }
    }

    /// The bytes of a safetensors file.
    ///
    /// # Errors
    /// Tensors whose sizes do not agree with their shapes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let raw: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views: Vec<(&str, TensorView<'_>)> = raw
            .iter()
            .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes)?)))
            .collect::<Result<_, safetensors::SafeTensorError>>()?;
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.clone());
        safetensors::serialize(views, metadata)
    }

    /// Copies tensors into the model where names and shapes agree.
    pub fn transfer(&self, model: &mut Model) -> Transfer {
        let mut report = Transfer::default();
        let wanted: Vec<_> = model.params.iter().map(|(id, p)| (id, p.name.clone(), p.shape.clone())).collect();
        for (id, name, shape) in wanted {
            match self.tensors.get(&name) {
                None => report.missing.push(name),
                Some((found, _)) if *found != shape => report.mismatched.push((name, found.clone(), shape)),
                Some((_, values)) => {
                    model.params.get_mut(id).copy_from_slice(values);
                    report.loaded.push(name);
                }
            }
        }
        report.unexpected = self.tensors.keys().filter(|name| model.params.find(name).is_none()).cloned().collect();
        report
    }
}
