//! `kinglet inspect`: a model's table.

use super::{USUAL_SIDE, load_weights, model_at};
use crate::args::InspectArgs;
use crate::errors::CliError;
use crate::printer::Printer;
use crate::zoo;
use kinglet_nn::Summary;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Prints the table, or JSON.
///
/// # Errors
/// Whatever is wrong with the model file or the weights.
pub fn run(args: InspectArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = printer.json(args.json);
    let path = Path::new(&args.model);
    let weights = path.extension().is_some_and(|e| e == "safetensors" || e == "pt" || e == "pth");
    let (text, file, nc, side, names) = if weights {
        if args.nc.is_some() {
            return Err(CliError::usage("--nc does not go with weights, which fix the number of classes"));
        }
        let loaded = load_weights(path)?;
        let spec = &loaded.model.spec;
        (spec.yaml.clone(), spec.name.clone(), Some(loaded.names.len()), loaded.img, loaded.names)
    } else {
        let found = zoo::model(&args.model)?;
        (found.text, found.file, args.nc, USUAL_SIDE, Vec::new())
    };
    let wanted = args.img.unwrap_or(side);
    let model = model_at(&text, &file, nc, wanted)?;
    let (side, stride) = (model.spec.image.height, model.max_stride());
    if side != wanted {
        printer.say(&format!("image side {wanted} raised to {side}, a multiple of the model's stride {stride}"));
    }
    for warning in &model.spec.warnings {
        printer.say(&warning.to_string());
    }
    let summary = Summary::new(&model);
    if args.json {
        printer.data(&summary_json(&summary));
        return Ok(ExitCode::SUCCESS);
    }
    printer.result(&summary.to_string());
    if !names.is_empty() {
        printer.result(&format!("classes: {}", names.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

/// The table as JSON.
fn summary_json(summary: &Summary) -> serde_json::Value {
    let layers: Vec<serde_json::Value> = summary
        .layers
        .iter()
        .map(|l| {
            json!({
                "index": l.index, "from": l.from, "n": l.number, "module": l.module, "args": l.args, "params": l.params,
                "shape": [l.shape.channels, l.shape.height, l.shape.width], "stride": l.stride, "macs": l.macs,
            })
        })
        .collect();
    json!({
        "name": summary.name, "params": summary.params, "gflops": summary.gflops(), "macs": summary.macs,
        "image": [summary.image.height, summary.image.width], "strides": summary.strides, "layers": layers,
    })
}
