//! The `kinglet` program from outside: what it prints, what it writes, how it exits.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod bench;
mod command_reference;
mod data;
mod documentation;
mod end_to_end;
mod evolve;
mod export;
mod help;
mod messages;
mod migration;
mod options;
mod pages;
mod program;
mod serve;
mod shells;
mod study;
mod swap;
mod tiles;
mod torch;
mod video;
