//! Pictures of results: curves over epochs, precision and recall, the confusion matrix.
//!
//! Colours: Okabe and Ito's palette, told apart with any kind of colour vision; many classes share one pale colour.
//! Units: pixels. Each function returns the picture; writing it is the caller's business.

use kinglet_vision::Image;
use kinglet_vision::draw::{draw_line, fill_rectangle, readable_on};
use kinglet_vision::text::{draw_text, draw_text_upwards, text_width};

use crate::ap::CURVE_POINTS;
use crate::confusion::ConfusionMatrix;
use crate::metrics::Report;
use crate::table::general;

pub(crate) const WHITE: [u8; 3] = [255; 3];
pub(crate) const INK: [u8; 3] = [40, 44, 52];
const FAINT: [u8; 3] = [228, 230, 234];
const PALE: [u8; 3] = [186, 194, 204];
pub(crate) const SERIES: [[u8; 3]; 7] =
    [[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [213, 94, 0], [86, 180, 233], [110, 100, 90]];
/// More classes than this are drawn alike and left out of the legend.
const NAMED_CLASSES: usize = 12;
pub(crate) const SMALL: f32 = 17.0;
pub(crate) const TITLE: f32 = 21.0;

/// A named line of points; points that are not finite leave a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Shown in the legend; without a name it is not.
    pub name: String,
    /// (x, y) in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

struct Line<'a> {
    series: &'a Series,
    colour: [u8; 3],
    thickness: f32,
}

pub(crate) struct Panel {
    pub(crate) left: i64,
    pub(crate) top: i64,
    pub(crate) width: i64,
    pub(crate) height: i64,
    pub(crate) x: (f64, f64),
    pub(crate) y: (f64, f64),
}

impl Panel {
    pub(crate) fn place(&self, (x, y): (f64, f64)) -> [f32; 2] {
        let share = |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(-0.01, 1.01);
        let across = self.left as f64 + share(x, self.x) * self.width as f64;
        let down = (self.top + self.height) as f64 - share(y, self.y) * self.height as f64;
        [across as f32, down as f32]
    }

    /// Grid, numbers and axis titles.
    pub(crate) fn axes(&self, image: &mut Image, title: &str, x_title: &str, y_title: &str) {
        for tick in ticks(self.x, (self.width / 90).max(2) as usize) {
            let x = self.place((tick, self.y.0))[0] as i64;
            fill_rectangle(image, x, self.top, x + 1, self.top + self.height, FAINT);
            let text = general(tick, 4);
            let left = x - text_width(&text, SMALL) as i64 / 2;
            draw_text(image, left as f32, (self.top + self.height + 5) as f32, &text, SMALL, INK);
        }
        for tick in ticks(self.y, (self.height / 50).max(2) as usize) {
            let y = self.place((self.x.0, tick))[1] as i64;
            fill_rectangle(image, self.left, y, self.left + self.width, y + 1, FAINT);
            let text = general(tick, 4);
            let left = self.left - 8 - text_width(&text, SMALL) as i64;
            draw_text(image, left as f32, y as f32 - SMALL / 2.0, &text, SMALL, INK);
        }
        let (bottom, right) = (self.top + self.height, self.left + self.width);
        fill_rectangle(image, self.left, bottom, right, bottom + 1, INK);
        fill_rectangle(image, self.left, self.top, self.left + 1, bottom, INK);
        let middle = self.left + self.width / 2;
        let title_left = middle - text_width(title, TITLE) as i64 / 2;
        draw_text(image, title_left as f32, self.top as f32 - TITLE - 8.0, title, TITLE, INK);
        let x_left = middle - text_width(x_title, SMALL) as i64 / 2;
        draw_text(image, x_left as f32, bottom as f32 + 27.0, x_title, SMALL, INK);
        if !y_title.is_empty() {
            let start = self.top + (self.height + text_width(y_title, SMALL) as i64) / 2;
            draw_text_upwards(image, (self.left - 66).max(2) as usize, start.max(0) as usize, y_title, SMALL, INK);
        }
    }

    fn draw(&self, image: &mut Image, line: &Line<'_>) {
        let points = &line.series.points;
        let finite = |point: &(f64, f64)| point.0.is_finite() && point.1.is_finite();
        for pair in points.windows(2) {
            if finite(&pair[0]) && finite(&pair[1]) {
                draw_line(image, self.place(pair[0]), self.place(pair[1]), line.thickness, line.colour);
            }
        }
        if let [only] = points.as_slice()
            && finite(only)
        {
            let dot = self.place(*only);
            draw_line(image, dot, dot, 7.0, line.colour);
        }
    }
}

