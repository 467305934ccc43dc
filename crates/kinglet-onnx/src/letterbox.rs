//! Letterbox inside the graph: from pictures as they are decoded to the network's input, and the way back for boxes.
//!
//! The geometry is that of `kinglet_vision::Letterbox`, padded to the next multiple of the stride as `kinglet detect` does.
//! For pictures of one size it is planned here; for pictures of any size the graph computes it.
//! Shapes: pictures `[n, h, w, 3]` of bytes, RGB; the network's input `[n, 3, h, w]`, 0 to 1.
//! Resizing is bilinear with half-pixel centres, rounded to whole grey levels: fixed-point rounding, as OpenCV's and
//! Kinglet's, differs by one level now and then. Oracle: Kinglet's own letterbox and detections.

use crate::lower::Builder;
use crate::proto::AttributeValue::{Int, Ints, Text};
use crate::proto::ElementType;
use kinglet_vision::Letterbox;
use kinglet_vision::letterbox::LETTERBOX_GREY;

/// The value that the network reads: letterboxed pictures.
pub(crate) const LETTERBOXED: &str = "letterbox";

/// What geometry to write.
pub(crate) enum Geometry {
    /// For pictures of one size.
    Planned(Letterbox),
    /// For pictures of any size.
    Free {
        /// Height and width to fit into.
        size: [usize; 2],
        /// Sides are multiples of this.
        stride: usize,
    },
}

/// Where the pictures lie in the network's input. Its nodes are written where boxes need them.
pub(crate) enum Placement {
    /// Known beforehand.
    Planned(Letterbox),
    /// Computed: names of values, pairs of height and width.
    Free {
        /// Padding before the picture, whole numbers.
        before: String,
        /// Of the picture, floats.
        size: String,
        /// To fit into, floats.
        target: String,
    },
}

impl Placement {
    /// Left and top `[2]`; pixels of the input for a pixel of the picture `[1]`.
    fn pad_and_ratio(&self, b: &mut Builder<'_>) -> [String; 2] {
        match self {
            Placement::Planned(plan) => [
                b.floats("place.pad", &[2], plan.pad.map(|pixels| pixels as f32).to_vec()),
                b.floats("place.ratio", &[1], vec![plan.ratio]),
            ],
            Placement::Free { before, size, target } => {
                let before = b.cast(before, "place.before", ElementType::F32);
                let ratios = b.node("Div", "place.ratios", &[target, size], vec![]);
                let first = vec![("axes", Ints(vec![0])), ("keepdims", Int(1))];
                [turned(b, &before, "place.pad"), b.node("ReduceMin", "place.ratio", &[&ratios], first)]
            }
        }
    }

    /// Width and height of the picture `[2]`.
    fn picture(&self, b: &mut Builder<'_>) -> String {
        match self {
            Placement::Planned(plan) => {
                b.floats("place.size", &[2], vec![plan.original.0 as f32, plan.original.1 as f32])
            }
            Placement::Free { size, .. } => turned(b, size, "place.size"),
        }
    }

    /// Boxes `[.., 4]` as corners, in pixels of the picture and clipped there.
    pub(crate) fn corners(&self, b: &mut Builder<'_>, boxes: &str) -> String {
        let twice = |b: &mut Builder<'_>, what: &str, x: &str| b.node("Concat", what, &[x, x], vec![("axis", Int(0))]);
        let ([pad, ratio], size) = (self.pad_and_ratio(b), self.picture(b));
        let pad = twice(b, "place.pad.twice", &pad);
        let most = twice(b, "place.size.twice", &size);
        let moved = b.node("Sub", "place.moved", &[boxes, &pad], vec![]);
        let scaled = b.node("Div", "place.scaled", &[&moved, &ratio], vec![]);
        let zero = b.floats("place.zero", &[], vec![0.0]);
        let above = b.node("Max", "place.above", &[&scaled, &zero], vec![]);
        b.node("Min", "place.clipped", &[&above, &most], vec![])
    }

    /// Decoded rows with their boxes in pixels of the picture, as an output.
    pub(crate) fn rows(&self, b: &mut Builder<'_>, rows: &str, values: usize, output: &str) {
        let zeros = b.floats("place.zeros", &[values - 2], vec![0.0; values - 2]);
        let ones = b.floats("place.ones", &[values - 4], vec![1.0; values - 4]);
        let axis = || vec![("axis", Int(0))];
        let [pad, ratio] = &self.pad_and_ratio(b);
        let offset = b.node("Concat", "place.offset", &[pad, &zeros], axis());
        let divisor = b.node("Concat", "place.divisor", &[ratio, ratio, ratio, ratio, &ones], axis());
        let moved = b.node("Sub", "place.moved", &[rows, &offset], vec![]);
        b.output_node("Div", output, &[&moved, &divisor], vec![]);
    }
}

/// A pair the other way round.
fn turned(b: &mut Builder<'_>, pair: &str, name: &str) -> String {
    let order = b.ints(format!("{name}.order"), &[1, 0]);
    b.node("Gather", name, &[pair, &order], vec![("axis", Int(0))])
}

