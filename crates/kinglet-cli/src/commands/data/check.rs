//! `kinglet data check`: everything that is wrong with a data set, and whether training should start.

use super::{Opened, open};
use crate::args::data::CheckArgs;
use crate::commands::load_weights;
use crate::errors::CliError;
use crate::findings::{self, grouped};
use crate::printer::{Printer, counted};
use crate::table::table;
use crate::zoo;
use kinglet_data::check::{Level, LevelFit, blockers, fit_levels, orphans, same_pictures};
use kinglet_data::fix::{Fixed, fix};
use kinglet_data::{Dataset, Finding, Split};
use kinglet_nn::Model;
use kinglet_spec::ResolveOptions;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// Exit code where training should not start.
const UNFIT: u8 = 1;

/// Checks, and corrects where asked.
///
/// # Errors
/// A data set that is not recognised, a model that is none, labels that cannot be corrected in place.
pub(super) fn run(args: CheckArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.which.json);
    let levels = levels(&args.model)?;
    let mut opened = open(&args.which, printer)?;
    let mut fixed = None;
    if let Some(how) = args.fix {
        let done = fix(&opened.sets, how.fix())?;
        tell_fixed(&done, printer);
        if done.originals.is_some() {
            opened = open(&args.which, printer)?;
        }
        fixed = Some(done);
    }
    let Opened { sets, errors, .. } = &opened;
    let mut extra = same_pictures(sets, args.which.workers);
    extra.extend(orphans(sets));
    let mut against = blockers(sets, &extra);
    against.extend(errors.iter().map(|(split, error)| format!("{}: {error}", split.key())));
    if !sets.iter().any(|set| set.split == Split::Train) && !errors.iter().any(|(split, _)| *split == Split::Train) {
        against.push("there are no training images".to_owned());
    }

    for set in sets {
        printer.result(&findings::summary_line(set));
        set.notes.iter().for_each(|note| printer.result(&format!("  {note}")));
        tell(&set.findings, args.verbose, printer);
    }
    if !extra.is_empty() {
        printer.result("across the data set:");
        tell(&extra, args.verbose, printer);
    }
    printer.result(&format!("\n{}", balance(sets)));
    let fit = sets.iter().find(|set| set.split == Split::Train).map(|set| fit_levels(set, levels, args.imgsz));
    if let Some(fit) = &fit {
        level_lines(fit, &args.model).iter().for_each(|line| printer.result(line));
    }
    printer.result("");
    if against.is_empty() {
        printer.result("Training can start.");
    } else {
        printer.result("Training should not start:");
        against.iter().for_each(|reason| printer.result(&format!("  {reason}")));
    }
    if args.which.json {
        printer.data(&report(&opened, &extra, &against, fit.as_ref(), fixed.as_ref()));
    }
    Ok(if against.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(UNFIT) })
}

/// Stride and anchors of each level of a model.
fn levels(model: &str) -> Result<Vec<Level>, CliError> {
    let path = Path::new(model);
    let model = if path.extension().is_some_and(|e| e == "safetensors" || e == "pt" || e == "pth") {
        load_weights(path)?.model
    } else {
        let found = zoo::model(model)?;
        Model::from_yaml(&found.text, &found.file, &ResolveOptions::default())?
    };
    let head = model.head();
    let level = |(&stride, anchors): (&usize, &Vec<[f32; 2]>)| Level { stride, anchors: anchors.clone(), boxes: 0 };
    Ok(head.strides.iter().zip(&head.anchors).map(level).collect())
}

fn tell(found: &[Finding], all: bool, printer: &Printer) {
    if all {
        found.iter().for_each(|finding| printer.result(&format!("  {finding}")));
    } else {
        grouped(found).iter().for_each(|line| printer.result(line));
    }
}

fn tell_fixed(done: &Fixed, printer: &Printer) {
    let Some(originals) = &done.originals else {
        printer.say("nothing that this corrects");
        return;
    };
    let mut parts = Vec::new();
    if done.files > 0 {
        parts.push(format!(
            "{} rewritten ({} corrected, {} taken out)",
            counted(done.files, "label file"),
            counted(done.lines_corrected, "line"),
            done.lines_removed
        ));
    }
    if done.images_moved > 0 {
        parts.push(format!("{} moved away with the label files", counted(done.images_moved, "image")));
    }
    printer.say(&format!("{}; the originals are in {}", parts.join(", "), originals.display()));
}

/// Boxes of each class in each split, and their share of the training's, or where that could not be scanned of the first.
fn balance(sets: &[Dataset]) -> String {
    let train = sets.iter().find(|set| set.split == Split::Train);
    let Some(first) = train.or(sets.first()) else { return String::new() };
    let counts = |set: &Dataset, class: usize| set.summary.boxes_per_class[class];
    let row = |(class, name): (usize, &String)| {
        let boxes = sets.iter().map(|set| counts(set, class).to_string());
        let remark = if train.is_some_and(|train| counts(train, class) == 0) { "never seen in training" } else { "" };
        let last = [percent(counts(first, class), first.summary.boxes), remark.to_owned()];
        std::iter::once(name.clone()).chain(boxes).chain(last).collect::<Vec<_>>()
    };
    let splits = sets.iter().map(|set| set.split.key());
    let head: Vec<&str> = std::iter::once("boxes of a class").chain(splits).chain(["share", ""]).collect();
    table(&head, &first.names.iter().enumerate().map(row).collect::<Vec<_>>())
}

fn percent(count: usize, of: usize) -> String {
    format!("{:.1} %", count as f64 * 100.0 / of.max(1) as f64)
}

/// The boxes that are as large as each level's cells, and what fits none.
fn level_lines(fit: &LevelFit, model: &str) -> Vec<String> {
    let row = |Level { stride, anchors, boxes }: &Level| {
        let anchors: Vec<String> = anchors.iter().map(|[w, h]| format!("{w:.0}x{h:.0}")).collect();
        vec![stride.to_string(), boxes.to_string(), percent(*boxes, fit.boxes), anchors.join(" ")]
    };
    let rows: Vec<Vec<String>> = fit.levels.iter().map(row).collect();
    let mut lines = vec![
        format!("\nboxes of `train` at {} px against the levels of {model}:", fit.img),
        table(&["stride", "boxes", "share", "anchors (pixels)"], &rows),
        format!(
            "{:.1} % have a fitting anchor; training computes others from the data at 98 % and below",
            fit.fitting * 100.0
        ),
    ];
    if fit.below_stride > 0 {
        lines.push(format!(
            "{} boxes ({}) are narrower than a cell of the finest level, {} of them under 3 px: a larger --img helps",
            fit.below_stride,
            percent(fit.below_stride, fit.boxes),
            fit.tiny
        ));
    }
    lines
}

fn report(
    Opened { sets, absent, .. }: &Opened,
    extra: &[Finding],
    against: &[String],
    fit: Option<&LevelFit>,
    fixed: Option<&Fixed>,
) -> Value {
    let splits: Vec<Value> = sets
        .iter()
        .map(|set| {
            let counts: Vec<Value> = set
                .finding_counts()
                .into_iter()
                .map(|(kind, severity, count)| json!({"kind": kind, "severity": severity, "count": count}))
                .collect();
            json!({
                "split": set.split.key(), "summary": set.summary, "counts": counts, "findings": set.findings,
                "notes": set.notes,
            })
        })
        .collect();
    json!({
        "ok": against.is_empty(), "reasons": against, "names": sets.first().map(|set| &set.names), "splits": splits,
        "absent": absent, "across": extra, "levels": fit, "fixed": fixed,
    })
}
