//! `kinglet export`: a model as files for other programs.

use super::chosen_model::{ChosenModel, choose, size};
use super::verification;
use crate::args::ExportArgs;
use crate::args::export::Format;
use crate::errors::CliError;
use crate::output::{write_checked, write_file};
use crate::printer::Printer;
use kinglet_onnx::{ExportOptions, Input, Output, Suppression};
use kinglet_train::checkpoint::LoadedModel;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const SECONDS_A_DAY: u64 = 86_400;

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
    let options = onnx_options(args, chosen, printer)?;
    let file = kinglet_onnx::export_model(&chosen.model, &options).map_err(CliError::input)?;
    let bytes = file.encode().map_err(CliError::input)?;
    let path = output(args, chosen, "onnx");
    let cases = if args.no_verify {
        write_file(&path, &bytes)?;
        None
    } else {
        let pictures = verification::pictures(args, chosen.data.as_deref(), printer)?;
        let check =
            |temporary: &Path| verification::check(temporary, &path, &chosen.model, &options, &pictures, printer);
        Some(write_checked(&path, &bytes, check)?)
    };
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
        "outputs": outputs, "trained": chosen.trained, "verified": cases.as_deref().map(verification::as_json),
    }))
}

/// What the flags ask of the file.
fn onnx_options(args: &ExportArgs, chosen: &ChosenModel, printer: &Printer) -> Result<ExportOptions, CliError> {
    let size = size(&args.size.imgsz, chosen, printer);
    let input = match args.preprocess.as_deref() {
        None => Input::Floats,
        Some([_, ..]) if args.dynamic => {
            return Err(CliError::usage(
                "--dynamic takes pictures of any size; leave out either it or the size after --preprocess",
            ));
        }
        Some([side]) => Input::Pictures([*side; 2]),
        Some([height, width]) => Input::Pictures([*height, *width]),
        Some(_) => Input::Pictures(size),
    };
    let output = if args.nms {
        let (conf, iou) = (args.conf_thres, args.iou_thres);
        Output::Detections(Suppression { conf, iou, max_det: args.max_det, agnostic: args.agnostic_nms })
    } else if args.raw {
        Output::Raw
    } else {
        Output::Decoded
    };
    let own = [("author", args.author.clone()), ("license", args.license.clone())];
    let mut metadata: Vec<(String, String)> =
        own.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect();
    metadata.push(("date".to_owned(), today()));
    Ok(ExportOptions {
        size,
        batch: args.batch_size,
        dynamic: args.dynamic,
        opset: args.opset,
        input,
        output,
        names: chosen.names.clone(),
        metadata,
    })
}

/// The date in UTC, such as `2026-11-30`.
fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs() / SECONDS_A_DAY)
}

/// A date from the days since 1970-01-01.
fn date(days: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= months[month] {
        left -= months[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_leap_days() {
        // 30 years with 7 leap days before 2000, whose February has 29 days; 2100 has none.
        assert_eq!(
            [0, 59, 10_957, 11_016, 11_017].map(date),
            ["1970-01-01", "1970-03-01", "2000-01-01", "2000-02-29", "2000-03-01"]
        );
        assert_eq!(date(47_540), "2100-02-28");
        assert_eq!(date(47_541), "2100-03-01");
    }
}
