//! From images to detections with a trained model: letterbox, forward pass, decoding, suppression.
//!
//! `val` and `detect` use this crate; it knows no data sets and no losses.

#![forbid(unsafe_code)]

use kinglet_nn::{Model, Recording, SizeError};
use kinglet_tensor::{Mode, Session, Shape};
use kinglet_vision::{Detection, Image, Letterbox, NmsOptions, nms};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A model ready to detect.
#[derive(Debug)]
pub struct Detector {
    model: Model,
    session: Session,
    recordings: HashMap<[usize; 3], Recording>,
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
        Detector { model, session: Session::default(), recordings: HashMap::new() }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Replaces the parameters' values, in the model's order; recordings and memory stay.
    pub fn set_values(&mut self, values: &[Vec<f32>]) {
        self.model.params.values_mut().iter_mut().zip(values).for_each(|(to, from)| to.copy_from_slice(from));
    }

    /// Runs the network on `n` images `[n, h, w, 3]` of values in 0..=1.
    ///
    /// # Errors
    /// A size that is not a multiple of the model's stride.
    pub fn forward(&mut self, images: &[f32], [n, h, w]: [usize; 3]) -> Result<RawLevels<'_>, SizeError> {
        if !self.recordings.contains_key(&[n, h, w]) {
            let recording = self.model.record(n, [h, w])?;
            self.recordings.insert([n, h, w], recording);
        }
        let recording = &self.recordings[&[n, h, w]];
        self.session.forward(&recording.graph, &mut self.model.params, images, Mode::Evaluate);
        let levels = recording.graph.outputs().iter().map(|&v| self.session.value(v)).collect();
        Ok(RawLevels { levels, shapes: recording.head_shapes() })
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
        let head = self.model.head();
        let start = Instant::now();
        let raw = self.forward(images, size)?;
        let inference = start.elapsed();
        let start = Instant::now();
        let detections = (0..size[0])
            .map(|i| nms(&head.decode_above(&raw.levels, &raw.shapes, i, options.conf), head.nc, options))
            .collect();
        Ok((detections, Timing { inference, nms: start.elapsed(), ..Timing::default() }))
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
        let stride = self.model.max_stride();
        let letterbox = Letterbox::plan(image.height, image.width, size, fit == Fit::Stride, true, stride);
        let input = letterbox.apply(image);
        let pixels: Vec<f32> = input.data.iter().map(|&b| f32::from(b) / 255.0).collect();
        let preprocess = start.elapsed();
        let (mut batch, mut timing) = self.detect_batch(&pixels, [1, input.height, input.width], options)?;
        timing.preprocess = preprocess;
        let mut detections = batch.swap_remove(0);
        detections.iter_mut().for_each(|d| d.xyxy = letterbox.unmap_box(d.xyxy));
        Ok((detections, [input.height, input.width], timing))
    }
}
