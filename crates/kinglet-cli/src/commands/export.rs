//! `kinglet export`: a model as files for other programs.

use super::chosen_model::{ChosenModel, choose, size};
use crate::args::ExportArgs;
use crate::args::export::Format;
use crate::errors::CliError;
use crate::output::write_file;
use crate::printer::Printer;
use kinglet_onnx::ExportOptions;
use kinglet_train::checkpoint::LoadedModel;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes the files.
///
/// # Errors
/// No model, or one that cannot be exported; a folder that cannot be written.
pub fn run(args: ExportArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    let chosen = choose(&args.model, None, printer)?;
    if !chosen.trained {
        printer.warn("no weights: the exported parameters are random, good for measuring speed only");
    }
    let mut written = Vec::new();
    for (i, format) in args.include.iter().enumerate() {
        // Named twice, written once.
        if !args.include[..i].contains(format) {
            written.push(match format {
                Format::Onnx => onnx(&args, &chosen, printer)?,
                Format::Safetensors => safetensors(&args, &chosen, printer)?,
            });
        }
    }
    if args.json {
        printer.data(&match &written[..] {
            [only] => only.clone(),
            several => json!(several),
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// The file with this ending, in the folder asked for or beside the weights.
fn output(args: &ExportArgs, chosen: &ChosenModel, ending: &str) -> PathBuf {
    let beside = args.model.weights.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
    args.output.clone().unwrap_or(beside).join(format!("{}.{ending}", chosen.stem))
}

/// The weights as `kinglet train` leaves them.
fn safetensors(args: &ExportArgs, chosen: &ChosenModel, printer: &Printer) -> Result<serde_json::Value, CliError> {
    let path = output(args, chosen, "safetensors");
    if args.model.weights.as_deref().is_some_and(|weights| same_file(weights, &path)) {
        return Err(CliError::input(format!(
            "`{}` is the file that the weights come from; choose another folder with --output",
            path.display()
        )));
    }
    let names = match &chosen.names[..] {
        [] => (0..chosen.model.spec.nc).map(|class| class.to_string()).collect(),
        names => names.to_vec(),
    };
    let model = chosen.model.clone();
    let bytes = LoadedModel { model, names, img: chosen.img, options: None, torch: None }.to_bytes();
    write_file(&path, &bytes)?;
    let tensors = chosen.model.params.iter().count();
    printer.result(&format!(
        "{}: {:.1} MB, {tensors} tensors under PyTorch's names",
        path.display(),
        bytes.len() as f64 / 1e6
    ));
    Ok(json!({
        "file": path, "format": "safetensors", "bytes": bytes.len(), "tensors": tensors, "trained": chosen.trained,
    }))
}

/// Whether both names lead to one file.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn onnx(args: &ExportArgs, chosen: &ChosenModel, printer: &Printer) -> Result<serde_json::Value, CliError> {
    let options = ExportOptions {
        size: size(&args.imgsz, chosen, printer),
        batch: args.batch_size,
        opset: args.opset,
        names: chosen.names.clone(),
        decode: !args.raw,
    };
    let file = kinglet_onnx::export_model(&chosen.model, &options).map_err(CliError::input)?;
    let bytes = file.encode().map_err(CliError::input)?;
    let path = output(args, chosen, "onnx");
    write_file(&path, &bytes)?;
    let shapes =
        |values: &[kinglet_onnx::proto::ValueInfo]| -> Vec<String> { values.iter().map(ToString::to_string).collect() };
    let (inputs, outputs) = (shapes(&file.graph.inputs), shapes(&file.graph.outputs));
    printer.result(&format!(
        "{}: {:.1} MB, operator set {}, {} -> {}",
        path.display(),
        bytes.len() as f64 / 1e6,
        args.opset,
        inputs.join(", "),
        outputs.join(", ")
    ));
    Ok(json!({
        "file": path, "format": "onnx", "bytes": bytes.len(), "opset": args.opset, "inputs": inputs,
        "outputs": outputs, "trained": chosen.trained,
    }))
}
