//! How YOLOv5 lays out its checkpoints, of any age.
//!
//! Source: checkpoints as their users share them. The outermost mapping holds `model`, `ema` (the averaged weights, which
//! are preferred) or, in later versions, both; each is a pickled module. A module keeps `_parameters`, `_buffers` and
//! `_modules`; the model keeps `yaml`, `names` and `stride` beside them. Anchors are in cells: times the stride, in pixels.

use super::container::{Container, recognises};
use super::global::Dtype;
use super::model_yaml::{self, Activations};
use super::pickle::{Id, Value};
use super::{TorchError, TorchInfo, TorchModel};
use crate::IMAGE_SIDES;
use std::collections::{BTreeMap, HashMap};

/// Tensors by name: shape and numbers.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Widths and heights in pixels, by level.
type Anchors = Vec<Vec<[f32; 2]>>;

/// Most modules within modules, and modules at all.
const DEPTH: usize = 64;
const MODULES: usize = 50_000;
/// Most tensors, which modules that are named again and again would multiply, and most bytes of a name.
const TENSORS: usize = 100_000;
const NAME: usize = 1024;
/// Of BatchNorm in YOLOv5's models.
const BATCH_NORM_EPS: f64 = 1e-3;
/// Most numbers in the anchors of a head.
const ANCHOR_VALUES: usize = 4096;
/// Buffers of the head that are not weights.
const HEAD_BUFFERS: [&str; 3] = ["anchors", "anchor_grid", "stride"];

/// Reads a PyTorch file.
pub(crate) fn read(bytes: &[u8]) -> Result<(Tensors, TorchInfo), TorchError> {
    debug_assert!(recognises(bytes), "the caller has looked");
    let file = Container::open(bytes)?;
    let (part, root) = weights(&file);
    let mut reader = Reader {
        file: &file,
        found: Vec::new(),
        modules: 0,
        activations: Default::default(),
        head: None,
        notes: Vec::new(),
    };
    let model = match file.pickle.get(root) {
        Value::Object { .. } => {
            let root = reader.unwrapped(root);
            reader.module(root, "", 0)?;
            Some(reader.model(root)?)
        }
        Value::Dict(entries) => {
            reader.state_dict(entries);
            None
        }
        _ => None,
    };
    let mut info = TorchInfo { container: file.kind.into(), part, model, ..Default::default() };
    let mut tensors = Tensors::new();
    let (mut budget, mut counters, mut buffers) = (bytes.len(), 0, 0);
    for (name, id) in &reader.found {
        let Some((dtype, shape)) = file.describe(*id) else { continue };
        let leaf = name.rsplit('.').next().unwrap_or(name);
        if let Dtype::Whole(_) = dtype {
            counters += 1;
            continue;
        }
        if HEAD_BUFFERS.contains(&leaf) {
            buffers += 1;
            continue;
        }
        let numbers = file.numbers(*id, name, &mut budget)?;
        if !info.dtypes.contains(&dtype.name()) {
            info.dtypes.push(dtype.name());
        }
        info.order.push(name.clone());
        tensors.insert(name.clone(), (shape.to_vec(), numbers));
    }
    if tensors.is_empty() {
        return Err(TorchError::checkpoint(
            "holds no weights: expected a checkpoint of YOLOv5 or a state dict (names with tensors) as `torch.save` writes them",
        ));
    }
    info.left_out = left_out(&file, &info, counters, buffers);
    info.left_out.append(&mut reader.notes);
    info.epoch = file.pickle.entry(file.pickle.root(), "epoch").and_then(|id| file.pickle.int(id));
    Ok((tensors, info))
}

/// The value that holds the weights, and the name of its place.
fn weights(file: &Container<'_>) -> (String, Id) {
    let pickle = &file.pickle;
    let root = pickle.root();
    if let Value::Object { .. } = pickle.get(root) {
        return ("model".into(), root);
    }
    for key in ["ema", "model", "state_dict_ema", "state_dict", "model_state_dict"] {
        let Some(value) = pickle.entry(root, key) else { continue };
        // For a while YOLOv5 wrote `ema` as a pair: the model, and the number of updates.
        let value = match pickle.get(value) {
            Value::Tuple(items) if !items.is_empty() => items[0],
            _ => value,
        };
        if matches!(pickle.get(value), Value::Object { .. } | Value::Dict(_)) {
            return (key.into(), value);
        }
    }
    ("state dict".into(), root)
}

