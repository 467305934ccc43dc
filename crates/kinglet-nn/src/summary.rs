//! The model table: what `kinglet inspect` and the start of a training print.

use crate::Model;
use kinglet_spec::Shape;
use std::fmt;

/// One row of the table.
#[derive(Debug, Clone)]
pub struct LayerSummary {
    /// Row number.
    pub index: usize,
    /// `from` as written.
    pub from: Vec<i64>,
    /// Repeats after the depth multiple.
    pub number: usize,
    /// The block's name.
    pub module: String,
    /// Arguments as YOLOv5 prints them.
    pub args: String,
    /// Learnt values.
    pub params: usize,
    /// Output of one image.
    pub shape: Shape,
    /// Input pixels a cell.
    pub stride: usize,
    /// Multiply-adds for one image.
    pub macs: u64,
}

/// The whole table.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The model's name.
    pub name: String,
    /// The rows.
    pub layers: Vec<LayerSummary>,
    /// Learnt values.
    pub params: usize,
    /// Multiply-adds for one image.
    pub macs: u64,
    /// The image that shapes and arithmetic are for.
    pub image: Shape,
    /// Strides of the head.
    pub strides: Vec<usize>,
}

impl Summary {
    /// Counts a model's layers at the image size that it was resolved for.
    pub fn new(model: &Model) -> Self {
        let spec = &model.spec;
        let recording = model.clone().record_unchecked(1, [spec.image.height, spec.image.width]);
        let mut layers: Vec<LayerSummary> = spec
            .layers
            .iter()
            .map(|l| LayerSummary {
                index: l.index,
                from: l.from.clone(),
                number: l.number,
                module: l.block.to_owned(),
                args: l.args_text.clone(),
                params: 0,
                shape: l.output,
                stride: l.stride,
                macs: 0,
            })
            .collect();
        for (_, param) in model.params.iter().filter(|(_, p)| p.kind.learns()) {
            let layer = model.layer_of(&param.name).expect("parameters are named by their layer");
            layers[layer].params += param.len();
        }
        for node in recording.graph.nodes() {
            layers[node.layer].macs += node.macs;
        }
        Summary {
            name: spec.name.clone(),
            params: model.params.learnt_values(),
            macs: layers.iter().map(|l| l.macs).sum(),
            layers,
            image: spec.image,
            strides: spec.head_strides.clone(),
        }
    }

    /// Billions of operations, two a multiply-add, as YOLOv5 counts.
    pub fn gflops(&self) -> f64 {
        self.macs as f64 * 2.0 / 1e9
    }

    /// `1,872,157 parameters, 4.47 GFLOP at 640x640`.
    pub fn totals(&self) -> String {
        let Shape { height, width, .. } = self.image;
        format!("{} parameters, {:.2} GFLOP at {width}x{height}", grouped(self.params), self.gflops())
    }
}

/// Columns for the arguments, at most.
const WIDEST_ARGUMENTS: usize = 44;

fn from_text(from: &[i64]) -> String {
    match from {
        [one] => one.to_string(),
        many => format!("{many:?}"),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.layers.iter().map(|l| l.args.len()).max().unwrap_or(0).clamp(9, WIDEST_ARGUMENTS);
        writeln!(
            f,
            "{:>3} {:>18} {:>3} {:>9}  {:<17} {:<widest$} {:>16} {:>6} {:>8}",
            "", "from", "n", "params", "module", "arguments", "output (c,h,w)", "stride", "GFLOP"
        )?;
        for l in &self.layers {
            let shape = format!("{}x{}x{}", l.shape.channels, l.shape.height, l.shape.width);
            writeln!(
                f,
                "{:>3} {:>18} {:>3} {:>9}  {:<17} {:<widest$} {:>16} {:>6} {:>8.3}",
                l.index,
                from_text(&l.from),
                l.number,
                l.params,
                l.module,
                shortened(&l.args, widest),
                shape,
                l.stride,
                l.macs as f64 * 2e-9
            )?;
        }
        write!(f, "{} summary: {} layers, {}", self.name, self.layers.len(), self.totals())
    }
}

/// The text, cut with dots where it is longer than `width`; the head's anchors would push the columns apart.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 3).chain("...".chars()).collect()
}

/// Digits in groups of three: 5,206,333.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}
