//! Drawing: rectangles, lines, and detections with readable labels.
//!
//! Units: pixels; corners of boxes are positions between pixels, as detections have them.

use crate::image::Image;
use crate::nms::Detection;
use crate::text::{blend, draw_text, text_width};

/// Twenty colours; class `i` has colour `i % 20`. The first eight differ in lightness as well as in hue, so that those who see
/// red and green alike can tell them apart.
pub const PALETTE: [[u8; 3]; 20] = [
    [230, 57, 70],
    [29, 120, 216],
    [255, 209, 26],
    [0, 168, 176],
    [131, 56, 200],
    [244, 140, 6],
    [20, 70, 130],
    [255, 112, 150],
    [46, 160, 67],
    [214, 51, 132],
    [107, 142, 35],
    [73, 80, 190],
    [0, 121, 107],
    [161, 98, 42],
    [100, 195, 245],
    [170, 30, 45],
    [140, 210, 90],
    [186, 140, 235],
    [255, 170, 110],
    [110, 120, 130],
];

/// The colour of a class.
pub fn class_colour(class: usize) -> [u8; 3] {
    PALETTE[class % PALETTE.len()]
}

/// Black or white, whichever reads better on `background` (WCAG relative luminance).
pub fn readable_on(background: [u8; 3]) -> [u8; 3] {
    let linear = background.map(|channel| {
        let c = f32::from(channel) / 255.0;
        if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    });
    let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    // Contrast to white is 1.05 / (L + 0.05), to black (L + 0.05) / 0.05: equal at 0.179. Slightly higher here,
    // since white letters look bolder on the mid tones of the palette.
    if luminance > 0.22 { [0; 3] } else { [255; 3] }
}

/// How detections are drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DrawOptions {
    /// Thickness of the frame in pixels, at most an eighth of the picture's width and height together; 0 chooses one from the
    /// picture's size.
    pub line_thickness: usize,
    /// Frames without names.
    pub hide_labels: bool,
    /// Names without scores.
    pub hide_conf: bool,
}

/// Fills the part of the rectangle (`x1`, `y1`) to (`x2`, `y2`), ends excluded, that lies in the picture.
pub fn fill_rectangle(image: &mut Image, x1: i64, y1: i64, x2: i64, y2: i64, colour: [u8; 3]) {
    let (x1, x2) = (x1.clamp(0, image.width as i64) as usize, x2.clamp(0, image.width as i64) as usize);
    let (y1, y2) = (y1.clamp(0, image.height as i64) as usize, y2.clamp(0, image.height as i64) as usize);
    if x1 >= x2 {
        return;
    }
    for y in y1..y2 {
        for pixel in image.row_mut(y)[x1 * 3..x2 * 3].chunks_exact_mut(3) {
            pixel.copy_from_slice(&colour);
        }
    }
}

/// Draws a frame whose line lies evenly on both sides of the box's edge.
pub fn draw_rectangle(image: &mut Image, xyxy: [f32; 4], thickness: usize, colour: [u8; 3]) {
    // Saturating casts: a box far outside or not finite draws nothing harmful.
    let [x1, y1, x2, y2] = xyxy.map(|v| (v.round_ties_even() as i64).clamp(-1 << 30, 1 << 30));
    let thickness = thickness.max(1) as i64;
    let (out, inward) = (thickness / 2, thickness - thickness / 2);
    fill_rectangle(image, x1 - out, y1 - out, x2 + out, y1 + inward, colour);
    fill_rectangle(image, x1 - out, y2 - inward, x2 + out, y2 + out, colour);
    fill_rectangle(image, x1 - out, y1 - out, x1 + inward, y2 + out, colour);
    fill_rectangle(image, x2 - inward, y1 - out, x2 + out, y2 + out, colour);
}

