//! Anti-aliased text with an embedded font.
//!
//! Font: Roboto Regular (Apache License 2.0, see `assets/LICENSE-Roboto.txt`), cut down to Latin, Greek and Cyrillic
//! letters and common signs; other characters appear as an empty box. Units: pixels; a size is the height of a line.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

use crate::image::Image;

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("../assets/Roboto-Regular.ttf")).expect("the embedded font is sound")
});

/// Width of a line of text, rounded up.
pub fn text_width(text: &str, size: f32) -> usize {
    let font = FONT.as_scaled(PxScale::from(size));
    let mut width = 0.0;
    let mut previous = None;
    for character in text.chars() {
        let glyph = font.glyph_id(character);
        if let Some(previous) = previous {
            width += font.kern(previous, glyph);
        }
        width += font.h_advance(glyph);
        previous = Some(glyph);
    }
    width.ceil() as usize
}

/// Draws a line of text with its upper left corner at (`x`, `y`); what lies outside the picture is left out.
pub fn draw_text(image: &mut Image, x: f32, y: f32, text: &str, size: f32, colour: [u8; 3]) {
    let font = FONT.as_scaled(PxScale::from(size));
    let mut pen = x;
    let mut previous = None;
    for character in text.chars() {
        let id = font.glyph_id(character);
        if let Some(previous) = previous {
            pen += font.kern(previous, id);
        }
        let glyph: Glyph = id.with_scale_and_position(size, point(pen, y + font.ascent()));
        pen += font.h_advance(id);
        previous = Some(id);
        let Some(outline) = FONT.outline_glyph(glyph) else { continue };
        let bounds = outline.px_bounds();
        let (left, top) = (bounds.min.x as i64, bounds.min.y as i64);
        outline.draw(|dx, dy, cover| {
            blend(image, left + i64::from(dx), top + i64::from(dy), colour, cover);
        });
    }
}

/// Draws a line of text upwards (turned by 90 degrees against the clock); (`x`, `y`) is its lower left corner.
pub fn draw_text_upwards(image: &mut Image, x: usize, y: usize, text: &str, size: f32, colour: [u8; 3]) {
    let (length, line) = (text_width(text, size), size.ceil() as usize);
    // Drawn lying on a mask, then turned.
    let mut mask = Image::new(length, line, [0; 3]);
    draw_text(&mut mask, 0.0, 0.0, text, size, [255; 3]);
    for row in 0..line {
        for column in 0..length {
            let cover = f32::from(mask.pixel(column, row)[0]) / 255.0;
            blend(image, (x + row) as i64, y as i64 - column as i64, colour, cover);
        }
    }
}

/// Mixes a colour into one pixel; outside the picture nothing happens.
pub(crate) fn blend(image: &mut Image, x: i64, y: i64, colour: [u8; 3], share: f32) {
    if x < 0 || y < 0 || x >= image.width as i64 || y >= image.height as i64 || share <= 0.0 {
        return;
    }
    let (x, y, share) = (x as usize, y as usize, share.min(1.0));
    let under = image.pixel(x, y);
    let mixed = std::array::from_fn(|i| {
        (f32::from(under[i]) * (1.0 - share) + f32::from(colour[i]) * share).round_ties_even() as u8
    });
    image.set_pixel(x, y, mixed);
}