/// What of the file is not needed, for the report.
fn left_out(file: &Container<'_>, info: &TorchInfo, counters: usize, buffers: usize) -> Vec<String> {
    let mut out = Vec::new();
    if counters > 0 {
        out.push(format!("{counters} counters of batches"));
    }
    if buffers > 0 {
        out.push(format!("{buffers} buffers of the head"));
    }
    let present = |key: &&str| {
        let value = file.pickle.entry(file.pickle.root(), key);
        value.is_some_and(|id| *file.pickle.get(id) != Value::None) && *key != info.part
    };
    for key in
        ["model", "ema", "optimizer", "training_results"].iter().filter(|key| info.model.is_some() && present(key))
    {
        out.push((*key).to_owned());
    }
    out
}

struct Reader<'a, 'b> {
    file: &'a Container<'b>,
    /// Names with their tensors, in the file's order.
    found: Vec<(String, Id)>,
    modules: usize,
    /// Activations of the standard convolutions, and those of CSP blocks after joining, each with the module's name.
    activations: [Vec<(String, String)>; 2],
    /// The detection head.
    head: Option<Id>,
    /// What is left out of the model.
    notes: Vec<String>,
}

impl Reader<'_, '_> {
    /// The model within wrappers for several devices or for preprocessing; the object itself where none has a model file.
    fn unwrapped(&self, object: Id) -> Id {
        let pickle = &self.file.pickle;
        let mut inner = Some(object);
        for _ in 0..4 {
            let Some(id) = inner else { break };
            if pickle.attribute(id, "yaml").is_some() {
                return id;
            }
            let modules = pickle.attribute(id, "_modules");
            inner = modules.and_then(|m| pickle.entry(m, "module").or_else(|| pickle.entry(m, "model")));
        }
        object
    }

    fn state_dict(&mut self, entries: &[(Id, Id)]) {
        let pickle = &self.file.pickle;
        let tensors = entries.iter().filter_map(|&(key, value)| Some((pickle.text(key)?, value)));
        let tensors: Vec<(&str, Id)> = tensors.filter(|(_, id)| self.file.describe(*id).is_some()).collect();
        // What wraps a model for several devices puts this before every name.
        let wrapped = tensors.iter().all(|(name, _)| name.starts_with("module."));
        let bare = |name: &str| if wrapped { name["module.".len()..].to_owned() } else { name.to_owned() };
        self.found.extend(tensors.iter().map(|&(name, id)| (bare(name), id)));
    }