/// Draws an anti-aliased line between two points (pixel centres are at whole numbers and a half).
pub fn draw_line(image: &mut Image, from: [f32; 2], to: [f32; 2], thickness: f32, colour: [u8; 3]) {
    if !from.iter().chain(&to).all(|v| v.is_finite()) {
        return;
    }
    let radius = thickness.max(1.0) / 2.0;
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let squared = dx * dx + dy * dy;
    let range = |a: f32, b: f32, limit: usize| {
        let low = (a.min(b) - radius - 1.0).floor().clamp(0.0, limit as f32) as usize;
        let high = (a.max(b) + radius + 1.0).ceil().clamp(0.0, limit as f32) as usize;
        low..high
    };
    for y in range(from[1], to[1], image.height) {
        for x in range(from[0], to[0], image.width) {
            let (px, py) = (x as f32 + 0.5 - from[0], y as f32 + 0.5 - from[1]);
            let along = if squared > 0.0 { ((px * dx + py * dy) / squared).clamp(0.0, 1.0) } else { 0.0 };
            let distance = (px - along * dx).hypot(py - along * dy);
            blend(image, x as i64, y as i64, colour, radius + 0.5 - distance);
        }
    }
}

/// Draws a box with text on a ground of its colour: above the frame where there is room, else inside, always within
/// the picture as far as it fits.
pub fn draw_label(image: &mut Image, xyxy: [f32; 4], text: &str, thickness: usize, colour: [u8; 3]) {
    let thickness = bounded(image, thickness);
    let size = text_size(image, thickness);
    let margin = (size / 5.0).ceil() as i64;
    let (width, height) = (text_width(text, size) as i64 + 2 * margin, size.ceil() as i64 + margin / 2);
    let edge = (thickness / 2) as i64;
    let left = (xyxy[0].round_ties_even() as i64).clamp(-1 << 30, 1 << 30) - edge;
    let top = (xyxy[1].round_ties_even() as i64).clamp(-1 << 30, 1 << 30) - edge;
    let x = left.min(image.width as i64 - width).max(0);
    let above = top - height;
    let y = if above >= 0 { above } else { top.max(0) };
    let y = y.min(image.height as i64 - height).max(0);
    fill_rectangle(image, x, y, x + width, y + height, colour);
    let down = (height as f32 - size) / 2.0;
    draw_text(image, (x + margin) as f32, y as f32 + down, text, size, readable_on(colour));
}

/// The line thickness for a picture where none is asked for.
pub fn default_thickness(image: &Image) -> usize {
    (((image.width + image.height) as f32 / 2.0 * 0.003).round_ties_even() as usize).max(2)
}

/// A thickness that a picture has room for: letters grow with it, and so does the memory that they take.
fn bounded(image: &Image, thickness: usize) -> usize {
    thickness.min((image.width + image.height) / 8).max(1)
}

fn text_size(image: &Image, thickness: usize) -> f32 {
    let side = (image.width + image.height) as f32 / 2.0;
    (side * 0.028).max(12.0).max(thickness as f32 * 5.0)
}

/// A box to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnBox {
    /// Left, top, right, bottom in pixels.
    pub xyxy: [f32; 4],
    /// Higher ones lie on top.
    pub score: f32,
    /// What the label says, without the score.
    pub text: String,
    /// Of frame and label.
    pub colour: [u8; 3],
}

/// Draws a frame and a label for each detection, the best ones on top.
///
/// A class without a name is shown by its number.
pub fn draw_detections(image: &mut Image, detections: &[Detection], names: &[String], options: &DrawOptions) {
    let drawn = detections.iter().map(|d| {
        let text = names.get(d.class).map_or_else(|| d.class.to_string(), Clone::clone);
        DrawnBox { xyxy: d.xyxy, score: d.score, text, colour: class_colour(d.class) }
    });
    draw_boxes(image, drawn.collect(), options);
}

/// Draws boxes with their labels, the best ones on top.
pub fn draw_boxes(image: &mut Image, mut boxes: Vec<DrawnBox>, options: &DrawOptions) {
    let thickness = if options.line_thickness == 0 { default_thickness(image) } else { options.line_thickness };
    let thickness = bounded(image, thickness);
    boxes.sort_by(|a, b| a.score.total_cmp(&b.score));
    for drawn in &boxes {
        draw_rectangle(image, drawn.xyxy, thickness, drawn.colour);
    }
    if options.hide_labels {
        return;
    }
    for DrawnBox { xyxy, score, text, colour } in &boxes {
        let text = if options.hide_conf { text.clone() } else { format!("{text} {score:.2}") };
        draw_label(image, *xyxy, &text, thickness, *colour);
    }
}
