//! `kinglet data stats`: what a data set holds, in numbers and as a picture.

use super::open_all;
use crate::args::data::StatsArgs;
use crate::errors::CliError;
use crate::output::write_chart;
use crate::printer::Printer;
use crate::report::label_plot;
use kinglet_data::stats::{Spread, Stats};
use kinglet_eval::label_plots::plot_labels;
use serde_json::json;
use std::process::ExitCode;

/// Counts, prints and draws.
///
/// # Errors
/// A data set that cannot be read, a picture that cannot be written.
pub(super) fn run(args: StatsArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.which.json);
    let sets = open_all(&args.which, printer)?;
    let all: Vec<Stats> = sets.iter().map(|set| Stats::of(set, args.imgsz)).collect();
    table(&all).iter().for_each(|line| printer.result(line));
    write_chart(&args.plot, &plot_labels(&label_plot(&sets)))?;
    printer.say(&format!("Picture saved to {}", args.plot.display()));
    if args.which.json {
        printer.data(&json!({"splits": all, "plot": args.plot}));
    }
    Ok(ExitCode::SUCCESS)
}

/// Columns of splits, rows of numbers.
fn table(all: &[Stats]) -> Vec<String> {
    let row = |title: &str, of: &dyn Fn(&Stats) -> String| {
        let cells: String = all.iter().map(|stats| format!("{:>22}", of(stats))).collect();
        format!("{title:>26}{cells}")
    };
    let spread = |s: &Spread, digits: usize| format!("{:.digits$} / {:.digits$} / {:.digits$}", s.min, s.median, s.max);
    let mut lines = vec![
        row("", &|s| s.split.clone()),
        row("images", &|s| s.images.to_string()),
        row("images without a box", &|s| s.backgrounds.to_string()),
        row("boxes", &|s| s.boxes.to_string()),
        row("boxes under 32 px", &|s| s.small_medium_large[0].to_string()),
        row("boxes of 32 to 96 px", &|s| s.small_medium_large[1].to_string()),
        row("boxes over 96 px", &|s| s.small_medium_large[2].to_string()),
    ];
    lines.push("\nboxes in images, by class".to_owned());
    for (class, name) in all.first().map(|s| s.classes.clone()).unwrap_or_default().iter().enumerate() {
        lines.push(row(&name.name, &|s| format!("{} in {}", s.classes[class].boxes, s.classes[class].images)));
    }
    lines.push("\nleast / median / most".to_owned());
    lines.push(row("image width", &|s| spread(&s.image_widths, 0)));
    lines.push(row("image height", &|s| spread(&s.image_heights, 0)));
    lines.push(row("boxes per image", &|s| spread(&s.boxes_per_image, 0)));
    let img = all.first().map_or(0, |s| s.img);
    lines.push(row(&format!("side of a box at {img} px"), &|s| spread(&s.box_sides, 0)));
    lines
}
