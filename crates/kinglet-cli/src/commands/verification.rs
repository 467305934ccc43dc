//! The comparison of an exported file in another engine: with which pictures, and its table.

use crate::args::ExportArgs;
use crate::errors::CliError;
use crate::printer::Printer;
use crate::sources;
use crate::table::table;
use kinglet_data::synthetic::draw_scene;
use kinglet_data::{Dataset, NoProgress, Rng, ScanOptions, Source, Split};
use kinglet_nn::Model;
use kinglet_onnx::verify::{Case, ENGINE, verify};
use kinglet_onnx::{ExportOptions, Output};
use kinglet_runtime::Detector;
use kinglet_vision::Image;
use kinglet_vision::decode::{self, Limits};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Pictures at most: each is run twice.
const PICTURES: usize = 4;
/// Pictures that are drawn where none are named.
const DRAWN: usize = 3;

/// The pictures that are named, evenly chosen; where none are, those of `trained_on`, the data set of the training, or where that is not
/// there any more, drawn ones.
///
/// # Errors
/// Nothing there, or a picture that cannot be read.
pub(crate) fn pictures(
    args: &ExportArgs,
    trained_on: Option<&Path>,
    printer: &Printer,
) -> Result<Vec<(String, Image)>, CliError> {
    let paths: Vec<PathBuf> = match (&args.source, &args.data) {
        (Some(source), _) => {
            let (sources, notes) = sources::images(source)?;
            notes.iter().for_each(|note| printer.warn(note));
            sources.into_iter().map(|source| source.path).collect()
        }
        (None, Some(file)) => validation_images(file)?,
        (None, None) => match trained_on.filter(|data| data.exists()).map(validation_images) {
            Some(Ok(paths)) => paths,
            Some(Err(error)) => {
                printer.warn(&format!("compared with drawn pictures, not with those of the training: {error}"));
                return Ok(drawn());
            }
            None => return Ok(drawn()),
        },
    };
    if paths.is_empty() {
        return Err(CliError::input("no image to compare with; name others with --source, or write --no-verify"));
    }
    let count = paths.len().min(PICTURES);
    (0..count)
        .map(|i| {
            let path = &paths[i * paths.len() / count];
            let decoded = decode::read(path, &Limits::default()).map_err(CliError::input)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, decoded.image))
        })
        .collect()
}

fn validation_images(data: &Path) -> Result<Vec<PathBuf>, CliError> {
    let source = Source::open(data)?;
    let split = if source.has(Split::Val) { Split::Val } else { Split::Train };
    let set = Dataset::scan(source, split, ScanOptions::default(), &NoProgress)?;
    Ok(set.samples.into_iter().map(|sample| sample.path).collect())
}

fn drawn() -> Vec<(String, Image)> {
    (0..DRAWN).map(|i| (format!("drawn {}", i + 1), draw_scene(&mut Rng::for_sample(0, 1, i)).0)).collect()
}

/// Runs a written file and prints the comparison.
///
/// # Errors
/// A file that the other engine cannot run, or that gives something else.
pub(crate) fn check(
    written: &Path,
    target: &Path,
    model: &Model,
    options: &ExportOptions,
    pictures: &[(String, Image)],
    printer: &Printer,
) -> Result<Vec<Case>, CliError> {
    let bytes = std::fs::read(written).map_err(|error| CliError::read(written, &error))?;
    let advice = "nothing was written; this is an error of Kinglet: please report it with the model file, and write the file \
                  anyway with --no-verify";
    let cases = verify(bytes, &mut Detector::new(model.clone()), options, pictures)
        .map_err(|error| CliError::input(format!("`{}`: {error}; {advice}", target.display())))?;
    printer.result(&comparison(&cases));
    if let Some((case, fault)) = cases.iter().find_map(|case| Some((case, case.fault()?))) {
        return Err(CliError::input(format!(
            "`{}` does not give in {ENGINE} what Kinglet computes: {}: {fault}; {advice}",
            target.display(),
            case.name
        )));
    }
    if cases.iter().all(|case| case.boxes == 0) {
        let conf = match options.output {
            Output::Detections(suppression) => suppression.conf,
            _ => kinglet_onnx::Suppression::default().conf,
        };
        printer.say(&format!(
            "no picture has a detection above {conf}, so only values were compared; name pictures of your objects with --source"
        ));
    }
    Ok(cases)
}

/// Columns: picture, input, differences, boxes.
fn comparison(cases: &[Case]) -> String {
    let mut head = vec!["picture", "input", "values off by", "boxes", "alone", "lowest IoU", "scores off by"];
    if cases.iter().any(|case| case.levels.is_some()) {
        head.push("grey levels off by");
    }
    let row = |case: &Case| {
        let sides: Vec<String> = case.input.iter().map(usize::to_string).collect();
        let paired = |text: String| if case.boxes == 0 { "-".to_owned() } else { text };
        let mut cells = vec![
            case.name.clone(),
            sides.join("x"),
            format!("{:.1e}", case.values),
            case.boxes.to_string(),
            case.alone.to_string(),
            paired(format!("{:.4}", case.overlap)),
            paired(format!("{:.1e}", case.score)),
        ];
        cells.extend(case.levels.map(|[most, mean]| format!("{most:.0}, mean {mean:.3}")));
        cells
    };
    let rows: Vec<Vec<String>> = cases.iter().map(row).collect();
    format!("compared with {ENGINE}, another engine that ran the written file:\n{}", table(&head, &rows))
}

/// The same for programs.
pub(crate) fn as_json(cases: &[Case]) -> serde_json::Value {
    let cases: Vec<serde_json::Value> = cases
        .iter()
        .map(|case| {
            json!({
                "picture": case.name, "input": case.input, "values": case.values, "boxes": case.boxes,
                "alone": case.alone, "lowest_iou": case.overlap, "scores": case.score, "grey_levels": case.levels,
            })
        })
        .collect();
    json!({"engine": ENGINE, "cases": cases})
}
