//! Runs side by side, from their folders: `results.csv`, `opt.yaml` and the plots. Nothing is written.
//!
//! Units: as in the files. Runs of YOLOv5 work as well: their files have the same names and columns.

use crate::api_error::{ApiError, json_response, no_such_method, no_such_route};
use crate::{guard, pages};
use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Folders this far below the root are looked at.
const DEPTH: usize = 5;
/// Most runs shown: the newest.
const MOST_RUNS: usize = 500;
/// Larger tables and settings are not read.
const MAX_TEXT: u64 = 8 << 20;
/// Larger pictures are not shown.
const MAX_PICTURE: u64 = 64 << 20;

/// A run's folder, read.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Run {
    /// Its folder below the root, with `/` between names.
    pub name: String,
    /// When its table was last written, in seconds since 1970.
    pub modified: u64,
    /// The table's columns.
    pub columns: Vec<String>,
    /// Its rows; what is no number is missing.
    pub rows: Vec<Vec<Option<f64>>>,
    /// Its settings, as text.
    pub settings: BTreeMap<String, String>,
    /// Its plots and pictures.
    pub pictures: Vec<String>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// The router for the runs below `root`.
pub fn router(root: PathBuf) -> Router {
    pages::with_page(Router::new(), pages::RUNS)
        .route("/api/runs", get(list))
        .route("/pictures/{*path}", get(picture))
        .route("/health", get(|| async { json_response(StatusCode::OK, &json!({"status": "ok"})) }))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(guard::local_names_only))
        .layer(from_fn(guard::headers))
        .with_state(Arc::new(root))
}

/// How many runs there are below a folder.
pub fn count(root: &Path) -> usize {
    let mut found = Vec::new();
    walk(root, 0, &mut found);
    found.len()
}

/// The runs below a folder, by name; of very many the newest.
pub fn find(root: &Path) -> Vec<Run> {
    let mut found = Vec::new();
    walk(root, 0, &mut found);
    found.sort_by_key(|(_, modified)| std::cmp::Reverse(*modified));
    found.truncate(MOST_RUNS);
    let mut runs: Vec<Run> = found.iter().map(|(folder, modified)| read(root, folder, *modified)).collect();
    runs.sort_by_key(|run| natural(&run.name));
    runs
}

/// Folders with a table, and its time.
fn walk(folder: &Path, depth: usize, found: &mut Vec<(PathBuf, u64)>) {
    if let Ok(metadata) = folder.join("results.csv").metadata()
        && metadata.is_file()
    {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        found.push((folder.to_owned(), modified.map_or(0, |time| time.as_secs())));
        return;
    }
    if depth == DEPTH {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // Links are not followed: they may lead anywhere, or in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), depth + 1, found);
        }
    }
}

/// Parts of a name with numbers as numbers, so that `exp2` stands before `exp10`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0u64)];
    let mut in_number = false;
    for c in name.chars() {
        let last = parts.last_mut().expect("there is always a part");
        match c.to_digit(10) {
            Some(digit) => {
                last.1 = last.1.saturating_mul(10).saturating_add(u64::from(digit));
                in_number = true;
            }
            None if in_number => {
                parts.push((c.to_string(), 0));
                in_number = false;
            }
            None => last.0.push(c),
        }
    }
    parts
}

fn text_of(path: &Path) -> Result<String, String> {
    let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = std::fs::File::open(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|error| format!("{shown}: {error}"))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(format!("{shown}: more than {MAX_TEXT} bytes, not read"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read(root: &Path, folder: &Path, modified: u64) -> Run {
    let below = folder.strip_prefix(root).unwrap_or(folder);
    let names = below.components().map(|part| part.as_os_str().to_string_lossy());
    let name = names.collect::<Vec<_>>().join("/");
    let mut problems = Vec::new();
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    match text_of(&folder.join("results.csv")) {
        Ok(text) => {
            let mut lines = text.lines();
            columns = lines.next().unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect();
            for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let row: Vec<Option<f64>> =
                    line.split(',').map(|v| v.trim().parse().ok().filter(|v: &f64| v.is_finite())).collect();
                if row.len() == columns.len() {
                    rows.push(row);
                } else {
                    let (expected, found) = (columns.len(), row.len());
                    problems.push(format!("results.csv:{}: expected {expected} values, found {found}", number + 2));
                }
            }
        }
        Err(problem) => problems.push(problem),
    }
    let settings = match text_of(&folder.join("opt.yaml")) {
        Ok(text) => settings_of(&text),
        Err(problem) => {
            problems.push(problem);
            BTreeMap::new()
        }
    };
    let is_picture = |name: &String| kind_of(name).is_some();
    let mut pictures: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(is_picture)
        .collect();
    pictures.sort();
    Run { name, modified, columns, rows, settings, pictures, problems }
}

/// Lines `key: value`, without quotes around the value. Deeper levels are left out: settings are flat.
fn settings_of(text: &str) -> BTreeMap<String, String> {
    let flat = text.lines().filter(|line| !line.starts_with([' ', '#', '-']));
    let pair = |line: &str| {
        let (key, value) = line.split_once(':')?;
        let value = value.trim();
        let quoted = [r#"""#, "'"].iter().find_map(|q| value.strip_prefix(q)?.strip_suffix(q));
        Some((key.trim().to_owned(), quoted.unwrap_or(value).to_owned()))
    };
    flat.filter_map(pair).collect()
}

/// The content type of a picture that is shown.
fn kind_of(name: &str) -> Option<&'static str> {
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    match extension.as_str() {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        _ => None,
    }
}

/// Work on files, off the thread that serves.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        let next = "load the page again, and report what the program printed";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the runs could not be read", next)
    })
}

