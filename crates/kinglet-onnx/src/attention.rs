//! Attention as ONNX nodes.

use crate::lower::{Builder, POINTWISE};
use crate::proto::AttributeValue::{Int, Ints};
use kinglet_tensor::Shape;
use kinglet_tensor::ops::Attention;

impl Builder<'_> {
    /// Projections as 1x1 convolutions, heads as a dimension of matrix products. The factor of the queries is in their
    /// projection.
    pub(crate) fn attention(&mut self, op: &Attention, s: Shape, inputs: &[&str]) -> String {
        let name = self.owner(op.projection[0]);
        let (c, depth) = (s.c, s.c / op.heads);
        let scale = (1.0 / (depth as f64).sqrt()) as f32;
        let [q, k, v] = ["q", "k", "v"].map(|what| what.to_owned());
        let mut split = Vec::with_capacity(3);
        for (j, (input, what)) in inputs.iter().zip([&q, &k, &v]).enumerate() {
            let factor = if j == 0 { scale } else { 1.0 };
            let weight = self.params.get(op.projection[0])[j * c * c..][..c * c].iter().map(|w| w * factor).collect();
            let bias = self.params.get(op.projection[1])[j * c..][..c].iter().map(|b| b * factor).collect();
            let part = format!("{name}.{what}");
            let projected = self.conv(&part, input, (&[c, c, 1, 1], weight), Some(bias), &POINTWISE);
            let heads = [0, op.heads as i64, depth as i64, -1];
            split.push(self.reshape(&projected, &format!("{part}.heads"), &heads)); // [n, heads, d, p]
        }
        let last_two = || vec![("perm", Ints(vec![0, 1, 3, 2]))];
        let queries = self.node("Transpose", format!("{name}.queries"), &[&split[0]], last_two());
        let scores = self.node("MatMul", format!("{name}.scores"), &[&queries, &split[1]], vec![]); // [n, heads, p, p]
        let weights = self.node("Softmax", format!("{name}.weights"), &[&scores], vec![("axis", Int(3))]);
        let values = self.node("Transpose", format!("{name}.values"), &[&split[2]], last_two());
        let mixed = self.node("MatMul", format!("{name}.mixed"), &[&weights, &values], vec![]); // [n, heads, p, d]
        let mixed = self.node("Transpose", format!("{name}.mixed.t"), &[&mixed], last_two());
        let joined = self.reshape_like(&mixed, &format!("{name}.joined"), inputs[0], s);
        let (weight, bias) = (self.params.get(op.output[0]).to_vec(), self.params.get(op.output[1]).to_vec());
        let out = self.owner(op.output[0]);
        self.conv(&out, &joined, (&[c, c, 1, 1], weight), Some(bias), &POINTWISE)
    }
}
