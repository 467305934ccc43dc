//! From images to detections with a trained model: letterbox, forward pass, decoding, suppression.
//!
//! A [`Detector`] compiles its model once for each input shape it meets, into a [`Program`]. `val` and `detect` use this
//! crate; it knows no data sets and no losses.

#![forbid(unsafe_code)]

mod compile;
mod plain;
mod program;
mod tiles;
mod weights;

pub use program::{Program, StepTiming};
pub use tiles::{Tile, Tiling};

use kinglet_kernels::infer::Arena;
use kinglet_nn::{Model, SizeError};
use kinglet_tensor::Shape;
use kinglet_vision::letterbox::LETTERBOX_GREY;
use kinglet_vision::{Detection, Image, Letterbox, NmsOptions, nms, resize};
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
        Ok(self.run_and_decode(size, options))
    }

    fn run_and_decode(&mut self, size: [usize; 3], options: &NmsOptions) -> (Vec<Vec<Detection>>, Timing) {
        let head = self.model.head();
        let start = Instant::now();
        let raw = self.run(size);
        let inference = start.elapsed();
        let start = Instant::now();
        let detections = (0..size[0])
            .map(|i| nms(&head.decode_above(&raw.levels, &raw.shapes, i, options.conf), head.nc, options))
            .collect();
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
        let stride = self.model.max_stride();
        let letterbox = Letterbox::plan(image.height, image.width, size, fit == Fit::Stride, true, stride);
        let (width, height) = letterbox.out;
        self.prepare([1, height, width])?;
        fill(&letterbox, image, self.programs[&[1, height, width]].input(&mut self.arena));
        let preprocess = start.elapsed();
        let (mut batch, mut timing) = self.run_and_decode([1, height, width], options);
        timing.preprocess = preprocess;
        let mut detections = batch.swap_remove(0);
        detections.iter_mut().for_each(|d| d.xyxy = letterbox.unmap_box(d.xyxy));
        Ok((detections, [height, width], timing))
    }
}

/// Letterboxes `image` into `[height, width, 3]` values in 0..=1.
fn fill(letterbox: &Letterbox, image: &Image, values: &mut [f32]) {
    // 255 divisions instead of one a value; the result is the same.
    let scaled: [f32; 256] = std::array::from_fn(|b| b as f32 / 255.0);
    let (width, height) = letterbox.new_size;
    let resized;
    let image = if (image.width, image.height) == (width, height) {
        image
    } else {
        resized = resize::resize_bilinear(image, width, height);
        &resized
    };
    let grey = scaled[usize::from(LETTERBOX_GREY[0])];
    let [left, top] = letterbox.pad;
    for (y, row) in values.chunks_exact_mut(letterbox.out.0.max(1) * 3).enumerate() {
        if !(top..top + height).contains(&y) {
            row.fill(grey);
            continue;
        }
        row[..left * 3].fill(grey);
        row[(left + width) * 3..].fill(grey);
        let pixels = image.row(y - top);
        row[left * 3..(left + width) * 3].iter_mut().zip(pixels).for_each(|(v, &b)| *v = scaled[usize::from(b)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_filled_in_as_the_letterbox_draws_it() {
        for (width, height, target) in [(64, 48, [64, 64]), (31, 77, [64, 96]), (40, 20, [32, 64])] {
            let mut image = Image::new(width, height, [0; 3]);
            image.data.iter_mut().enumerate().for_each(|(i, b)| *b = (i * 37 % 251) as u8);
            for auto in [false, true] {
                let letterbox = Letterbox::plan(height, width, target, auto, true, 32);
                let want: Vec<f32> = letterbox.apply(&image).data.iter().map(|&b| f32::from(b) / 255.0).collect();
                let mut got = vec![f32::NAN; want.len()];
                fill(&letterbox, &image, &mut got);
                assert_eq!(got, want, "{width} x {height} into {target:?}, auto {auto}");
            }
        }
    }
}
