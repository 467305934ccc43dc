//! Validation: every image of a split through the detector, the metrics, and optionally the loss.

use crate::TrainError;
use crate::assign::{Level, Target};
use crate::events::Validation;
use crate::loss::Loss;
use kinglet_data::{Dataset, Ignored, IgnoredRegion, Loader, Sample};
use kinglet_eval::matching::{IgnoredBox, LabelBox};
use kinglet_eval::metrics::Evaluator;
use kinglet_nn::Head;
use kinglet_runtime::{Detector, Tiling, Timing};
use kinglet_tensor::Shape;
use kinglet_vision::{DecodeError, Detection, Limits, NmsOptions, cxcywh_to_xyxy, decode, nms};
use std::time::{Duration, Instant};

/// YOLOv5's settings for a validation: every class above 0.001, IoU 0.6, 300 detections.
pub fn nms_options() -> NmsOptions {
    NmsOptions { conf: 0.001, iou: 0.6, max_det: 300, multi_label: true, ..NmsOptions::default() }
}

/// The levels of a head for images whose raw outputs have these shapes: anchors in cells.
pub fn levels(head: &Head, shapes: &[Shape]) -> Vec<Level> {
    let in_cells = |anchors: &[[f32; 2]], stride: usize| anchors.iter().map(|a| a.map(|v| v / stride as f32)).collect();
    shapes
        .iter()
        .zip(head.anchors.iter().zip(&head.strides))
        .map(|(s, (anchors, &stride))| Level { height: s.h, width: s.w, anchors: in_cells(anchors, stride) })
        .collect()
}

/// A sample's labels and ignored regions in pixels of its image.
pub fn label_boxes(sample: &Sample) -> (Vec<LabelBox>, Vec<IgnoredBox>) {
    let (w, h) = (sample.width as f32, sample.height as f32);
    let boxed = |[cx, cy, bw, bh]: [f32; 4]| cxcywh_to_xyxy([cx * w, cy * h, bw * w, bh * h]);
    let labels = sample.labels.iter().map(|l| LabelBox { class: l.class, xyxy: boxed(l.cxcywh) }).collect();
    let region =
        |r: &IgnoredRegion| IgnoredBox { class: r.class, xyxy: boxed(r.cxcywh), crowd: r.why == Ignored::Crowd };
    (labels, sample.ignored.iter().map(region).collect())
}

/// Validates on the loader's images. `progress` hears (batches done, all); `sink` gets each sample with its detections
/// in pixels of the original image. Images that cannot be decoded count nowhere; `Loader::is_broken` names them.
///
/// # Errors
/// An image size that the model cannot take.
pub fn validate(
    detector: &mut Detector,
    loader: &Loader,
    options: &NmsOptions,
    mut loss: Option<&mut Loss>,
    progress: &mut dyn FnMut(usize, usize),
    sink: &mut dyn FnMut(&Sample, &[Detection]),
) -> Result<Validation, TrainError> {
    let head = detector.model().head();
    let dataset = loader.dataset().clone();
    let mut evaluator = Evaluator::new(head.nc);
    let (mut losses, mut shape) = ([0.0; 3], [0; 3]);
    let (mut preprocess, mut inference, mut post) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut pixels = Vec::new();
    let batches = loader.batches();
    for (index, batch) in loader.epoch(0, None).enumerate() {
        let start = Instant::now();
        pixels.resize(batch.images.len(), 0.0);
        batch.write_f32(&mut pixels);
        preprocess += start.elapsed();
        let start = Instant::now();
        let raw = detector.forward(&pixels, [batch.n, batch.h, batch.w])?;
        inference += start.elapsed();
        if let Some(loss) = loss.as_deref_mut() {
            let targets: Vec<Target> = batch.targets.to_vec();
            let parts = loss.compute(&raw.levels, batch.n, &levels(&head, &raw.shapes), &targets, None, 1.0)?;
            for (sum, part) in losses.iter_mut().zip([parts.box_, parts.obj, parts.cls]) {
                *sum += part / batches as f64;
            }
        }
        let start = Instant::now();
        for (image, info) in batch.infos.iter().enumerate().filter(|(_, info)| !loader.is_broken(info.sample)) {
            let rows = head.decode_above(&raw.levels, &raw.shapes, image, options.conf);
            let mut detections = nms(&rows, head.nc, options);
            detections.iter_mut().for_each(|d| d.xyxy = info.to_original(d.xyxy));
            let sample = &dataset.samples[info.sample];
            let (labels, ignored) = label_boxes(sample);
            evaluator.add_image(info.sample, &detections, &labels, &ignored);
            sink(sample, &detections);
        }
        post += start.elapsed();
        if index == 0 {
            shape = [batch.n, batch.h, batch.w];
        }
        progress(index + 1, batches);
    }
    let images = dataset.samples.len().max(1) as f64;
    let speed_ms = [preprocess, inference, post].map(|d| d.as_secs_f64() * 1e3 / images);
    Ok(Validation { report: evaluator.finish(&dataset.names), losses, speed_ms, shape })
}

/// What came of an image: its detections, or why it cannot be decoded.
pub type Seen<'a> = Result<&'a [Detection], &'a DecodeError>;

/// Validates on whole images in tiles; they are read one after another, at their own size. `sink` hears of images
/// that cannot be decoded as well; they count nowhere. The rest is as with [`validate`].
///
/// # Errors
/// As [`validate`].
pub fn validate_tiled(
    detector: &mut Detector,
    dataset: &Dataset,
    side: usize,
    tiling: &Tiling,
    options: &NmsOptions,
    progress: &mut dyn FnMut(usize, usize),
    sink: &mut dyn FnMut(&Sample, Seen<'_>),
) -> Result<Validation, TrainError> {
    let mut evaluator = Evaluator::new(detector.model().head().nc);
    let (mut total, mut shape) = (Timing::default(), [1, side, side]);
    for (index, sample) in dataset.samples.iter().enumerate() {
        match decode::read(&sample.path, &Limits::default()) {
            Ok(decoded) => {
                let (found, [height, width], timing) =
                    detector.detect_tiled(&decoded.image, [side; 2], tiling, options)?;
                total += timing;
                shape = [1, height, width];
                let (labels, ignored) = label_boxes(sample);
                evaluator.add_image(index, &found, &labels, &ignored);
                sink(sample, Ok(&found));
            }
            Err(error) => sink(sample, Err(&error)),
        }
        progress(index + 1, dataset.samples.len());
    }
    let images = dataset.samples.len().max(1) as f64;
    let speed_ms = [total.preprocess, total.inference, total.nms].map(|d| d.as_secs_f64() * 1e3 / images);
    Ok(Validation { report: evaluator.finish(&dataset.names), losses: [0.0; 3], speed_ms, shape })
}
