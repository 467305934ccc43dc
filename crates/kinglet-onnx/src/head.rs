//! Decoding of the head inside the graph: the output `output0` of YOLOv5's exports.
//!
//! With s = sigmoid: xy = (2 s - 0.5 + cell) x stride, wh = (2 s)^2 x anchor, objectness and classes = s.
//! Shapes: a raw level `[n, a (5 + nc), h, w]`; decoded `[n, cells, 5 + nc]`, cells by level, anchor, row, column.
//! Units: pixels of the network's input. Oracle: decoded boxes of the reference implementation.

use crate::lower::{Builder, TO_THE_END};
use crate::proto::AttributeValue::{Int, Ints};
use crate::proto::ElementType;
use kinglet_nn::Head;
use kinglet_tensor::Shape;

/// Writes the nodes that decode the raw levels into the value called `output`, a reserved name.
pub(crate) fn decode(b: &mut Builder<'_>, head: &Head, raw: &[(String, Shape)], output: &str) {
    let decoded: Vec<String> =
        raw.iter().enumerate().map(|(level, (name, shape))| decode_level(b, head, level, name, *shape)).collect();
    let decoded: Vec<&str> = decoded.iter().map(String::as_str).collect();
    b.output_node("Concat", output, &decoded, vec![("axis", Int(1))]);
}

fn decode_level(b: &mut Builder<'_>, head: &Head, level: usize, raw: &str, shape: Shape) -> String {
    let (anchors, values) = (&head.anchors[level], head.values());
    let stride = head.strides[level] as f32;
    let place = |what: &str| format!("decode.{level}.{what}");

    let split = b.reshape(raw, &place("split"), &[0, anchors.len() as i64, values as i64, -1]);
    let last = b.node("Transpose", place("last"), &[&split], vec![("perm", Ints(vec![0, 1, 3, 2]))]); // [n, a, cells, v]
    let s = b.node("Sigmoid", place("sigmoid"), &[&last], vec![]);
    let xy = b.slice(&s, &place("xy.part"), &[3], &[0], &[2], &[1]);
    let wh = b.slice(&s, &place("wh.part"), &[3], &[2], &[4], &[1]);
    let scores = b.slice(&s, &place("scores"), &[3], &[4], &[TO_THE_END], &[1]);

    // (2 s - 0.5 + cell) x stride, with the constants multiplied out.
    let factor = b.floats(place("xy.factor"), &[], vec![2.0 * stride]);
    let corners = corners(b, level, anchors.len(), raw, shape, stride);
    let xy = b.node("Mul", place("xy.scaled"), &[&xy, &factor], vec![]);
    let xy = b.node("Add", place("xy"), &[&xy, &corners], vec![]);

    // (2 s)^2 x anchor = s^2 x (4 anchor). Old releases of OpenCV take no constant that is to be repeated.
    let rows = if b.dynamic { 1 } else { shape.pixels() };
    let sizes = b.floats(
        place("wh.anchors"),
        &[1, anchors.len(), rows, 2],
        anchors.iter().flat_map(|sides| sides.repeat(rows)).map(|side| 4.0 * side).collect(),
    );
    let square = b.node("Mul", place("wh.square"), &[&wh, &wh], vec![]);
    let wh = b.node("Mul", place("wh"), &[&square, &sizes], vec![]);

    let joined = b.node("Concat", place("joined"), &[&xy, &wh, &scores], vec![("axis", Int(3))]);
    b.reshape(&joined, &place("rows"), &[0, -1, values as i64])
}

/// `(cell - 0.5) x stride` of each cell, column and row: a constant, or computed from the level's size where that is free.
fn corners(b: &mut Builder<'_>, level: usize, anchors: usize, raw: &str, shape: Shape, stride: f32) -> String {
    let place = |what: &str| format!("decode.{level}.{what}");
    if !b.dynamic {
        let [h, w] = shape.size();
        let corners = (0..h * w).flat_map(|i| [i % w, i / w]).map(|cell| (cell as f32 - 0.5) * stride);
        let corners = corners.collect::<Vec<_>>().repeat(anchors);
        return b.floats(place("xy.corners"), &[1, anchors, h * w, 2], corners);
    }
    let size = b.node("Shape", place("size"), &[raw], vec![]);
    let [height, width] = [("height", 2), ("width", 3)].map(|(what, axis)| {
        let axis = b.int(place(&format!("{what}.axis")), axis);
        b.node("Gather", place(what), &[&size, &axis], vec![("axis", Int(0))])
    });
    let (zero, one) = (b.int(place("zero"), 0), b.int(place("one"), 1));
    let cells = b.node("Mul", place("cells"), &[&height, &width], vec![]);
    let cell = b.node("Range", place("cell"), &[&zero, &cells, &one], vec![]);
    let column = b.node("Mod", place("column"), &[&cell, &width], vec![]);
    let row = b.node("Div", place("row"), &[&cell, &width], vec![]);
    let column = b.reshape(&column, &place("columns"), &[-1, 1]);
    let row = b.reshape(&row, &place("rows"), &[-1, 1]);
    let both = b.node("Concat", place("grid"), &[&column, &row], vec![("axis", Int(1))]);
    let both = b.cast(&both, place("grid.float"), ElementType::F32);
    let (factor, half) =
        (b.floats(place("stride"), &[], vec![stride]), b.floats(place("half"), &[], vec![stride / 2.0]));
    let scaled = b.node("Mul", place("grid.scaled"), &[&both, &factor], vec![]);
    b.node("Sub", place("xy.corners"), &[&scaled, &half], vec![])
}
