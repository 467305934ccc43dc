//! Hyperparameters: the flat `key: number` files of the YOLOv5 recipes.
//!
//! Source: `zoo/hyp/*.yaml`. Keys keep the names of those files, so an existing file loads as it is; a missing key
//! takes the value of `scratch-low`, an unknown one is refused.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// Why a hyperparameter file was refused. `place` is `file:line:column`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HypError {
    /// The text is not YAML.
    #[error("{place}: not valid YAML: {reason}; correct the file there")]
    Yaml {
        /// Where.
        place: String,
        /// What the YAML reader says.
        reason: String,
    },
    /// The file holds something else than one mapping.
    #[error("{place}: expected `key: number` lines, found {found}; see `zoo/hyp/scratch-low.yaml` for an example")]
    NotAMapping {
        /// Where.
        place: String,
        /// What was found.
        found: String,
    },
    /// A key that no hyperparameter has.
    #[error("{place}: unknown hyperparameter `{key}`; {hint}")]
    UnknownKey {
        /// Where.
        place: String,
        /// The key.
        key: String,
        /// The nearest known name, or where to find them.
        hint: String,
    },
    /// A value that is not a number.
    #[error("{place}: `{key}`: expected a number, found {found}; write for example `{key}: {example}`")]
    NotANumber {
        /// Where.
        place: String,
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// A value that would do.
        example: String,
    },
    /// A number outside the range that makes sense.
    #[error(
        "{place}: `{key}`: expected a number from {low} to {high}, found `{found}`; correct it or delete the line for the default"
    )]
    OutOfRange {
        /// Where.
        place: String,
        /// The key.
        key: &'static str,
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
        /// The value.
        found: f64,
    },
}

/// A hyperparameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HypKey {
    /// Its name.
    pub key: &'static str,
    /// Its value in `scratch-low`.
    pub default: f64,
    /// Smallest value that a file may give.
    pub low: f64,
    /// Largest value that a file may give.
    pub high: f64,
    /// Between which values it evolves, if it does.
    pub evolves: Option<(f64, f64)>,
    /// What it is.
    pub doc: &'static str,
}

