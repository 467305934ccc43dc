//! The `kinglet` program from outside: what it prints, what it writes, how it exits.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod bench;
mod data;
mod end_to_end;
mod export;
mod help;
mod messages;
mod options;
mod program;
mod serve;
mod swap;
mod tiles;
mod torch;
mod video;
