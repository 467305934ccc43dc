//! `kinglet val`: how good are these weights?

use super::detect::speed_line;
use super::ensemble::{Ensemble, few};
use super::{BoxFormat, label_line, shown_json};
use crate::args::ValArgs;
use crate::args::val::Task;
use crate::errors::CliError;
use crate::findings;
use crate::gallery::Gallery;
use crate::output::{write_file, yaml_lines};
use crate::printer::Printer;
use crate::progress::Bar;
use crate::recorder::{environment, save_validation, scan_lines};
use crate::report::{RunReport, label_plot};
use crate::run_dir::RunDir;
use crate::sources::named;
use kinglet_data::scan::Progress;
use kinglet_data::{Dataset, Format, Loader, LoaderOptions, ScanOptions, Source};
use kinglet_eval::coco_json::{CocoRecord, ImageId, coco_category, coco_records, to_json};
use kinglet_eval::label_plots::plot_labels;
use kinglet_eval::report_table;
use kinglet_nn::Summary;
use kinglet_runtime::raised;
use kinglet_train::validate::{Seen, nms_options, validate, validate_tiled};
use kinglet_vision::Detection;
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// More classes than this get rows of their own with `--verbose` only, as in YOLOv5.
const ROWS: usize = 50;

/// Shows a scan on a bar.
pub(super) struct ScanBar<'a>(pub(super) &'a Bar);

impl Progress for ScanBar<'_> {
    fn advance(&self, done: usize, total: usize) {
        self.0.advance(done, total);
    }
}

