//! From a model to the bytes of an ONNX file.

use crate::proto::{Model as File, ValueInfo};
use crate::{head, lower, metadata};
use kinglet_nn::{Model, SizeError};
use kinglet_tensor::Shape;

/// The oldest operator set that can be written.
pub const MIN_OPSET: u32 = 12;
/// The newest operator set that can be written.
pub const MAX_OPSET: u32 = 17;

const INPUT: &str = "images";
const DECODED: &str = "output0";

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Images at once.
    pub batch: usize,
    /// Version of the operator set, 12 to 17.
    pub opset: u32,
    /// Class names by number; where empty, `class0`, `class1`, ...
    pub names: Vec<String>,
    /// One output `output0` `[n, cells, 5 + nc]` with boxes in pixels; otherwise the raw levels `raw0`, `raw1`, ...
    /// `[n, anchors x (5 + nc), h, w]`.
    pub decode: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        ExportOptions { size: [640; 2], batch: 1, opset: MAX_OPSET, names: Vec::new(), decode: true }
    }
}

/// Why a model cannot be exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// An operator set that is not supported.
    #[error("cannot write operator set {opset}; expected {MIN_OPSET} to {MAX_OPSET}")]
    Opset {
        /// The one asked for.
        opset: u32,
    },
    /// An image size that the model cannot take.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A batch of no images.
    #[error("a batch needs at least one image, found 0")]
    EmptyBatch,
    /// Class names that do not fit the head.
    #[error("expected {expected} class names, as many as the head has classes, found {found}")]
    Names {
        /// Classes of the head.
        expected: usize,
        /// Names given.
        found: usize,
    },
    /// The model has been declared, but neither initialised nor loaded.
    #[error("the model's parameters have no values; initialise them or load weights before the export")]
    NoValues,
    /// A parameter that no engine could compute with.
    #[error("`{name}` holds a value that is not a finite number; the training has diverged, export earlier weights")]
    NotFinite {
        /// The parameter.
        name: String,
    },
    /// A file that readers would refuse.
    #[error("the file would have {bytes} bytes; readers of ONNX take less than 2 GiB, export a smaller model")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Exports a model as an ONNX file: input `images` `[n, 3, h, w]`, RGB in 0..=1.
///
/// # Errors
/// Options that the model or the format cannot follow, or parameters without finite values.
pub fn export(model: &Model, options: &ExportOptions) -> Result<Vec<u8>, ExportError> {
    export_model(model, options)?.encode()
}

/// The same before it becomes bytes.
///
/// # Errors
/// As [`export()`].
pub fn export_model(model: &Model, options: &ExportOptions) -> Result<File, ExportError> {
    let names = check(model, options)?;
    // Recording declares parameters, so it needs a model of its own; they are all known already.
    let mut model = model.clone();
    let recording = model.record(options.batch, options.size)?;
    let mut b = lower::Builder::new(&model.spec.name, INPUT, &model.params, options.opset);
    let raw_names: Vec<String> = (0..recording.graph.outputs().len()).map(|level| format!("raw{level}")).collect();
    if options.decode {
        b.reserve(DECODED);
    } else {
        raw_names.iter().for_each(|name| b.reserve(name));
    }
    for node in recording.graph.nodes() {
        let shapes: Vec<Shape> = node.inputs.iter().map(|&v| recording.graph.shape(v)).collect();
        b.lower(node, &shapes);
    }
    let raw: Vec<(String, Shape)> =
        recording.graph.outputs().iter().map(|&v| (b.value(v).to_owned(), recording.graph.shape(v))).collect();
    let outputs = if options.decode {
        let shape = head::decode(&mut b, &model.head(), &raw, DECODED);
        vec![ValueInfo::fixed(DECODED, &shape)]
    } else {
        for (name, (value, _)) in raw_names.iter().zip(&raw) {
            b.output_node("Identity", name, &[value], vec![]);
        }
        raw_names.iter().zip(&raw).map(|(name, (_, s))| ValueInfo::fixed(name, &[s.n, s.c, s.h, s.w])).collect()
    };
    let [h, w] = options.size;
    b.graph.inputs = vec![ValueInfo::fixed(INPUT, &[options.batch, model.spec.image.channels, h, w])];
    b.graph.outputs = outputs;
    Ok(File {
        opset: options.opset,
        producer: "kinglet".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: b.graph,
        metadata: vec![("stride".into(), model.max_stride().to_string()), ("names".into(), metadata::names(&names))],
    })
}

/// Checks all that can be wrong; gives the class names.
fn check(model: &Model, options: &ExportOptions) -> Result<Vec<String>, ExportError> {
    if !(MIN_OPSET..=MAX_OPSET).contains(&options.opset) {
        return Err(ExportError::Opset { opset: options.opset });
    }
    if options.batch == 0 {
        return Err(ExportError::EmptyBatch);
    }
    if model.params.values().len() != model.params.len() {
        return Err(ExportError::NoValues);
    }
    for ((_, param), values) in model.params.iter().zip(model.params.values()) {
        if values.iter().any(|v| !v.is_finite()) {
            return Err(ExportError::NotFinite { name: param.name.clone() });
        }
    }
    let nc = model.spec.nc;
    if options.names.is_empty() {
        return Ok((0..nc).map(|class| format!("class{class}")).collect());
    }
    if options.names.len() != nc {
        return Err(ExportError::Names { expected: nc, found: options.names.len() });
    }
    Ok(options.names.clone())
}
