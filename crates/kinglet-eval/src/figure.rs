//! A chart as a list of shapes, drawn as a picture or written as SVG: one description, two forms.
//!
//! Units: pixels from the upper left corner. Ground, ink and faint lines have names in the SVG (classes `ground`, `ink`,
//! `faint`), so that a page around it may give them the colours of a dark theme; everywhere else the attribute counts.

use kinglet_vision::Image;
use kinglet_vision::draw::{draw_line, fill_rectangle};
use kinglet_vision::text::{draw_text, draw_text_upwards, text_width};
use std::fmt::Write;

/// What a shape is drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// The page.
    Ground,
    /// Text and axes.
    Ink,
    /// Grid lines.
    Faint,
    /// Red, green, blue.
    Rgb([u8; 3]),
}

impl Paint {
    fn rgb(self) -> [u8; 3] {
        match self {
            Paint::Ground => [255; 3],
            Paint::Ink => [40, 44, 52],
            Paint::Faint => [228, 230, 234],
            Paint::Rgb(colour) => colour,
        }
    }

    /// Attributes of an SVG element whose `what` (`fill`, `stroke`) has this paint.
    fn svg(self, what: &str) -> String {
        let [r, g, b] = self.rgb();
        let class = match self {
            Paint::Ground => "class=\"ground\" ",
            Paint::Ink => "class=\"ink\" ",
            Paint::Faint => "class=\"faint\" ",
            Paint::Rgb(_) => "",
        };
        format!("{class}{what}=\"#{r:02x}{g:02x}{b:02x}\"")
    }
}

/// Which end of a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The first letter.
    Start,
    /// The middle.
    Middle,
    /// The last letter.
    End,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Rectangle { corners: [f32; 4], paint: Paint },
    Line { points: Vec<[f32; 2]>, thickness: f32, paint: Paint },
    Text { at: [f32; 2], text: String, size: f32, anchor: Anchor, upwards: bool, paint: Paint },
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    title: String,
    shapes: Vec<Shape>,
}

/// A line may leave its points by this much, in pixels: less than anybody sees.
const TOLERANCE: f32 = 0.2;
/// Height of a line of text over the size of its letters, and how far its base lies below the middle of the line, as
/// shares of that size: ascent 0.927 and descent 0.244 of Roboto.
const LINE_PER_EM: f32 = 1.172;
const BASE_BELOW_MIDDLE: f32 = 0.341;

impl Figure {
    /// An empty page; `title` is what a screen reader says of it.
    pub fn new(width: usize, height: usize, title: &str) -> Self {
        Figure { width, height, title: title.to_owned(), shapes: Vec::new() }
    }

    /// A filled rectangle: left, top, right, bottom.
    pub fn rectangle(&mut self, corners: [f32; 4], paint: Paint) {
        self.shapes.push(Shape::Rectangle { corners, paint });
    }

    /// A line through points; those that are hardly off the way of their neighbours are left out.
    pub fn line(&mut self, points: &[[f32; 2]], thickness: f32, paint: Paint) {
        if !points.is_empty() && points.iter().flatten().all(|v| v.is_finite()) {
            self.shapes.push(Shape::Line { points: simplified(points), thickness, paint });
        }
    }

    /// The outline of a rectangle: left, top, right, bottom.
    pub fn frame(&mut self, [x1, y1, x2, y2]: [f32; 4], thickness: f32, paint: Paint) {
        self.line(&[[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]], thickness, paint);
    }

    /// A dot, or a ring with a dot of another colour in it.
    pub fn dot(&mut self, at: [f32; 2], thickness: f32, paint: Paint) {
        self.line(&[at], thickness, paint);
    }

    /// A line of text `size` high whose middle is at the height of `at`.
    pub fn text(&mut self, at: [f32; 2], text: &str, size: f32, anchor: Anchor, paint: Paint) {
        self.shapes.push(Shape::Text { at, text: text.to_owned(), size, anchor, upwards: false, paint });
    }