/// Validates.
///
/// # Errors
/// Weights and data that do not fit each other, no images, a folder that cannot be written.
pub fn run(args: ValArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    kinglet_kernels::threads::set_threads(args.machine.threads);
    if matches!(args.task, Task::Speed | Task::Study) && args.tiles.tile.is_some() {
        return Err(CliError::usage("--tile belongs to --task train, val and test; leave it out"));
    }
    if args.task == Task::Study {
        return super::study::study(&args, printer);
    }
    if args.imgsz.len() > 1 {
        return Err(CliError::usage(format!(
            "--img names {} sides, expected one; --task study measures at several",
            args.imgsz.len()
        )));
    }
    let loaded = Ensemble::load(&args.weights, !args.imgsz.is_empty(), printer)?;
    let (names, side) = (loaded.names.clone(), args.imgsz.first().copied().unwrap_or(loaded.img));
    let mut detector = loaded.detector(args.augment)?;
    let summary = Summary::new(detector.model()).totals();
    let dataset = scanned(&args, &args.weights[0], &names, printer)?;
    let stride = detector.max_stride();
    let img = raised(side, stride);
    if img != side {
        printer.say(&format!("image side {side} raised to {img}, a multiple of the model's stride {stride}"));
    }
    if args.task == Task::Speed {
        return super::study::speed(&args, &mut detector, dataset, img, printer);
    }
    let nms = args.suppression.options(nms_options());
    if nms.conf > nms_options().conf {
        printer.warn(&format!(
            "--conf {} leaves out low scores, so mAP is lower than it should be; 0.001 is usual",
            nms.conf
        ));
    }
    let run = RunDir::create(&args.run.project, &args.run.name, args.run.exist_ok)?;
    let categories = dataset.category_ids.clone();
    let stems: HashMap<PathBuf, String> =
        named(dataset.samples.iter().map(|s| s.path.clone()).collect()).into_iter().map(|s| (s.path, s.stem)).collect();
    let options = LoaderOptions { workers: args.workers, stride, ..LoaderOptions::val(img, args.batch_size) };
    let loader = Loader::new(Arc::new(dataset), options);

    let mut gallery = Gallery::new(args.batch_size);
    let mut coco: Vec<CocoRecord> = Vec::new();
    let mut failure = None;
    let mut bar = Bar::new(printer, "validating", loader.batches());
    let mut sink = |sample: &kinglet_data::Sample, found: &[Detection]| {
        gallery.add(sample, found);
        let stem = sample.path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if args.save_json {
            // Those of the annotations where they have them.
            let id = sample.id.map_or_else(|| ImageId::from_stem(&stem), ImageId::Number);
            let category = |class: usize| match categories.is_empty() {
                true => Some(coco_category(class, names.len() == 80)),
                false => categories.get(&class).copied(),
            };
            coco.extend(coco_records(&id, found, category));
        }
        if args.save_txt && failure.is_none() {
            let size = (sample.width, sample.height);
            let text: String =
                found.iter().map(|d| label_line(d, size, BoxFormat::Centre, args.save_conf) + "\n").collect();
            failure =
                write_file(&run.join("labels").join(format!("{}.txt", stems[&sample.path])), text.as_bytes()).err();
        }
    };
    let mut unreadable = Vec::new();
    let outcome = match args.tiles.tiling(img) {
        Some(tiling) => {
            let mut tell = |sample: &kinglet_data::Sample, found: Seen<'_>| match found {
                Ok(found) => sink(sample, found),
                Err(error) => unreadable.push(format!("`{}`: {error}", sample.path.display())),
            };
            let dataset = loader.dataset();
            let progress = &mut |done, all| bar.advance(done, all);
            validate_tiled(&mut detector, dataset, img, &tiling, &nms, progress, &mut tell)
        }
        None => validate(&mut detector, &loader, &nms, None, &mut |done, _| bar.set(done), &mut sink),
    };
    bar.clear();
    let validation = outcome.map_err(CliError::input)?;
    unreadable.iter().for_each(|text| printer.warn(text));
    if let Some(error) = failure {
        return Err(error);
    }
    for finding in loader.broken() {
        printer.warn(&finding.to_string());
    }
    let report = &validation.report;
    printer.result(&report_table(report, args.verbose || names.len() < ROWS));
    let speed = speed_line(validation.speed_ms, validation.shape);
    printer.say(&speed);
    let shown = gallery.finish();
    save_validation(&run, report, &shown, &names)?;
    let dataset = loader.dataset();
    let mut machine = vec![("Model", summary), ("Speed", speed)];
    machine.extend(environment(kinglet_kernels::threads::threads(), kinglet_kernels::simd::isa().name()));
    let page = RunReport {
        title: format!("Validation of {}", titles(&args.weights)),
        line: format!("on `{}` of {}", args.task.split().key(), args.data.display()),
        data_charts: vec![plot_labels(&label_plot([&**dataset]))],
        findings: scan_lines(dataset).join("\n"),
        settings: vec![("Settings", settings_yaml(&args, img))],
        environment: machine,
        ..RunReport::default()
    };
    page.save(&run, Some((report, &shown)), &names)?;
    if args.save_json {
        let stem = args.weights[0].file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        write_file(&run.join(format!("{stem}_predictions.json")), to_json(&coco).as_bytes())?;
    }
    let findings_text = findings::full_text(loader.dataset());
    if !loader.dataset().findings.is_empty() {
        write_file(&run.join("findings.txt"), findings_text.as_bytes())?;
    }
    printer.say(&format!("Results saved to {}, on one page in report.html", run.path().display()));
    if args.json {
        let mut value = shown_json(report, &shown);
        value["speed_ms"] = speed_json(validation.speed_ms);
        printer.data(&value);
    }
    match args.min_map {
        Some(least) if report.map50_95 < f64::from(least) => Err(CliError::input(format!(
            "mAP50-95 is {:.4}, below the {least} that --min-map asks for",
            report.map50_95
        ))),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The names of the weights files.
fn titles(weights: &[PathBuf]) -> String {
    let names: Vec<String> =
        weights.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect();
    names.join(", ")
}

/// Milliseconds an image as JSON.
pub(super) fn speed_json([preprocess, inference, nms]: [f64; 3]) -> serde_json::Value {
    json!({"preprocess": preprocess, "inference": inference, "nms": nms})
}

/// The images to measure on, whose classes are those of the weights.
///
/// # Errors
/// Classes that differ, no images.
pub(super) fn scanned(
    args: &ValArgs,
    weights: &Path,
    names: &[String],
    printer: &Printer,
) -> Result<Dataset, CliError> {
    let split = args.task.split();
    let source = Source::open(&args.data)?;
    if source.format != Format::YoloYaml || source.file != args.data {
        printer.say(&source.describe());
    }
    check_classes(args, weights, &source.names, names)?;
    let scan = ScanOptions { single_cls: args.single_cls, workers: args.workers, ..ScanOptions::default() };
    let mut bar = Bar::new(printer, &format!("scanning {}", split.key()), 1);
    let mut dataset = Dataset::scan(source, split, scan, &ScanBar(&bar))?;
    bar.clear();
    if !args.single_cls && dataset.names != names && dataset.number_as(names) {
        printer
            .say(&format!("the classes of `{}` are numbered as in the weights, by their names", args.data.display()));
    }
    findings::print(&dataset, printer);
    if dataset.samples.is_empty() {
        return Err(CliError::input(format!("`{}` has no usable image for `{}`", args.data.display(), split.key())));
    }
    Ok(dataset)
}

/// The flags that the numbers depend on.
fn settings_yaml(args: &ValArgs, img: usize) -> String {
    yaml_lines(&json!({
        "weights": args.weights, "data": args.data, "imgsz": img, "batch_size": args.batch_size,
        "conf_thres": args.suppression.conf_thres, "iou_thres": args.suppression.iou_thres, "max_det": args.suppression.max_det, "single_cls": args.single_cls,
        "augment": args.augment,
        "tile": args.tiles.tiling(img).map(|tiling| tiling.side), "tile_overlap": args.tiles.tile_overlap,
    }))
}

/// Whether weights and data have the same classes; the order may be another.
fn check_classes(args: &ValArgs, file: &Path, data: &[String], weights: &[String]) -> Result<(), CliError> {
    if args.single_cls && weights.len() != 1 {
        return Err(CliError::input(format!(
            "--single-cls needs weights of one class; `{}` has {}",
            file.display(),
            weights.len()
        )));
    }
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    if args.single_cls || data == weights {
        return Ok(());
    }
    let is_repeated = |names: &[String]| sorted(names).windows(2).any(|pair| pair[0] == pair[1]);
    if sorted(weights) == sorted(data) && !is_repeated(data) {
        return Ok(());
    }
    let hint = match weights {
        [_] => "use the data YAML of the training, and --single-cls where it was trained with that",
        _ => "use the data YAML of the training",
    };
    Err(CliError::input(format!(
        "the classes differ: `{}` was trained on {}, `{}` has {}; {hint}",
        file.display(),
        few(weights),
        args.data.display(),
        few(data)
    )))
}
