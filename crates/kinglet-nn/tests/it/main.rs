//! Blocks and models against the reference implementation's numbers.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

mod every_block;
mod golden;
mod state_dicts;
mod swap;
mod torch;
mod torch_writer;
mod zoo;