    /// The same, read from below; the middle of the line is at the left-right place of `at`.
    pub fn text_upwards(&mut self, at: [f32; 2], text: &str, size: f32, anchor: Anchor, paint: Paint) {
        self.shapes.push(Shape::Text { at, text: text.to_owned(), size, anchor, upwards: true, paint });
    }

    /// As a picture.
    pub fn to_image(&self) -> Image {
        let mut image = Image::new(self.width, self.height, Paint::Ground.rgb());
        for shape in &self.shapes {
            match shape {
                Shape::Rectangle { corners, paint } => {
                    let [x1, y1, x2, y2] = corners.map(|v| v.round_ties_even() as i64);
                    fill_rectangle(&mut image, x1, y1, x2, y2, paint.rgb());
                }
                Shape::Line { points, thickness, paint } => {
                    if let [only] = points.as_slice() {
                        draw_line(&mut image, *only, *only, *thickness, paint.rgb());
                    }
                    for pair in points.windows(2) {
                        draw_line(&mut image, pair[0], pair[1], *thickness, paint.rgb());
                    }
                }
                Shape::Text { at: [x, y], text, size, anchor, upwards, paint } => {
                    let length = text_width(text, *size) as f32;
                    let back = match anchor {
                        Anchor::Start => 0.0,
                        Anchor::Middle => length / 2.0,
                        Anchor::End => length,
                    };
                    if *upwards {
                        let (left, bottom) = ((x - size / 2.0).max(0.0) as usize, (y + back).max(0.0) as usize);
                        draw_text_upwards(&mut image, left, bottom, text, *size, paint.rgb());
                    } else {
                        draw_text(&mut image, (x - back).trunc(), y - size / 2.0, text, *size, paint.rgb());
                    }
                }
            }
        }
        image
    }

