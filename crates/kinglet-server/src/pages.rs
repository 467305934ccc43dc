//! The embedded pages.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the program as an answer.
fn file(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // Always asked for again, so that a page and its script are of one version.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Adds a page and what all pages share: its HTML at `/`, its script under its own name.
pub(crate) fn with_page<S: Clone + Send + Sync + 'static>(router: Router<S>, page: Page) -> Router<S> {
    router
        .route("/", get(move || async move { file(HTML, page.html) }))
        .route(page.script_path, get(move || async move { file(SCRIPT, page.script) }))
        .route("/chart.js", get(|| async { file(SCRIPT, include_str!("pages/chart.js")) }))
        .route("/style.css", get(|| async { file("text/css; charset=utf-8", include_str!("pages/style.css")) }))
        .route("/favicon.svg", get(|| async { file("image/svg+xml", include_str!("pages/favicon.svg")) }))
}

/// A page with its script.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    html: &'static str,
    script: &'static str,
    script_path: &'static str,
}

/// Boxes on a picture.
pub(crate) const DETECT: Page = Page {
    html: include_str!("pages/detect.html"),
    script: include_str!("pages/detect.js"),
    script_path: "/detect.js",
};

/// A training as it happens.
pub(crate) const LIVE: Page =
    Page { html: include_str!("pages/live.html"), script: include_str!("pages/live.js"), script_path: "/live.js" };

/// Runs side by side.
pub(crate) const RUNS: Page =
    Page { html: include_str!("pages/runs.html"), script: include_str!("pages/runs.js"), script_path: "/runs.js" };
