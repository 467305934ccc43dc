//! Problems of single labels and images: where, what, and what became of it.

use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What became of the thing a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The box or image is left out.
    Dropped,
    /// The box or image is used after a correction.
    Fixed,
    /// Worth knowing; nothing was changed.
    Note,
}

/// The kinds of problem a scan can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A column is no number.
    NotANumber,
    /// A column is NaN or infinite.
    NotFinite,
    /// A negative coordinate or size.
    Negative,
    /// A coordinate or size above 1.
    OutOfRange,
    /// Width or height of zero.
    ZeroArea,
    /// Neither five columns nor a polygon.
    WrongColumnCount,
    /// A class the data YAML has no name for.
    ClassOutOfRange,
    /// A class with a fraction.
    NonIntegerClass,
    /// The same box twice in a file.
    Duplicate,
    /// Columns separated by commas or semicolons.
    WrongSeparator,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A box of less than 2 pixels in an image.
    TooSmall,
    /// A box whose numbers are in range and whose edges leave the image.
    Protruding,
    /// A label file that cannot be read: its image is left out, since it is not known to be a background.
    UnreadableLabels,
    /// An image that cannot be decoded.
    UnreadableImage,
    /// An image cut short, or with other damage its decoder tolerates.
    DamagedImage,
    /// An image too small to be used.
    TinyImage,
    /// An image named by a list or an annotation that does not exist.
    MissingImage,
    /// An annotation that lacks something, or has something else in its place.
    BadAnnotation,
    /// An annotation of an image that its file does not list.
    UnknownImage,
    /// An id that an earlier annotation has.
    DuplicateId,
    /// An image that an annotation file lists without what it needs.
    BadImageEntry,
    /// An image whose id an earlier image has.
    DuplicateImageId,
    /// An image that an annotation file lists twice.
    RepeatedImage,
    /// Corners given right to left or bottom to top.
    SwappedCorners,
    /// The annotations are of another image size than the image has.
    SizeDiffers,
    /// A box that stands in the file with another class as well.
    TwoClasses,
    /// A picture that is in the data set already.
    DuplicateImage,
    /// A picture that another split has as well.
    SharedImage,
    /// A label file whose image is missing.
    OrphanLabels,
}

impl FindingKind {
    /// The kind in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NotANumber => "not a number",
            Self::NotFinite => "NaN or infinity",
            Self::Negative => "negative coordinate",
            Self::OutOfRange => "coordinate above 1",
            Self::ZeroArea => "box without area",
            Self::WrongColumnCount => "wrong number of columns",
            Self::ClassOutOfRange => "class without a name",
            Self::NonIntegerClass => "class is no whole number",
            Self::Duplicate => "the same box again",
            Self::WrongSeparator => "columns not separated by spaces",
            Self::NotUtf8 => "text is not UTF-8",
            Self::TooSmall => "box of less than 2 pixels",
            Self::Protruding => "box reaches out of the image",
            Self::UnreadableLabels => "label file cannot be read",
            Self::UnreadableImage => "image cannot be decoded",
            Self::DamagedImage => "image is damaged",
            Self::TinyImage => "image too small",
            Self::MissingImage => "image not found",
            Self::BadAnnotation => "annotation cannot be used",
            Self::UnknownImage => "annotation of an unknown image",
            Self::DuplicateId => "the same id again",
            Self::BadImageEntry => "image entry cannot be used",
            Self::DuplicateImageId => "the same image id again",
            Self::RepeatedImage => "image listed again",
            Self::SwappedCorners => "corners are swapped",
            Self::SizeDiffers => "annotations are of another image size",
            Self::TwoClasses => "box with two classes",
            Self::DuplicateImage => "the same picture again",
            Self::SharedImage => "picture of another split as well",
            Self::OrphanLabels => "labels without an image",
        }
    }

    /// Whether the finding is about an image rather than a box.
    pub fn concerns_image(self) -> bool {
        use FindingKind::*;
        matches!(
            self,
            UnreadableLabels
                | UnreadableImage
                | DamagedImage
                | TinyImage
                | MissingImage
                | BadImageEntry
                | DuplicateImageId
                | RepeatedImage
                | SizeDiffers
                | DuplicateImage
                | SharedImage
                | OrphanLabels
        )
    }
}

/// One problem: where, what, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Label file or image.
    pub file: PathBuf,
    /// Line from 1, where there are lines.
    pub line: Option<usize>,
    /// What is wrong.
    pub kind: FindingKind,
    /// What became of it.
    pub severity: Severity,
    /// The offending value, or the reason in words.
    pub value: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.kind.describe())?;
        if !self.value.is_empty() {
            write!(f, ": {}", self.value)?;
        }
        let thing = if self.kind.concerns_image() { "image" } else { "box" };
        match self.severity {
            Severity::Dropped => write!(f, " ({thing} left out)"),
            Severity::Fixed => f.write_str(" (corrected)"),
            Severity::Note => Ok(()),
        }
    }
}

/// What is wrong with one thing: kind and value.
pub(crate) type Fault = (FindingKind, String);

impl Finding {
    /// A finding about a line of a file.
    pub(crate) fn new(file: &Path, line: Option<usize>, severity: Severity, (kind, value): Fault) -> Self {
        Finding { file: file.to_path_buf(), line, kind, severity, value }
    }
}

/// A shortened copy of user text for messages.
pub(crate) fn excerpt(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX {
        return text.to_string();
    }
    text.chars().take(MAX).chain("...".chars()).collect()
}
