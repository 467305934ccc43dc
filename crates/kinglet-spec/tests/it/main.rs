//! Model files end to end: what builds, and what each mistake is told.

mod accepted;
mod backbones;
mod mistakes;
mod registry;
mod robustness;
mod zoo;
