//! Why a model file is refused.

use crate::diagnostic::Diagnostic;
use std::fmt;

/// A refused model file: the kind for programs, the diagnostic for people.
#[derive(Clone, Debug)]
pub struct SpecError {
    /// What is wrong.
    pub kind: SpecErrorKind,
    /// Where, and what to do about it.
    pub diagnostic: Box<Diagnostic>,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostic.fmt(f)
    }
}

impl std::error::Error for SpecError {}

/// What is wrong with a model file, or with one row of it.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecErrorKind {
    /// Not YAML.
    #[error("invalid YAML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// Nothing but comments and blank lines.
    #[error("the model file is empty")]
    Empty,
    /// A key that must be there is not.
    #[error("the model file has no `{key}`")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A key that means nothing.
    #[error("unknown key `{key}`")]
    UnknownKey {
        /// The key as written.
        key: String,
    },
    /// The same key twice.
    #[error("`{key}` is given twice")]
    DuplicateKey {
        /// The key as written.
        key: String,
    },
    /// A key's or a row field's value of the wrong kind.
    #[error("{what} must be {expected}, found {found}")]
    Value {
        /// Whose value.
        what: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// More than this crate is willing to build.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: String,
        /// The most there may be.
        limit: usize,
    },
    /// A row without exactly four fields.
    #[error("a row has four fields, `[from, number, module, args]`, found {found}")]
    RowFields {
        /// Fields found.
        found: usize,
    },
    /// A module name that the registry does not know.
    #[error("unknown block `{written}`")]
    UnknownBlock {
        /// The name as written.
        written: String,
    },
    /// A backbone's name that no known model has.
    #[error("unknown backbone `{written}`")]
    UnknownBackbone {
        /// The name as written.
        written: String,
    },
    /// A level that the head asks for and the backbone does not reach.
    #[error("the backbone has no level P{level} (stride {stride})")]
    MissingLevel {
        /// Its number.
        level: u32,
        /// Its stride.
        stride: usize,
    },
    /// A `from` that is not an earlier layer.
    #[error("`from` is {from}, which is not an earlier layer")]
    Reference {
        /// As written.
        from: i64,
        /// The row it is in.
        layer: usize,
    },
    /// An argument of the wrong kind or outside its range.
    #[error("argument `{name}` must be {expected}, found {found}")]
    Argument {
        /// Its name.
        name: String,
        /// Its position in the row's argument list, from 0.
        index: usize,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An argument without default that is not given.
    #[error("argument `{name}` (number {}) is missing", index + 1)]
    MissingArgument {
        /// Its name.
        name: String,
        /// Its position, from 0.
        index: usize,
    },
    /// More arguments than the block takes.
    #[error("takes at most {taken} arguments, found {found}")]
    SurplusArguments {
        /// Arguments the block takes.
        taken: usize,
        /// Arguments in the row.
        found: usize,
    },
    /// The wrong number of inputs.
    #[error("takes {expected}, found {found}")]
    InputCount {
        /// In words, e.g. `one input`.
        expected: String,
        /// Inputs of the row.
        found: usize,
    },
    /// Inputs that should have one height and width and do not.
    #[error("needs inputs of the same height and width")]
    SizesDiffer,
    /// Inputs that should have the same number of channels and do not.
    #[error("needs inputs with the same number of channels")]
    ChannelsDiffer,
    /// Any other reason why these inputs cannot work; the block's own words, after its name.
    #[error("{message}")]
    Inputs {
        /// Read after the block's name, e.g. `needs channels divisible by groups = 3`.
        message: String,
    },
    /// The output would have no channels, rows or columns.
    #[error("gives an empty feature map, {channels} x {height} x {width}")]
    EmptyOutput {
        /// Channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// No detection head at all, more than one, or one that is not the last row.
    #[error("{message}")]
    Head {
        /// Which of these.
        message: String,
    },
    /// The head's inputs and the anchors do not fit each other.
    #[error("{message}")]
    HeadLevels {
        /// In what way.
        message: String,
    },
}

impl SpecErrorKind {
    /// True for kinds whose sentence needs the block's name in front.
    pub(crate) fn speaks_of_a_block(&self) -> bool {
        matches!(
            self,
            Self::SurplusArguments { .. }
                | Self::InputCount { .. }
                | Self::SizesDiffer
                | Self::ChannelsDiffer
                | Self::Inputs { .. }
                | Self::EmptyOutput { .. }
        )
    }
}
