//! What a data set holds, as charts: classes, sizes of boxes, where they lie, boxes an image, and how anchors fit.
//!
//! Units: boxes as fractions of their image, anchors and the boxes beside them in pixels at the training size.

use crate::figure::{Anchor, Figure, Paint};
use crate::panel::{Panel, SMALL, Scale, TITLE, fitted, heat, legend, range, series};

/// Cells of a side of a map.
const CELLS: usize = 50;
/// Cells of a side of one of the many maps of a correlogram.
const FEW_CELLS: usize = 25;
/// More classes than this share the last bar.
const BARS: usize = 24;
/// Bars of boxes an image.
const BINS: usize = 24;

/// What is drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelPlot {
    /// Class names.
    pub names: Vec<String>,
    /// Class, and centre and size as fractions of the image, of each box.
    pub boxes: Vec<(usize, [f32; 4])>,
    /// Number of boxes of each image.
    pub boxes_per_image: Vec<usize>,
}

/// Four charts: boxes of each class, boxes an image, widths and heights, centres.
pub fn plot_labels(input: &LabelPlot) -> Figure {
    let mut figure = Figure::new(1180, 1020, "Classes, numbers, sizes and places of the boxes");
    class_bars(&mut figure, input);
    per_image(&mut figure, &input.boxes_per_image);
    let sizes = input.boxes.iter().map(|(_, [_, _, w, h])| (*w, *h));
    let square = |left, y| unit_panel(left, 600.0, 340.0, y);
    let panel = square(90.0, (0.0, 1.0));
    panel.axes(&mut figure, "Sizes of boxes, as shares of the image", "width", "height");
    density(&mut figure, &panel, sizes, CELLS);
    let panel = square(680.0, (1.0, 0.0));
    panel.axes(&mut figure, "Centres of boxes, as shares of the image", "from the left", "from the top");
    density(&mut figure, &panel, input.boxes.iter().map(|(_, [x, y, _, _])| (*x, *y)), CELLS);
    figure
}

/// How centres and sizes of boxes go together: a map for each two of them, and how often each value is.
pub fn plot_correlogram(boxes: &[(usize, [f32; 4])]) -> Figure {
    const NAMES: [&str; 4] = ["centre x", "centre y", "width", "height"];
    let (pitch, side) = (290.0, 215.0);
    let mut figure = Figure::new(1230, 1230, "Centres and sizes of boxes against each other");
    for row in 0..4 {
        for column in 0..=row {
            let mut panel = unit_panel(80.0 + column as f32 * pitch, 40.0 + row as f32 * pitch, side, (0.0, 1.0));
            let title = if row == column { NAMES[row] } else { "" };
            if row > column {
                panel.axes(&mut figure, title, NAMES[column], NAMES[row]);
                density(&mut figure, &panel, boxes.iter().map(|(_, b)| (b[column], b[row])), FEW_CELLS);
                continue;
            }
            let mut bins = [0usize; FEW_CELLS];
            boxes.iter().for_each(|(_, b)| bins[cell(b[row], FEW_CELLS)] += 1);
            panel.y = (0.0, bins.iter().copied().max().unwrap_or(0).max(1) as f64 * 1.05);
            panel.scale[1] = Scale::Whole;
            panel.axes(&mut figure, title, "", "");
            bars(&mut figure, &panel, &bins, 0.0, 1.0 / FEW_CELLS as f64);
        }
    }
    // The corner above the diagonal is free.
    for (line, text) in [
        "Centres and sizes of boxes against each other, as shares of the image.",
        "x runs from the left, y from the top. Dark: many boxes. Bars: number of boxes.",
    ]
    .into_iter()
    .enumerate()
    {
        figure.text([640.0, 60.0 + line as f32 * 28.0], text, SMALL, Anchor::Start, Paint::Ink);
    }
    figure
}