    /// As SVG, a file of its own or a part of a page.
    pub fn to_svg(&self) -> String {
        let (w, h) = (self.width, self.height);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\" \
             font-family=\"Roboto, 'Helvetica Neue', Arial, sans-serif\">\n<title>{}</title>\n\
             <rect width=\"{w}\" height=\"{h}\" {}/>\n",
            escaped(&self.title),
            Paint::Ground.svg("fill")
        );
        for shape in &self.shapes {
            match shape {
                Shape::Rectangle { corners: [x1, y1, x2, y2], paint } => {
                    let (x, y, w, h) = (short(*x1), short(*y1), short(x2 - x1), short(y2 - y1));
                    let _ =
                        writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" {}/>", paint.svg("fill"));
                }
                Shape::Line { points, thickness, paint } => {
                    let mut place: Vec<String> =
                        points.iter().map(|[x, y]| format!("{},{}", short(*x), short(*y))).collect();
                    if place.len() == 1 {
                        // A line to itself, with round ends, is a dot.
                        place.push(place[0].clone());
                    }
                    let _ = writeln!(
                        svg,
                        "<polyline points=\"{}\" fill=\"none\" stroke-width=\"{}\" stroke-linecap=\"round\" \
                         stroke-linejoin=\"round\" {}/>",
                        place.join(" "),
                        short(*thickness),
                        paint.svg("stroke")
                    );
                }
                Shape::Text { at: [x, y], text, size, anchor, upwards, paint } => {
                    let em = size / LINE_PER_EM;
                    let below = BASE_BELOW_MIDDLE * em;
                    let place = if *upwards {
                        format!("transform=\"translate({},{}) rotate(-90)\"", short(x + below), short(*y))
                    } else {
                        format!("x=\"{}\" y=\"{}\"", short(*x), short(y + below))
                    };
                    let anchor = match anchor {
                        Anchor::Start => "",
                        Anchor::Middle => " text-anchor=\"middle\"",
                        Anchor::End => " text-anchor=\"end\"",
                    };
                    let _ = writeln!(
                        svg,
                        "<text {place} font-size=\"{}\"{anchor} {}>{}</text>",
                        short(em),
                        paint.svg("fill"),
                        escaped(text)
                    );
                }
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Text that means itself in XML and HTML; characters that XML forbids become a replacement character.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' | '\r' => safe.push(character),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// A number with one decimal where it needs one.
fn short(value: f32) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// The points that a line needs to stay within [`TOLERANCE`] of all: Ramer, Douglas and Peucker's rule.
fn simplified(points: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let mut keep = vec![false; points.len()];
    let mut open = vec![(0, points.len() - 1)];
    (keep[0], keep[points.len() - 1]) = (true, true);
    while let Some((from, to)) = open.pop() {
        let (a, b) = (points[from], points[to]);
        let far = (from + 1..to).map(|i| (distance(points[i], a, b), i)).max_by(|x, y| x.0.total_cmp(&y.0));
        if let Some((off, at)) = far
            && off > TOLERANCE
        {
            keep[at] = true;
            open.extend([(from, at), (at, to)]);
        }
    }
    points.iter().zip(keep).filter(|(_, keep)| *keep).map(|(point, _)| *point).collect()
}

/// Of a point from a stretch.
fn distance(point: [f32; 2], a: [f32; 2], b: [f32; 2]) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let (px, py) = (point[0] - a[0], point[1] - a[1]);
    let squared = dx * dx + dy * dy;
    let along = if squared > 0.0 { ((px * dx + py * dy) / squared).clamp(0.0, 1.0) } else { 0.0 };
    (px - along * dx).hypot(py - along * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_the_way_are_left_out_and_corners_stay() {
        let line = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.1], [3.0, 3.0], [3.0, 9.0], [3.0, 0.0]];
        assert_eq!(simplified(&line), [[0.0, 0.0], [3.0, 3.0], [3.0, 9.0], [3.0, 0.0]]);
        assert_eq!(simplified(&[[5.0, 5.0]]), [[5.0, 5.0]]);
        let there_and_back = [[0.0, 0.0], [4.0, 0.0], [0.0, 0.0]];
        assert_eq!(simplified(&there_and_back), there_and_back);
    }

    #[test]
    fn svg_and_picture_show_the_same_shapes() {
        let mut figure = Figure::new(60, 40, "a & b");
        figure.rectangle([10.0, 5.0, 20.0, 15.5], Paint::Rgb([1, 2, 255]));
        figure.line(&[[0.0, 30.0], [60.0, 30.0]], 2.0, Paint::Ink);
        figure.line(&[[f32::NAN, 0.0]], 2.0, Paint::Ink);
        figure.text([30.0, 20.0], "<i>\u{0}", 11.72, Anchor::Middle, Paint::Ink);
        let svg = figure.to_svg();
        let expected = "<rect x=\"10\" y=\"5\" width=\"10\" height=\"10.5\" fill=\"#0102ff\"/>\n\
            <polyline points=\"0,30 60,30\" fill=\"none\" stroke-width=\"2\" stroke-linecap=\"round\" \
            stroke-linejoin=\"round\" class=\"ink\" stroke=\"#282c34\"/>\n\
            <text x=\"30\" y=\"23.4\" font-size=\"10\" text-anchor=\"middle\" class=\"ink\" fill=\"#282c34\">\
            &lt;i&gt;\u{fffd}</text>\n</svg>\n";
        assert!(svg.ends_with(expected), "{svg}");
        assert!(svg.contains("viewBox=\"0 0 60 40\"") && svg.contains("<title>a &amp; b</title>"), "{svg}");
        let image = figure.to_image();
        assert_eq!(image.pixel(15, 10), [1, 2, 255]);
        assert_eq!(image.pixel(50, 30), [40, 44, 52]);
        assert_eq!(image.pixel(50, 2), [255; 3]);
    }
}
