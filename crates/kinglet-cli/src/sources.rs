//! From `--source` to a list of images, and a name of its own for each.

use crate::errors::CliError;
use kinglet_data::convert::unique_stem;
use kinglet_vision::decode::{EXTENSIONS, UNDECODABLE_EXTENSIONS, has_image_extension, is_other_picture};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Extensions of videos, to be refused with a way out.
const VIDEOS: [&str; 13] =
    ["asf", "avi", "gif", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "webm", "wmv", "streams"];

/// An image to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Its name without extension, made unique: files of the same name in several folders stay apart.
    pub stem: String,
}

/// The images that `--source` names, and remarks on what is passed over.
///
/// # Errors
/// Nothing there, or something that is no set of image files.
pub fn expand(source: &str) -> Result<(Vec<Source>, Vec<String>), CliError> {
    let path = Path::new(source);
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if source.contains("://") {
        return Err(CliError::input(format!("`{source}`: nothing is downloaded; fetch the file and name it")));
    }
    if source.chars().all(|c| c.is_ascii_digit()) && !source.is_empty() && !path.exists() {
        return Err(CliError::input(format!(
            "`{source}`: cameras are not supported; name images, a folder or a pattern"
        )));
    }
    if VIDEOS.contains(&extension.as_str()) && !path.is_dir() {
        return Err(CliError::input(format!(
            "`{source}` is no image: videos are not read; cut it into images first: `ffmpeg -i {source} frames/%06d.jpg`"
        )));
    }
    let mut notes = Vec::new();
    let found = if path.is_dir() {
        from_folder(path, &mut notes)?
    } else if path.is_file() && extension == "txt" {
        from_list(path)?
    } else if path.is_file() {
        vec![path.to_owned()]
    } else if source.contains(['*', '?', '[']) {
        from_pattern(source)?
    } else {
        return Err(CliError::input(format!(
            "`{source}` does not exist; expected an image, a folder, a pattern such as 'images/*.jpg', or a .txt list"
        )));
    };
    Ok((named(found), notes))
}

fn from_folder(folder: &Path, notes: &mut Vec<String>) -> Result<Vec<PathBuf>, CliError> {
    let entries = std::fs::read_dir(folder).map_err(|error| CliError::read(folder, &error))?;
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|p| p.is_file()).collect();
    all.sort();
    let passed_over = all.iter().filter(|p| is_other_picture(p)).count();
    if passed_over > 0 {
        let kinds = UNDECODABLE_EXTENSIONS.join(", ");
        notes.push(format!(
            "{passed_over} files of kinds that are not read are left out ({kinds}); convert them to JPEG or PNG"
        ));
    }
    all.retain(|p| has_image_extension(p));
    if all.is_empty() {
        let kinds = EXTENSIONS.join(", ");
        return Err(CliError::input(format!("no images in `{}`; expected files ending in {kinds}", folder.display())));
    }
    Ok(all)
}

fn from_pattern(pattern: &str) -> Result<Vec<PathBuf>, CliError> {
    let paths = glob::glob(pattern).map_err(|error| CliError::input(format!("`{pattern}` is no pattern: {error}")))?;
    let mut found: Vec<PathBuf> = paths.flatten().filter(|p| p.is_file() && has_image_extension(p)).collect();
    found.sort();
    if found.is_empty() {
        return Err(CliError::input(format!("no image matches `{pattern}`")));
    }
    Ok(found)
}

fn from_list(list: &Path) -> Result<Vec<PathBuf>, CliError> {
    let text = std::fs::read_to_string(list).map_err(|error| CliError::read(list, &error))?;
    let folder = list.parent().unwrap_or(Path::new("."));
    let found: Vec<PathBuf> = text
        .lines()
        .map(|line| line.trim().replace('\\', "/"))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            // As data lists are read: beside the list first, then from the current folder.
            let beside = folder.join(&line);
            if beside.exists() { beside } else { PathBuf::from(line) }
        })
        .collect();
    if found.is_empty() {
        return Err(CliError::input(format!("`{}` names no image; expected one path a line", list.display())));
    }
    Ok(found)
}

/// Gives each file a stem that no other one has: `a`, `a-2`, `a-3`.
pub fn named(paths: Vec<PathBuf>) -> Vec<Source> {
    let mut taken = HashSet::new();
    paths
        .into_iter()
        .map(|path| {
            let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            Source { path, stem: unique_stem(&stem, &mut taken) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_names_in_several_folders_stay_apart() {
        let paths = ["x/a.jpg", "y/a.jpg", "z/A.png", "a-2.jpg"].map(PathBuf::from).to_vec();
        let stems: Vec<String> = named(paths).into_iter().map(|s| s.stem).collect();
        assert_eq!(stems, ["a", "a-2", "A-3", "a-2-2"]);
    }

    #[test]
    fn folders_patterns_and_lists_give_sorted_images() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.jpg", "a.PNG", "notes.txt", "c.heic"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::write(dir.path().join("list.txt"), "# a comment\n./b.jpg\n\nmissing.jpg\n").unwrap();
        let stems = |source: String| expand(&source).unwrap().0.into_iter().map(|s| s.stem).collect::<Vec<_>>();
        let root = dir.path().display();
        assert_eq!(stems(format!("{root}")), ["a", "b"]);
        assert_eq!(stems(format!("{root}/*.jpg")), ["b"]);
        assert_eq!(stems(format!("{root}/list.txt")), ["b", "missing"]);
        assert_eq!(expand(&format!("{root}")).unwrap().1.len(), 1);
    }

    #[test]
    fn what_is_not_supported_says_so() {
        for (source, words) in [
            ("0", "cameras"),
            ("https://a/b.jpg", "downloaded"),
            ("film.mp4", "ffmpeg"),
            ("no/such.jpg", "does not exist"),
            ("no/such/*.jpg", "no image matches"),
        ] {
            let error = expand(source).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
