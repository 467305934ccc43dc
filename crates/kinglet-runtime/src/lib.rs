//! From images to detections with a trained model: letterbox, forward pass, decoding, suppression.
//!
//! A [`Detector`] compiles its model once for each input shape it meets, into a [`Program`]. `val` and `detect` use this
//! crate; it knows no data sets and no losses.

#![forbid(unsafe_code)]

mod compile;
mod fitted;
mod plain;
mod program;
mod tiles;
mod weights;

pub use fitted::Fitted;
pub use program::{Program, StepTiming};
pub use tiles::{Tile, Tiling};

use kinglet_kernels::infer::Arena;
use kinglet_nn::{Model, SizeError};
use kinglet_tensor::Shape;
use kinglet_vision::{Detection, Image, NmsOptions, nms};
use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use weights::Weights;

/// A model ready to detect.
#[derive(Debug)]
pub struct Detector {
    model: Model,
    weights: Weights,
    programs: HashMap<[usize; 3], Program>,
    /// Memory of whichever program runs.
    arena: Arena,
}

/// Time spent on one image or batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Letterbox and conversion to floats.
    pub preprocess: Duration,
    /// The forward pass.
    pub inference: Duration,
    /// Decoding and suppression.
    pub nms: Duration,
}

impl std::ops::AddAssign for Timing {
    fn add_assign(&mut self, other: Timing) {
        self.preprocess += other.preprocess;
        self.inference += other.inference;
        self.nms += other.nms;
    }
}

/// The raw head levels of a batch.
#[derive(Debug)]
pub struct RawLevels<'a> {
    /// Values of each level, `[n, h, w, anchors x (5 + nc)]`.
    pub levels: Vec<&'a [f32]>,
    /// Their shapes.
    pub shapes: Vec<Shape>,
}

/// How an image is brought to the network's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// To the full square (or the given height and width).
    Full,
    /// Padded only to the next multiple of the stride, as YOLOv5's `detect` does.
    Stride,
}

impl Detector {
    /// A detector for a model whose parameters have values.
    pub fn new(model: Model) -> Self {
        Detector { model, weights: Weights::default(), programs: HashMap::new(), arena: Arena::default() }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Replaces the parameters' values, in the model's order. Programs are compiled anew when they are needed.
    pub fn set_values(&mut self, values: &[Vec<f32>]) {
        self.model.params.values_mut().iter_mut().zip(values).for_each(|(to, from)| to.copy_from_slice(from));
        self.weights = Weights::default();
        self.programs.clear();
    }

    /// Bytes of the folded weights and of the arena, beside the model's own parameters.
    pub fn memory_bytes(&self) -> usize {
        self.weights.bytes() + 4 * self.arena.len()
    }

    /// Makes sure that there is a program for this shape, and memory for it.
    fn prepare(&mut self, [n, h, w]: [usize; 3]) -> Result<(), SizeError> {
        if !self.programs.contains_key(&[n, h, w]) {
            let recording = self.model.record(n, [h, w])?;
            let program = Program::new(&recording.graph, &self.model.params, &mut self.weights);
            self.programs.insert([n, h, w], program);
        }
        let len = self.programs[&[n, h, w]].arena_len();
        if self.arena.len() < len {
            // The old memory first, so that both are never held.
            self.arena = Arena::default();
            self.arena = Arena::zeros(len);
        }
        Ok(())
    }

    /// Runs the program on what its input holds.
    fn run(&mut self, size: [usize; 3]) -> RawLevels<'_> {
        let program = &self.programs[&size];
        program.run(&mut self.arena);
        RawLevels { levels: program.outputs(&self.arena), shapes: program.output_shapes() }
    }

    /// Runs the network on `n` images `[n, h, w, 3]` of values in 0..=1.
    ///
    /// # Errors
    /// A size that is not a multiple of the model's stride.
    ///
    /// # Panics
    /// If `images` has another length.
    pub fn forward(&mut self, images: &[f32], size: [usize; 3]) -> Result<RawLevels<'_>, SizeError> {
        self.prepare(size)?;
        self.programs[&size].input(&mut self.arena).copy_from_slice(images);
        Ok(self.run(size))
    }

    /// [`Self::forward`] with the time of every step.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn profile(&mut self, images: &[f32], size: [usize; 3]) -> Result<Vec<StepTiming>, SizeError> {
        self.prepare(size)?;
        let program = &self.programs[&size];
        program.input(&mut self.arena).copy_from_slice(images);
        Ok(program.profile(&mut self.arena))
    }

    /// Detects in a batch; boxes in pixels of the network's input.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn detect_batch(
        &mut self,
        images: &[f32],
        size: [usize; 3],
        options: &NmsOptions,
    ) -> Result<(Vec<Vec<Detection>>, Timing), SizeError> {
        self.prepare(size)?;
        self.programs[&size].input(&mut self.arena).copy_from_slice(images);
        Ok(self.run_and_decode(size, &vec![options; size[0]]))
    }

    /// Runs the program; `options` are those of each image.
    fn run_and_decode(&mut self, size: [usize; 3], options: &[&NmsOptions]) -> (Vec<Vec<Detection>>, Timing) {
        let head = self.model.head();
        let start = Instant::now();
        let raw = self.run(size);
        let inference = start.elapsed();
        let start = Instant::now();
        let suppressed = |(i, options): (usize, &&NmsOptions)| {
            nms(&head.decode_above(&raw.levels, &raw.shapes, i, options.conf), head.nc, options)
        };
        let detections = options.iter().enumerate().map(suppressed).collect();
        (detections, Timing { inference, nms: start.elapsed(), ..Timing::default() })
    }

    /// Detects in one image; boxes in pixels of the image.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn detect(
        &mut self,
        image: &Image,
        size: [usize; 2],
        fit: Fit,
        options: &NmsOptions,
    ) -> Result<(Vec<Detection>, [usize; 2], Timing), SizeError> {
        let start = Instant::now();
        let fitted = Fitted::new(Cow::Borrowed(image), size, fit, self.model.max_stride());
        let resizing = start.elapsed();
        let (mut batch, mut timing) = self.detect_fitted(&[(&fitted, options)])?;
        timing.preprocess += resizing;
        let mut detections = batch.swap_remove(0);
        detections.iter_mut().for_each(|d| d.xyxy = fitted.to_original(d.xyxy));
        Ok((detections, fitted.shape(), timing))
    }

    /// Detects in images of one shape, each with options of its own; boxes in pixels of the network's input.
    ///
    /// # Errors
    /// As [`Self::forward`].
    ///
    /// # Panics
    /// Where there is no image, or the shapes differ.
    pub fn detect_fitted(
        &mut self,
        images: &[(&Fitted<'_>, &NmsOptions)],
    ) -> Result<(Vec<Vec<Detection>>, Timing), SizeError> {
        let start = Instant::now();
        let [h, w] = images[0].0.shape();
        assert!(images.iter().all(|(image, _)| image.shape() == [h, w]), "images of one shape");
        let size = [images.len(), h, w];
        self.prepare(size)?;
        let input = self.programs[&size].input(&mut self.arena);
        images.iter().zip(input.chunks_exact_mut(h * w * 3)).for_each(|((image, _), values)| image.write(values));
        let preprocess = start.elapsed();
        let options: Vec<&NmsOptions> = images.iter().map(|(_, options)| *options).collect();
        let (found, timing) = self.run_and_decode(size, &options);
        Ok((found, Timing { preprocess, ..timing }))
    }
}
