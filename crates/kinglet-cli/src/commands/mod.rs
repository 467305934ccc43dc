//! One file a command: plain functions from parsed arguments to an exit code.

pub mod blocks;
pub mod detect;
pub mod inspect;
pub mod train;
pub mod val;

use crate::errors::CliError;
use crate::output::write_file;
use crate::run_dir::RunDir;
use kinglet_eval::metrics::Report;
use kinglet_eval::plots::{Curve, plot_confusion, plot_curve};
use kinglet_train::TrainError;
use kinglet_train::checkpoint::LoadedModel;
use kinglet_vision::encode::png_bytes;
use kinglet_vision::{Detection, Image};
use std::path::Path;

/// Loads weights.
///
/// # Errors
/// A file that is missing, or is no checkpoint.
pub(crate) fn load_weights(path: &Path) -> Result<LoadedModel, CliError> {
    if path.extension().is_some_and(|e| e == "pt" || e == "pth") {
        return Err(CliError::input(format!(
            "`{}` is a PyTorch file; expected a .safetensors file as `kinglet train` writes it",
            path.display()
        )));
    }
    if !path.is_file() {
        return Err(CliError::input(format!(
            "the weights `{}` do not exist; `kinglet train` writes them to runs/train/exp/weights/best.safetensors",
            path.display()
        )));
    }
    kinglet_train::checkpoint::load_model(path).map_err(|error| match error {
        TrainError::Weights(_) => {
            CliError::input(format!("{error}; expected a .safetensors file as `kinglet train` writes it"))
        }
        _ => CliError::input(error),
    })
}

/// `size` raised to a multiple of `stride`, at least twice it.
pub(crate) fn raised(size: usize, stride: usize) -> usize {
    size.div_ceil(stride).max(2) * stride
}

/// A label file's line: class, centre and size as fractions of the image, and the score where asked for.
pub(crate) fn label_line(detection: &Detection, (width, height): (usize, usize), conf: bool) -> String {
    let [x1, y1, x2, y2] = detection.xyxy;
    let (w, h) = (width.max(1) as f32, height.max(1) as f32);
    let (cx, cy) = ((x1 + x2) / 2.0 / w, (y1 + y2) / 2.0 / h);
    let mut line = format!("{} {cx:.6} {cy:.6} {:.6} {:.6}", detection.class, (x2 - x1) / w, (y2 - y1) / h);
    if conf {
        line.push_str(&format!(" {:.6}", detection.score));
    }
    line
}

/// Writes a plot.
pub(crate) fn save_plot(run: &RunDir, name: &str, image: &Image) -> Result<(), CliError> {
    let bytes = png_bytes(image).map_err(|e| CliError::input(format!("cannot encode `{name}`: {e}")))?;
    write_file(&run.join(name), &bytes)
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
    fn sizes_are_raised_to_the_stride_and_to_two_cells_at_least() {
        assert_eq!([raised(640, 32), raised(641, 32), raised(32, 32), raised(100, 64)], [640, 672, 64, 128]);
    }

    #[test]
    fn label_lines_are_fractions_of_the_image() {
        let detection = Detection { xyxy: [10.0, 20.0, 30.0, 60.0], score: 0.5, class: 2 };
        assert_eq!(label_line(&detection, (100, 200), false), "2 0.200000 0.200000 0.200000 0.200000");
        assert_eq!(label_line(&detection, (100, 200), true), "2 0.200000 0.200000 0.200000 0.200000 0.500000");
    }
}
