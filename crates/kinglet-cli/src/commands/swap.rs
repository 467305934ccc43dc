//! `kinglet swap`: a changed model file.

use super::{USUAL_SIDE, model_at};
use crate::args::SwapArgs;
use crate::errors::CliError;
use crate::output::write_file;
use crate::printer::Printer;
use crate::zoo;
use kinglet_nn::Summary;
use kinglet_spec::{Edit, GraphSpec, ResolveOptions, other_activation};
use serde_json::json;
use std::process::ExitCode;

/// Changes the file, reads the result, and only then prints or writes it.
///
/// # Errors
/// Whatever is wrong with the files or the change; nothing is printed to standard output then.
pub fn run(args: SwapArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    let host = zoo::model(&args.cfg)?;
    let backbone = args.backbone.as_deref().map(zoo::model).transpose()?;
    let with = args.with.as_deref().unwrap_or_default();
    let number = args.number;
    let (change, words) = match (&backbone, args.replace, args.insert_at) {
        (Some(other), ..) => {
            let change = Edit::Backbone { text: &other.text, file: &other.file };
            (change, format!("with the backbone of {}", other.file.trim_end_matches(".yaml")))
        }
        (None, Some(row), _) => {
            (Edit::Replace { row, number, with }, format!("with {} as row {row}", shown(number, with)))
        }
        (None, None, Some(at)) => {
            (Edit::Insert { at, number, with }, format!("with {} inserted as row {at}", shown(number, with)))
        }
        (None, None, None) => return Err(CliError::usage("what is to change? See `kinglet swap --help`")),
    };
    let options = ResolveOptions { nc: args.nc, ..Default::default() };
    let spec = kinglet_nn::edit(&host.text, &host.file, &options, &change)?;
    let old = model_at(&host.text, &host.file, args.nc, USUAL_SIDE)?;
    let (before, after) = (Summary::new(&old), Summary::new(&model_at(&spec.yaml, &host.file, None, USUAL_SIDE)?));
    let multiples = |spec: &GraphSpec| (spec.depth_multiple, spec.width_multiple);
    let mut notes = String::new();
    if multiples(&spec) != multiples(&old.spec) {
        notes += "\n# The two files have different multiples, which are applied to the rows here: hence 1.0.";
    }
    if let Some(other) = &backbone {
        let own = kinglet_nn::resolve(&other.text, &other.file, &options)?.activation;
        if let Some(note) = other_activation(own, spec.activation) {
            notes += &format!("\n# Note that {note}.");
            printer.warn(&note);
        }
    }
    let text = format!(
        "# {} {words}, by `kinglet swap`.\n# {} (2 x multiply-adds), both at nc={}.{notes}\n\n{}",
        before.name,
        after.totals(),
        spec.nc,
        spec.yaml
    );
    let file = args.output.as_ref().map_or("new.yaml".into(), |path| path.display().to_string());
    for warning in kinglet_nn::resolve(&text, &file, &ResolveOptions::default())?.warnings {
        printer.say(&warning.to_string());
    }
    printer.say(&format!("before: {}\nafter:  {}", before.totals(), after.totals()));
    if let Some(path) = &args.output {
        write_file(path, text.as_bytes())?;
        printer.say(&format!("written to {}; look at it with `kinglet inspect {0}`", path.display()));
    } else if !args.json {
        printer.result(text.trim_end());
    }
    if args.json {
        let totals = |s: &Summary| json!({ "params": s.params, "macs": s.macs, "gflops": s.gflops() });
        printer.data(&json!({
            "before": totals(&before), "after": totals(&after), "image": [after.image.height, after.image.width],
            "strides": after.strides, "output": args.output, "yaml": text,
        }));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(number: usize, with: &str) -> String {
    if number == 1 { format!("`{with}`") } else { format!("{number} x `{with}`") }
}
