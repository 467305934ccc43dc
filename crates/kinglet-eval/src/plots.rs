//! Charts of results: curves over epochs, precision and recall, the confusion matrix, what errors cost.
//!
//! Each function returns the chart; drawing and writing it is the caller's business. Many classes share one pale colour.

use kinglet_vision::draw::readable_on;
use kinglet_vision::text::text_width;

use crate::ap::CURVE_POINTS;
use crate::confusion::ConfusionMatrix;
use crate::error_kinds::{ErrorKind, Errors};
use crate::figure::{Anchor, Figure, Paint};
use crate::metrics::Report;
use crate::panel::{Panel, SERIES, SMALL, Scale, TITLE, fitted, heat, legend, range, series};

const PALE: Paint = Paint::Rgb([186, 194, 204]);
/// More classes than this are drawn alike and left out of the legend.
const NAMED_CLASSES: usize = 12;
/// Epochs over which a history is smoothed, and from how many on: the standard deviation of the weights.
const SMOOTHING: f64 = 3.0;
const SMOOTHED_FROM: usize = 10;

/// A named line of points; points that are not finite leave a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Shown in the legend; without a name it is not.
    pub name: String,
    /// (x, y) in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

/// Whether a line is long enough to be smoothed.
fn smooths(line: &Series) -> bool {
    line.points.len() >= SMOOTHED_FROM
}

/// Each value as the weighted mean of its neighbours, as far as there are any.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let near = |i: usize| {
        let weighted = points.iter().enumerate().filter(|(_, point)| point.1.is_finite()).map(|(k, point)| {
            let steps = (k as f64 - i as f64) / SMOOTHING;
            ((-0.5 * steps * steps).exp(), point.1)
        });
        let (sum, weights) = weighted.fold((0.0, 0.0), |(sum, all), (weight, y)| (sum + weight * y, all + weight));
        sum / weights
    };
    points.iter().enumerate().map(|(i, point)| (point.0, near(i))).collect()
}

/// What the two lines of a chart of one series are, where there are two.
pub const SMOOTHED_NOTE: &str = "thin: as measured; thick: smoothed over the epochs around";

/// One small chart for each titled group of lines over epochs, in rows of `columns`: the picture of a training run.
///
/// A chart of one line that is long enough shows a smoothed one as well, and several charts say so below.
pub fn plot_history(charts: &[(String, Vec<Series>)], columns: usize) -> Figure {
    let columns = columns.clamp(1, charts.len().max(1));
    let rows = charts.len().div_ceil(columns).max(1);
    let (cell_w, cell_h) = (400, 320);
    let is_smoothed = |(_, lines): &(String, Vec<Series>)| matches!(&lines[..], [only] if smooths(only));
    let note = charts.len() > 1 && charts.iter().any(is_smoothed);
    let title = if let [(title, _)] = charts { title } else { "Losses and metrics of each epoch" };
    let mut figure = Figure::new(columns * cell_w, rows * cell_h + if note { 30 } else { 0 }, title);
    if note {
        let at = [(columns * cell_w / 2) as f32, (rows * cell_h + 8) as f32];
        figure.text(at, SMOOTHED_NOTE, SMALL, Anchor::Middle, Paint::Ink);
    }
    for (i, (title, lines)) in charts.iter().enumerate() {
        let values = || lines.iter().flat_map(|line| line.points.iter());
        let panel = Panel {
            left: (i % columns * cell_w + 72) as f32,
            top: (i / columns * cell_h + 46) as f32,
            width: (cell_w - 100) as f32,
            height: (cell_h - 110) as f32,
            x: range(values().map(|point| point.0), 0.0),
            y: range(values().map(|point| point.1), 0.05),
            scale: [Scale::Whole, Scale::Plain],
        };
        panel.axes(&mut figure, title, "epoch", "");
        match lines.as_slice() {
            [only] if smooths(only) => {
                panel.line(&mut figure, &only.points, 1.4, series(5));
                panel.line(&mut figure, &smoothed(&only.points), 2.6, series(0));
            }
            _ => {
                for (at, line) in lines.iter().enumerate() {
                    panel.line(&mut figure, &line.points, 2.4, series(at));
                }
            }
        }
        let named = lines.iter().enumerate().filter(|(_, line)| !line.name.is_empty());
        let named: Vec<(String, Paint)> = named.map(|(at, line)| (line.name.clone(), series(at))).collect();
        if lines.len() > 1 {
            let widest = named.iter().map(|(name, _)| text_width(name, SMALL)).max().unwrap_or(0) as f32 + 36.0;
            legend(&mut figure, panel.left + panel.width - widest, panel.top + 4.0, &named);
        }
    }
    figure
}