/// Declares [`Hyp`] and the table of its keys from one list: `key field: default, low, high, evolves, doc`.
macro_rules! hyperparameters {
    ($($key:literal $field:ident: $default:expr, $low:expr, $high:expr, $evolves:expr, $doc:expr;)*) => {
        /// Hyperparameters of a training run.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Hyp {
            $(#[doc = $doc] pub $field: f64,)*
            /// Anchors per level to compute afresh; `None` keeps the model's.
            pub anchors: Option<usize>,
        }

        impl Default for Hyp {
            /// The values of `scratch-low`.
            fn default() -> Self {
                Hyp { $($field: $default,)* anchors: None }
            }
        }

        /// All of them in file order, without `anchors`.
        pub const KEYS: &[HypKey] = &[$(HypKey {
            key: $key, default: $default, low: $low, high: $high, evolves: $evolves, doc: $doc,
        },)*];

        impl Hyp {
            /// The value of a key, in the order of [`KEYS`].
            pub(crate) fn slot(&mut self, key: &str) -> Option<&mut f64> {
                match key {
                    $($key => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            /// Keys and values in file order, without `anchors`.
            pub fn entries(&self) -> Vec<(&'static str, f64)> {
                vec![$(($key, self.$field),)*]
            }
        }
    };
}

hyperparameters! {
    "lr0" lr0: 0.01, 0.0, 10.0, Some((1e-5, 0.1)), "Initial learning rate.";
    "lrf" lrf: 0.01, 0.0, 1.0, Some((0.01, 1.0)), "Final learning rate as a share of `lr0`.";
    "momentum" momentum: 0.937, 0.0, 0.9999, Some((0.6, 0.98)), "SGD momentum; Adam's beta1.";
    "weight_decay" weight_decay: 0.0005, 0.0, 1.0, Some((0.0, 0.001)), "Weight decay for a batch of 64.";
    "warmup_epochs" warmup_epochs: 3.0, 0.0, 1000.0, Some((0.0, 5.0)), "Length of the warm-up; fractions allowed.";
    "warmup_momentum" warmup_momentum: 0.8, 0.0, 0.9999, Some((0.0, 0.95)), "Momentum at the first iteration.";
    "warmup_bias_lr" warmup_bias_lr: 0.1, 0.0, 10.0, Some((0.0, 0.2)), "Learning rate of the biases at the first iteration.";
    "box" box_: 0.05, 0.0, 1000.0, Some((0.02, 0.2)), "Gain of the box loss, for 3 levels.";
    "cls" cls: 0.5, 0.0, 1000.0, Some((0.2, 4.0)), "Gain of the class loss, for 80 classes and 3 levels.";
    "cls_pw" cls_pw: 1.0, 0.0, 1000.0, Some((0.5, 2.0)), "Weight of positives in the class loss.";
    "obj" obj: 1.0, 0.0, 1000.0, Some((0.2, 4.0)), "Gain of the objectness loss, for 640 pixels and 3 levels.";
    "obj_pw" obj_pw: 1.0, 0.0, 1000.0, Some((0.5, 2.0)), "Weight of the positive part in the objectness loss.";
    "iou_t" iou_t: 0.2, 0.0, 1.0, None, "Unused; kept so that existing files load.";
    "anchor_t" anchor_t: 4.0, 1.0, 100.0, Some((2.0, 8.0)), "Largest side ratio of a box and an anchor it is assigned to.";
    "fl_gamma" fl_gamma: 0.0, 0.0, 10.0, Some((0.0, 2.0)), "Focal loss gamma; 0 is plain BCE.";
    "hsv_h" hsv_h: 0.015, 0.0, 1.0, Some((0.0, 0.1)), "Hue jitter.";
    "hsv_s" hsv_s: 0.7, 0.0, 1.0, Some((0.0, 0.9)), "Saturation jitter.";
    "hsv_v" hsv_v: 0.4, 0.0, 1.0, Some((0.0, 0.9)), "Value jitter.";
    "degrees" degrees: 0.0, 0.0, 180.0, Some((0.0, 45.0)), "Rotation, +/- degrees.";
    "translate" translate: 0.1, 0.0, 1.0, Some((0.0, 0.9)), "Translation, +/- fraction of the image.";
    "scale" scale: 0.5, 0.0, 0.99, Some((0.0, 0.9)), "Scaling, +/- gain.";
    "shear" shear: 0.0, 0.0, 80.0, Some((0.0, 10.0)), "Shear, +/- degrees.";
    "perspective" perspective: 0.0, 0.0, 0.01, Some((0.0, 0.001)), "Perspective, +/- fraction.";
    "flipud" flipud: 0.0, 0.0, 1.0, Some((0.0, 1.0)), "Probability of an up-down flip.";
    "fliplr" fliplr: 0.5, 0.0, 1.0, Some((0.0, 1.0)), "Probability of a left-right flip.";
    "mosaic" mosaic: 1.0, 0.0, 1.0, Some((0.0, 1.0)), "Probability of a mosaic.";
    "mixup" mixup: 0.0, 0.0, 1.0, Some((0.0, 1.0)), "Probability of blending in a second mosaic.";
    "copy_paste" copy_paste: 0.0, 0.0, 1.0, Some((0.0, 1.0)), "Share of polygon objects pasted mirrored.";
    "label_smoothing" label_smoothing: 0.0, 0.0, 0.99, None, "Label smoothing epsilon.";
}

/// Most anchors a level may be asked to have.
const MAX_ANCHORS: f64 = kinglet_spec::limits::ANCHORS as f64;

/// Names and texts of the files built into the program.
const BUILTIN: [(&str, &str); 3] = [
    ("scratch-low", include_str!("../../../zoo/hyp/scratch-low.yaml")),
    ("scratch-med", include_str!("../../../zoo/hyp/scratch-med.yaml")),
    ("scratch-high", include_str!("../../../zoo/hyp/scratch-high.yaml")),
];

/// Names that [`builtin`] knows.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// Text of a built-in file. Accepts the recipes' usual file names too: `hyp.scratch-low.yaml`.
pub fn builtin(name: &str) -> Option<&'static str> {
    let stem = name.strip_suffix(".yaml").unwrap_or(name);
    let stem = stem.strip_prefix("hyp.").unwrap_or(stem);
    BUILTIN.iter().find(|(known, _)| *known == stem).map(|(_, text)| *text)
}

impl Hyp {
    /// Reads a file's text; `file` is only named in errors.
    ///
    /// # Errors
    /// [`HypError`] naming file, line and column.
    pub fn parse(text: &str, file: &str) -> Result<Hyp, HypError> {
        let documents = MarkedYaml::load_from_str(text).map_err(|error| HypError::Yaml {
            place: format!("{file}:{}:{}", error.marker().line(), error.marker().col() + 1),
            reason: error.info().to_owned(),
        })?;
        let place = |node: &MarkedYaml| format!("{file}:{}:{}", node.span.start.line(), node.span.start.col() + 1);
        let mut hyp = Hyp::default();
        let Some(root) = documents.first() else { return Ok(hyp) };
        if let Some(second) = documents.get(1) {
            return Err(HypError::NotAMapping { place: place(second), found: "a second document".to_owned() });
        }
        let YamlData::Mapping(mapping) = &root.data else {
            if matches!(&root.data, YamlData::Value(Scalar::Null)) {
                return Ok(hyp);
            }
            return Err(HypError::NotAMapping { place: place(root), found: describe(root) });
        };
        for (key_node, value_node) in mapping {
            let YamlData::Value(Scalar::String(name)) = &key_node.data else {
                return Err(HypError::UnknownKey {
                    place: place(key_node),
                    key: describe(key_node),
                    hint: "names are plain words".to_owned(),
                });
            };
            if name == "anchors" {
                let number = number(value_node, "anchors", 3.0, place(value_node))?;
                check_range("anchors", number, (0.0, MAX_ANCHORS), place(value_node))?;
                // Published files hold fractions such as 3.412, found by evolution.
                let number = number.round_ties_even() as usize;
                hyp.anchors = (number > 0).then_some(number);
                continue;
            }
            let Some(&HypKey { key, low, high, .. }) = KEYS.iter().find(|known| known.key == name) else {
                return Err(HypError::UnknownKey { place: place(key_node), key: name.to_string(), hint: hint(name) });
            };
            let slot = hyp.slot(key).expect("every key of the table has a field");
            let number = number(value_node, key, *slot, place(value_node))?;
            check_range(key, number, (low, high), place(value_node))?;
            *slot = number;
        }
        Ok(hyp)
    }

    /// Writes the values as a file that [`Hyp::parse`] reads back to the same values.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.entries() {
            text.push_str(&format!("{key}: {value:?}\n")); // `{:?}` keeps `3.0` a float and is exact
        }
        if let Some(anchors) = self.anchors {
            text.push_str(&format!("anchors: {anchors}\n"));
        }
        text
    }
}

