//! Axis-aligned boxes: conversions, areas, and IoU.
//!
//! Units: any, the same for both boxes. `xyxy` = left, top, right, bottom; `cxcywh` = centre, width, height.
//! Widths are plain differences: no `+ 1` anywhere.

/// Keeps the division of IoU away from zero, as in the published recipes.
const IOU_EPS: f32 = 1e-7;

/// Centre form to corner form.
#[inline]
pub fn cxcywh_to_xyxy([cx, cy, w, h]: [f32; 4]) -> [f32; 4] {
    [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0]
}

/// Corner form to centre form.
#[inline]
pub fn xyxy_to_cxcywh([x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
    [(x1 + x2) / 2.0, (y1 + y2) / 2.0, x2 - x1, y2 - y1]
}

/// Area of a corner-form box; an inverted box has none.
#[inline]
pub fn area([x1, y1, x2, y2]: [f32; 4]) -> f32 {
    (x2 - x1).max(0.0) * (y2 - y1).max(0.0)
}

/// Area that two corner-form boxes share.
#[inline]
pub fn intersection(a: [f32; 4], b: [f32; 4]) -> f32 {
    (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0)
}

/// Intersection over union of corner-form boxes, 0 to 1; 0 where both are empty.
#[inline]
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let shared = intersection(a, b);
    if shared <= 0.0 {
        return 0.0;
    }
    shared / (area(a) + area(b) - shared + IOU_EPS)
}

/// Clips a corner-form box to a picture of `width` by `height`.
#[inline]
pub fn clip([x1, y1, x2, y2]: [f32; 4], width: f32, height: f32) -> [f32; 4] {
    [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)]
}
