//! Files that the program writes: each appears whole or not at all. And reading them again, to go on with them.

use crate::errors::CliError;
use kinglet_eval::Figure;
use kinglet_vision::encode::{jpeg_bytes, png_bytes};
use kinglet_vision::{Draft, Image};
use std::io::Write;
use std::path::Path;

/// Writes a file through a temporary one in the same folder, creating the folder where it is missing.
///
/// # Errors
/// A folder that cannot be written, or a full disk; nothing is left behind then.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    write_checked(path, bytes, |_| Ok(()))
}

/// The same, where the written file takes its name only if `check` of the temporary one succeeds.
///
/// # Errors
/// As [`write_file`], and those of `check`.
pub fn write_checked<T>(
    path: &Path,
    bytes: &[u8],
    check: impl FnOnce(&Path) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let mut file = GrowingFile::create(path)?;
    file.write(bytes)?;
    let checked = check(file.so_far()?)?;
    file.finish()?;
    Ok(checked)
}

/// The text of a file that an earlier run may have left; nothing where there is none. Bytes that are no text become replacement
/// characters, so that whoever reads the line can name it.
///
/// # Errors
/// A file that is there and cannot be read: it is not to be taken for an empty one, and written over.
pub fn read_earlier(path: &Path) -> Result<Option<String>, CliError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::read(path, &error)),
    }
}

/// A file that grows under a temporary name in its folder, and takes its own when it is finished.
#[derive(Debug)]
pub struct GrowingFile(Draft);

impl GrowingFile {
    /// Begins a file, creating the folder where it is missing.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn create(path: &Path) -> Result<Self, CliError> {
        create_folder(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        Draft::begin(path).map(GrowingFile).map_err(|error| CliError::write(path, &error))
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// A full disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.0.write_all(bytes).map_err(|error| CliError::write(self.0.path(), &error))
    }

    /// The file as it lies under its temporary name.
    fn so_far(&mut self) -> Result<&Path, CliError> {
        self.0.flush().map_err(|error| CliError::write(self.0.path(), &error))?;
        Ok(self.0.place())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// A full disk, or a name that is taken by a folder.
    pub fn finish(self) -> Result<(), CliError> {
        let path = self.0.path().to_owned();
        self.0.finish().map_err(|error| CliError::write(&path, &error))
    }
}

/// Quality of JPEG pictures: hardly any loss.
const QUALITY: u8 = 95;

/// Writes a picture, as JPEG where the name ends so and else as PNG.
///
/// # Errors
/// As [`write_file`].
pub fn write_picture(path: &Path, image: &Image) -> Result<(), CliError> {
    let is_jpeg = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jpg") || e.eq_ignore_ascii_case("jpeg"));
    let bytes = if is_jpeg { jpeg_bytes(image, QUALITY) } else { png_bytes(image) };
    let bytes = bytes.map_err(|error| CliError::input(format!("cannot encode `{}`: {error}", path.display())))?;
    write_file(path, &bytes)
}

/// Writes a chart, as SVG where the name ends so and else as a picture.
///
/// # Errors
/// As [`write_file`].
pub fn write_chart(path: &Path, figure: &Figure) -> Result<(), CliError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) {
        return write_file(path, figure.to_svg().as_bytes());
    }
    write_picture(path, &figure.to_image())
}

/// Creates a folder and its parents.
///
/// # Errors
/// Names the folder.
pub fn create_folder(folder: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|error| CliError::write(folder, &error))
}

/// A flat mapping as YAML, one key a line, in the order given. Text is quoted where YAML might read something else.
pub fn yaml_lines(value: &serde_json::Value) -> String {
    let mut text = String::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let value = match value {
            serde_json::Value::String(s) if is_plain(s) => s.clone(),
            // JSON is YAML, and quotes what needs it.
            other => other.to_string(),
        };
        text.push_str(&format!("{key}: {value}\n"));
    }
    text
}

/// Whether text means itself in YAML without quotes.
fn is_plain(text: &str) -> bool {
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_alphanumeric() || "/._-+".contains(c))
        && !reserved.contains(&text.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_quotes_what_would_be_read_as_something_else() {
        let value =
            json!({"data": "a/data.yaml", "weights": "", "name": "no", "freeze": [0, 1], "epochs": 3, "v": "1"});
        let expected = "data: a/data.yaml\nweights: \"\"\nname: \"no\"\nfreeze: [0,1]\nepochs: 3\nv: \"1\"\n";
        assert_eq!(yaml_lines(&value), expected);
    }

    #[test]
    fn only_what_is_not_there_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_earlier(&dir.path().join("none")).unwrap(), None);
        assert!(read_earlier(dir.path()).unwrap_err().to_string().contains("cannot read"));
        // `n` with a tilde in Latin-1.
        std::fs::write(dir.path().join("latin"), b"a\xf1o\n").unwrap();
        assert_eq!(read_earlier(&dir.path().join("latin")).unwrap().unwrap(), "a\u{fffd}o\n");
    }

    #[test]
    fn a_file_that_fails_its_check_leaves_nothing_and_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.onnx");
        let check = |checked: &Path| -> Result<(), CliError> {
            assert_eq!(std::fs::read(checked).unwrap(), b"new");
            Err(CliError::input("differs"))
        };
        assert!(write_checked(&path, b"new", check).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        std::fs::write(&path, b"old").unwrap();
        assert!(write_checked(&path, b"new", check).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("taken");
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("inside"), "x").unwrap();
        let error = write_file(&target, b"text").unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
