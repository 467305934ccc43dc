//! What a data set holds, as a picture: classes, sizes of boxes, where they lie, boxes an image.
//!
//! Units: boxes as fractions of their image.

use kinglet_vision::Image;
use kinglet_vision::draw::fill_rectangle;
use kinglet_vision::text::{draw_text, text_width};

use crate::plots::{INK, Panel, SERIES, SMALL, WHITE, fitted, heat};

/// Cells of a side of the two maps.
const CELLS: usize = 50;
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
pub fn plot_labels(input: &LabelPlot) -> Image {
    let mut image = Image::new(1180, 1020, WHITE);
    class_bars(&mut image, input);
    per_image(&mut image, &input.boxes_per_image);
    let sizes = input.boxes.iter().map(|(_, [_, _, w, h])| (*w, *h));
    density(&mut image, (90, 600), ("Sizes of boxes", "width", "height"), sizes, false);
    let centres = input.boxes.iter().map(|(_, [x, y, _, _])| (*x, *y));
    density(&mut image, (680, 600), ("Centres of boxes", "from the left", "from the top"), centres, true);
    image
}

/// Lying bars, the most frequent class on top.
fn class_bars(image: &mut Image, input: &LabelPlot) {
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
    let (left, top, width, height) = (200, 60, 330, 420);
    let title = format!("{} boxes by class", input.boxes.len());
    draw_text(image, (left - 110) as f32, (top - 36) as f32, &title, crate::plots::TITLE, INK);
    let most = bars.iter().map(|bar| bar.1).max().unwrap_or(0).max(1) as f64;
    let pitch = (height / bars.len().max(1) as i64).min(44);
    for (row, (name, count)) in bars.iter().enumerate() {
        let y = top + row as i64 * pitch;
        let size = SMALL.min(pitch as f32 - 1.0);
        let text = fitted(name, 150);
        let x = left - 8 - text_width(&text, size) as i64;
        draw_text(image, x as f32, y as f32 + (pitch as f32 - size) / 2.0, &text, size, INK);
        let length = (*count as f64 / most * width as f64).round_ties_even() as i64;
        fill_rectangle(image, left, y + 2, left + length.max(i64::from(*count > 0)), y + pitch - 2, SERIES[0]);
        let down = y as f32 + (pitch as f32 - size) / 2.0;
        draw_text(image, (left + length + 6) as f32, down, &count.to_string(), size, INK);
    }
}

/// Standing bars: how many images have so many boxes.
fn per_image(image: &mut Image, counts: &[usize]) {
    let most = counts.iter().copied().max().unwrap_or(0);
    let bin = most / BINS + 1;
    let mut bins = vec![0usize; most / bin + 1];
    counts.iter().for_each(|count| bins[count / bin] += 1);
    let tallest = bins.iter().copied().max().unwrap_or(0).max(1) as f64;
    let panel = Panel {
        left: 680,
        top: 60,
        width: 440,
        height: 400,
        x: (0.0, (bins.len() * bin) as f64),
        y: (0.0, tallest * 1.05),
    };
    panel.axes(image, "Boxes an image", "boxes", "images");
    for (place, &count) in bins.iter().enumerate() {
        let [x1, y1] = panel.place(((place * bin) as f64, count as f64)).map(|v| v as i64);
        let [x2, y2] = panel.place((((place + 1) * bin) as f64, 0.0)).map(|v| v as i64);
        fill_rectangle(image, x1 + 1, y1, x2 - 1, y2, SERIES[2]);
    }
}

/// A map of how often values fall together, dark where often; the logarithm, since sizes crowd near zero.
fn density(
    image: &mut Image,
    (left, top): (i64, i64),
    (title, x_title, y_title): (&str, &str, &str),
    values: impl Iterator<Item = (f32, f32)>,
    downwards: bool,
) {
    let mut cells = vec![0usize; CELLS * CELLS];
    let cell = |v: f32| ((v.clamp(0.0, 1.0) * CELLS as f32) as usize).min(CELLS - 1);
    values.for_each(|(x, y)| cells[cell(y) * CELLS + cell(x)] += 1);
    let most = (cells.iter().copied().max().unwrap_or(0) as f64).ln_1p().max(1e-9);
    let side = 340;
    let panel = Panel {
        left,
        top,
        width: side,
        height: side,
        x: (0.0, 1.0),
        y: if downwards { (1.0, 0.0) } else { (0.0, 1.0) },
    };
    panel.axes(image, title, x_title, y_title);
    for (at, &count) in cells.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (x, y) = ((at % CELLS) as f64 / CELLS as f64, (at / CELLS) as f64 / CELLS as f64);
        let a = panel.place((x, y)).map(|v| v.round_ties_even() as i64);
        let b = panel.place((x + 1.0 / CELLS as f64, y + 1.0 / CELLS as f64)).map(|v| v.round_ties_even() as i64);
        let colour = heat(0.15 + 0.85 * (count as f64).ln_1p() / most);
        fill_rectangle(image, a[0].min(b[0]), a[1].min(b[1]), a[0].max(b[0]), a[1].max(b[1]), colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_much_can_be_drawn() {
        let empty = plot_labels(&LabelPlot::default());
        assert_eq!((empty.width, empty.height), (1180, 1020));
        let names = (0..90).map(|i| format!("class {i}")).collect();
        let boxes = (0..500usize).map(|i| (i % 100, [0.5, 0.25, 0.1, 0.2])).collect();
        let full = plot_labels(&LabelPlot { names, boxes, boxes_per_image: vec![0, 1, 499] });
        // The map of centres is dark in one place: x = 0.5 and y = 0.25 from the top, within its frame at (680, 600).
        let dark = |x: usize, y: usize| full.pixel(x, y)[0] < 60;
        assert!(dark(680 + 173, 600 + 85) && !dark(680 + 173, 600 + 255));
        // Of sizes, the height of 0.2 counts from the bottom.
        assert!(dark(90 + 37, 600 + 340 - 70) && !dark(90 + 37, 600 + 70));
    }
}
