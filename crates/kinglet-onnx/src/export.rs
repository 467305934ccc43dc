//! From a model to the bytes of an ONNX file.

use crate::letterbox::{Geometry, LETTERBOXED, letterbox};
use crate::proto::{Dim, ElementType, Model as File, ValueInfo};
use crate::suppress::{COLUMNS, Suppression, suppress};
use crate::{head, lower, metadata};
use kinglet_nn::{Model, SizeError};
use kinglet_tensor::Shape;
use kinglet_vision::Letterbox;

/// The oldest operator set that can be written.
pub const MIN_OPSET: u32 = 12;
/// The newest operator set that can be written.
pub const MAX_OPSET: u32 = 17;

/// Name of the input.
pub const INPUT: &str = "images";
/// Name of the output, except of raw levels.
pub const OUTPUT: &str = "output0";
/// Decoded rows in pixels of the network's input, where they are not the output.
pub(crate) const DECODED: &str = "decode";

/// What the names of raw levels begin with.
pub(crate) const RAW: &str = "raw";

/// Name of a raw level.
pub(crate) fn raw_name(level: usize) -> String {
    format!("{RAW}{level}")
}

/// What the file takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// `images` `[n, 3, h, w]`: RGB from 0 to 1, letterboxed by the caller.
    Floats,
    /// `images` `[n, h, w, 3]`: bytes, RGB, of pictures of this height and width; of any size where sizes are free.
    /// Boxes are in pixels of the picture.
    Pictures([usize; 2]),
}

/// What the file gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// `output0` `[n, cells, 5 + nc]`: centre, size (pixels), objectness, class probabilities.
    Decoded,
    /// `output0` `[n, max_det, 6]`: left, top, right, bottom, score, class; rows of zeros after the last detection.
    Detections(Suppression),
    /// The raw levels `raw0`, `raw1`, ... `[n, anchors x (5 + nc), h, w]`.
    Raw,
}

/// What to export.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// Height and width of the network's input; for pictures, those to fit into.
    pub size: [usize; 2],
    /// Images at once.
    pub batch: usize,
    /// Batch, height and width are chosen by who runs the file.
    pub dynamic: bool,
    /// Version of the operator set, 12 to 17.
    pub opset: u32,
    /// What goes in.
    pub input: Input,
    /// What comes out.
    pub output: Output,
    /// Class names by number; where empty, `class0`, `class1`, ...
    pub names: Vec<String>,
    /// Text entries beside those that every file has.
    pub metadata: Vec<(String, String)>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        ExportOptions {
            size: [640; 2],
            batch: 1,
            dynamic: false,
            opset: MAX_OPSET,
            input: Input::Floats,
            output: Output::Decoded,
            names: Vec::new(),
            metadata: Vec::new(),
        }
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
    /// Pictures without pixels, or an output without rows.
    #[error("expected at least 1 for {what}, found 0")]
    Zero {
        /// What is empty.
        what: &'static str,
    },
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

/// Exports a model as an ONNX file.
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
    let stride = model.max_stride();
    let plan = plan(options, stride);
    let size = plan.map_or(options.size, |plan| [plan.out.1, plan.out.0]);
    let recording = model.record(options.batch, size)?;
    let mut b = lower::Builder::new(&model.spec.name, INPUT, &model.params, options.opset, options.dynamic);
    let raw_names: Vec<String> = (0..recording.graph.outputs().len()).map(raw_name).collect();
    raw_names.iter().for_each(|name| b.reserve(name));
    [OUTPUT, DECODED, LETTERBOXED].iter().for_each(|name| b.reserve(name));
    let placement = (options.input != Input::Floats).then(|| {
        b.set_network_input(LETTERBOXED.to_owned());
        let geometry = match plan {
            Some(plan) => Geometry::Planned(plan),
            None => Geometry::Free { size: options.size, stride },
        };
        letterbox(&mut b, INPUT, options.batch, &geometry)
    });
    for node in recording.graph.nodes() {
        let shapes: Vec<Shape> = node.inputs.iter().map(|&v| recording.graph.shape(v)).collect();
        b.lower(node, &shapes);
    }
    let raw: Vec<(String, Shape)> =
        recording.graph.outputs().iter().map(|&v| (b.value(v).to_owned(), recording.graph.shape(v))).collect();
    let head = model.head();
    let dim = |name: &str, extent: usize| match options.dynamic {
        true => Dim::Named(name.to_owned()),
        false => Dim::Fixed(extent),
    };
    let batch = || dim("batch", options.batch);
    let rows = match options.output {
        Output::Raw => Vec::new(),
        Output::Decoded => {
            head::decode(&mut b, &head, &raw, if placement.is_some() { DECODED } else { OUTPUT });
            if let Some(placement) = &placement {
                placement.rows(&mut b, DECODED, head.values(), OUTPUT);
            }
            let cells = head.cells(&recording.head_shapes());
            vec![batch(), dim("anchors", cells), Dim::Fixed(head.values())]
        }
        Output::Detections(suppression) => {
            head::decode(&mut b, &head, &raw, DECODED);
            suppress(&mut b, head.nc, DECODED, &suppression, placement.as_ref(), OUTPUT);
            vec![batch(), Dim::Fixed(suppression.max_det), Dim::Fixed(COLUMNS)]
        }
    };
    let value = |name: &str, element, shape| ValueInfo { name: name.to_owned(), element, shape };
    b.graph.outputs = match options.output {
        Output::Raw => {
            let mut outputs = Vec::new();
            for (name, (from, s)) in raw_names.iter().zip(&raw) {
                b.output_node("Identity", name, &[from], vec![]);
                let [h, w] = ["height", "width"].map(|side| format!("{name}_{side}"));
                let shape = vec![batch(), Dim::Fixed(s.c), dim(&h, s.h), dim(&w, s.w)];
                outputs.push(value(name, ElementType::F32, shape));
            }
            outputs
        }
        _ => vec![value(OUTPUT, ElementType::F32, rows)],
    };
    let channels = Dim::Fixed(model.spec.image.channels);
    let sides = |[h, w]: [usize; 2]| [dim("height", h), dim("width", w)];
    b.graph.inputs = vec![match options.input {
        Input::Floats => {
            let [h, w] = sides(size);
            value(INPUT, ElementType::F32, vec![batch(), channels, h, w])
        }
        Input::Pictures(picture) => {
            let [h, w] = sides(picture);
            value(INPUT, ElementType::U8, vec![batch(), h, w, channels])
        }
    }];
    Ok(File {
        opset: options.opset,
        producer: "kinglet".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: b.graph,
        metadata: metadata::entries(stride, &names, options),
    })
}

/// The letterbox of pictures of one size.
fn plan(options: &ExportOptions, stride: usize) -> Option<Letterbox> {
    match options.input {
        Input::Pictures([h, w]) if !options.dynamic => Some(Letterbox::plan(h, w, options.size, true, true, stride)),
        _ => None,
    }
}

/// Checks all that can be wrong; gives the class names.
fn check(model: &Model, options: &ExportOptions) -> Result<Vec<String>, ExportError> {
    if !(MIN_OPSET..=MAX_OPSET).contains(&options.opset) {
        return Err(ExportError::Opset { opset: options.opset });
    }
    if options.batch == 0 {
        return Err(ExportError::EmptyBatch);
    }
    if matches!(options.input, Input::Pictures(size) if size.contains(&0)) {
        return Err(ExportError::Zero { what: "the sides of pictures" });
    }
    if matches!(options.output, Output::Detections(Suppression { max_det: 0, .. })) {
        return Err(ExportError::Zero { what: "the number of detections" });
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