/// Writes the nodes from the pictures to the network's input; gives where the pictures lie in it.
pub(crate) fn letterbox(b: &mut Builder<'_>, pictures: &str, batch: usize, geometry: &Geometry) -> Placement {
    let floats = b.cast(pictures, "letterbox.float", ElementType::F32);
    let maps = b.node("Transpose", "letterbox.channels", &[&floats], vec![("perm", Ints(vec![0, 3, 1, 2]))]);
    let (sizes, pads, placement) = match geometry {
        Geometry::Planned(plan) => planned(b, batch, plan),
        Geometry::Free { size, stride } => free(b, pictures, *size, *stride),
    };
    let mut maps = maps;
    if let Some(sizes) = sizes {
        let resized = b.resize_to(&maps, &sizes, "letterbox.resized");
        maps = b.node("Round", "letterbox.rounded", &[&resized], vec![]);
    }
    if let Some(pads) = pads {
        let grey = b.floats("letterbox.grey", &[], vec![f32::from(LETTERBOX_GREY[0])]);
        maps = b.node("Pad", "letterbox.padded", &[&maps, &pads, &grey], vec![("mode", Text("constant"))]);
    }
    let white = b.floats("letterbox.white", &[], vec![255.0]);
    b.output_node("Div", LETTERBOXED, &[&maps, &white], vec![]);
    placement
}

/// Sizes to resize to, pads, and placement: constants. What changes nothing is left out.
fn planned(b: &mut Builder<'_>, batch: usize, plan: &Letterbox) -> (Option<String>, Option<String>, Placement) {
    let (w, h) = plan.new_size;
    let [left, top] = plan.pad;
    let (right, bottom) = (plan.out.0 - w - left, plan.out.1 - h - top);
    let sizes =
        (plan.new_size != plan.original).then(|| b.ints("letterbox.sizes", &[batch, 3, h, w].map(|n| n as i64)));
    let pads = (plan.out != plan.new_size)
        .then(|| b.ints("letterbox.pads", &[0, 0, top, left, 0, 0, bottom, right].map(|n| n as i64)));
    (sizes, pads, Placement::Planned(*plan))
}

/// The same, computed from the pictures' size. Pairs are height and width.
fn free(
    b: &mut Builder<'_>,
    pictures: &str,
    target: [usize; 2],
    stride: usize,
) -> (Option<String>, Option<String>, Placement) {
    let axis = |axis: i64| vec![("axis", Int(axis))];
    let shape = b.node("Shape", "letterbox.shape", &[pictures], vec![]);
    let n = b.slice(&shape, "letterbox.n", &[0], &[0], &[1], &[1]);
    let size = b.slice(&shape, "letterbox.size", &[0], &[1], &[3], &[1]);
    let size = b.cast(&size, "letterbox.size.float", ElementType::F32); // [2]
    let targets = b.floats("letterbox.target", &[2], target.map(|side| side as f32).to_vec());

    // The size after each of the two ratios; the smaller one counts. Multiplied first, so that whole numbers stay whole.
    let columns = |b: &mut Builder<'_>, x: &str, name: &str| b.reshape(x, name, &[2, 1]);
    let by_target = columns(b, &targets, "letterbox.target.column");
    let by_size = columns(b, &size, "letterbox.size.column");
    let scaled = b.node("Mul", "letterbox.scaled", &[&size, &by_target], vec![]);
    let scaled = b.node("Div", "letterbox.fitted", &[&scaled, &by_size], vec![]);
    let scaled = b.node("Round", "letterbox.fitted.whole", &[&scaled], vec![]); // half to even
    let first = vec![("axes", Ints(vec![0])), ("keepdims", Int(1))];
    let new = b.node("ReduceMin", "letterbox.new", &[&scaled], first); // [1, 2]
    let one = b.floats("letterbox.one", &[], vec![1.0]);
    let new = b.node("Max", "letterbox.new.least", &[&new, &one], vec![]);
    let new = b.reshape(&new, "letterbox.new.pair", &[2]);
    let new = b.cast(&new, "letterbox.new.whole", ElementType::I64);
    let channels = b.ints("letterbox.three", &[3]);
    let sizes = b.node("Concat", "letterbox.sizes", &[&n, &channels, &new], axis(0));

    let whole_target = b.ints("letterbox.target.whole", &target.map(|side| side as i64));
    let missing = b.node("Sub", "letterbox.missing", &[&whole_target, &new], vec![]);
    let stride = b.ints("letterbox.stride", &[stride as i64]);
    let missing = b.node("Mod", "letterbox.padding", &[&missing, &stride], vec![]);
    let two = b.ints("letterbox.two", &[2]);
    let before = b.node("Div", "letterbox.before", &[&missing, &two], vec![]); // top, left
    let after = b.node("Sub", "letterbox.after", &[&missing, &before], vec![]);
    let none = b.ints("letterbox.none", &[0, 0]);
    let pads = b.node("Concat", "letterbox.pads", &[&none, &before, &none, &after], axis(0));
    (Some(sizes), Some(pads), Placement::Free { before, size, target: targets })
}
