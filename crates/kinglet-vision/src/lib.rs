//! Pictures and boxes: reading with limits, resizing, letterbox, warping, colour, IoU, suppression, drawing, writing.
//!
//! Everything here works on 8-bit RGB pixels and on boxes in pixels; tensors and model files are unknown to this crate.
//! Coordinates: x to the right, y down, origin at the upper left *corner* of the upper left pixel.
#![forbid(unsafe_code)]

pub mod boxes;
pub mod colour;
pub mod decode;
pub mod draft;
pub mod draw;
pub mod encode;
pub mod image;
mod jpeg;
pub mod letterbox;
mod neighbours;
pub mod nms;
pub mod resize;
pub mod sheet;
pub mod text;
pub mod warp;

pub use crate::boxes::{cxcywh_to_xyxy, iou, xyxy_to_cxcywh};
pub use crate::decode::{DecodeError, DecodeNote, Decoded, Format, Limits};
pub use crate::draft::{Draft, write_whole};
pub use crate::draw::{DrawOptions, draw_detections};
pub use crate::image::Image;
pub use crate::letterbox::{LETTERBOX_GREY, Letterbox};
pub use crate::nms::{Detection, NmsOptions, nms};
