//! Small charts in rows: lines or dots over any axis.
//!
//! Used where the history of a training is not what is drawn: studies over image sides, and evolutions.

use crate::figure::{Figure, Paint};
use crate::panel::{Panel, SMALL, Scale, fitted, legend, range, series};
use crate::plots::Series;
use kinglet_vision::text::text_width;

/// Width and height of a chart in pixels.
const CELL: (usize, usize) = (400, 320);
/// Width of a point, and of those that the eye should find.
const POINT: f32 = 7.0;
const MARKED: f32 = 11.0;

/// One chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below it.
    pub x_title: String,
    /// What it shows; the last is drawn on top.
    pub series: Vec<Series>,
    /// Dots alone, without lines between them; those after the first series are larger.
    pub dots: bool,
}

/// Widest name beside the charts, in pixels.
const NAME: usize = 240;

/// The charts, in rows of `columns`, and beside them the names of the series, which are those of the first chart;
/// `title` says what the figure is.
pub fn plot_charts(charts: &[Chart], columns: usize, title: &str) -> Figure {
    let columns = columns.clamp(1, charts.len().max(1));
    let rows = charts.len().div_ceil(columns).max(1);
    let all = charts.first().map_or(&[][..], |chart| &chart.series);
    let named = all.iter().enumerate().filter(|(_, one)| !one.name.is_empty());
    let names: Vec<(String, Paint)> = named.map(|(place, one)| (fitted(&one.name, NAME), series(place))).collect();
    let widest = names.iter().map(|(name, _)| text_width(name, SMALL)).max().unwrap_or(0);
    let beside = if names.len() > 1 { widest + 50 } else { 0 };
    let mut figure = Figure::new(columns * CELL.0 + beside, rows * CELL.1, title);
    if beside > 0 {
        legend(&mut figure, (columns * CELL.0) as f32, 46.0, &names);
    }
    for (i, chart) in charts.iter().enumerate() {
        let values = || chart.series.iter().flat_map(|series| series.points.iter());
        let panel = Panel {
            left: (i % columns * CELL.0 + 72) as f32,
            top: (i / columns * CELL.1 + 46) as f32,
            width: (CELL.0 - 100) as f32,
            height: (CELL.1 - 110) as f32,
            x: range(values().map(|point| point.0), 0.05),
            y: range(values().map(|point| point.1), 0.05),
            scale: [Scale::Plain; 2],
        };
        panel.axes(&mut figure, &chart.title, &chart.x_title, "");
        for (place, one) in chart.series.iter().enumerate() {
            let width = if chart.dots && place > 0 { MARKED } else { POINT };
            if !chart.dots {
                panel.line(&mut figure, &one.points, 2.0, series(place));
            }
            for &point in one.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
                figure.dot(panel.place(point), width, series(place));
            }
        }
    }
    figure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_point_is_drawn_in_its_colour() {
        let dots = |points: Vec<(f64, f64)>| Series { name: String::new(), points };
        let series = vec![dots(vec![(0.0, 0.0), (1.0, 2.0), (f64::NAN, 1.0)]), dots(vec![(0.5, 1.0)])];
        let chart = Chart { title: "t".into(), x_title: "x".into(), series, dots: true };
        let svg = plot_charts(&[chart.clone(), chart], 5, "two").to_svg();
        // Of each chart two points of the first colour and one of the second.
        let count = |colour: &str| svg.matches(colour).count();
        assert_eq!((count("#0072b2"), count("#e69f00")), (4, 2), "{svg}");
    }

    #[test]
    fn names_of_several_series_stand_once_beside_the_charts() {
        let named = |name: &str| Series { name: name.into(), points: vec![(0.0, 0.0), (1.0, 1.0)] };
        let chart = |series| Chart { title: "t".into(), x_title: "x".into(), series, dots: false };
        let drawn = |charts: &[Chart]| plot_charts(charts, 2, "two").to_svg();
        let [one, two] = [vec![named("first")], vec![named("first"), named("second")]].map(chart);
        assert!(!drawn(&[one.clone(), one]).contains(">first<"));
        let svg = drawn(&[two.clone(), two]);
        assert_eq!((svg.matches(">first<").count(), svg.matches(">second<").count()), (1, 1), "{svg}");
    }
}