/// The anchors of each level over the sizes of the boxes that they are for; both axes are logarithmic.
pub fn plot_anchors(sizes: &[[f32; 2]], anchors: &[Vec<[f32; 2]>], strides: &[usize]) -> Figure {
    let mut figure = Figure::new(980, 760, "Anchors and sizes of boxes");
    let log = |v: f32| f64::from(v.max(0.5)).log2();
    let all = || sizes.iter().chain(anchors.iter().flatten()).flatten().map(|v| log(*v));
    let (low, high) = range(all(), 0.03);
    // Whole powers of two at both ends, and never less than one apart.
    let both = (low.floor(), high.ceil().max(low.floor() + 1.0));
    let panel =
        Panel { left: 90.0, top: 60.0, width: 600.0, height: 600.0, x: both, y: both, scale: [Scale::Powers; 2] };
    panel.axes(&mut figure, "Anchors and sizes of boxes, in pixels at the training size", "width", "height");
    let span = (both.1 - both.0) as f32;
    let share = |v: f32| (log(v) - both.0) as f32 / span;
    density(
        &mut figure,
        &Panel { x: (0.0, 1.0), y: (0.0, 1.0), ..panel },
        sizes.iter().map(|[w, h]| (share(*w), share(*h))),
        CELLS,
    );
    let mut names = Vec::new();
    for (level, own) in anchors.iter().enumerate() {
        // The blue of the map is left out.
        let paint = series(1 + level % 4);
        for [w, h] in own {
            let at = panel.place((log(*w), log(*h)));
            figure.dot(at, 15.0, Paint::Ground);
            figure.dot(at, 11.0, paint);
        }
        let of = strides.get(level).map_or_else(|| format!("level {}", level + 1), |stride| format!("stride {stride}"));
        names.push((format!("anchors of {of}"), paint));
    }
    legend(&mut figure, 715.0, 62.0, &names);
    let below = 62.0 + names.len() as f32 * 24.0 + 24.0;
    figure.text([715.0, below], "blue: boxes, dark: many", SMALL, Anchor::Start, Paint::Ink);
    figure
}

/// A square whose axes run over fractions.
fn unit_panel(left: f32, top: f32, side: f32, y: (f64, f64)) -> Panel {
    Panel { left, top, width: side, height: side, x: (0.0, 1.0), y, scale: [Scale::Plain; 2] }
}

/// Lying bars, the most frequent class on top.
fn class_bars(figure: &mut Figure, input: &LabelPlot) {
    let mut counts: Vec<(usize, usize)> = (0..input.names.len()).map(|class| (0, class)).collect();
    for (class, _) in &input.boxes {
        if let Some(count) = counts.get_mut(*class) {
            count.0 += 1;
        }
    }
    counts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut bars: Vec<(String, usize)> =
        counts.iter().take(BARS).map(|&(count, class)| (input.names[class].clone(), count)).collect();
    if counts.len() > BARS {
        let (others, rest) = (counts.len() - BARS + 1, counts[BARS - 1..].iter().map(|c| c.0).sum());
        bars.truncate(BARS - 1);
        bars.push((format!("{others} others"), rest));
    }
    let (left, top, width, height) = (200.0, 60.0, 300.0, 420.0);
    let title = format!("{} boxes by class", input.boxes.len());
    figure.text([left - 110.0, top - 18.0], &title, TITLE, Anchor::Start, Paint::Ink);
    let most = bars.iter().map(|bar| bar.1).max().unwrap_or(0).max(1) as f32;
    let pitch = (height / bars.len().max(1) as f32).min(44.0).trunc();
    for (row, (name, count)) in bars.iter().enumerate() {
        let y = top + row as f32 * pitch;
        let size = SMALL.min(pitch - 1.0);
        figure.text([left - 8.0, y + pitch / 2.0], &fitted(name, 150), size, Anchor::End, Paint::Ink);
        let length = (*count as f32 / most * width).max(if *count > 0 { 1.0 } else { 0.0 });
        figure.rectangle([left, y + 2.0, left + length, y + pitch - 2.0], series(0));
        let after = [left + length + 6.0, y + pitch / 2.0];
        figure.text(after, &count.to_string(), size, Anchor::Start, Paint::Ink);
    }
}

