//! A file that appears whole or not at all: it is written under another name in its folder, and takes its own at the end.
//!
//! The other name is short whatever the file is called, new whoever else writes there, and begins with a point, so that
//! nobody takes the draft for a picture or a label file. Permissions are those of any new file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names that are tried.
const TRIES: usize = 1000;

/// A file on its way. It goes away again unless it is [finished](Draft::finish).
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    place: PathBuf,
    file: BufWriter<File>,
    finished: bool,
}

impl Draft {
    /// Begins a file that will be called `path`.
    ///
    /// # Errors
    /// A folder that is missing or cannot be written.
    pub fn begin(path: &Path) -> Result<Self> {
        // Of its own for each file, also within one process.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        for _ in 0..TRIES {
            let name = format!(".kinglet-{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let place = path.with_file_name(name);
            match OpenOptions::new().write(true).create_new(true).open(&place) {
                Ok(file) => {
                    let file = BufWriter::new(file);
                    return Ok(Draft { path: path.to_owned(), place, file, finished: false });
                }
                // Left by a process of this number that was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::from(ErrorKind::AlreadyExists))
    }

    /// What the file is going to be called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file lies until then, for other programs that write it.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Sees to it that what was written is on the disk, so that not even a power cut takes it.
    ///
    /// # Errors
    /// A full disk.
    pub fn sync(&mut self) -> Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }

    /// Gives the file its name, and so takes the place of one that is called so already.
    ///
    /// # Errors
    /// A full disk, or a name that is taken by a folder.
    pub fn finish(mut self) -> Result<()> {
        self.file.flush()?;
        std::fs::rename(&self.place, &self.path)?;
        self.finished = true;
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: there has been an error already, and that is the one to report.
            let _ = std::fs::remove_file(&self.place);
        }
    }
}

/// Writes a file at once.
///
/// # Errors
/// As [`Draft::begin`] and [`Draft::finish`]; nothing is left behind then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut draft = Draft::begin(path)?;
    draft.write_all(bytes)?;
    draft.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_longest_names_are_written_too() {
        let dir = tempfile::tempdir().unwrap();
        // 255 bytes are the most that file systems take.
        let path = dir.path().join("n".repeat(251) + ".txt");
        write_whole(&path, b"text").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
        assert_eq!(names(dir.path()).len(), 1);
    }

    #[test]
    fn a_file_is_the_old_one_until_it_is_finished_and_leaves_nothing_where_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_whole(&path, b"old").unwrap();
        let mut draft = Draft::begin(&path).unwrap();
        draft.write_all(b"new").unwrap();
        draft.sync().unwrap();
        assert_eq!(
            (std::fs::read(&path).unwrap(), std::fs::read(draft.place()).unwrap()),
            (b"old".into(), b"new".into())
        );
        drop(draft);
        assert_eq!((names(dir.path()), std::fs::read(&path).unwrap()), (vec!["a".to_owned()], b"old".to_vec()));
        std::fs::create_dir(dir.path().join("taken")).unwrap();
        assert!(write_whole(&dir.path().join("taken"), b"x").is_err());
        assert!(write_whole(&dir.path().join("missing/a"), b"x").is_err());
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        std::fs::write(dir.path().join("ordinary"), "").unwrap();
        write_whole(&dir.path().join("ours"), b"").unwrap();
        assert_eq!(mode("ours"), mode("ordinary"));
    }

    #[test]
    fn a_draft_that_was_left_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let first = Draft::begin(&dir.path().join("a")).unwrap();
        let name = first.place().file_name().unwrap().to_str().unwrap().to_owned();
        let number: u64 = name.trim_end_matches(".tmp").rsplit('-').next().unwrap().parse().unwrap();
        // The names that come next; other tests may take some of them in their own folders.
        for next in number + 1..number + 20 {
            std::fs::write(dir.path().join(format!(".kinglet-{}-{next}.tmp", std::process::id())), "left").unwrap();
        }
        write_whole(&dir.path().join("b"), b"new").unwrap();
        drop(first);
        assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"new");
        assert_eq!(names(dir.path()).len(), 20);
    }
}