/// Which curve of a report to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// Precision against recall.
    PrecisionRecall,
    /// F1 against confidence.
    F1,
    /// Precision against confidence.
    Precision,
    /// Recall against confidence.
    Recall,
}

/// A curve for every class and their mean.
pub fn plot_curve(report: &Report, curve: Curve) -> Figure {
    let classes = &report.curves.classes;
    let values = |i: usize| match curve {
        Curve::PrecisionRecall => &classes[i].precision_at_recall,
        Curve::F1 => &classes[i].f1,
        Curve::Precision => &classes[i].precision,
        Curve::Recall => &classes[i].recall,
    };
    let points = |value: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
        (0..CURVE_POINTS).map(|i| (i as f64 / (CURVE_POINTS - 1) as f64, value(i))).collect()
    };
    let mean = |i: usize| (0..classes.len()).map(|class| values(class)[i]).sum::<f64>() / classes.len().max(1) as f64;
    // That of the table: smoothed, so not the highest point of the line itself.
    let at_best = report.confidence;
    let best = (at_best * (CURVE_POINTS - 1) as f64).round() as usize;
    let (title, x_title, y_title, all) = match curve {
        Curve::PrecisionRecall => {
            ("Precision and recall", "recall", "precision", format!("all classes {:.3} mAP50", report.map50))
        }
        Curve::F1 => {
            ("F1 and confidence", "confidence", "F1", format!("all classes {:.2} at {at_best:.3}", mean(best)))
        }
        Curve::Precision => ("Precision and confidence", "confidence", "precision", "all classes".to_owned()),
        Curve::Recall => ("Recall and confidence", "confidence", "recall", "all classes".to_owned()),
    };
    let mut figure = Figure::new(1100, 720, title);
    let panel = Panel {
        left: 90.0,
        top: 60.0,
        width: 700.0,
        height: 570.0,
        x: (0.0, 1.0),
        y: (0.0, 1.0),
        scale: [Scale::Plain; 2],
    };
    panel.axes(&mut figure, title, x_title, y_title);
    let few = classes.len() <= NAMED_CLASSES;
    let mut names = Vec::new();
    for (i, class) in report.per_class.iter().enumerate() {
        let name = match curve {
            Curve::PrecisionRecall => format!("{} {:.3}", fitted(&class.name, 190), class.ap50),
            _ => fitted(&class.name, 240),
        };
        // The first colour is the mean's; a second round through the palette is told apart by its thinner line.
        let paint = if few { series(1 + i % (SERIES.len() - 1)) } else { PALE };
        let thickness = if few && i < SERIES.len() - 1 { 2.0 } else { 1.2 };
        panel.line(&mut figure, &points(&|point| values(i)[point]), thickness, paint);
        if few {
            names.push((name, paint));
        }
    }
    panel.line(&mut figure, &points(&mean), 4.5, series(0));
    names.insert(0, (all, series(0)));
    if !few {
        names.push((format!("{} classes", classes.len()), PALE));
    }
    legend(&mut figure, 815.0, 62.0, &names);
    figure
}

/// Pixels of the matrix's side at most: the picture takes memory by its square.
const MOST_SIDE: f32 = 6000.0;