/// A model file's text with `anchors: count` in place of its anchors, on as many lines, so that places in messages stay
/// right. Nothing where the text is no block of `key: value` lines.
pub fn with_anchors(model_yaml: &str, count: usize) -> Option<String> {
    let mut text = String::with_capacity(model_yaml.len());
    let (mut found, mut inside) = (false, false);
    for line in model_yaml.lines() {
        // A list may stand without indentation under its key.
        inside = inside && (line.is_empty() || line.starts_with([' ', '\t', '#', '-', ']']));
        if line.starts_with("anchors:") {
            (found, inside) = (true, true);
            text.push_str(&format!("anchors: {count}"));
        } else if !inside {
            text.push_str(line);
        }
        text.push('\n');
    }
    let is_flow = model_yaml.trim_start().starts_with('{');
    if !found && !is_flow {
        text.push_str(&format!("anchors: {count}\n"));
    }
    (found || !is_flow).then_some(text)
}

fn number(node: &MarkedYaml, key: &'static str, example: f64, place: String) -> Result<f64, HypError> {
    match &node.data {
        YamlData::Value(Scalar::Integer(value)) => Ok(*value as f64),
        YamlData::Value(Scalar::FloatingPoint(value)) => Ok(value.into_inner()),
        _ => Err(HypError::NotANumber { place, key, found: describe(node), example: format!("{example:?}") }),
    }
}

