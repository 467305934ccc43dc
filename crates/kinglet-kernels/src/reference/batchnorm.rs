//! reference/batchnorm
