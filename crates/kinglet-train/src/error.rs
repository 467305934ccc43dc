//! Why a training run cannot start or go on.

use std::path::PathBuf;

/// Why a training run cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model file.
    #[error("{0}")]
    Spec(#[from] kinglet_spec::SpecError),
    /// The data set.
    #[error(transparent)]
    Data(#[from] kinglet_data::DataError),
    /// The hyperparameters.
    #[error(transparent)]
    Hyp(#[from] crate::hyp::HypError),
    /// A weights file.
    #[error(transparent)]
    Weights(#[from] kinglet_nn::WeightsError),
    /// The optimiser's saved state.
    #[error(transparent)]
    Optim(#[from] crate::optim::OptimError),
    /// The image size.
    #[error(transparent)]
    Size(#[from] kinglet_nn::SizeError),
    /// The loss.
    #[error(transparent)]
    Loss(#[from] crate::loss::LossError),
    /// A file cannot be written or read.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A checkpoint that does not say what it should.
    #[error("`{}` {message}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is missing, and what to do.
        message: String,
    },
    /// An option that makes no sense.
    #[error("{0}")]
    Option(String),
    /// The loss is not a number any more.
    #[error(
        "the loss is {value} in epoch {epoch}, batch {batch}: training has diverged; start again with a smaller lr0 \
         (it is {lr0}) or, with --resume, from the last epoch that was saved"
    )]
    NotFinite {
        /// Epoch, from 1.
        epoch: usize,
        /// Batch, from 1.
        batch: usize,
        /// The loss.
        value: f64,
        /// The learning rate asked for.
        lr0: f64,
    },
}
