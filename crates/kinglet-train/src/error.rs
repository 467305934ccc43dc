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
    /// The numbers of a run are not finite any more, whatever the learning rate.
    #[error(
        "{divergence}: training has diverged; from the learning rate {lr0} (lr0) it was halved {halvings} times and the run \
         went back to its last saved state each time; start again with a smaller lr0 or a longer warm-up, or look at the \
         data with `kinglet data check`"
    )]
    Diverged {
        /// What, and where.
        divergence: crate::guard::Divergence,
        /// How often the learning rate was halved.
        halvings: u32,
        /// The learning rate asked for.
        lr0: f64,
    },
}
