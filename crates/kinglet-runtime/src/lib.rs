//! From images to detections with a trained model: letterbox, forward pass, decoding, suppression.
//!
//! A [`Detector`] compiles its model once for each input shape it meets, into a [`Program`]. It may hold several models
//! (an ensemble) and look at each picture several times (test-time augmentation). `val` and `detect` use this crate; it
//! knows no data sets and no losses.

#![forbid(unsafe_code)]

mod compile;
mod fitted;
mod network;
mod plain;
mod program;
mod tiles;
mod views;
mod weights;

pub use fitted::Fitted;
pub use program::{Program, StepTiming};
pub use tiles::{Tile, Tiling};

use kinglet_kernels::threads::wake;
use kinglet_nn::{Model, SizeError};
use kinglet_tensor::Shape;
use kinglet_vision::{Detection, Image, NmsOptions, nms};
use network::Network;
use std::borrow::Cow;
use std::time::{Duration, Instant};
use views::View;

/// One model, or several as an ensemble, ready to detect.
#[derive(Debug)]
pub struct Detector {
    /// At least one.
    networks: Vec<Network>,
    /// How each looks at a picture.
    views: &'static [View],
    /// Whether class scores are computed that no detection can need.
    all_scores: bool,
}

/// Models that cannot answer together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the models of an ensemble must know the same classes, found {counts:?} classes; leave out those that differ")]
pub struct EnsembleError {
    /// Classes of each model.
    pub counts: Vec<usize>,
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

/// `side` of an image raised to a multiple of `stride`, at least twice it: what a model can see.
pub fn raised(side: usize, stride: usize) -> usize {
    side.div_ceil(stride).max(2) * stride
}

impl Detector {
    /// A detector for a model whose parameters have values.
    pub fn new(model: Model) -> Self {
        Self::of(vec![model])
    }

    fn of(models: Vec<Model>) -> Self {
        let networks = models.into_iter().map(Network::new).collect();
        Detector { networks, views: views::PLAIN, all_scores: false }
    }

    /// Several models, or one, that are asked together: what they find is joined before suppression.
    ///
    /// # Errors
    /// Models with different numbers of classes, or none.
    pub fn ensemble(models: Vec<Model>) -> Result<Self, EnsembleError> {
        let counts: Vec<usize> = models.iter().map(|m| m.spec.nc).collect();
        if counts.is_empty() || counts.iter().any(|&nc| nc != counts[0]) {
            return Err(EnsembleError { counts });
        }
        Ok(Self::of(models))
    }

    /// With test-time augmentation, or without.
    #[must_use]
    pub fn augmented(self, on: bool) -> Self {
        Detector { views: if on { views::AUGMENTED } else { views::PLAIN }, ..self }
    }

    /// With the class scores of all cells, as other engines compute them, or only of those whose objectness passes the
    /// threshold. Detections are the same.
    #[must_use]
    pub fn all_scores(self, on: bool) -> Self {
        Detector { all_scores: on, ..self }
    }

    /// The objectness above which class scores are computed, where detections must have more than `conf`.
    fn least_objectness(&self, conf: f32) -> f32 {
        if self.all_scores { 0.0 } else { conf }
    }

    /// The model; the first of an ensemble.
    pub fn model(&self) -> &Model {
        &self.networks[0].model
    }

    /// What image sides must be multiples of: the largest stride of all models.
    pub fn max_stride(&self) -> usize {
        self.networks.iter().map(|n| n.model.max_stride()).max().expect("a detector has a model")
    }

    /// Replaces the parameters' values of the (first) model, in its order. Programs are compiled anew when they are needed.
    pub fn set_values(&mut self, values: &[Vec<f32>]) {
        self.networks[0].set_values(values);
    }

    /// Bytes of the folded weights and of the arenas, beside the models' own parameters.
    pub fn memory_bytes(&self) -> usize {
        self.networks.iter().map(Network::memory_bytes).sum()
    }

    /// Whether it is a single model that sees each picture as it is.
    fn is_plain(&self) -> bool {
        self.networks.len() == 1 && self.views == views::PLAIN
    }

    /// Runs the (first) network on `n` images `[n, h, w, 3]` of values in 0..=1.
    ///
    /// # Errors
    /// A size that is not a multiple of the model's stride.
    ///
    /// # Panics
    /// If `images` has another length.
    pub fn forward(&mut self, images: &[f32], size: [usize; 3]) -> Result<RawLevels<'_>, SizeError> {
        self.networks[0].prepare(size)?.copy_from_slice(images);
        Ok(self.networks[0].run(size, 0.0))
    }

