//! The scan cache: image sizes, so that a second scan opens no image.
//!
//! Labels are *not* cached. Reading them is most of the cost of any honest check that they have not changed, and
//! parsing what was read is nearly free, so they are parsed anew each time and cannot be stale: an edit of equal
//! length, a changed `names`, another `nc` all take effect at once. An image's entry holds while its length and
//! modification time (nanoseconds) stand. The file carries its version and the BLAKE3 hash of its content; one that
//! is torn, foreign or of another version is ignored. It is replaced atomically; where the folder cannot be written
//! the scan goes on without it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const VERSION: u32 = 4;
const MAGIC: &str = "kinglet-cache";

/// What the scan learnt from an image's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Bytes of the file.
    pub(crate) len: u64,
    /// Modification time in nanoseconds since 1970.
    pub(crate) modified: u64,
    /// Upright width; 0 where the image is unusable.
    pub(crate) width: u32,
    /// Upright height.
    pub(crate) height: u32,
    /// Damage that does not keep the image from being used, or, with `width` 0, why it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
}

/// Headers by path relative to the cache's folder.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Cache {
    pub(crate) headers: BTreeMap<String, Header>,
}

impl Cache {
    /// Reads a cache; an empty one where there is none that can be trusted.
    pub(crate) fn load(path: &Path) -> Self {
        let parse = || -> Option<Cache> {
            let text = std::fs::read_to_string(path).ok()?;
            let (first, body) = text.split_once('\n')?;
            let expected = format!("{MAGIC} {VERSION} {}", blake3::hash(body.as_bytes()).to_hex());
            (first == expected).then(|| serde_json::from_str(body).ok()).flatten().map(|headers| Cache { headers })
        };
        parse().unwrap_or_default()
    }

    /// Writes the cache beside its final place and renames it.
    pub(crate) fn store(&self, path: &Path) -> std::io::Result<()> {
        let body = serde_json::to_string(&self.headers)?;
        let hash = blake3::hash(body.as_bytes()).to_hex();
        kinglet_vision::write_whole(path, format!("{MAGIC} {VERSION} {hash}\n{body}").as_bytes())
    }
}

/// Length and modification time of a file.
pub(crate) fn stamp(path: &Path) -> std::io::Result<(u64, u64)> {
    let meta = std::fs::metadata(path)?;
    let since = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    Ok((meta.len(), since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))))
}

/// Where the cache of a split lies: beside the folder of its labels, or in it where that is the data set's own folder, so
/// that nothing is written above a data set.
pub(crate) fn place(first_label: &Path, root: &Path, split: &str) -> PathBuf {
    let folder = first_label.parent().unwrap_or(Path::new("."));
    let beside = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(folder);
    let chosen = if folder == root || !beside.is_dir() { folder } else { beside };
    chosen.join(format!("{split}.kinglet-cache"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_comes_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.kinglet-cache");
        let mut cache = Cache::default();
        let header = Header { len: 1, modified: u64::MAX - 3, width: 20, height: 30, trouble: None };
        cache.headers.insert("a/ü.jpg".into(), header);
        cache.store(&path).unwrap();
        assert_eq!(Cache::load(&path), cache);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(":20", ":21")).unwrap();
        assert_eq!(Cache::load(&path), Cache::default());
        std::fs::write(&path, "kinglet-cache 0 abc\n{}").unwrap();
        assert_eq!(Cache::load(&path), Cache::default());
        assert_eq!(Cache::load(dir.path()), Cache::default());
    }
}