fn check_range(key: &'static str, found: f64, (low, high): (f64, f64), place: String) -> Result<(), HypError> {
    if (low..=high).contains(&found) { Ok(()) } else { Err(HypError::OutOfRange { place, key, low, high, found }) }
}

fn describe(node: &MarkedYaml) -> String {
    match &node.data {
        YamlData::Value(Scalar::Null) => "nothing".to_owned(),
        YamlData::Value(Scalar::Boolean(value)) => format!("`{value}`"),
        YamlData::Value(Scalar::Integer(value)) => format!("`{value}`"),
        YamlData::Value(Scalar::FloatingPoint(value)) => format!("`{value}`"),
        YamlData::Value(Scalar::String(value)) => format!("the text `{value}`"),
        YamlData::Sequence(_) => "a list".to_owned(),
        YamlData::Mapping(_) => "a mapping".to_owned(),
        _ => "something else".to_owned(),
    }
}

fn hint(name: &str) -> String {
    match kinglet_spec::nearest_names(name, KEYS.iter().map(|known| known.key).chain(["anchors"])).first() {
        Some(key) => format!("did you mean `{key}`?"),
        None => "see `zoo/hyp/scratch-low.yaml` for all names".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_may_be_a_fraction_and_zero_keeps_the_models() {
        let anchors = |text: &str| Hyp::parse(text, "h.yaml").map(|hyp| hyp.anchors);
        assert_eq!(anchors("anchors: 3.412"), Ok(Some(3)));
        assert_eq!(anchors("anchors: 5"), Ok(Some(5)));
        assert_eq!(anchors("anchors: 0"), Ok(None));
        assert!(anchors("anchors: 1000").is_err());
    }

    #[test]
    fn a_number_of_anchors_takes_the_place_of_the_list_and_no_line_moves() {
        let list = "nc: 2\nanchors:\n  - [10,13, 16,30] # fine\n\n  - [30,61, 62,45]\nbackbone:\n  - x\n";
        assert_eq!(with_anchors(list, 4).unwrap(), "nc: 2\nanchors: 4\n\n\n\nbackbone:\n  - x\n");
        let flush = "anchors:\n- [1,2]\n- [3,4]\nhead: []\n";
        assert_eq!(with_anchors(flush, 3).unwrap(), "anchors: 3\n\n\nhead: []\n");
        assert_eq!(with_anchors("anchors: [[1,2],\n [3,4]\n]\nnc: 1\n", 3).unwrap(), "anchors: 3\n\n\nnc: 1\n");
        assert_eq!(with_anchors("nc: 2\n", 3).unwrap(), "nc: 2\nanchors: 3\n");
        assert!(with_anchors("{nc: 2}", 3).is_none());
    }

    #[test]
    fn every_built_in_model_resolves_with_another_number_of_anchors() {
        let zoo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../zoo/models");
        for file in std::fs::read_dir(zoo).unwrap().flatten() {
            let text = with_anchors(&std::fs::read_to_string(file.path()).unwrap(), 5).unwrap();
            let options = kinglet_spec::ResolveOptions::default();
            let spec = kinglet_spec::resolve(&text, "m.yaml", kinglet_nn::REGISTRY, &options).unwrap();
            assert!(spec.placeholder_anchors && spec.anchors.iter().all(|level| level.len() == 5), "{file:?}");
        }
    }
}