    /// Walks a module and those within it.
    fn module(&mut self, object: Id, prefix: &str, depth: usize) -> Result<(), TorchError> {
        self.modules += 1;
        let limit = |limit: String| Err(TorchError::Limit { what: "the checkpoint's model".into(), limit });
        if depth > DEPTH || self.modules > MODULES {
            return limit(format!("{DEPTH} modules within modules and {MODULES} modules"));
        }
        let pickle = &self.file.pickle;
        self.look_at(object, prefix)?;
        let entries = |key: &str| match pickle.attribute(object, key).map(|id| pickle.get(id)) {
            Some(Value::Dict(entries)) => entries.as_slice(),
            _ => &[],
        };
        let named = |key: Id| pickle.text(key).map(|name| join(prefix, name));
        for &(key, value) in entries("_parameters").iter().chain(entries("_buffers")) {
            if let (Some(name), Some(_)) = (named(key), self.file.describe(value)) {
                if self.found.len() == TENSORS || name.len() > NAME {
                    return limit(format!("{TENSORS} tensors, whose names have {NAME} bytes"));
                }
                self.found.push((name, value));
            }
        }
        for &(key, value) in entries("_modules") {
            if let (Some(name), Value::Object { .. }) = (named(key), pickle.get(value)) {
                if name.len() > NAME {
                    return limit(format!("names of {NAME} bytes"));
                }
                self.module(value, &name, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Notes what a module's settings mean for the whole model.
    fn look_at(&mut self, object: Id, name: &str) -> Result<(), TorchError> {
        let pickle = &self.file.pickle;
        let Some((_, class)) = pickle.class(object) else { return Ok(()) };
        match class {
            "BatchNorm2d" => {
                let eps = pickle.attribute(object, "eps").map(|id| pickle.get(id));
                if let Some(Value::Float(eps)) = eps
                    && (eps / BATCH_NORM_EPS - 1.0).abs() > 1e-6
                {
                    return Err(TorchError::checkpoint(format!(
                        "has a BatchNorm `{name}` with eps = {eps}; expected {BATCH_NORM_EPS}, as in all of YOLOv5's models"
                    )));
                }
            }
            "Conv" | "BottleneckCSP" => {
                let act = pickle.attribute(object, "_modules").and_then(|modules| pickle.entry(modules, "act"));
                if let Some(written) = act.and_then(|act| self.activation(act)) {
                    self.activations[usize::from(class != "Conv")].push((name.to_owned(), written));
                }
            }
            "Detect" | "Segment" => self.head = Some(object),
            _ => {}
        }
        Ok(())
    }

    /// An activation as a model file writes it; nothing for the identity, which a row's arguments ask for.
    fn activation(&self, act: Id) -> Option<String> {
        let pickle = &self.file.pickle;
        match pickle.class(act)?.1 {
            "Identity" => None,
            "LeakyReLU" => match pickle.attribute(act, "negative_slope").map(|id| pickle.get(id)) {
                Some(Value::Float(slope)) => Some(format!("nn.LeakyReLU({slope})")),
                _ => Some("nn.LeakyReLU(0.01)".into()),
            },
            class => Some(format!("nn.{class}()")),
        }
    }

    /// The activations of the whole model where they are not the usual ones.
    fn common_activations(&self) -> Result<Activations, TorchError> {
        let mut common = [const { None }; 2];
        for (all, common) in self.activations.iter().zip(&mut common) {
            let Some((first, activation)) = all.first() else { continue };
            if let Some((name, other)) = all.iter().find(|(_, a)| a != activation) {
                return Err(TorchError::checkpoint(format!(
                    "mixes activations, {activation} in `{first}` and {other} in `{name}`; expected one for the whole model"
                )));
            }
            *common = Some(activation.clone());
        }
        let [convolutions, joined] = common;
        let joined = joined.filter(|joined| Some(joined) != convolutions.as_ref());
        Ok(Activations { convolutions: convolutions.filter(|a| a != "nn.SiLU()"), joined })
    }

    /// What the model says about itself.
    fn model(&mut self, object: Id) -> Result<TorchModel, TorchError> {
        let pickle = &self.file.pickle;
        let (module, name) = pickle.class(object).unwrap_or_default();
        let class = format!("{module}.{name}");
        if module.starts_with("ultralytics") {
            return Err(TorchError::checkpoint(format!(
                "is a checkpoint of another family (`{class}`), whose heads have no anchors; expected one of YOLOv5"
            )));
        }
        let Some(yaml) = pickle.attribute(object, "yaml").filter(|&id| matches!(pickle.get(id), Value::Dict(_))) else {
            return Err(TorchError::checkpoint(format!(
                "holds a model of class `{class}` without its model file (the attribute `yaml` of YOLOv5's models), so its \
                 layers are unknown; save its state dict in PyTorch and train from it with --weights and --cfg"
            )));
        };
        let Some(head) = self.head else {
            return Err(TorchError::checkpoint(format!(
                "holds a model of class `{class}` without a detection head; expected a detector of YOLOv5"
            )));
        };
        let others = model_yaml::other_keys(pickle, yaml);
        self.notes.extend(others.iter().map(|key| format!("the model file's `{key}`")));
        let (anchors, strides) = self.anchors(head)?;
        let text = pickle.attribute(object, "yaml_file").and_then(|id| pickle.text(id)).unwrap_or_default();
        let file = text.rsplit(['/', '\\']).next().filter(|f| !f.is_empty()).unwrap_or("model.yaml").to_owned();
        let root = pickle.root();
        let img =
            pickle.entry(root, "opt").and_then(|opt| pickle.entry(opt, "imgsz").or(pickle.attribute(opt, "imgsz")));
        let img = img.and_then(|id| pickle.int(id)).and_then(|side| usize::try_from(side).ok());
        Ok(TorchModel {
            class,
            yaml: model_yaml::text(pickle, yaml, &self.common_activations()?)?,
            file,
            names: self.names(object, head)?,
            anchors,
            strides,
            img: img.filter(|side| IMAGE_SIDES.contains(side)),
        })
    }

    /// Class names: a list, or a mapping from numbers.
    fn names(&self, object: Id, head: Id) -> Result<Vec<String>, TorchError> {
        let pickle = &self.file.pickle;
        let nc = pickle.attribute(head, "nc").and_then(|id| pickle.int(id)).and_then(|nc| usize::try_from(nc).ok());
        let nc = nc.filter(|nc| (1..=kinglet_spec::limits::CLASSES).contains(nc));
        let nc = nc.ok_or_else(|| TorchError::checkpoint("has a head without a number of classes: it is damaged"))?;
        let names: Vec<Option<&str>> = match pickle.attribute(object, "names").map(|id| pickle.get(id)) {
            Some(Value::Dict(entries)) => {
                // As in Python, the last of equal keys counts.
                let by_number: HashMap<i64, Id> =
                    entries.iter().filter_map(|&(key, name)| Some((pickle.int(key)?, name))).collect();
                let name = |n: usize| pickle.text(*by_number.get(&i64::try_from(n).ok()?)?);
                (0..entries.len().min(nc + 1)).map(name).collect()
            }
            Some(Value::List(items) | Value::Tuple(items)) => items.iter().map(|&id| pickle.text(id)).collect(),
            _ => Vec::new(),
        };
        if names.is_empty() {
            return Ok((0..nc).map(|n| n.to_string()).collect());
        }
        let names: Option<Vec<String>> = names.into_iter().map(|name| name.map(str::to_owned)).collect();
        names.filter(|names| names.len() == nc).ok_or_else(|| {
            TorchError::checkpoint(format!("has a head of {nc} classes and not as many class names: it is damaged"))
        })
    }

    /// The head's anchors in pixels, and its strides.
    fn anchors(&self, head: Id) -> Result<(Anchors, Vec<f32>), TorchError> {
        let pickle = &self.file.pickle;
        let numbers = |id: Option<Id>, name: &str| -> Result<(Vec<usize>, Vec<f32>), TorchError> {
            let missing = || TorchError::checkpoint(format!("has a head without `{name}`: it is damaged"));
            let id = id.ok_or_else(missing)?;
            let (_, shape) = self.file.describe(id).ok_or_else(missing)?;
            Ok((shape.to_vec(), self.file.numbers(id, name, &mut { ANCHOR_VALUES })?))
        };
        let buffer = |key| pickle.attribute(head, "_buffers").and_then(|buffers| pickle.entry(buffers, key));
        let (shape, cells) = numbers(buffer("anchors"), "anchors")?;
        let (_, strides) = numbers(pickle.attribute(head, "stride").or(buffer("stride")), "stride")?;
        let &[levels, anchors, 2] = &shape[..] else {
            return Err(TorchError::checkpoint(format!(
                "has anchors of shape {shape:?}, expected [levels, anchors, 2]"
            )));
        };
        let fine = |v: &f32| v.is_finite() && *v > 0.0;
        if levels == 0 || anchors == 0 || strides.len() != levels || !cells.iter().chain(&strides).all(fine) {
            return Err(TorchError::checkpoint("has anchors or strides that are no sizes: it is damaged"));
        }
        let level =
            |(cells, stride): (&[f32], &f32)| cells.chunks_exact(2).map(|c| [c[0] * stride, c[1] * stride]).collect();
        Ok((cells.chunks_exact(anchors * 2).zip(&strides).map(level).collect(), strides))
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}
