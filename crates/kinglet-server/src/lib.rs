//! Web pages and a REST interface over loopback: detection, a training as it happens, and runs side by side.
//!
//! [`http`] accepts connections within limits and drains them at the end. Three routers use it: [`detection`],
//! [`live`] and [`runs`]. Pages are plain HTML, CSS and JavaScript, embedded in the program, and load nothing from elsewhere.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api_error;
pub mod detection;
mod engine;
pub mod guard;
pub mod http;
mod impatient;
pub mod live;
mod metrics;
mod pages;
pub mod runs;
mod upload;

pub use guard::ApiKey;
pub use http::{HttpOptions, Server, Stop};
