//! The model file of a checkpoint: the mapping that the pickled model keeps, as text again.

use super::TorchError;
use super::pickle::{Id, Pickle, Value};
use std::fmt::Write;

/// Keys of a model file, in the order of writing. Others have no meaning for the model.
const KEYS: [&str; 9] =
    ["nc", "depth_multiple", "width_multiple", "ch", "channel_multiple", "activation", "anchors", "backbone", "head"];
/// Longest text, and deepest lists, that a model file may have.
const BYTES: usize = kinglet_spec::limits::TEXT_BYTES;
const NESTING: usize = kinglet_spec::limits::NESTING;

/// The text; `activation` is that of the model's convolutions, where it is not the usual one.
pub(super) fn text(pickle: &Pickle<'_>, yaml: Id, activation: Option<&str>) -> Result<String, TorchError> {
    let mut out = String::new();
    for key in KEYS {
        let value = pickle.entry(yaml, key).filter(|&id| *pickle.get(id) != Value::None);
        match (key, value, activation) {
            ("activation", None, Some(activation)) => {
                writeln!(out, "activation: {activation}").expect("a String grows")
            }
            (_, None, _) => {}
            ("anchors" | "backbone" | "head", Some(id), _) if pickle.items(id).is_some() => {
                writeln!(out, "{key}:").expect("a String grows");
                for &row in pickle.items(id).unwrap_or_default() {
                    out.push_str("  - ");
                    write(pickle, row, 0, &mut out)?;
                    out.push('\n');
                }
            }
            (_, Some(id), _) => {
                write!(out, "{key}: ").expect("a String grows");
                write(pickle, id, 0, &mut out)?;
                out.push('\n');
            }
        }
    }
    Ok(out)
}

/// Keys that the text leaves out.
pub(super) fn other_keys<'a>(pickle: &Pickle<'a>, yaml: Id) -> Vec<&'a str> {
    let Value::Dict(entries) = pickle.get(yaml) else { return Vec::new() };
    let names = entries.iter().filter_map(|(key, _)| pickle.text(*key));
    names.filter(|name| !KEYS.contains(name) && !["inplace", "names", "yaml_file"].contains(name)).collect()
}

fn write(pickle: &Pickle<'_>, id: Id, depth: usize, out: &mut String) -> Result<(), TorchError> {
    if out.len() > BYTES || depth > NESTING {
        return Err(TorchError::Limit {
            what: "the checkpoint's model file".into(),
            limit: format!("{BYTES} bytes and {NESTING} lists within lists"),
        });
    }
    match pickle.get(id) {
        Value::None => out.push_str("None"),
        Value::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
        Value::Int(value) => write!(out, "{value}").expect("a String grows"),
        Value::Float(value) => write!(out, "{value}").expect("a String grows"),
        Value::Text(text) if is_plain(text) => out.push_str(text),
        Value::Text(text) => out.push_str(&serde_json::Value::from(*text).to_string()),
        Value::List(items) | Value::Tuple(items) => {
            out.push('[');
            for (i, &item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write(pickle, item, depth + 1, out)?;
            }
            out.push(']');
        }
        _ => {
            return Err(TorchError::checkpoint(
                "holds a model file with other values than numbers, texts and lists; name the model file with --cfg and save \
                 the weights in PyTorch with `torch.save(model.state_dict(), FILE)`",
            ));
        }
    }
    Ok(())
}

/// Whether a text means itself within a list of YAML.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._()".contains(c))
}
