//! From raw head outputs to boxes in pixels.
//!
//! With s = sigmoid: xy = (2 s - 0.5 + cell) x stride, wh = (2 s)^2 x anchor, objectness and classes = s.
//! Shapes: raw levels `[n, h, w, a (5 + nc)]`; decoded `[n, cells, 5 + nc]`, cells ordered by level, anchor, row, column.

use kinglet_tensor::Shape;
use std::ops::Range;

/// What decoding and the loss need to know of the head.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Classes.
    pub nc: usize,
    /// Anchors in pixels, by level.
    pub anchors: Vec<Vec<[f32; 2]>>,
    /// Input pixels a cell, by level.
    pub strides: Vec<usize>,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// What an objectness must exceed before the sigmoid so that it may exceed `conf` after it. A margin below keeps what
/// rounding puts on the other side; suppression compares exactly.
pub fn least_logit(conf: f32) -> f32 {
    if conf > 0.0 { (conf / (1.0 - conf).max(1e-9)).ln() - 1e-3 } else { f32::NEG_INFINITY }
}

impl Head {
    /// Values of one cell and anchor.
    pub fn values(&self) -> usize {
        5 + self.nc
    }

    /// Decoded rows of one image.
    pub fn cells(&self, shapes: &[Shape]) -> usize {
        shapes.iter().zip(&self.anchors).map(|(s, a)| s.pixels() * a.len()).sum()
    }

    /// Decodes image `image` of the batch: rows (x, y, w, h, objectness, classes), pixels of the network's input.
    pub fn decode(&self, raw: &[&[f32]], shapes: &[Shape], image: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.cells(shapes) * self.values());
        self.decode_where(raw, shapes, image, f32::NEG_INFINITY, 0..raw.len(), &mut out);
        out
    }

    /// The same for the rows whose objectness exceeds `conf`, in the same order.
    pub fn decode_above(&self, raw: &[&[f32]], shapes: &[Shape], image: usize, conf: f32) -> Vec<f32> {
        self.decode_levels(raw, shapes, image, conf, 0..raw.len())
    }

    /// The same for some of the levels.
    pub fn decode_levels(
        &self,
        raw: &[&[f32]],
        shapes: &[Shape],
        image: usize,
        conf: f32,
        levels: Range<usize>,
    ) -> Vec<f32> {
        let mut out = Vec::new();
        self.decode_where(raw, shapes, image, least_logit(conf), levels, &mut out);
        out
    }

    fn decode_where(
        &self,
        raw: &[&[f32]],
        shapes: &[Shape],
        image: usize,
        logit: f32,
        levels: Range<usize>,
        out: &mut Vec<f32>,
    ) {
        let no = self.values();
        for level in levels {
            let (data, shape) = (raw[level], &shapes[level]);
            let stride = self.strides[level] as f32;
            let data = &data[image * shape.pixels() * shape.c..][..shape.pixels() * shape.c];
            for (a, anchor) in self.anchors[level].iter().enumerate() {
                for (cell, pixel) in data.chunks_exact(shape.c).enumerate() {
                    let v = &pixel[a * no..][..no];
                    if v[4] <= logit {
                        continue;
                    }
                    let (row, column) = (cell / shape.w, cell % shape.w);
                    out.push((sigmoid(v[0]) * 2.0 - 0.5 + column as f32) * stride);
                    out.push((sigmoid(v[1]) * 2.0 - 0.5 + row as f32) * stride);
                    out.push((sigmoid(v[2]) * 2.0).powi(2) * anchor[0]);
                    out.push((sigmoid(v[3]) * 2.0).powi(2) * anchor[1]);
                    out.extend(v[4..].iter().map(|&x| sigmoid(x)));
                }
            }
        }
    }
}