/// Standing bars: how many images have so many boxes.
fn per_image(figure: &mut Figure, counts: &[usize]) {
    let most = counts.iter().copied().max().unwrap_or(0);
    let bin = most / BINS + 1;
    let mut bins = vec![0usize; most / bin + 1];
    counts.iter().for_each(|count| bins[count / bin] += 1);
    // Where each bar is one number, it stands over it.
    let half = if bin == 1 { 0.5 } else { 0.0 };
    let tallest = bins.iter().copied().max().unwrap_or(0).max(1) as f64;
    let panel = Panel {
        left: 680.0,
        top: 60.0,
        width: 440.0,
        height: 400.0,
        x: (-half, (bins.len() * bin) as f64 - half),
        y: (0.0, tallest * 1.05),
        scale: [Scale::Whole; 2],
    };
    panel.axes(figure, "Boxes per image", "boxes", "images");
    bars(figure, &panel, &bins, -half, bin as f64);
}

/// Standing bars of a width in the units of the panel's axis, from a place on.
fn bars(figure: &mut Figure, panel: &Panel, counts: &[usize], from: f64, width: f64) {
    for (place, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let [x1, y1] = panel.place((from + place as f64 * width, count as f64));
        let [x2, y2] = panel.place((from + (place + 1) as f64 * width, 0.0));
        figure.rectangle([x1 + 1.0, y1, (x2 - 1.0).max(x1 + 2.0), y2], series(2));
    }
}

/// Where a fraction falls among so many cells.
fn cell(value: f32, cells: usize) -> usize {
    ((value.clamp(0.0, 1.0) * cells as f32) as usize).min(cells - 1)
}

/// A map of how often fractions fall together, dark where often; the logarithm, since sizes crowd near zero.
fn density(figure: &mut Figure, panel: &Panel, values: impl Iterator<Item = (f32, f32)>, cells: usize) {
    let mut counts = vec![0usize; cells * cells];
    values.for_each(|(x, y)| counts[cell(y, cells) * cells + cell(x, cells)] += 1);
    let most = (counts.iter().copied().max().unwrap_or(0) as f64).ln_1p().max(1e-9);
    let part = 1.0 / cells as f64;
    for (at, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (x, y) = ((at % cells) as f64 * part, (at / cells) as f64 * part);
        let (a, b) = (panel.place((x, y)), panel.place((x + part, y + part)));
        let colour = heat(0.15 + 0.85 * (count as f64).ln_1p() / most);
        let corners = [a[0].min(b[0]), a[1].min(b[1]), a[0].max(b[0]), a[1].max(b[1])];
        figure.rectangle(corners, Paint::Rgb(colour));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_much_can_be_drawn() {
        let empty = plot_labels(&LabelPlot::default()).to_image();
        assert_eq!((empty.width, empty.height), (1180, 1020));
        let names = (0..90).map(|i| format!("class {i}")).collect();
        let boxes: Vec<(usize, [f32; 4])> = (0..500usize).map(|i| (i % 100, [0.5, 0.25, 0.1, 0.2])).collect();
        let correlogram = plot_correlogram(&boxes).to_image();
        let full = plot_labels(&LabelPlot { names, boxes, boxes_per_image: vec![0, 1, 499] }).to_image();
        // The map of centres is dark in one place: x = 0.5 and y = 0.25 from the top, within its frame at (680, 600).
        let dark = |x: usize, y: usize| full.pixel(x, y)[0] < 60;
        assert!(dark(680 + 173, 600 + 85) && !dark(680 + 173, 600 + 255));
        // Of sizes, the height of 0.2 counts from the bottom.
        assert!(dark(90 + 37, 600 + 340 - 70) && !dark(90 + 37, 600 + 70));
        // In the correlogram width against x stands third from above: x = 0.5, width = 0.1, in a frame at (80, 620).
        assert!(correlogram.pixel(80 + 110, 620 + 215 - 24)[0] < 60);
        plot_correlogram(&[]).to_image();
    }

    #[test]
    fn an_anchor_stands_over_the_boxes_of_its_size() {
        let sizes = vec![[16.0, 32.0]; 9];
        let figure = plot_anchors(&sizes, &[vec![[16.0, 32.0]], vec![[64.0, 64.0]]], &[8, 16]).to_image();
        // Powers from 2^3 to 2^7 (the range is widened a little), over 600 pixels from (90, 60): 16 is a quarter, 32 a half.
        assert_eq!(figure.pixel(90 + 150, 60 + 300), crate::panel::SERIES[1]);
        assert_eq!(figure.pixel(90 + 450, 60 + 150), crate::panel::SERIES[2]);
        plot_anchors(&[], &[], &[]).to_image();
    }
}
