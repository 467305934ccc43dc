//! Integration tests of the tensor crate.

mod cases;
mod gradients;
mod oracle;
mod running;
mod shapes;
mod statistics;
