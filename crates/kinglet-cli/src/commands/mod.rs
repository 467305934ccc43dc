//! One file a command: plain functions from parsed arguments to an exit code.

pub mod bench;
mod bench_report;
mod bench_train;
pub mod blocks;
mod chosen_model;
pub mod completions;
pub mod data;
pub mod detect;
mod detect_frames;
pub(crate) mod detect_output;
mod ensemble;
pub mod evolve;
pub mod export;
pub mod import;
pub mod inspect;
pub mod man;
pub mod serve;
mod study;
pub mod swap;
pub mod train;
pub mod ui;
pub mod val;
mod verification;
pub mod zoo;

use crate::errors::CliError;
use crate::gallery::Shown;
use crate::output::{write_chart, write_picture};
use crate::printer::Printer;
use crate::run_dir::RunDir;
use kinglet_eval::Figure;
use kinglet_eval::metrics::Report;
use kinglet_eval::plots::{Curve, plot_confusion, plot_curve};
use kinglet_nn::Model;
use kinglet_runtime::raised;
use kinglet_spec::ResolveOptions;
use kinglet_train::checkpoint::LoadedModel;
use kinglet_vision::{Detection, Image};
use std::path::Path;

/// Whether a path may be weights, before it is read.
///
/// # Errors
/// Nothing there, a folder, a file of another kind.
pub(crate) fn check_weights(path: &Path) -> Result<(), CliError> {
    let shown = path.display();
    if path.is_dir() {
        let inside = ["weights/best.safetensors", "weights/last.safetensors", "best.safetensors", "last.safetensors"];
        let near = inside.iter().map(|file| path.join(file)).find(|file| file.is_file());
        let hint =
            near.map_or("name a file, .safetensors or .pt".to_owned(), |f| format!("did you mean `{}`?", f.display()));
        return Err(CliError::input(format!("the weights `{shown}` are a folder; {hint}")));
    }
    if !path.exists() {
        return Err(CliError::input(format!(
            "the weights `{shown}` do not exist; `kinglet train` writes them to runs/train/exp/weights/best.safetensors, and \
             checkpoints of YOLOv5 (.pt) are read as well; nothing is downloaded"
        )));
    }
    Ok(())
}

/// Loads weights.
///
/// # Errors
/// A file that is missing, or is no checkpoint.
pub(crate) fn load_weights(path: &Path) -> Result<LoadedModel, CliError> {
    check_weights(path)?;
    Ok(kinglet_train::checkpoint::load_model(path)?)
}

/// Side of the images where nothing says otherwise, as in YOLOv5.
pub(crate) const USUAL_SIDE: usize = 640;

/// A model file's model, resolved for images of `side`, raised to a multiple of the model's stride.
///
/// # Errors
/// Whatever is wrong with the file.
pub(crate) fn model_at(text: &str, file: &str, nc: Option<usize>, side: usize) -> Result<Model, CliError> {
    // Strides do not depend on the image, so a first pass finds what the side must be a multiple of.
    let options = ResolveOptions { nc, ..Default::default() };
    let stride = kinglet_nn::resolve(text, file, &options)?.size_multiple();
    Ok(Model::from_yaml(text, file, &ResolveOptions { image: [raised(side, stride); 2], ..options })?)
}

/// Height and width from `--imgsz`, or the weights' own side, as multiples of the stride; tells of a change.
pub(crate) fn image_size(imgsz: &[usize], own: usize, stride: usize, printer: &Printer) -> [usize; 2] {
    let wanted = match *imgsz {
        [side] => [side; 2],
        [height, width] => [height, width],
        _ => [own; 2],
    };
    let size = wanted.map(|side| raised(side, stride));
    if size != wanted {
        printer.say(&format!("image size {wanted:?} raised to {size:?}, multiples of the model's stride {stride}"));
    }
    size
}

/// How a label file gives a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoxFormat {
    /// Centre and size.
    Centre,
    /// Left, top, right, bottom.
    Corners,
}

/// A label file's line: class, box as fractions of the image, and the score where asked for.
pub(crate) fn label_line(
    detection: &Detection,
    (width, height): (usize, usize),
    format: BoxFormat,
    conf: bool,
) -> String {
    let [x1, y1, x2, y2] = detection.xyxy;
    let (w, h) = (width.max(1) as f32, height.max(1) as f32);
    let [a, b, c, d] = match format {
        BoxFormat::Centre => [(x1 + x2) / 2.0 / w, (y1 + y2) / 2.0 / h, (x2 - x1) / w, (y2 - y1) / h],
        BoxFormat::Corners => [x1 / w, y1 / h, x2 / w, y2 / h],
    };
    let mut line = format!("{} {a:.6} {b:.6} {c:.6} {d:.6}", detection.class);
    if conf {
        line.push_str(&format!(" {:.6}", detection.score));
    }
    line
}

/// Writes a chart as a picture, and as SVG beside it.
pub(crate) fn save_plot(run: &RunDir, name: &str, figure: &Figure) -> Result<(), CliError> {
    write_chart(&run.join(name), figure)?;
    write_chart(&run.join(name).with_extension("svg"), figure)
}

/// Writes a picture.
pub(crate) fn save_picture(run: &RunDir, name: &str, image: &Image) -> Result<(), CliError> {
    write_picture(&run.join(name), image)
}

/// Writes the curves and the confusion matrix of a report.
pub(crate) fn save_report_plots(run: &RunDir, report: &Report, names: &[String]) -> Result<(), CliError> {
    let curves = [
        ("PR_curve.png", Curve::PrecisionRecall),
        ("F1_curve.png", Curve::F1),
        ("P_curve.png", Curve::Precision),
        ("R_curve.png", Curve::Recall),
    ];
    for (name, curve) in curves {
        save_plot(run, name, &plot_curve(report, curve))?;
    }
    save_plot(run, "confusion_matrix.png", &plot_confusion(&report.confusion, names))
}

/// A report as JSON, with sizes and kinds of errors.
pub(crate) fn shown_json(report: &Report, shown: &Shown) -> serde_json::Value {
    let mut value = report_json(report);
    (value["by_size"], value["errors"]) = shown.json();
    value
}

/// A report as JSON.
pub(crate) fn report_json(report: &Report) -> serde_json::Value {
    let per_class: Vec<serde_json::Value> = report
        .per_class
        .iter()
        .map(|c| {
            serde_json::json!({
                "class": c.class, "name": c.name, "images": c.images, "instances": c.instances,
                "precision": c.p, "recall": c.r, "map50": c.ap50, "map50_95": c.ap,
            })
        })
        .collect();
    serde_json::json!({
        "precision": report.precision, "recall": report.recall, "map50": report.map50, "map50_95": report.map50_95,
        "images": report.images, "instances": report.instances, "per_class": per_class,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_lines_are_fractions_of_the_image() {
        let detection = Detection { xyxy: [10.0, 20.0, 30.0, 60.0], score: 0.5, class: 2 };
        let line = |format, conf| label_line(&detection, (100, 200), format, conf);
        assert_eq!(line(BoxFormat::Centre, false), "2 0.200000 0.200000 0.200000 0.200000");
        assert_eq!(line(BoxFormat::Centre, true), "2 0.200000 0.200000 0.200000 0.200000 0.500000");
        assert_eq!(line(BoxFormat::Corners, false), "2 0.100000 0.100000 0.300000 0.300000");
    }
}
