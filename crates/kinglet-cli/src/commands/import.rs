//! `kinglet import`: a checkpoint of YOLOv5 in, weights of Kinglet out.

use super::load_weights;
use crate::args::ImportArgs;
use crate::errors::CliError;
use crate::output::write_file;
use crate::printer::Printer;
use kinglet_train::checkpoint::LoadedModel;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Class names that the report shows.
const SHOWN: usize = 8;

/// Reads, writes and reports.
///
/// # Errors
/// A file that is no checkpoint, is damaged or hostile; weights that are Kinglet's already; a folder that cannot be written.
pub fn run(args: ImportArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    let loaded = load_weights(&args.weights)?;
    let Some(info) = &loaded.torch else {
        return Err(CliError::input(format!(
            "`{}` needs no import: it has the weights, model file and class names already",
            args.weights.display()
        )));
    };
    let output = args.output.clone().unwrap_or_else(|| args.weights.with_extension("safetensors"));
    let bytes = loaded.to_bytes();
    write_file(&output, &bytes)?;
    let class = info.model.as_ref().map_or("", |model| &model.class);
    let spec = &loaded.model.spec;
    let tensors = loaded.model.params.iter().count();
    let values: usize = loaded.model.params.iter().map(|(_, param)| param.len()).sum();
    let megabytes = bytes.len() as f64 / 1e6;
    let epoch = match info.epoch {
        None => String::new(),
        Some(epoch) if epoch < 0 => " of a run that has finished".to_owned(),
        Some(epoch) => format!(" of epoch {epoch}"),
    };
    let left_out = if info.left_out.is_empty() { "nothing".to_owned() } else { info.left_out.join(", ") };
    for (what, value) in [
        ("read", format!("{}, {}", args.weights.display(), info.container)),
        ("weights", format!("`{}`{epoch}, {}, class {class}", info.part, info.dtypes.join(" and "))),
        ("model", format!("{}, {} layers, strides {:?}", spec.name, spec.layers.len(), spec.head_strides)),
        ("classes", classes(&loaded)),
        ("anchors", anchors(&loaded)),
        ("image side", loaded.img.to_string()),
        ("tensors", format!("{tensors} of {tensors}, {values} values")),
        ("left out", left_out),
        ("written", format!("{}, {megabytes:.1} MB", output.display())),
    ] {
        printer.result(&format!("{what:<11} {value}"));
    }
    printer.say(&format!("Find objects with: kinglet detect --weights {} --source IMAGES", output.display()));
    if args.json {
        printer.data(&report(&args.weights, &output, bytes.len(), &loaded));
    }
    Ok(ExitCode::SUCCESS)
}

/// The number of classes and the first names.
fn classes(loaded: &LoadedModel) -> String {
    let shown = loaded.names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if loaded.names.len() > SHOWN { ", ..." } else { "" };
    format!("{}: {shown}{more}", loaded.names.len())
}

/// Anchors in pixels, level by level.
fn anchors(loaded: &LoadedModel) -> String {
    let size = |[w, h]: &[f32; 2]| format!("{w:.0}x{h:.0}");
    let level = |level: &Vec<[f32; 2]>| level.iter().map(size).collect::<Vec<_>>().join(" ");
    loaded.model.anchors.iter().map(level).collect::<Vec<_>>().join(" | ")
}

/// The report as JSON.
fn report(read: &Path, written: &Path, bytes: usize, loaded: &LoadedModel) -> serde_json::Value {
    let info = loaded.torch.as_ref();
    json!({
        "read": read, "written": written, "bytes": bytes, "model": loaded.model.spec.name, "names": loaded.names,
        "anchors": loaded.model.anchors, "strides": loaded.model.spec.head_strides, "img": loaded.img,
        "tensors": loaded.model.params.iter().count(), "part": info.map(|i| &i.part), "dtypes": info.map(|i| &i.dtypes),
        "epoch": info.and_then(|i| i.epoch), "left_out": info.map(|i| &i.left_out),
        "class": info.and_then(|i| i.model.as_ref()).map(|m| &m.class),
    })
}
