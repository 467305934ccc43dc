//! Decoding of the head inside the graph: the output `output0` of YOLOv5's exports.
//!
//! With s = sigmoid: xy = (2 s - 0.5 + cell) x stride, wh = (2 s)^2 x anchor, objectness and classes = s.
//! Shapes: a raw level `[n, a (5 + nc), h, w]`; decoded `[n, cells, 5 + nc]`, cells by level, anchor, row, column.
//! Units: pixels of the network's input. Oracle: decoded boxes of the reference implementation.

use crate::lower::Builder;
use crate::proto::AttributeValue::{Int, Ints};
use kinglet_nn::Head;
use kinglet_tensor::Shape;

/// Slices to the end of an axis name this.
const TO_THE_END: i64 = i64::MAX;

/// Writes the nodes that decode the raw levels into the value called `output`; gives its shape.
pub(crate) fn decode(b: &mut Builder<'_>, head: &Head, raw: &[(String, Shape)], output: &str) -> [usize; 3] {
    let batch = raw.first().map_or(1, |(_, shape)| shape.n);
    let values = head.values();
    let mut cells = 0;
    let mut decoded = Vec::new();
    for (level, (name, shape)) in raw.iter().enumerate() {
        decoded.push(decode_level(b, head, level, name, *shape));
        cells += head.anchors[level].len() * shape.pixels();
    }
    let decoded: Vec<&str> = decoded.iter().map(String::as_str).collect();
    b.output_node("Concat", output, &decoded, vec![("axis", Int(1))]);
    [batch, cells, values]
}

fn decode_level(b: &mut Builder<'_>, head: &Head, level: usize, raw: &str, shape: Shape) -> String {
    let (anchors, values) = (&head.anchors[level], head.values());
    let (stride, [h, w]) = (head.strides[level] as f32, shape.size());
    let place = |what: &str| format!("decode.{level}.{what}");

    let five = [shape.n, anchors.len(), values, h, w].map(|n| n as i64);
    let five = b.ints(place("split.shape"), &five);
    let split = b.node("Reshape", place("split"), &[raw, &five], vec![]);
    let last = b.node("Transpose", place("last"), &[&split], vec![("perm", Ints(vec![0, 1, 3, 4, 2]))]);
    let s = b.node("Sigmoid", place("sigmoid"), &[&last], vec![]);
    let xy = b.slice(&s, &place("xy.part"), &[4], &[0], &[2], &[1]);
    let wh = b.slice(&s, &place("wh.part"), &[4], &[2], &[4], &[1]);
    let scores = b.slice(&s, &place("scores"), &[4], &[4], &[TO_THE_END], &[1]);

    // (2 s - 0.5 + cell) x stride, with the constants multiplied out.
    let factor = b.floats(place("xy.factor"), &[], vec![2.0 * stride]);
    let corners = (0..h * w).flat_map(|i| [i % w, i / w]).map(|cell| (cell as f32 - 0.5) * stride).collect();
    let corners = b.floats(place("xy.corners"), &[1, 1, h, w, 2], corners);
    let xy = b.node("Mul", place("xy.scaled"), &[&xy, &factor], vec![]);
    let xy = b.node("Add", place("xy"), &[&xy, &corners], vec![]);

    // (2 s)^2 x anchor = s^2 x (4 anchor).
    let sizes = b.floats(
        place("wh.anchors"),
        &[1, anchors.len(), 1, 1, 2],
        anchors.iter().flatten().map(|side| 4.0 * side).collect(),
    );
    let square = b.node("Mul", place("wh.square"), &[&wh, &wh], vec![]);
    let wh = b.node("Mul", place("wh"), &[&square, &sizes], vec![]);

    let joined = b.node("Concat", place("joined"), &[&xy, &wh, &scores], vec![("axis", Int(4))]);
    let rows = [shape.n, anchors.len() * h * w, values].map(|n| n as i64);
    let rows = b.ints(place("rows.shape"), &rows);
    b.node("Reshape", place("rows"), &[&joined, &rows], vec![])
}