async fn list(State(root): State<Arc<PathBuf>>) -> Result<Response, ApiError> {
    let folder = root.display().to_string();
    let (runs, all) = on_disk(move || (find(&root), count(&root))).await?;
    let left_out = all.saturating_sub(runs.len());
    Ok(json_response(StatusCode::OK, &json!({"folder": folder, "runs": runs, "left_out": left_out})))
}

async fn picture(State(root): State<Arc<PathBuf>>, UrlPath(path): UrlPath<String>) -> Response {
    let asked = path.clone();
    let found = on_disk(move || picture_bytes(&root, &asked)).await;
    match found {
        Ok(Some((bytes, kind))) => {
            let mut response = Response::new(bytes.into());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
        Ok(None) => {
            let message = format!("there is no picture `{path}` in the runs");
            ApiError::new(StatusCode::NOT_FOUND, "not_found", message, "load the page again").into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// A picture of a run, named by its path below the root.
fn picture_bytes(root: &Path, path: &str) -> Option<(Vec<u8>, &'static str)> {
    let kind = kind_of(path)?;
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.contains('\\') || !Path::new(path).components().all(plain) {
        return None;
    }
    // Links that lead out of the folder are not followed.
    let (root, file) = (root.canonicalize().ok()?, root.join(path).canonicalize().ok()?);
    let in_a_run = file.starts_with(root) && file.parent()?.join("results.csv").is_file();
    let metadata = file.metadata().ok()?;
    if !in_a_run || !metadata.is_file() || metadata.len() > MAX_PICTURE {
        return None;
    }
    Some((std::fs::read(file).ok()?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn runs_are_found_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let table = "   epoch,  metrics/mAP_0.5\n   0,  0.25\n   1,  nan\n 2\n";
        for name in ["train/exp10", "train/exp2"] {
            write(dir.path().join(name).join("results.csv"), table);
        }
        write(
            dir.path().join("train/exp2/opt.yaml"),
            "# all\nimgsz: 320\nname: \"no\"\nfreeze: [0,1]\nlist:\n  a: 1\n",
        );
        write(dir.path().join("train/exp2/results.png"), "png");
        write(dir.path().join("detect/exp/photo.jpg"), "jpg");
        let runs = find(dir.path());
        assert_eq!(runs.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["train/exp2", "train/exp10"]);
        assert_eq!(runs[0].columns, ["epoch", "metrics/mAP_0.5"]);
        assert_eq!(runs[0].rows, [vec![Some(0.0), Some(0.25)], vec![Some(1.0), None]]);
        assert_eq!(runs[0].problems, ["results.csv:4: expected 2 values, found 1"]);
        assert_eq!(runs[0].settings["name"], "no");
        assert_eq!(runs[0].settings["freeze"], "[0,1]");
        assert!(!runs[0].settings.contains_key("a"));
        assert_eq!(runs[0].pictures, ["results.png"]);
        assert!(runs[1].problems.iter().any(|p| p.starts_with("opt.yaml: ")), "{:?}", runs[1].problems);
    }

    #[test]
    fn only_pictures_of_runs_are_given_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("runs");
        write(root.join("exp/results.csv"), "epoch\n");
        write(root.join("exp/results.png"), "png");
        write(root.join("exp/opt.yaml"), "a: 1");
        write(root.join("other/photo.png"), "png");
        write(dir.path().join("secret.png"), "png");
        assert_eq!(picture_bytes(&root, "exp/results.png").map(|p| p.1), Some("image/png"));
        for path in ["exp/opt.yaml", "other/photo.png", "../secret.png", "exp/../../secret.png", "exp/none.png", ""] {
            assert!(picture_bytes(&root, path).is_none(), "{path}");
        }
        let absolute = dir.path().join("secret.png");
        assert!(picture_bytes(&root, &absolute.to_string_lossy()).is_none());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path().join("secret.png"), root.join("exp/link.png")).unwrap();
            assert!(picture_bytes(&root, "exp/link.png").is_none());
        }
    }
}
