//! Suppression inside the graph, with the standard operator `NonMaxSuppression`.
//!
//! The rules are those of `kinglet_vision::nms`: a cell's best class, score = objectness x class probability, greedy by class,
//! the best `max_det` of an image. Shapes: decoded rows `[n, cells, 5 + nc]`; detections `[n, max_det, 6]` = left, top,
//! right, bottom, score, class, best first, and rows of zeros after the last one.
//! Source: `NonMaxSuppression` of the ONNX specification: strictly above both thresholds, as Kinglet's own.
//! Oracle: ONNX Runtime's boxes against those of `kinglet detect`.

use crate::letterbox::Placement;
use crate::lower::{Builder, TO_THE_END};
use crate::proto::AttributeValue::{Int, Ints};
use crate::proto::ElementType;

/// Boxes that enter suppression, `[n, cells, 4]`.
pub(crate) const BOXES: &str = "nms.boxes";
/// Their scores, `[n, classes, cells]`.
pub(crate) const SCORES: &str = "nms.scores";
/// (image, class, cell) of each box that it keeps, `[kept, 3]`.
pub(crate) const CHOSEN: &str = "nms.chosen";
/// Values of a detection.
pub(crate) const COLUMNS: usize = 6;

/// What suppression keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suppression {
    /// The score must be above this.
    pub conf: f32,
    /// A box that overlaps a better one of its class by more than this is dropped.
    pub iou: f32,
    /// Rows of the output for each image.
    pub max_det: usize,
    /// Suppress across classes.
    pub agnostic: bool,
}

impl Default for Suppression {
    fn default() -> Self {
        Suppression { conf: 0.25, iou: 0.45, max_det: 300, agnostic: false }
    }
}

/// Writes the nodes from decoded rows to the output of detections, in pixels of the picture where its place is known.
pub(crate) fn suppress(
    b: &mut Builder<'_>,
    nc: usize,
    rows: &str,
    options: &Suppression,
    place: Option<&Placement>,
    output: &str,
) {
    let part = |b: &mut Builder<'_>, what: &str, from: i64, to: i64| b.slice(rows, what, &[2], &[from], &[to], &[1]);
    let centre = part(b, "nms.centre", 0, 2);
    let size = part(b, "nms.size", 2, 4);
    let objectness = part(b, "nms.objectness", 4, 5);
    let classes = part(b, "nms.classes", 5, TO_THE_END);

    let half = b.floats("nms.half", &[], vec![0.5]);
    let half = b.node("Mul", "nms.half.size", &[&size, &half], vec![]);
    let low = b.node("Sub", "nms.low", &[&centre, &half], vec![]);
    let high = b.node("Add", "nms.high", &[&centre, &half], vec![]);
    [BOXES, SCORES, CHOSEN].iter().for_each(|name| b.reserve(name));
    b.output_node("Concat", BOXES, &[&low, &high], vec![("axis", Int(2))]); // [n, cells, 4]

    let last = || vec![("axis", Int(2)), ("keepdims", Int(1))];
    let best = b.node("ReduceMax", "nms.best", &[&classes], vec![("axes", Ints(vec![2])), ("keepdims", Int(1))]);
    let class = b.node("ArgMax", "nms.class", &[&classes], last()); // [n, cells, 1]
    let score = b.node("Mul", "nms.score", &[&best, &objectness], vec![]); // [n, cells, 1]
    let by_class = if options.agnostic || nc == 1 {
        score.clone()
    } else {
        // Every cell counts for its best class only; zeros of the others are below any threshold.
        let all = b.ints("nms.all_classes", &(0..nc as i64).collect::<Vec<_>>());
        let is_best = b.node("Equal", "nms.is_best", &[&class, &all], vec![]);
        let is_best = b.cast(&is_best, "nms.is_best.float", ElementType::F32);
        b.node("Mul", "nms.score.by_class", &[&is_best, &score], vec![])
    };
    b.output_node("Transpose", SCORES, &[&by_class], vec![("perm", Ints(vec![0, 2, 1]))]);
    let most = b.ints("nms.max_det", &[options.max_det as i64]);
    let iou = b.floats("nms.iou", &[1], vec![options.iou]);
    let conf = b.floats("nms.conf", &[1], vec![options.conf]);
    // Overlap does not depend on which axis comes first.
    b.output_node("NonMaxSuppression", CHOSEN, &[BOXES, SCORES, &most, &iou, &conf], vec![]);

    // (image, class, cell) of each kept box; its score goes to its cell, and all other cells have none.
    let columns = b.ints("nms.image_and_cell", &[0, 2]);
    let cells = b.node("Gather", "nms.cells", &[CHOSEN, &columns], vec![("axis", Int(1))]); // [kept, 2]
    let flat = b.reshape(&score, "nms.score.flat", &[0, -1]); // [n, cells]
    let shape = b.node("Shape", "nms.score.shape", &[&flat], vec![]);
    let nothing = b.node("ConstantOfShape", "nms.nothing", &[&shape], vec![]);
    let kept = b.node("GatherND", "nms.kept.score", &[&flat, &cells], vec![]);
    let kept = b.node("ScatterND", "nms.kept", &[&nothing, &cells, &kept], vec![]); // [n, cells]

    let class = b.cast(&class, "nms.class.float", ElementType::F32);
    let all = b.node("Concat", "nms.rows", &[BOXES, &score, &class], vec![("axis", Int(2))]); // [n, cells, 6]
    // An image may have fewer cells than the output has rows.
    let after = |b: &mut Builder<'_>, x: &str, name: &str, pads: &[i64]| {
        let pads = b.ints(format!("{name}.pads"), pads);
        b.node("Pad", name, &[x, &pads], vec![])
    };
    let rows = options.max_det as i64;
    let kept = after(b, &kept, "nms.kept.padded", &[0, 0, 0, rows]);
    let all = after(b, &all, "nms.rows.padded", &[0, 0, 0, 0, rows, 0]);

    let top = b.node("TopK", "nms.top.score", &[&kept, &most], vec![("axis", Int(1))]); // [n, max_det]
    let index = b.second_output("nms.top".into());
    let top = b.reshape(&top, "nms.top.score.column", &[0, -1, 1]);
    let index = b.reshape(&index, "nms.top.column", &[0, -1, 1]);
    let index = b.node("Concat", "nms.top.columns", &[index.as_str(); COLUMNS], vec![("axis", Int(2))]);
    let mut found = b.node("GatherElements", "nms.found", &[&all, &index], vec![("axis", Int(1))]); // [n, max_det, 6]
    if let Some(place) = place {
        let boxes = b.slice(&found, "nms.found.boxes", &[2], &[0], &[4], &[1]);
        let rest = b.slice(&found, "nms.found.rest", &[2], &[4], &[TO_THE_END], &[1]);
        let boxes = place.corners(b, &boxes);
        found = b.node("Concat", "nms.found.placed", &[&boxes, &rest], vec![("axis", Int(2))]);
    }
    let zero = b.floats("nms.zero", &[], vec![0.0]);
    let real = b.node("Greater", "nms.real", &[&top, &zero], vec![]);
    let real = b.cast(&real, "nms.real.float", ElementType::F32);
    b.output_node("Mul", output, &[&found, &real], vec![]);
}