/// Round numbers within a range, at most about `count`.
fn ticks((one, other): (f64, f64), count: usize) -> Vec<f64> {
    // An axis may fall.
    let (low, high) = (one.min(other), one.max(other));
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The range of all finite values, a little widened; never empty.
fn range(values: impl Iterator<Item = f64>, room: f64) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    let spread = if high > low { high - low } else { high.abs().max(1.0) };
    // A single value still needs an axis of some length.
    let room = if high > low { room } else { room.max(0.05) };
    (low - room * spread, high + room * spread)
}

fn legend(image: &mut Image, left: i64, top: i64, entries: &[(&str, [u8; 3])]) {
    for (i, (name, colour)) in entries.iter().enumerate() {
        let y = top + i as i64 * 24;
        fill_rectangle(image, left, y + 8, left + 22, y + 12, *colour);
        draw_text(image, (left + 30) as f32, y as f32 + 1.0, name, SMALL, INK);
    }
}

/// Shortens a name to a width in pixels.
pub(crate) fn fitted(name: &str, width: usize) -> String {
    if text_width(name, SMALL) <= width {
        return name.to_owned();
    }
    let mut short: String = name.to_owned();
    while !short.is_empty() && text_width(&short, SMALL) + text_width("…", SMALL) > width {
        short.pop();
    }
    short + "…"
}

