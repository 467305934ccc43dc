//! Finds and reads the golden data beside the repository.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value;

/// Folder of the golden data, or `None` (with a message) where it is absent.
pub fn folder() -> Option<PathBuf> {
    let start = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = start.ancestors().map(|dir| dir.join("shared/golden")).find(|dir| dir.is_dir());
    if found.is_none() {
        eprintln!("skipped: no `shared/golden` beside the repository");
    }
    found
}

/// A JSON file of the golden data.
pub fn json(name: &str) -> Option<Value> {
    let text = std::fs::read_to_string(folder()?.join(name)).expect("golden JSON is readable");
    Some(serde_json::from_str(&text).expect("golden JSON is valid"))
}

/// Shape and values of a tensor.
pub type Tensor = (Vec<usize>, Vec<f32>);

/// Tensors of a golden file.
pub fn tensors(name: &str) -> Option<HashMap<String, Tensor>> {
    let bytes = std::fs::read(folder()?.join(name)).expect("golden tensors are readable");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("golden tensors are valid");
    let read = |view: safetensors::tensor::TensorView| {
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        (view.shape().to_vec(), values)
    };
    Some(file.tensors().into_iter().map(|(name, view)| (name, read(view))).collect())
}

/// Numbers of a JSON list.
pub fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}
