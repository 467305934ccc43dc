//! The servers from outside: over loopback, at a free port, with loops that end.

#![allow(clippy::unwrap_used)]

mod client;
mod detection;
mod limits;
mod live;
mod openapi;
mod runs;
