//! The messages of an ONNX file: those that a detector needs, no more.
//!
//! Source: `onnx.proto` of the ONNX specification; field numbers stand beside each field.

use crate::export::ExportError;
use crate::wire::Writer;
use std::fmt;

/// Readers of protocol buffers refuse larger files.
const MAX_BYTES: usize = i32::MAX as usize;

/// Element types of tensors (`TensorProto.DataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    /// `FLOAT`.
    F32 = 1,
    /// `UINT8`.
    U8 = 2,
    /// `INT64`.
    I64 = 7,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// One float.
    Float(f32),
    /// One integer.
    Int(i64),
    /// Text.
    Text(&'static str),
    /// A list of integers.
    Ints(Vec<i64>),
}

/// The values of a constant tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// Floats.
    F32(Vec<f32>),
    /// Integers, as shapes and indices are.
    I64(Vec<i64>),
}

/// A constant (`TensorProto`).
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// By which nodes refer to it.
    pub name: String,
    /// Extents.
    pub dims: Vec<usize>,
    /// Values in row-major order.
    pub data: TensorData,
}

/// One extent of a value's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A fixed extent.
    Fixed(usize),
    /// One that the caller chooses; equal names are equal extents.
    Named(String),
}

/// A named input or output of the graph (`ValueInfoProto`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub element: ElementType,
    /// Its shape.
    pub shape: Vec<Dim>,
}

impl ValueInfo {
    /// Floats of fixed shape.
    pub fn fixed(name: impl Into<String>, shape: &[usize]) -> Self {
        let shape = shape.iter().map(|&n| Dim::Fixed(n)).collect();
        ValueInfo { name: name.into(), element: ElementType::F32, shape }
    }
}

impl fmt::Display for ValueInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self
            .shape
            .iter()
            .map(|dim| match dim {
                Dim::Fixed(n) => n.to_string(),
                Dim::Named(name) => name.clone(),
            })
            .collect();
        let bytes = if self.element == ElementType::U8 { " uint8" } else { "" };
        write!(f, "{} [{}]{bytes}", self.name, dims.join(", "))
    }
}

/// One operation (`NodeProto`).
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Operator, such as `Conv`.
    pub op: &'static str,
    /// Name of its first output.
    pub name: String,
    /// Name of its second output, which few have.
    pub second: Option<String>,
    /// Names of its inputs; an empty one is an optional input that is left out.
    pub inputs: Vec<String>,
    /// Settings.
    pub attributes: Vec<(&'static str, AttributeValue)>,
}

/// The operations with their constants (`GraphProto`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Operations; each uses only what stands before it.
    pub nodes: Vec<Node>,
    /// Constants.
    pub constants: Vec<Tensor>,
    /// Inputs.
    pub inputs: Vec<ValueInfo>,
    /// Outputs.
    pub outputs: Vec<ValueInfo>,
}

/// A whole file (`ModelProto`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// Version of the operator set.
    pub opset: u32,
    /// Program that wrote it.
    pub producer: String,
    /// Version of that program.
    pub producer_version: String,
    /// The graph.
    pub graph: Graph,
    /// Text entries for those who run it.
    pub metadata: Vec<(String, String)>,
}

impl AttributeValue {
    fn write(&self, name: &str, w: &mut Writer) {
        w.text(1, name); // name
        // The last number is `AttributeProto.AttributeType`, field 20.
        match self {
            AttributeValue::Float(value) => {
                w.float(2, *value); // f
                w.int(20, 1);
            }
            AttributeValue::Int(value) => {
                w.int(3, *value); // i
                w.int(20, 2);
            }
            AttributeValue::Text(value) => {
                w.bytes(4, value.as_bytes()); // s
                w.int(20, 3);
            }
            AttributeValue::Ints(values) => {
                values.iter().for_each(|&value| w.int(8, value)); // ints
                w.int(20, 7);
            }
        }
    }
}