    /// The time of every step of the (first) network on such images, where detections must have more than `conf`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn profile(&mut self, images: &[f32], size: [usize; 3], conf: f32) -> Result<Vec<StepTiming>, SizeError> {
        let least = self.least_objectness(conf);
        self.networks[0].profile(images, size, least)
    }

    /// Decoded rows of each image of a batch whose objectness may exceed `conf`, in pixels of the given images: of all
    /// models and views, ready for suppression. The time for decoding is in `Timing::nms`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn predict(
        &mut self,
        images: &[f32],
        size: [usize; 3],
        conf: f32,
    ) -> Result<(Vec<Vec<f32>>, Timing), SizeError> {
        if self.is_plain() {
            self.networks[0].prepare(size)?.copy_from_slice(images);
            return Ok(self.run_plain(size, conf));
        }
        let least = self.least_objectness(conf);
        let [n, h, w] = size;
        let (mut all, mut timing) = (vec![Vec::new(); n], Timing::default());
        for network in &mut self.networks {
            let (stride, head) = (network.model.max_stride(), network.model.head());
            for view in self.views {
                let start = Instant::now();
                let [height, width] = view.size([h, w], stride);
                network.prepare([n, height, width])?.copy_from_slice(&view.show(images, size, stride));
                let raw = network.run([n, height, width], least);
                timing.inference += start.elapsed();
                let start = Instant::now();
                for (image, all) in all.iter_mut().enumerate() {
                    let mut rows =
                        head.decode_levels(&raw.levels, &raw.shapes, image, conf, view.levels(raw.levels.len()));
                    view.undo(&mut rows, head.values(), w);
                    all.append(&mut rows);
                }
                timing.nms += start.elapsed();
            }
        }
        Ok((all, timing))
    }

    /// [`Self::predict`] of a plain detector, on what the program's input holds.
    fn run_plain(&mut self, size: [usize; 3], conf: f32) -> (Vec<Vec<f32>>, Timing) {
        let (head, least) = (self.model().head(), self.least_objectness(conf));
        let start = Instant::now();
        let raw = self.networks[0].run(size, least);
        let inference = start.elapsed();
        let start = Instant::now();
        let rows = (0..size[0]).map(|i| head.decode_above(&raw.levels, &raw.shapes, i, conf)).collect();
        (rows, Timing { inference, nms: start.elapsed(), ..Timing::default() })
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
        let predicted = self.predict(images, size, options.conf)?;
        Ok(self.suppressed(predicted, &vec![options; size[0]]))
    }

    /// Suppression with the options of each image.
    fn suppressed(
        &self,
        (rows, mut timing): (Vec<Vec<f32>>, Timing),
        options: &[&NmsOptions],
    ) -> (Vec<Vec<Detection>>, Timing) {
        let start = Instant::now();
        let nc = self.model().spec.nc;
        let detections = rows.iter().zip(options).map(|(rows, options)| nms(rows, nc, options)).collect();
        timing.nms += start.elapsed();
        (detections, timing)
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
        let fitted = Fitted::new(Cow::Borrowed(image), size, fit, self.max_stride());
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
        // Workers slept while the picture was decoded: they wake while this thread turns bytes into floats.
        wake();
        let [h, w] = images[0].0.shape();
        assert!(images.iter().all(|(image, _)| image.shape() == [h, w]), "images of one shape");
        let size = [images.len(), h, w];
        // What one image does not want, its suppression leaves out.
        let conf = images.iter().map(|(_, options)| options.conf).fold(f32::INFINITY, f32::min);
        let write = |values: &mut [f32]| {
            images.iter().zip(values.chunks_exact_mut(h * w * 3)).for_each(|((image, _), values)| image.write(values));
            start.elapsed()
        };
        let (predicted, preprocess) = if self.is_plain() {
            let preprocess = write(self.networks[0].prepare(size)?);
            (self.run_plain(size, conf), preprocess)
        } else {
            let mut values = vec![0.0; images.len() * h * w * 3];
            let preprocess = write(&mut values);
            (self.predict(&values, size, conf)?, preprocess)
        };
        let options: Vec<&NmsOptions> = images.iter().map(|(_, options)| *options).collect();
        let (found, timing) = self.suppressed(predicted, &options);
        Ok((found, Timing { preprocess, ..timing }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_raised_to_the_stride_and_to_two_cells_at_least() {
        assert_eq!([raised(640, 32), raised(641, 32), raised(32, 32), raised(100, 64)], [640, 672, 64, 128]);
    }
}
