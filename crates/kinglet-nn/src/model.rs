//! A model: its resolved graph and its parameters.

use crate::block::record_planned;
use crate::{Head, REGISTRY, Recorder, zoo};
use kinglet_spec::{Edit, GraphSpec, ResolveOptions, Source, SpecError};
use kinglet_tensor::{Graph, Params, Shape, Var};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Sides in pixels of the images that models are trained and used with.
pub const IMAGE_SIDES: RangeInclusive<usize> = 32..=8192;

/// A model that can be recorded for any batch and image size.
#[derive(Debug, Clone)]
pub struct Model {
    /// What the model file says, resolved.
    pub spec: Arc<GraphSpec>,
    /// Its parameters; without values until initialised or loaded.
    pub params: Params,
    /// Anchors in pixels, by level: the file's, unless computed from the data.
    pub anchors: Vec<Vec<[f32; 2]>>,
}

/// A model's operations for one input shape.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The operations; its outputs are the raw levels of the head.
    pub graph: Graph,
    /// The output of each layer.
    pub layers: Vec<Var>,
}

impl Recording {
    /// Shapes of the raw head levels.
    pub fn head_shapes(&self) -> Vec<Shape> {
        self.graph.outputs().iter().map(|&v| self.graph.shape(v)).collect()
    }
}

/// An image size that the model cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image height and width must be multiples of the model's largest stride {stride}, found {height} x {width}")]
pub struct SizeError {
    /// The largest stride of the model.
    pub stride: usize,
    /// Height asked for.
    pub height: usize,
    /// Width asked for.
    pub width: usize,
}

/// Reads a model file with all blocks and the models of the zoo at hand.
///
/// # Errors
/// Whatever is wrong with the file, with its place.
pub fn resolve(text: &str, file: &str, options: &ResolveOptions) -> Result<GraphSpec, SpecError> {
    kinglet_spec::resolve(text, file, REGISTRY, &with_zoo(options))
}

/// Changes a model file; the new text is the result's `yaml`.
///
/// # Errors
/// Whatever is wrong with the file or the change, with its place.
pub fn edit(text: &str, file: &str, options: &ResolveOptions, change: &Edit<'_>) -> Result<GraphSpec, SpecError> {
    kinglet_spec::edit(text, file, REGISTRY, &with_zoo(options), change)
}

fn with_zoo(options: &ResolveOptions) -> ResolveOptions {
    ResolveOptions { models: zoo::MODELS, ..options.clone() }
}

impl Model {
    /// Resolves a model file.
    ///
    /// # Errors
    /// Whatever is wrong with the file, with its place.
    pub fn from_yaml(text: &str, file: &str, options: &ResolveOptions) -> Result<Self, SpecError> {
        resolve(text, file, options).map(Model::new)
    }

    /// Declares the parameters of a resolved graph.
    pub fn new(spec: GraphSpec) -> Self {
        let anchors = spec.anchors.clone();
        let [height, width] = [spec.image.height, spec.image.width];
        let mut model = Model { spec: Arc::new(spec), params: Params::default(), anchors };
        model.record_unchecked(1, [height, width]);
        model
    }

    /// Records the operations for `batch` images of `size` (height, width).
    ///
    /// # Errors
    /// Sizes that are not multiples of the largest stride.
    pub fn record(&mut self, batch: usize, size: [usize; 2]) -> Result<Recording, SizeError> {
        let stride = self.max_stride();
        let [height, width] = size;
        if height == 0 || width == 0 || height % stride != 0 || width % stride != 0 {
            return Err(SizeError { stride, height, width });
        }
        Ok(self.record_unchecked(batch, size))
    }

    pub(crate) fn record_unchecked(&mut self, batch: usize, [height, width]: [usize; 2]) -> Recording {
        let spec = Arc::clone(&self.spec);
        let mut graph = Graph::new(Shape::new(batch, height, width, spec.image.channels));
        let mut layers: Vec<Var> = Vec::with_capacity(spec.layers.len());
        for layer in &spec.layers {
            graph.layer = layer.index;
            let mut inputs: Vec<Var> = layer
                .inputs
                .iter()
                .map(|source| match source {
                    Source::Image => graph.input(),
                    Source::Layer(i) => layers[*i],
                })
                .collect();
            let prefix = format!("model.{}", layer.index);
            let stacked = layer.planned.len() > 1;
            for (i, planned) in layer.planned.iter().enumerate() {
                let prefix = if stacked { format!("{prefix}.{i}") } else { prefix.clone() };
                let mut recorder = Recorder::new(&mut graph, &mut self.params, &prefix);
                let output = record_planned(&**planned, &mut recorder, &inputs);
                inputs = vec![output];
            }
            layers.push(inputs[0]);
        }
        Recording { graph, layers }
    }

    /// The largest stride of the model: image sides must be its multiples.
    pub fn max_stride(&self) -> usize {
        self.spec.size_multiple()
    }

    /// The head's classes, anchors and strides.
    pub fn head(&self) -> Head {
        Head { nc: self.spec.nc, anchors: self.anchors.clone(), strides: self.spec.head_strides.clone() }
    }

    /// The layer that a parameter belongs to, by its name.
    pub fn layer_of(&self, name: &str) -> Option<usize> {
        name.strip_prefix("model.")?.split('.').next()?.parse().ok()
    }
}