/// The confusion matrix as shares of each true class (columns); numbers where there is room.
pub fn plot_confusion(matrix: &ConfusionMatrix, names: &[String]) -> Figure {
    let count = matrix.classes() + 1;
    // Whole pixels while there is room, and with thousands of classes what room there is.
    let cell = ((640 / count).clamp(9, 110) as f32).min(MOST_SIDE / count as f32);
    let truths = matrix.truths();
    let side = cell * count as f32;
    let (left, top) = (190.0, 60.0);
    let title = "Confusion matrix, share of each true class";
    let name = |i: usize| match names.get(i) {
        _ if i == matrix.classes() => "background".to_owned(),
        Some(name) => fitted(name, 130),
        None => i.to_string(),
    };
    let longest = (0..count).map(|i| text_width(&name(i), SMALL)).max().unwrap_or(0) as f32;
    let mut figure = Figure::new((left + side) as usize + 130, (top + side + longest) as usize + 50, title);
    figure.text([left, 28.0], title, TITLE, Anchor::Start, Paint::Ink);
    // Names are left out where they would overlap, and so are the gaps between cells.
    let every = (20.0 / cell) as usize + 1;
    let shown = |i: usize| (i.is_multiple_of(every) && i + every < count) || i + 1 == count || every == 1;
    let gap = if cell >= 20.0 { 1.0 } else { 0.0 };
    if gap == 0.0 {
        figure.rectangle([left, top, left + side, top + side], Paint::Rgb(heat(0.0)));
    }
    for row in 0..count {
        let y = top + row as f32 * cell;
        if shown(row) {
            figure.text([left - 8.0, y + cell / 2.0], &name(row), SMALL, Anchor::End, Paint::Ink);
        }
        for (column, truth) in truths.iter().enumerate() {
            let x = left + column as f32 * cell;
            let share = matrix.count(row, column) as f64 / (*truth).max(1) as f64;
            let colour = heat(share);
            if share > 0.0 || gap > 0.0 {
                // At least a pixel, or rounding hides the cell.
                let size = (cell - gap).max(1.0);
                figure.rectangle([x, y, x + size, y + size], Paint::Rgb(colour));
            }
            if cell >= 40.0 && share >= 0.005 {
                let middle = [x + (cell - gap) / 2.0, y + cell / 2.0];
                let ink = Paint::Rgb(readable_on(colour));
                figure.text(middle, &format!("{share:.2}"), SMALL, Anchor::Middle, ink);
            }
        }
    }
    for column in (0..count).filter(|column| shown(*column)) {
        let x = left + (column as f32 + 0.5) * cell;
        figure.text_upwards([x, top + side + 8.0], &name(column), SMALL, Anchor::End, Paint::Ink);
    }
    let middle = left + side / 2.0;
    figure.text([middle, top + side + longest + 26.0], "true class", SMALL, Anchor::Middle, Paint::Ink);
    figure.text_upwards([16.0, top + side / 2.0], "predicted class", SMALL, Anchor::Middle, Paint::Ink);
    let (steps, bar) = (64, left + side + 30.0);
    for step in 0..steps {
        let (from, to) = (step as f32 / steps as f32 * side, (step + 1) as f32 / steps as f32 * side);
        let share = 1.0 - step as f64 / (steps - 1) as f64;
        // A little over the next one, or browsers leave hairlines between them.
        figure.rectangle([bar, top + from, bar + 20.0, (top + to + 0.5).min(top + side)], Paint::Rgb(heat(share)));
    }
    for (share, y) in [("1", 0.0), ("0.5", side / 2.0), ("0", side)] {
        figure.text([bar + 28.0, top + y], share, SMALL, Anchor::Start, Paint::Ink);
    }
    figure
}

/// What each kind of error costs: lying bars of how far mAP50 would rise without it.
pub fn plot_errors(errors: &Errors) -> Figure {
    let pitch = 46.0;
    let (left, top) = (150.0, 60.0);
    let height = pitch * ErrorKind::ALL.len() as f32;
    let mut figure = Figure::new(860, (top + height) as usize + 60, "Errors by kind");
    let most = ErrorKind::ALL.map(|kind| errors.of(kind).cost).into_iter().fold(0.05, f64::max);
    let panel = Panel { left, top, width: 480.0, height, x: (0.0, most), y: (0.0, 1.0), scale: [Scale::Plain; 2] };
    let title = "How far mAP50 would rise without the errors of a kind";
    figure.text([left, top - 24.0], title, TITLE, Anchor::Start, Paint::Ink);
    for (row, kind) in ErrorKind::ALL.into_iter().enumerate() {
        let found = errors.of(kind);
        let y = top + row as f32 * pitch;
        let middle = y + pitch / 2.0;
        let end = panel.place((found.cost, 0.0))[0];
        figure.text([left - 10.0, middle], kind.name(), SMALL, Anchor::End, Paint::Ink);
        figure.rectangle([left, y + 7.0, end, y + pitch - 7.0], Paint::Rgb(kind.colour()));
        let count = if found.count == 1 { "1 error".to_owned() } else { format!("{} errors", found.count) };
        let text = format!("{:.3}, {count}", found.cost);
        figure.text([end + 8.0, middle], &text, SMALL, Anchor::Start, Paint::Ink);
    }
    figure.rectangle([left, top, left + 1.0, top + height], Paint::Ink);
    figure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_level_lines_and_fills_gaps() {
        let level: Vec<(f64, f64)> = (0..20).map(|i| (f64::from(i), if i == 7 { f64::NAN } else { 2.5 })).collect();
        assert!(smoothed(&level).iter().all(|(_, y)| (y - 2.5).abs() < 1e-12));
        // One step up: half way between its two sides the mean is in the middle.
        let step: Vec<(f64, f64)> = (0..21)
            .map(|i| {
                (
                    f64::from(i),
                    if i < 10 {
                        0.0
                    } else if i == 10 {
                        0.5
                    } else {
                        1.0
                    },
                )
            })
            .collect();
        assert!((smoothed(&step)[10].1 - 0.5).abs() < 1e-12);
    }
}
