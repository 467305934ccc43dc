//! reference/conv
