//! Weights on disk: safetensors with PyTorch's names and order, the model's YAML inside; PyTorch's own files are read too.

use crate::torch::{self, TorchError, TorchInfo};
use crate::{Model, structure, widen};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
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
    #[error("`{}` is neither a safetensors file nor one of PyTorch's: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        message: String,
    },
    /// The file is safetensors, and not whole.
    #[error("`{}` is a damaged safetensors file: {message}; copy or download it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A PyTorch file that cannot be read.
    #[error("`{}` {source}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TorchError,
    },
    /// Weights that are not numbers.
    #[error(
        "`{}`: tensor `{name}` has {count} of {total} values that are not finite (the first is number {first}): the training \
         diverged, or the file is damaged; take an earlier checkpoint",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// How many of its values.
        count: usize,
        /// Its number of values.
        total: usize,
        /// Position of the first.
        first: usize,
    },
    /// Larger than any checkpoint.
    #[error("`{}` has {bytes} bytes; weights of at most {MAX_BYTES} bytes are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A tensor of a kind that weights do not have.
    #[error("`{}`: tensor `{name}` is {dtype}, expected F32, F16, BF16 or F64", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
}

/// Largest file that is read; a checkpoint of the largest YOLOv5 with its optimiser has about 1 GB.
const MAX_BYTES: u64 = 4 << 30;

/// The content of a weights file.
#[derive(Debug, Clone, Default)]
pub struct WeightsFile {
    /// Tensors by name: shape and values.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Text entries: `model_yaml`, `names`, and whatever the writer added.
    pub metadata: HashMap<String, String>,
    /// What a file of PyTorch's says about itself; absent for safetensors.
    pub torch: Option<TorchInfo>,
}

/// Why bytes cannot be read as safetensors.
fn refusal(bytes: &[u8], path: &Path, error: &SafeTensorError) -> WeightsError {
    let path = path.to_owned();
    // Behind eight bytes of length, the header is a JSON object.
    if bytes.get(8) == Some(&b'{') && !matches!(error, SafeTensorError::HeaderTooLarge) {
        let message = match error {
            SafeTensorError::InvalidHeaderLength => {
                "its end is missing, as when a download or a copy broke off".to_owned()
            }
            SafeTensorError::MetadataIncompleteBuffer => {
                "it has not the size that its header says, as when a download or a copy broke off".to_owned()
            }
            other => other.to_string(),
        };
        return WeightsError::Damaged { path, message };
    }
    let message = match bytes {
        [] => "it is empty".to_owned(),
        _ if bytes.starts_with(b"version https://git-lfs") => {
            "it stands for a file that Git LFS keeps elsewhere; fetch that with `git lfs pull`".to_owned()
        }
        _ if bytes.trim_ascii_start().starts_with(b"<") => {
            "it is a web page, as where a download needs a login".to_owned()
        }
        _ => error.to_string(),
    };
    WeightsError::Format { path, message }
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
    /// Whether the names differ throughout and the backbone was found by its structure.
    pub by_structure: bool,
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

impl WeightsFile {
    /// Reads a weights file: safetensors, or a checkpoint of PyTorch's; the content decides.
    ///
    /// # Errors
    /// A file that cannot be read, is of another kind, is damaged, or holds other types than floating-point numbers.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let io = |source| WeightsError::Io { action: "read", path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        if bytes > MAX_BYTES {
            return Err(WeightsError::TooLarge { path: path.to_owned(), bytes });
        }
        Self::parse(&std::fs::read(path).map_err(io)?, path)
    }

    /// Reads the bytes of a weights file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, WeightsError> {
        if torch::recognises(bytes) {
            let torch = |source| WeightsError::Torch { path: path.to_owned(), source };
            let (tensors, info) = torch::read(bytes).map_err(torch)?;
            let file = WeightsFile { tensors, torch: Some(info), ..Default::default() };
            file.check_finite(path)?;
            return Ok(file);
        }
        Self::parse_safetensors(bytes, path)
    }

    /// Whether all values are numbers.
    ///
    /// # Errors
    /// Names the first tensor that holds others.
    pub fn check_finite(&self, path: &Path) -> Result<(), WeightsError> {
        for (name, (_, values)) in &self.tensors {
            // All of them first, which takes vectors where a search that may stop does not.
            if values.iter().fold(true, |all, v| all & v.is_finite()) {
                continue;
            }
            if let Some(first) = values.iter().position(|v| !v.is_finite()) {
                let count = values.iter().filter(|v| !v.is_finite()).count();
                let (path, name) = (path.to_owned(), name.clone());
                return Err(WeightsError::NotFinite { path, name, count, total: values.len(), first });
            }
        }
        Ok(())
    }

    fn parse_safetensors(bytes: &[u8], path: &Path) -> Result<Self, WeightsError> {
        let format = |error| refusal(bytes, path, &error);
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(format)?;
        let file = SafeTensors::deserialize(bytes).map_err(format)?;
        let mut out = WeightsFile { metadata: header.metadata().clone().unwrap_or_default(), ..Default::default() };
        for (name, view) in file.tensors() {
            let values = match view.dtype() {
                Dtype::F32 => widen::f32(view.data()),
                Dtype::F16 => widen::f16(view.data()),
                Dtype::BF16 => widen::bf16(view.data()),
                Dtype::F64 => widen::f64(view.data()),
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

    /// Adds all parameters and statistics of a model, their names behind `prefix`.
    pub fn insert_model(&mut self, model: &Model, prefix: &str, values: &[Vec<f32>]) {
        for ((_, param), values) in model.params.iter().zip(values) {
            self.insert(format!("{prefix}{}", param.name), &param.shape, values);
        }
    }

    /// The bytes of a safetensors file.
    ///
    /// # Errors
    /// Tensors whose sizes do not agree with their shapes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SafeTensorError> {
        let raw: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views: Vec<(&str, TensorView<'_>)> = raw
            .iter()
            .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes)?)))
            .collect::<Result<_, SafeTensorError>>()?;
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.clone());
        safetensors::serialize(views, metadata)
    }

    /// Moves tensors into the model where names and shapes agree. Where no name agrees, as with a state dict of
    /// torchvision's or timm's, the backbone is looked for by its structure. The model's parameters need not have values
    /// before; those that are missing in the file are left as they are.
    pub fn transfer(mut self, model: &mut Model) -> Transfer {
        let mut report = Transfer::default();
        let wanted: Vec<_> = model.params.iter().map(|(id, p)| (id, p.name.clone(), p.shape.clone())).collect();
        for (id, name, shape) in wanted {
            match self.tensors.get_mut(&name) {
                None => report.missing.push(name),
                Some((found, _)) if *found != shape => report.mismatched.push((name, found.clone(), shape)),
                Some((_, values)) => {
                    model.params.set(id, std::mem::take(values));
                    report.loaded.push(name);
                }
            }
        }
        if report.loaded.is_empty()
            && report.mismatched.is_empty()
            && let Some(found) = structure::transfer(&self, model)
        {
            return found;
        }
        report.unexpected = self.tensors.keys().filter(|name| model.params.find(name).is_none()).cloned().collect();
        report
    }
}
