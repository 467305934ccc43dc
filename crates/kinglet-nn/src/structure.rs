//! A state dict of another library for the same backbone: torchvision's and timm's light ones under their own names.
//!
//! Both sides are walked in the order of their operations. Layers with a weight (convolutions, the two of
//! squeeze-and-excite) are paired with each other, BatchNorms with each other, and every shape has to agree, over the whole
//! backbone. What the state dict has behind it, a classifier, is left.

use crate::Model;
use crate::weights::{Transfer, WeightsFile};
use kinglet_tensor::ParamId;

/// A layer's tensors, by the last part of their names, and its name.
struct Layer<'a, T> {
    name: &'a str,
    tensors: Vec<(&'a str, T)>,
}

impl<T> Layer<'_, T> {
    fn is_norm(&self) -> bool {
        self.tensors.iter().any(|(leaf, _)| *leaf == "running_mean")
    }
}

/// Neighbouring tensors whose names differ in the last part only.
fn layers<'a, T>(tensors: impl Iterator<Item = (&'a str, T)>) -> Vec<Layer<'a, T>> {
    let mut layers: Vec<Layer<'a, T>> = Vec::new();
    for (full, tensor) in tensors {
        let (name, leaf) = full.rsplit_once('.').unwrap_or(("", full));
        match layers.last_mut().filter(|layer| layer.name == name) {
            Some(layer) => layer.tensors.push((leaf, tensor)),
            None => layers.push(Layer { name, tensors: vec![(leaf, tensor)] }),
        }
    }
    layers
}

/// Copies a backbone; nothing where the names are not those of a backbone of another library, or the first layers differ.
///
/// A later difference is reported with nothing copied: the state dict is of another size of the backbone.
pub(crate) fn transfer(file: &WeightsFile, model: &mut Model) -> Option<Transfer> {
    let theirs = layers(order(file).into_iter().filter_map(|name| Some((name, file.tensors.get(name)?))));
    let in_backbone = |name: &str| model.layer_of(name).is_some_and(|layer| layer < model.spec.backbone_len);
    let params = model.params.iter().map(|(id, param)| (param.name.as_str(), (id, &param.shape)));
    let ours = layers(params.filter(|(name, _)| in_backbone(name)));
    let mut report = Transfer { by_structure: true, ..Default::default() };
    let mut copies: Vec<(ParamId, &[f32])> = Vec::new();
    let mut used = Vec::new();
    for norms in [false, true] {
        let mut others = theirs.iter().filter(|layer| layer.is_norm() == norms);
        for layer in ours.iter().filter(|layer| layer.is_norm() == norms) {
            let other = others.next()?;
            for &(leaf, (id, shape)) in &layer.tensors {
                let (_, (found, values)) = other.tensors.iter().find(|(other, _)| *other == leaf)?;
                if flat(found) == flat(shape) {
                    copies.push((id, values));
                    report.loaded.push(format!("{}.{leaf}", layer.name));
                } else if copies.is_empty() {
                    return None;
                } else {
                    let mismatched = vec![(format!("{}.{leaf}", other.name), found.clone(), shape.clone())];
                    return Some(Transfer { by_structure: true, mismatched, ..Default::default() });
                }
            }
            used.push(other.name);
        }
    }
    for layer in theirs.iter().filter(|layer| !used.contains(&layer.name)) {
        report.unexpected.extend(layer.tensors.iter().map(|(leaf, _)| format!("{}.{leaf}", layer.name)));
    }
    let missing = model.params.iter().filter(|(_, param)| !in_backbone(&param.name));
    report.missing = missing.map(|(_, param)| param.name.clone()).collect();
    for (id, values) in copies {
        model.params.set(id, values.to_vec());
    }
    Some(report)
}

/// A shape without the ones at its end: a linear layer's is that of a 1x1 convolution.
fn flat(shape: &[usize]) -> &[usize] {
    let end = shape.iter().rposition(|&side| side != 1).map_or(0, |last| last + 1);
    &shape[..end]
}

/// The names in the order of the operations: the file's, or by their numbers where the file sorts them.
fn order(file: &WeightsFile) -> Vec<&str> {
    if let Some(info) = &file.torch {
        return info.order.iter().map(String::as_str).collect();
    }
    let mut names: Vec<&str> = file.tensors.keys().map(String::as_str).collect();
    let key = |name: &&str| -> Vec<(usize, String)> {
        name.split('.').map(|part| part.parse().map_or((usize::MAX, part.to_owned()), |n| (n, String::new()))).collect()
    };
    names.sort_by_cached_key(key);
    names
}