impl Tensor {
    fn write(&self, w: &mut Writer) {
        self.dims.iter().for_each(|&d| w.int(1, d as i64)); // dims
        let (kind, bytes): (_, Vec<u8>) = match &self.data {
            TensorData::F32(values) => (ElementType::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            TensorData::I64(values) => (ElementType::I64, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        w.int(2, kind as i64); // data_type
        w.text(8, &self.name); // name
        w.bytes(9, &bytes); // raw_data
    }
}

impl ValueInfo {
    fn write(&self, w: &mut Writer) {
        w.text(1, &self.name); // name
        w.message(2, |w| {
            // type: TypeProto
            w.message(1, |w| {
                // tensor_type: TypeProto.Tensor
                w.int(1, self.element as i64); // elem_type
                w.message(2, |w| {
                    // shape: TensorShapeProto
                    for dim in &self.shape {
                        w.message(1, |w| match dim {
                            Dim::Fixed(n) => w.int(1, *n as i64), // dim_value
                            Dim::Named(name) => w.text(2, name),  // dim_param
                        });
                    }
                });
            });
        });
    }
}

impl Node {
    fn write(&self, w: &mut Writer) {
        // An input that is left out still takes its place.
        self.inputs.iter().for_each(|name| w.bytes(1, name.as_bytes())); // input
        w.text(2, &self.name); // output
        self.second.iter().for_each(|name| w.text(2, name)); // output
        // Some readers keep nodes and values in one table, so a node's own name differs from its output's.
        w.text(3, &format!("{}/{}", self.name, self.op)); // name
        w.text(4, self.op); // op_type
        for (name, value) in &self.attributes {
            w.message(5, |w| value.write(name, w)); // attribute
        }
    }
}

impl Graph {
    fn write(&self, w: &mut Writer) {
        self.nodes.iter().for_each(|n| w.message(1, |w| n.write(w))); // node
        w.text(2, &self.name); // name
        self.constants.iter().for_each(|t| w.message(5, |w| t.write(w))); // initializer
        self.inputs.iter().for_each(|v| w.message(11, |w| v.write(w))); // input
        self.outputs.iter().for_each(|v| w.message(12, |w| v.write(w))); // output
    }
}

impl Model {
    /// The bytes of the file.
    ///
    /// # Errors
    /// A file larger than readers take.
    pub fn encode(&self) -> Result<Vec<u8>, ExportError> {
        let mut w = Writer::default();
        w.int(1, ir_version(self.opset)); // ir_version
        w.text(2, &self.producer); // producer_name
        w.text(3, &self.producer_version); // producer_version
        w.message(7, |w| self.graph.write(w)); // graph
        w.message(8, |w| w.int(2, i64::from(self.opset))); // opset_import: version; the default domain is left out
        for (key, value) in &self.metadata {
            w.message(14, |w| {
                // metadata_props: StringStringEntryProto
                w.text(1, key);
                w.text(2, value);
            });
        }
        let bytes = w.finish();
        if bytes.len() > MAX_BYTES {
            return Err(ExportError::TooLarge { bytes: bytes.len() });
        }
        Ok(bytes)
    }
}

/// The version of the file format that came with an operator set, so that readers of that time take the file.
fn ir_version(opset: u32) -> i64 {
    if opset < 15 { 7 } else { 8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_encoded_field_by_field() {
        let node = Node {
            op: "Relu",
            name: "y".into(),
            second: None,
            inputs: vec!["x".into(), String::new()],
            attributes: vec![("a", AttributeValue::Ints(vec![1, 300]))],
        };
        let mut w = Writer::default();
        node.write(&mut w);
        let mut expected = vec![0x0a, 1, b'x', 0x0a, 0, 0x12, 1, b'y', 0x1a, 6];
        expected.extend_from_slice(b"y/Relu\x22\x04Relu");
        // attribute: name `a`, ints 1 and 300 (0xac 0x02), type 7 in field 20
        expected.extend_from_slice(&[0x2a, 11, 0x0a, 1, b'a', 0x40, 1, 0x40, 0xac, 0x02, 0xa0, 0x01, 7]);
        assert_eq!(w.finish(), expected);
    }

    #[test]
    fn a_tensor_holds_its_values_as_raw_bytes() {
        let tensor = Tensor { name: "w".into(), dims: vec![2, 1], data: TensorData::F32(vec![1.0, -2.0]) };
        let mut w = Writer::default();
        tensor.write(&mut w);
        let expected = [0x08, 2, 0x08, 1, 0x10, 1, 0x42, 1, b'w', 0x4a, 8, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0];
        assert_eq!(w.finish(), expected);
    }
}
