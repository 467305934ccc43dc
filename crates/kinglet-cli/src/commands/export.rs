//! `kinglet export`: a model as a file for other engines.

use super::chosen_model::{choose, size};
use crate::args::ExportArgs;
use crate::errors::CliError;
use crate::output::write_file;
use crate::printer::Printer;
use kinglet_onnx::ExportOptions;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes the file.
///
/// # Errors
/// No model, or one that cannot be exported; a folder that cannot be written.
pub fn run(args: ExportArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    let chosen = choose(&args.model, None, printer)?;
    let size = size(&args.imgsz, &chosen, printer);
    if !chosen.trained {
        printer.warn("no weights: the exported parameters are random, good for measuring speed only");
    }
    let options = ExportOptions {
        size,
        batch: args.batch_size,
        opset: args.opset,
        names: chosen.names.clone(),
        decode: !args.raw,
    };
    let file = kinglet_onnx::export_model(&chosen.model, &options).map_err(CliError::input)?;
    let bytes = file.encode().map_err(CliError::input)?;
    let beside = args.model.weights.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
    let path: PathBuf = args.output.clone().unwrap_or(beside).join(format!("{}.onnx", chosen.stem));
    write_file(&path, &bytes)?;
    let shapes =
        |values: &[kinglet_onnx::proto::ValueInfo]| -> Vec<String> { values.iter().map(ToString::to_string).collect() };
    let (inputs, outputs) = (shapes(&file.graph.inputs), shapes(&file.graph.outputs));
    let megabytes = bytes.len() as f64 / 1e6;
    printer.result(&format!(
        "{}: {megabytes:.1} MB, operator set {}, {} -> {}",
        path.display(),
        args.opset,
        inputs.join(", "),
        outputs.join(", ")
    ));
    if args.json {
        printer.data(&json!({
            "file": path, "format": "onnx", "bytes": bytes.len(), "opset": args.opset, "inputs": inputs,
            "outputs": outputs, "trained": chosen.trained,
        }));
    }
    Ok(ExitCode::SUCCESS)
}
