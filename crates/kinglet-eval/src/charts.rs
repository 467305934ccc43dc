//! Small charts in rows: lines or dots over any axis.
//!
//! Used where the history of a training is not what is drawn: studies over image sides, and evolutions.

use crate::plots::{INK, Panel, SERIES, SMALL, Series, WHITE, range};
use kinglet_vision::Image;
use kinglet_vision::draw::fill_rectangle;
use kinglet_vision::text::{draw_text, text_width};

/// Width and height of a chart in pixels.
const CELL: (i64, i64) = (400, 320);

/// One chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below it.
    pub x_title: String,
    /// What it shows; the last is drawn on top.
    pub series: Vec<Series>,
    /// Dots alone, without lines between them.
    pub dots: bool,
}

/// The charts, in rows of `columns`.
pub fn plot_charts(charts: &[Chart], columns: usize) -> Image {
    let columns = columns.clamp(1, charts.len().max(1));
    let rows = charts.len().div_ceil(columns).max(1);
    let mut image = Image::new(columns * CELL.0 as usize, rows * CELL.1 as usize, WHITE);
    for (i, chart) in charts.iter().enumerate() {
        let (column, row) = ((i % columns) as i64, (i / columns) as i64);
        let values = || chart.series.iter().flat_map(|series| series.points.iter());
        let panel = Panel {
            left: column * CELL.0 + 72,
            top: row * CELL.1 + 46,
            width: CELL.0 - 100,
            height: CELL.1 - 110,
            x: range(values().map(|point| point.0), 0.05),
            y: range(values().map(|point| point.1), 0.05),
        };
        panel.axes(&mut image, &chart.title, &chart.x_title, "");
        for (place, (series, colour)) in chart.series.iter().zip(SERIES.iter().cycle()).enumerate() {
            // The last of several clouds is what the eye should find.
            let radius = if chart.dots && place > 0 { 5 } else { 3 };
            if !chart.dots {
                panel.line(&mut image, series, *colour, 2.0);
            }
            for &point in series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
                let [x, y] = panel.place(point).map(|v| v.round() as i64);
                fill_rectangle(&mut image, x - radius, y - radius, x + radius + 1, y + radius + 1, *colour);
            }
        }
        legend(&mut image, &panel, &chart.series);
    }
    image
}

/// Names of the series, where there are several, at the foot: curves that rise leave room there.
fn legend(image: &mut Image, panel: &Panel, series: &[Series]) {
    let named: Vec<(&Series, [u8; 3])> =
        series.iter().zip(SERIES.iter().copied().cycle()).filter(|(series, _)| !series.name.is_empty()).collect();
    if named.len() < 2 {
        return;
    }
    let widest = named.iter().map(|(series, _)| text_width(&series.name, SMALL)).max().unwrap_or(0) as i64 + 24;
    let left = (panel.left + panel.width - widest).max(panel.left + 6);
    for (i, (series, colour)) in named.iter().enumerate() {
        let y = panel.top + panel.height - 6 - (named.len() - i) as i64 * 22;
        fill_rectangle(image, left, y + 6, left + 12, y + 12, *colour);
        draw_text(image, (left + 18) as f32, y as f32, &series.name, SMALL, INK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_point_is_drawn_in_its_colour() {
        let dots = |name: &str, points: Vec<(f64, f64)>| Series { name: name.into(), points };
        let series = vec![dots("tried", vec![(0.0, 0.0), (1.0, 2.0), (f64::NAN, 1.0)]), dots("best", vec![(0.5, 1.0)])];
        let chart = Chart { title: "t".into(), x_title: "x".into(), series, dots: true };
        let image = plot_charts(&[chart.clone(), chart], 5);
        assert_eq!((image.width, image.height), (800, 320));
        let count = |colour: [u8; 3]| image.data.chunks(3).filter(|p| **p == colour).count();
        // Two charts; squares of 7 x 7 (two points) and of 11 x 11, and a mark of 12 x 6 in the legend for each.
        assert_eq!(count(SERIES[0]), 2 * (2 * 49 + 72));
        assert_eq!(count(SERIES[1]), 2 * (121 + 72));
        assert_eq!(plot_charts(&[], 3).height, 320);
    }
}
