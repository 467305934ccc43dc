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

/// Activations that lie in the program of the checkpoint's time and not in its model file.
#[derive(Debug, Default)]
pub(super) struct Activations {
    /// Of all convolutions, where it is not SiLU.
    pub convolutions: Option<String>,
    /// Of `BottleneckCSP` after joining its branches, where it is not that of the convolutions (YOLOv5 3.0 and 3.1).
    pub joined: Option<String>,
}

/// The text of the model file.
pub(super) fn text(pickle: &Pickle<'_>, yaml: Id, activations: &Activations) -> Result<String, TorchError> {
    let mut out = String::new();
    for key in KEYS {
        let value = pickle.entry(yaml, key).filter(|&id| *pickle.get(id) != Value::None);
        match (key, value, &activations.convolutions) {
            ("activation", None, Some(activation)) => {
                writeln!(out, "activation: {activation}").expect("a String grows")
            }
            (_, None, _) => {}
            ("anchors" | "backbone" | "head", Some(id), _) if pickle.items(id).is_some() => {
                writeln!(out, "{key}:").expect("a String grows");
                for &row in pickle.items(id).unwrap_or_default() {
                    out.push_str("  - ");
                    match &activations.joined {
                        Some(joined) if is_csp(pickle, row) => write_csp(pickle, row, joined, &mut out)?,
                        _ => write(pickle, row, 0, &mut out)?,
                    }
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

/// Whether a row is one of `BottleneckCSP`.
fn is_csp(pickle: &Pickle<'_>, row: Id) -> bool {
    pickle.items(row).is_some_and(|fields| fields.len() == 4 && pickle.text(fields[2]) == Some("BottleneckCSP"))
}

/// The row with the activation as its last argument, behind the usual values of those that it leaves out.
fn write_csp(pickle: &Pickle<'_>, row: Id, joined: &str, out: &mut String) -> Result<(), TorchError> {
    const DEFAULTS: [&str; 4] = ["", "True", "1", "0.5"];
    let fields = pickle.items(row).unwrap_or_default();
    let arguments = pickle.items(fields[3]).unwrap_or_default();
    out.push('[');
    for &field in &fields[..3] {
        write(pickle, field, 1, out)?;
        out.push_str(", ");
    }
    out.push('[');
    for (i, default) in DEFAULTS.iter().enumerate() {
        match arguments.get(i) {
            Some(&argument) => write(pickle, argument, 2, out)?,
            None => out.push_str(default),
        }
        out.push_str(", ");
    }
    write!(out, "{joined}]]").expect("a String grows");
    Ok(())
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
