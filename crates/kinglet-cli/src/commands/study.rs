//! `kinglet val --task speed` and `--task study`: the time an image takes, and mAP against it over image sides.
//!
//! Source: YOLOv5's tasks: score 0.25, IoU 0.45 and full squares for speed; sides from 256 to 1536 by 128 for the study.

use super::val::{scanned, speed_json};
use super::{load_weights, save_plot};
use crate::args::ValArgs;
use crate::errors::CliError;
use crate::output::write_file;
use crate::printer::Printer;
use crate::progress::Bar;
use crate::run_dir::RunDir;
use crate::table::table;
use kinglet_data::{Dataset, Loader, LoaderOptions};
use kinglet_eval::charts::{Chart, plot_charts};
use kinglet_eval::figure::Figure;
use kinglet_eval::plots::Series;
use kinglet_eval::table::general;
use kinglet_runtime::{Detector, raised};
use kinglet_train::events::Validation;
use kinglet_train::validate::{nms_options, validate};
use kinglet_vision::NmsOptions;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Sides of a study that names none.
const SIDES: std::ops::RangeInclusive<usize> = 256..=1536;
const SIDE_STEP: usize = 128;
/// Larger images come in smaller batches, so that a batch never has more pixels than one of this side.
const FULL_BATCH_SIDE: usize = 640;
/// Score and IoU of a detection in use, for the speed.
const SPEED_CONF: f32 = 0.25;
const SPEED_IOU: f32 = 0.45;

/// Measures the time an image takes.
///
/// # Errors
/// An image size that the model cannot take.
pub(super) fn speed(
    args: &ValArgs,
    detector: &mut Detector,
    dataset: Dataset,
    img: usize,
    printer: &Printer,
) -> Result<ExitCode, CliError> {
    // What the user has not chosen.
    let usual = nms_options();
    let conf = if args.suppression.conf_thres == usual.conf { SPEED_CONF } else { args.suppression.conf_thres };
    let iou = if args.suppression.iou_thres == usual.iou { SPEED_IOU } else { args.suppression.iou_thres };
    let nms = NmsOptions { conf, iou, max_det: args.suppression.max_det, ..usual };
    let options = LoaderOptions { rect: false, ..loader_options(args, img, args.batch_size, detector.max_stride()) };
    printer.say(&format!(
        "speed on {} images of {img} x {img}, batches of {}, conf {conf}, IoU {iou}",
        dataset.samples.len(),
        args.batch_size
    ));
    let loader = Loader::new(Arc::new(dataset), options);
    let validation = measure(detector, &loader, &nms, "measuring", printer)?;
    tell_broken(&loader, &mut BTreeSet::new(), printer);
    let all: f64 = validation.speed_ms.iter().sum();
    let per_second = 1e3 / all.max(1e-9);
    let mut rows: Vec<Vec<String>> = ["pre-process", "inference", "NMS"]
        .iter()
        .zip(validation.speed_ms)
        .map(|(stage, ms)| vec![(*stage).to_owned(), format!("{ms:.1}")])
        .collect();
    rows.push(vec!["all".to_owned(), format!("{all:.1}")]);
    printer.result(&table(&["stage", "ms an image"], &rows));
    printer.result(&format!("\n{per_second:.1} images a second; reading files is not counted"));
    if args.json {
        printer.data(&json!({
            "images": validation.report.images, "shape": validation.shape, "conf": conf, "iou": iou,
            "speed_ms": speed_json(validation.speed_ms), "images_per_s": per_second,
        }));
    }
    Ok(ExitCode::SUCCESS)
}

fn loader_options(args: &ValArgs, img: usize, batch: usize, stride: usize) -> LoaderOptions {
    LoaderOptions { workers: args.workers, stride, ..LoaderOptions::val(img, batch) }
}

/// Validates after a first pass of one batch's shape, which compiles the model and is not timed.
fn measure(
    detector: &mut Detector,
    loader: &Loader,
    nms: &NmsOptions,
    title: &str,
    printer: &Printer,
) -> Result<Validation, CliError> {
    let first = loader.order(0).into_iter().take(loader.options().batch).collect::<Vec<_>>();
    let batch = loader.make_batch(0, 0, &first);
    detector.predict(&batch.to_f32(), [batch.n, batch.h, batch.w], nms.conf).map_err(CliError::input)?;
    let mut bar = Bar::new(printer, title, loader.batches());
    let outcome = validate(detector, loader, nms, None, &mut |done, _| bar.set(done), &mut |_, _| ());
    bar.clear();
    outcome.map_err(CliError::input)
}

/// Tells the pictures that could not be decoded, each once.
fn tell_broken(loader: &Loader, told: &mut BTreeSet<String>, printer: &Printer) {
    for finding in loader.broken() {
        let text = finding.to_string();
        if told.insert(text.clone()) {
            printer.warn(&text);
        }
    }
}

/// One line of a study: image side, batch and what was measured.
struct Point {
    side: usize,
    batch: usize,
    validation: Validation,
}

impl Point {
    fn numbers(&self) -> [f64; 8] {
        let (r, [a, b, c]) = (&self.validation.report, self.validation.speed_ms);
        [self.side as f64, r.precision, r.recall, r.map50, r.map50_95, a, b, c]
    }

    fn all_ms(&self) -> f64 {
        self.validation.speed_ms.iter().sum()
    }
}