/// One small chart for each titled group of lines, in rows of `columns`: the picture of a training run.
pub fn plot_history(charts: &[(String, Vec<Series>)], columns: usize) -> Image {
    let columns = columns.clamp(1, charts.len().max(1));
    let rows = charts.len().div_ceil(columns).max(1);
    let (cell_w, cell_h) = (400, 320);
    let mut image = Image::new(columns * cell_w as usize, rows * cell_h as usize, WHITE);
    for (i, (title, lines)) in charts.iter().enumerate() {
        let (column, row) = ((i % columns) as i64, (i / columns) as i64);
        let values = || lines.iter().flat_map(|line| line.points.iter());
        let panel = Panel {
            left: column * cell_w + 72,
            top: row * cell_h + 46,
            width: cell_w - 100,
            height: cell_h - 110,
            x: range(values().map(|point| point.0), 0.0),
            y: range(values().map(|point| point.1), 0.05),
        };
        panel.axes(&mut image, title, "epoch", "");
        for (line, colour) in lines.iter().zip(SERIES.iter().cycle()) {
            panel.draw(&mut image, &Line { series: line, colour: *colour, thickness: 2.4 });
        }
        let named: Vec<(&str, [u8; 3])> = lines
            .iter()
            .zip(SERIES.iter().cycle())
            .filter(|(line, _)| !line.name.is_empty())
            .map(|(line, colour)| (line.name.as_str(), *colour))
            .collect();
        if lines.len() > 1 {
            let widest = named.iter().map(|(name, _)| text_width(name, SMALL)).max().unwrap_or(0) as i64 + 36;
            legend(&mut image, panel.left + panel.width - widest, panel.top + 4, &named);
        }
    }
    image
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
pub fn plot_curve(report: &Report, curve: Curve) -> Image {
    let classes = &report.curves.classes;
    let values = |i: usize| match curve {
        Curve::PrecisionRecall => &classes[i].precision_at_recall,
        Curve::F1 => &classes[i].f1,
        Curve::Precision => &classes[i].precision,
        Curve::Recall => &classes[i].recall,
    };
    let series = |name: String, value: &dyn Fn(usize) -> f64| Series {
        name,
        points: (0..CURVE_POINTS).step_by(3).map(|i| (i as f64 / (CURVE_POINTS - 1) as f64, value(i))).collect(),
    };
    let mean = |i: usize| (0..classes.len()).map(|class| values(class)[i]).sum::<f64>() / classes.len().max(1) as f64;
    let best = (0..CURVE_POINTS).fold(0, |best, i| if mean(i) > mean(best) { i } else { best });
    let at_best = best as f64 / (CURVE_POINTS - 1) as f64;
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
    let mut image = Image::new(1100, 720, WHITE);
    let panel = Panel { left: 90, top: 60, width: 700, height: 570, x: (0.0, 1.0), y: (0.0, 1.0) };
    panel.axes(&mut image, title, x_title, y_title);
    let few = classes.len() <= NAMED_CLASSES;
    let mut names = Vec::new();
    for (i, class) in report.per_class.iter().enumerate() {
        let name = match curve {
            Curve::PrecisionRecall => format!("{} {:.3}", fitted(&class.name, 190), class.ap50),
            _ => fitted(&class.name, 240),
        };
        // The first colour is the mean's; a second round through the palette is told apart by its thinner line.
        let colour = if few { SERIES[1 + i % (SERIES.len() - 1)] } else { PALE };
        let thickness = if few && i < SERIES.len() - 1 { 2.0 } else { 1.2 };
        panel.draw(&mut image, &Line { series: &series(name.clone(), &|point| values(i)[point]), colour, thickness });
        if few {
            names.push((name, colour));
        }
    }
    panel.draw(&mut image, &Line { series: &series(String::new(), &mean), colour: SERIES[0], thickness: 4.5 });
    names.insert(0, (all, SERIES[0]));
    if !few {
        names.push((format!("{} classes", classes.len()), PALE));
    }
    let entries: Vec<(&str, [u8; 3])> = names.iter().map(|(name, colour)| (name.as_str(), *colour)).collect();
    legend(&mut image, 815, 62, &entries);
    image
}

/// The confusion matrix as shares of each true class (columns); numbers where there is room.
pub fn plot_confusion(matrix: &ConfusionMatrix, names: &[String]) -> Image {
    let count = matrix.classes() + 1;
    let cell = (640 / count as i64).clamp(9, 110);
    let side = cell * count as i64;
    let (left, top) = (190, 60);
    let mut image = Image::new((left + side + 130) as usize, (top + side + 190) as usize, WHITE);
    let title = "Confusion matrix, share of each true class";
    draw_text(&mut image, left as f32, 18.0, title, TITLE, INK);
    let name = |i: usize| match names.get(i) {
        _ if i == matrix.classes() => "background".to_owned(),
        Some(name) => fitted(name, 130),
        None => i.to_string(),
    };
    // Names are left out where they would overlap.
    let every = (20 / cell + 1) as usize;
    for row in 0..count {
        let y = top + row as i64 * cell;
        if row % every == 0 || row + 1 == count {
            let text = name(row);
            let x = left - 8 - text_width(&text, SMALL) as i64;
            draw_text(&mut image, x as f32, (y + cell / 2) as f32 - SMALL / 2.0, &text, SMALL, INK);
        }
        for column in 0..count {
            let x = left + column as i64 * cell;
            let share = matrix.share(row, column);
            let colour = heat(share);
            fill_rectangle(&mut image, x, y, x + cell - 1, y + cell - 1, colour);
            if cell >= 40 && share >= 0.005 {
                let text = format!("{share:.2}");
                let inner = x + (cell - 1 - text_width(&text, SMALL) as i64) / 2;
                let ink = readable_on(colour);
                draw_text(&mut image, inner as f32, (y + cell / 2) as f32 - SMALL / 2.0, &text, SMALL, ink);
            }
        }
    }
    for column in (0..count).filter(|column| column % every == 0 || column + 1 == count) {
        let text = name(column);
        let x = left + column as i64 * cell + (cell - SMALL as i64) / 2;
        let y = top + side + 8 + text_width(&text, SMALL) as i64;
        draw_text_upwards(&mut image, x.max(0) as usize, y as usize, &text, SMALL, INK);
    }
    let middle = left + (side - text_width("true class", SMALL) as i64) / 2;
    let longest = (0..count).map(|i| text_width(&name(i), SMALL)).max().unwrap_or(0) as i64;
    draw_text(&mut image, middle as f32, (top + side + longest + 18) as f32, "true class", SMALL, INK);
    let start = top + (side + text_width("predicted class", SMALL) as i64) / 2;
    draw_text_upwards(&mut image, 8, start as usize, "predicted class", SMALL, INK);
    for y in 0..side {
        let share = 1.0 - y as f64 / (side - 1).max(1) as f64;
        fill_rectangle(&mut image, left + side + 30, top + y, left + side + 50, top + y + 1, heat(share));
    }
    for (share, y) in [("1", 0), ("0.5", side / 2), ("0", side)] {
        draw_text(&mut image, (left + side + 58) as f32, (top + y) as f32 - SMALL / 2.0, share, SMALL, INK);
    }
    image
}

/// White over light to dark blue.
pub(crate) fn heat(share: f64) -> [u8; 3] {
    let stops = [[247.0, 249.0, 252.0], [198.0, 219.0, 239.0], [86.0, 150.0, 205.0], [8.0, 48.0, 107.0]];
    let at = share.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
    let low = (at as usize).min(stops.len() - 2);
    let part = at - low as f64;
    std::array::from_fn(|i| (stops[low][i] * (1.0 - part) + stops[low + 1][i] * part).round_ties_even() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(ticks((0.0, 1.0), 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks((3.0, 97.0), 5), [20.0, 40.0, 60.0, 80.0]);
        for (low, high) in [(0.0, 1e-9), (-5.0, 1e6), (0.013, 0.0131)] {
            let marks = ticks((low, high), 4);
            assert!((1..=6).contains(&marks.len()), "{marks:?}");
        }
    }

    #[test]
    fn ranges_of_nothing_and_of_one_value_can_be_drawn() {
        assert_eq!(range([].into_iter(), 0.1), (0.0, 1.0));
        assert_eq!(range([f64::NAN].into_iter(), 0.1), (0.0, 1.0));
        let (low, high) = range([3.0].into_iter(), 0.1);
        assert!(low < 3.0 && high > 3.0);
        let (low, high) = range([0.0].into_iter(), 0.0);
        assert!(low < 0.0 && high > 0.0);
    }
}
