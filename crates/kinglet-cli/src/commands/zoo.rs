//! `kinglet zoo`: the built-in models side by side.
//!
//! Units: parameters in millions; GFLOP of 2 x multiply-adds; milliseconds; MB of 2^20 bytes, of packed weights and maps.

use super::bench_report::{Times, rounded};
use super::chosen_model::choose;
use super::model_at;
use crate::args::{ModelChoice, ZooArgs};
use crate::errors::CliError;
use crate::printer::{Printer, counted};
use crate::progress::Bar;
use crate::table::table;
use crate::zoo;
use glob::Pattern;
use kinglet_nn::Summary;
use kinglet_runtime::Detector;
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs that are measured: as many as fit into `ENOUGH`, within these bounds.
const RUNS: std::ops::RangeInclusive<usize> = 3..=30;
const ENOUGH: Duration = Duration::from_secs(2);

/// What is known of one model.
struct Entry {
    summary: Summary,
    measured: Option<Measured>,
}

/// What takes a run to know.
struct Measured {
    times: Times,
    mb: f64,
}

/// Prints the table, lightest model first.
///
/// # Errors
/// A pattern that is none, or that no model has.
pub fn run(args: ZooArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    kinglet_kernels::threads::set_threads(args.machine.threads);
    let pattern = Pattern::new(&args.models)
        .map_err(|error| CliError::usage(format!("--models `{}` is no pattern: {error}", args.models)))?;
    let names: Vec<&str> = zoo::names().filter(|name| pattern.matches(name)).collect();
    if names.is_empty() {
        let all = zoo::names().collect::<Vec<_>>().join(", ");
        return Err(CliError::input(format!("no built-in model matches `{}`; there are {all}", args.models)));
    }
    let mut bar = Bar::new(printer, "", names.len());
    let mut entries = Vec::with_capacity(names.len());
    for (done, name) in names.iter().enumerate() {
        bar.update(done, format!("{name:<26}"), String::new());
        let found = zoo::model(name)?;
        let summary = Summary::new(&model_at(&found.text, &found.file, None, args.img)?);
        let measured = if args.no_latency { None } else { Some(measure(name, summary.image.height, printer)?) };
        if !bar.is_visible() && measured.is_some() {
            printer.say(&format!("{} of {}: {name}", done + 1, names.len()));
        }
        entries.push(Entry { summary, measured });
    }
    bar.clear();
    entries.sort_by_key(|e| (e.summary.macs, e.summary.params));

    let side = args.img;
    printer.result(&comparison(&entries));
    if args.no_latency {
        printer.say(&format!("\nat {side}x{side}, 80 classes"));
    } else {
        printer.say(&format!(
            "\nat {side}x{side}, 80 classes, one image, {}, {}; latency is the median of the network alone,\nmemory that of its \
             packed weights and maps; random weights, which take the same time as trained ones",
            threads(),
            kinglet_kernels::simd::isa().name()
        ));
    }
    if entries.iter().any(|e| e.summary.image.height != side) {
        printer.say("models of a coarser stride are counted and measured at the next larger side that they can take");
    }
    if args.json {
        printer.data(&json!({
            "imgsz": side, "nc": 80, "threads": kinglet_kernels::threads::threads(),
            "isa": kinglet_kernels::simd::isa().name(), "weights": "random",
            "models": entries.iter().map(entry_json).collect::<Vec<_>>(),
        }));
    }
    Ok(ExitCode::SUCCESS)
}

fn threads() -> String {
    counted(kinglet_kernels::threads::threads(), "thread")
}

/// Runs a model with random weights on a grey image.
fn measure(name: &str, side: usize, printer: &Printer) -> Result<Measured, CliError> {
    let choice = ModelChoice { weights: None, cfg: Some(name.to_owned()), nc: None };
    let mut detector = Detector::new(choose(&choice, None, printer)?.model);
    let image = vec![0.5; 3 * side * side];
    let size = [1, side, side];
    // The first run compiles the program and touches its memory.
    detector.forward(&image, size).map_err(CliError::input)?;
    let mut times = Times::default();
    let begun = Instant::now();
    for run in 0..*RUNS.end() {
        if run >= *RUNS.start() && begun.elapsed() > ENOUGH {
            break;
        }
        let start = Instant::now();
        detector.forward(&image, size).map_err(CliError::input)?;
        times.push(start.elapsed());
    }
    Ok(Measured { times, mb: detector.memory_bytes() as f64 / f64::from(1 << 20) })
}

fn comparison(entries: &[Entry]) -> String {
    let mut head = vec!["model", "M params", "GFLOP", "strides"];
    if entries.iter().any(|e| e.measured.is_some()) {
        head.extend(["latency ms", "memory MB"]);
    }
    let row = |entry: &Entry| {
        let Entry { summary, measured } = entry;
        let strides: Vec<String> = summary.strides.iter().map(usize::to_string).collect();
        let mut cells = vec![
            summary.name.clone(),
            format!("{:.2}", summary.params as f64 / 1e6),
            format!("{:.2}", summary.gflops()),
            strides.join(" "),
        ];
        if let Some(measured) = measured {
            cells.extend([format!("{:.1}", measured.times.median()), format!("{:.1}", measured.mb)]);
        }
        cells
    };
    table(&head, &entries.iter().map(row).collect::<Vec<_>>())
}

fn entry_json(entry: &Entry) -> serde_json::Value {
    let Entry { summary, measured } = entry;
    let mut value = json!({
        "name": summary.name, "params": summary.params, "macs": summary.macs, "gflops": summary.gflops(),
        "strides": summary.strides, "image": [summary.image.height, summary.image.width],
    });
    if let Some(measured) = measured {
        value["latency"] = measured.times.json();
        value["memory_mb"] = json!(rounded(measured.mb));
    }
    value
}
