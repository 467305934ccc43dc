//! Blocks and models against the reference implementation's numbers.

mod golden;
mod zoo;
