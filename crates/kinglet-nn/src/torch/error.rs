//! Why a PyTorch file cannot be read.

/// Why a PyTorch file cannot be read. Nothing in such a file is ever run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// The archive around the pickle.
    #[error("is a damaged archive: {message}; copy or download it again")]
    Archive {
        /// What was expected and found.
        message: String,
    },
    /// A file of PyTorch's, but not a checkpoint.
    #[error("{message}")]
    Unsupported {
        /// What it is, and what to do.
        message: String,
    },
    /// An import that no model needs.
    #[error(
        "asks to import `{import}` (byte {offset} of its pickle), which no model needs: the file is hostile, or holds \
         objects of other programs. Nothing was run. If you trust it, save the plain tensors in PyTorch with \
         `torch.save(model.state_dict(), FILE)`"
    )]
    Import {
        /// Module and name.
        import: String,
        /// Place in the pickle.
        offset: usize,
    },
    /// A pickle that breaks the rules of the format.
    #[error("has a damaged pickle: byte {offset}: {message}")]
    Pickle {
        /// Place in the pickle.
        offset: usize,
        /// What was expected and found.
        message: String,
    },
    /// Larger than any checkpoint.
    #[error("is no model checkpoint: {what} exceeds the limit of {limit}")]
    Limit {
        /// What is too large.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// A tensor that does not fit its storage, or has an unknown type.
    #[error("cannot be read at the tensor `{name}`: {message}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What was expected and found.
        message: String,
    },
    /// Not the content of a YOLOv5 checkpoint.
    #[error("{message}")]
    Checkpoint {
        /// What is missing, and what to do.
        message: String,
    },
}

impl TorchError {
    pub(super) fn archive(message: impl Into<String>) -> Self {
        TorchError::Archive { message: message.into() }
    }

    pub(super) fn checkpoint(message: impl Into<String>) -> Self {
        TorchError::Checkpoint { message: message.into() }
    }
}
