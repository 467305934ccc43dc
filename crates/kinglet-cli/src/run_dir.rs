//! The folder of a run: `runs/train/exp`, then `exp2`, `exp3`, as YOLOv5 counts.

use crate::errors::CliError;
use crate::output::create_folder;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A run's own folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
    created: bool,
}

impl RunDir {
    /// Creates `project/name`, or the first free of `name2`, `name3`, ...; with `exist_ok` an existing one is used.
    ///
    /// # Errors
    /// A project folder that cannot be written.
    pub fn create(project: &Path, name: &str, exist_ok: bool) -> Result<Self, CliError> {
        let name = if name.trim().is_empty() { "exp" } else { name.trim() };
        let wanted = project.join(name);
        create_folder(wanted.parent().unwrap_or(project))?;
        let numbered = |n: usize| {
            let mut file = wanted.file_name().unwrap_or_default().to_owned();
            file.push(n.to_string());
            wanted.with_file_name(file)
        };
        let mut path = wanted.clone();
        let mut number = 1;
        loop {
            // `create_dir` decides alone, so two runs that start together get a folder each.
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(RunDir { path, created: true }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if exist_ok && path.is_dir() {
                        return Ok(RunDir { path, created: false });
                    }
                    number += 1;
                    path = numbered(number);
                }
                Err(error) => return Err(CliError::write(&path, &error)),
            }
        }
    }

    /// The folder of an earlier run.
    pub fn existing(path: &Path) -> Self {
        RunDir { path: path.to_owned(), created: false }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn join(&self, file: impl AsRef<Path>) -> PathBuf {
        self.path.join(file)
    }

    /// Takes the folder away again where this run made it and nothing is in it.
    pub fn remove_if_empty(&self) {
        if self.created {
            // Only removes empty folders; where that fails, an empty folder stays, which does no harm.
            let _ = std::fs::remove_dir(self.path.join("weights"));
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// The newest `weights/last*.safetensors` of the runs under `project`.
pub fn newest_checkpoint(project: &Path) -> Option<PathBuf> {
    let runs = std::fs::read_dir(project).ok()?;
    let mut found = Vec::new();
    for run in runs.flatten() {
        for file in std::fs::read_dir(run.path().join("weights")).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("last") && name.ends_with(".safetensors") {
                // It may have gone away since the folder was read.
                let Ok(modified) = file.metadata().and_then(|m| m.modified()) else { continue };
                found.push((modified, file.path()));
            }
        }
    }
    found.into_iter().max().map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_counted_from_two() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("runs/train");
        let name = |run: RunDir| run.path().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name(RunDir::create(&project, "exp", false).unwrap()), "exp");
        assert_eq!(name(RunDir::create(&project, "exp", false).unwrap()), "exp2");
        assert_eq!(name(RunDir::create(&project, "exp", true).unwrap()), "exp");
        assert_eq!(name(RunDir::create(&project, "", false).unwrap()), "exp3");
        assert_eq!(name(RunDir::create(&project, "v1.5", false).unwrap()), "v1.5");
        assert_eq!(name(RunDir::create(&project, "v1.5", false).unwrap()), "v1.52");
    }

    #[test]
    fn an_empty_folder_of_a_failed_run_goes_away_and_a_full_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), "exp", false).unwrap();
        run.remove_if_empty();
        assert!(!run.path().exists());
        let run = RunDir::create(dir.path(), "exp", false).unwrap();
        std::fs::write(run.join("x"), "x").unwrap();
        run.remove_if_empty();
        assert!(run.path().exists());
    }

    #[test]
    fn a_project_that_is_a_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(RunDir::create(&file, "exp", false).unwrap_err().to_string().contains("file"));
    }
}
