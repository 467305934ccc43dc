//! reference/pooling
