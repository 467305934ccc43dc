//! `kinglet data stats`: what a data set holds, in numbers and as a picture.

use super::open_all;
use crate::args::data::StatsArgs;
use crate::errors::CliError;
use crate::output::write_chart;
use crate::printer::Printer;
use crate::report::label_plot;
use crate::table::table;
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
    printer.result(&numbers(&all));
    write_chart(&args.plot, &plot_labels(&label_plot(&sets)))?;
    printer.say(&format!("Picture saved to {}", args.plot.display()));
    if args.which.json {
        printer.data(&json!({"splits": all, "plot": args.plot}));
    }
    Ok(ExitCode::SUCCESS)
}

/// Columns of splits, rows of numbers.
fn numbers(all: &[Stats]) -> String {
    let row = |title: &str, of: &dyn Fn(&Stats) -> String| {
        std::iter::once(title.to_owned()).chain(all.iter().map(of)).collect::<Vec<_>>()
    };
    let spread = |s: &Spread, digits: usize| format!("{:.digits$} / {:.digits$} / {:.digits$}", s.min, s.median, s.max);
    let mut rows = vec![
        row("images", &|s| s.images.to_string()),
        row("  without a box", &|s| s.backgrounds.to_string()),
        row("boxes", &|s| s.boxes.to_string()),
        row("  under 32 px", &|s| s.small_medium_large[0].to_string()),
        row("  32 to 96 px", &|s| s.small_medium_large[1].to_string()),
        row("  over 96 px", &|s| s.small_medium_large[2].to_string()),
        row("least / median / most", &|_| String::new()),
        row("  image width", &|s| spread(&s.image_widths, 0)),
        row("  image height", &|s| spread(&s.image_heights, 0)),
        row("  boxes an image", &|s| spread(&s.boxes_per_image, 0)),
    ];
    let img = all.first().map_or(0, |s| s.img);
    rows.push(row(&format!("  side of a box at {img} px"), &|s| spread(&s.box_sides, 0)));
    rows.push(row("boxes of a class in images", &|_| String::new()));
    for (class, name) in all.first().map(|s| s.classes.clone()).unwrap_or_default().iter().enumerate() {
        rows.push(row(&format!("  {}", name.name), &|s| {
            format!("{} in {}", s.classes[class].boxes, s.classes[class].images)
        }));
    }
    let head: Vec<&str> = std::iter::once("").chain(all.iter().map(|s| &s.split[..])).collect();
    table(&head, &rows)
}
