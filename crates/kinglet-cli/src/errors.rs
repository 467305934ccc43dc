//! What can end a command, and the exit code that goes with it.

use std::fmt;
use std::path::Path;

/// Why a command ended before its work was done. The text names the thing, what was expected and what to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum CliError {
    /// The input is bad or something cannot be read or written: exit code 1.
    Input(String),
    /// The command was used in a way it does not support: exit code 2.
    Usage(String),
}

impl CliError {
    /// Bad input; takes any error of the other crates, which say what is wrong and where.
    pub fn input(message: impl fmt::Display) -> Self {
        CliError::Input(message.to_string())
    }

    /// Wrong use.
    pub fn usage(message: impl fmt::Display) -> Self {
        CliError::Usage(message.to_string())
    }

    /// A file or folder that cannot be written.
    pub fn write(path: &Path, error: &std::io::Error) -> Self {
        let advice = match error.kind() {
            std::io::ErrorKind::StorageFull => {
                "free some space, or choose a folder on another disk with --project, or --output where the command has that"
            }
            std::io::ErrorKind::IsADirectory => "it is a folder; name a file in it",
            std::io::ErrorKind::InvalidFilename => "the name is too long for this disk; give its source a shorter one",
            _ => "choose a folder that can be written with --project, or --output where the command has that",
        };
        CliError::Input(format!("cannot write `{}`: {error}; {advice}", path.display()))
    }

    /// A file or folder that cannot be read.
    pub fn read(path: &Path, error: &std::io::Error) -> Self {
        CliError::Input(format!("cannot read `{}`: {error}", path.display()))
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            CliError::Input(_) => 1,
            CliError::Usage(_) => 2,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Input(message) | CliError::Usage(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for CliError {}

impl From<kinglet_spec::SpecError> for CliError {
    fn from(error: kinglet_spec::SpecError) -> Self {
        CliError::input(error)
    }
}

impl From<kinglet_data::DataError> for CliError {
    fn from(error: kinglet_data::DataError) -> Self {
        CliError::input(error)
    }
}

impl From<kinglet_train::TrainError> for CliError {
    fn from(error: kinglet_train::TrainError) -> Self {
        match error {
            // Writing is the only thing that the trainer does with files beside loading what others load.
            kinglet_train::TrainError::Io { path, source, .. } => CliError::write(&path, &source),
            kinglet_train::TrainError::Weights(error @ kinglet_nn::WeightsError::Format { .. }) => CliError::input(
                format!("{error}; expected weights as `kinglet train` writes them, or a YOLOv5 checkpoint (.pt)"),
            ),
            other => CliError::input(other),
        }
    }
}

impl From<kinglet_vision::encode::EncodeError> for CliError {
    fn from(error: kinglet_vision::encode::EncodeError) -> Self {
        CliError::input(format!("{error}; choose a folder that can be written with --project"))
    }
}
