//! CPU kernels over plain slices, NHWC `f32`.
//!
//! `reference/` holds readable scalar code, generic over `f32` and `f64`: the oracle. The files beside it have the same
//! names and do the same work with SIMD, on several threads, with the instruction set chosen at run time.
//!
//! Work is split by the problem's size, never by the number of threads, and partial sums are combined in a fixed order:
//! the same input gives the same bits on any number of threads (of one instruction set).

pub mod activation;
pub mod aligned;
pub mod attention;
pub mod batchnorm;
pub mod conv;
pub mod depthwise;
pub mod elementwise;
pub mod idct;
pub mod infer;
pub mod peak;
pub mod pointwise;
pub mod pooling;
pub mod rearrange;
pub mod reference;
pub mod rows;
pub mod simd;
pub mod threads;
pub mod vectorise;

pub use activation::Activation;
pub use aligned::AlignedVec;
pub use conv::ConvShape;
