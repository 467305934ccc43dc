//! Axis-aligned boxes: conversions and the IoU family.
//!
//! Source: IoU and GIoU: Rezatofighi et al. 2019, arXiv:1902.09630; CIoU: Zheng et al. 2020, arXiv:2005.03572.
//! Units: any, the same for both boxes. `xyxy` = left, top, right, bottom; `cxcywh` = centre, width, height.
//! Widths are plain differences: no `+ 1` anywhere.

/// Keeps the divisions of the IoU family away from zero, as in the published recipes.
pub const IOU_EPS: f32 = 1e-7;

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

/// Generalised IoU of corner-form boxes, -1 to 1.
pub fn giou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let shared = intersection(a, b);
    let union = area(a) + area(b) - shared + IOU_EPS;
    let hull = (a[2].max(b[2]) - a[0].min(b[0])) * (a[3].max(b[3]) - a[1].min(b[1])) + IOU_EPS;
    shared / union - (hull - union) / hull
}

/// Complete IoU of corner-form boxes: IoU less centre distance less the difference in aspect ratio.
pub fn ciou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let (wa, ha) = (a[2] - a[0], a[3] - a[1] + IOU_EPS);
    let (wb, hb) = (b[2] - b[0], b[3] - b[1] + IOU_EPS);
    let shared = intersection(a, b);
    let iou = shared / (wa * ha + wb * hb - shared + IOU_EPS);
    let hull_w = a[2].max(b[2]) - a[0].min(b[0]);
    let hull_h = a[3].max(b[3]) - a[1].min(b[1]);
    let diagonal = hull_w * hull_w + hull_h * hull_h + IOU_EPS;
    let (dx, dy) = (b[0] + b[2] - a[0] - a[2], b[1] + b[3] - a[1] - a[3]);
    let distance = (dx * dx + dy * dy) / 4.0;
    let aspect = 4.0 / std::f32::consts::PI.powi(2) * ((wb / hb).atan() - (wa / ha).atan()).powi(2);
    let alpha = aspect / (aspect - iou + (1.0 + IOU_EPS));
    iou - (distance / diagonal + aspect * alpha)
}

/// Clips a corner-form box to a picture of `width` by `height`.
#[inline]
pub fn clip([x1, y1, x2, y2]: [f32; 4], width: f32, height: f32) -> [f32; 4] {
    [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)]
}