/// Measures mAP and time over image sides, for each of the weights.
///
/// # Errors
/// As `val`.
pub(super) fn study(args: &ValArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    // All of them first: a file that does not fit is told before minutes of work, and leaves no folder.
    let mut measured = Vec::new();
    for weights in &args.weights {
        let loaded = load_weights(weights)?;
        let dataset = Arc::new(scanned(args, weights, &loaded.names, printer)?);
        measured.push((weights, Detector::new(loaded.model).augmented(args.augment), dataset));
    }
    let run = RunDir::create(&args.run.project, &args.run.name, args.run.exist_ok)?;
    let mut studies: Vec<(String, Vec<Point>)> = Vec::new();
    for (weights, mut detector, dataset) in measured {
        let stride = detector.max_stride();
        let stem = unused(stem(weights), &studies);
        let nms = args.suppression.options(nms_options());
        let file = run.join(format!("study_{}_{stem}.txt", self::stem(&args.data)));
        let (mut points, mut told) = (Vec::new(), BTreeSet::new());
        for side in sides(args, stride) {
            let batch = batch(args.batch_size, side);
            let loader = Loader::new(dataset.clone(), loader_options(args, side, batch, stride));
            let validation = measure(&mut detector, &loader, &nms, &format!("{stem} at {side}"), printer)?;
            tell_broken(&loader, &mut told, printer);
            points.push(Point { side, batch, validation });
            // After each side, so that a study that is stopped leaves what it has.
            write_file(&file, text(&points).as_bytes())?;
        }
        printer.result(&format!("{stem}\n{}", points_table(&points)));
        studies.push((stem, points));
        save_plot(&run, "study.png", &plot(&studies))?;
    }
    printer.say(&format!("Results saved to {}", run.path().display()));
    if args.json {
        let of = |p: &Point| {
            let [side, precision, recall, map50, map50_95, ..] = p.numbers();
            json!({
                "img": side as usize, "batch": p.batch, "precision": precision, "recall": recall, "map50": map50,
                "map50_95": map50_95, "speed_ms": speed_json(p.validation.speed_ms),
            })
        };
        let all: Vec<serde_json::Value> = studies
            .iter()
            .zip(&args.weights)
            .map(|((_, points), weights)| {
                json!({"weights": weights, "points": points.iter().map(of).collect::<Vec<_>>()})
            })
            .collect();
        printer.data(&json!({"saved_to": run.path(), "studies": all}));
    }
    Ok(ExitCode::SUCCESS)
}

/// The sides to measure at, multiples of the stride, each once, smallest first.
fn sides(args: &ValArgs, stride: usize) -> BTreeSet<usize> {
    let wanted = if args.imgsz.is_empty() { SIDES.step_by(SIDE_STEP).collect() } else { args.imgsz.clone() };
    wanted.into_iter().map(|side| raised(side, stride)).collect()
}

/// Images a batch at a side.
fn batch(most: usize, side: usize) -> usize {
    let share = (FULL_BATCH_SIDE * FULL_BATCH_SIDE) as f64 / (side * side) as f64;
    ((most as f64 * share.min(1.0)) as usize).max(1)
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// `best`, or `best-2` where there is one already.
fn unused(stem: String, studies: &[(String, Vec<Point>)]) -> String {
    let taken = |name: &str| studies.iter().any(|(known, _)| known == name);
    let numbered = (2..).map(|n| format!("{stem}-{n}"));
    std::iter::once(stem.clone()).chain(numbered).find(|name| !taken(name)).expect("numbers do not end")
}

/// The file: a line for each side, columns as YOLOv5 formats them.
fn text(points: &[Point]) -> String {
    let heads = ["img", "P", "R", "mAP50", "mAP50-95", "pre ms", "infer ms", "NMS ms"];
    let mut text = format!("#{}\n", heads.map(|head| format!("{head:>10}")).concat());
    for point in points {
        text.push_str(&format!(" {}\n", point.numbers().map(|v| format!("{:>10}", general(v, 4))).concat()));
    }
    text
}

fn points_table(points: &[Point]) -> String {
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|p| {
            let [side, precision, recall, map50, map50_95, a, b, c] = p.numbers();
            let mut row = vec![format!("{side}"), p.batch.to_string()];
            row.extend([precision, recall, map50, map50_95].map(|v| format!("{v:.4}")));
            row.extend([a, b, c, p.all_ms()].map(|ms| format!("{ms:.1}")));
            row
        })
        .collect();
    let heads = ["img", "batch", "P", "R", "mAP50", "mAP50-95", "pre-process ms", "inference ms", "NMS ms", "all ms"];
    table(&heads, &rows)
}

/// mAP against time and against the side, a line for each of the weights.
fn plot(studies: &[(String, Vec<Point>)]) -> Figure {
    let chart = |title: &str, x_title: &str, of: &dyn Fn(&Point) -> (f64, f64)| Chart {
        title: title.to_owned(),
        x_title: x_title.to_owned(),
        series: studies
            .iter()
            .map(|(name, points)| Series { name: name.clone(), points: points.iter().map(of).collect() })
            .collect(),
        dots: false,
    };
    let map = |p: &Point| p.validation.report.map50_95;
    plot_charts(
        &[
            chart("mAP50-95 and time", "ms an image", &|p| (p.all_ms(), map(p))),
            chart("mAP50-95 and image side", "pixels", &|p| (p.side as f64, map(p))),
            chart("time and image side", "pixels", &|p| (p.side as f64, p.all_ms())),
        ],
        3,
        "mAP and time over image sides",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_sides_come_in_smaller_batches() {
        // (640 / 1280)^2 = 1/4 and (640 / 1536)^2 = 0.1736.
        assert_eq!([320, 640, 1280, 1536].map(|side| batch(32, side)), [32, 32, 8, 5]);
        assert_eq!(batch(1, 1536), 1);
    }
}
