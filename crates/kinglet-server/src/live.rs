//! A training as it happens, for any number of browsers; the training never waits for one.
//!
//! A [`Board`] holds the newest value of each item under a key, with a stamp that grows. A browser is sent the items that are
//! newer than what it has: all of them when it comes (or comes back), then changes. Whoever is slow misses what was replaced
//! in between, and nothing else; no list of events grows.

use crate::api_error::{ApiError, json_response, no_such_method, no_such_route};
use crate::{Stop, guard, pages};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Pause between two looks at the board for one browser: ten updates a second read as live.
const PAUSE: Duration = Duration::from_millis(100);
/// A comment goes out after so long without news, so that browsers and proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Most browsers at a time, well below the number of connections.
const MOST_WATCHERS: usize = 64;

/// The newest value under a key.
#[derive(Debug)]
struct Item {
    stamp: u64,
    event: &'static str,
    data: String,
}

#[derive(Debug, Default)]
struct Content {
    stamp: u64,
    items: HashMap<String, Item>,
    pictures: HashMap<String, Bytes>,
}

impl Content {
    fn put(&mut self, key: String, event: &'static str, value: &Value) {
        self.stamp += 1;
        self.items.insert(key, Item { stamp: self.stamp, event, data: value.to_string() });
    }

    /// Items newer than `seen`, oldest first, as server-sent events.
    fn since(&self, seen: u64) -> String {
        let newer: BTreeMap<u64, &Item> =
            self.items.values().filter(|item| item.stamp > seen).map(|item| (item.stamp, item)).collect();
        // JSON has no line breaks outside of strings, where they are escaped.
        newer.values().map(|i| format!("event: {}\nid: {}\ndata: {}\n\n", i.event, i.stamp, i.data)).collect()
    }
}

#[derive(Debug)]
struct Shared {
    content: Mutex<Content>,
    news: watch::Sender<u64>,
}

/// What there is to see of a training. Copies show the same.
#[derive(Debug, Clone)]
pub struct Board(Arc<Shared>);

impl Default for Board {
    fn default() -> Self {
        Board(Arc::new(Shared { content: Mutex::default(), news: watch::Sender::new(0) }))
    }
}

impl Board {
    fn content(&self) -> MutexGuard<'_, Content> {
        // Whatever a panic left there is whole: each change is one insertion.
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for news. The content is held until then, or a later stamp might be followed by an earlier one.
    fn tell(&self, content: MutexGuard<'_, Content>) {
        self.0.news.send_replace(content.stamp);
        drop(content);
    }

    /// Puts a value under a key, in place of the one before; browsers hear of it as `event`.
    pub fn put(&self, key: impl Into<String>, event: &'static str, value: &Value) {
        let mut content = self.content();
        content.put(key.into(), event, value);
        self.tell(content);
    }

    /// Shows the JPEGs of a group in place of those before, each with its text for people who do not see it.
    pub fn show(&self, group: &str, title: &str, pictures: Vec<(Vec<u8>, String)>) {
        let mut content = self.content();
        let version = content.stamp + 1;
        let mut listed = Vec::new();
        content.pictures.retain(|path, _| path.split('/').next() != Some(group));
        for (slot, (jpeg, text)) in pictures.into_iter().enumerate() {
            let path = format!("{group}/{slot}");
            // The version makes a new picture a new address.
            listed.push(json!({"path": format!("/pictures/{path}?{version}"), "text": text}));
            content.pictures.insert(path, jpeg.into());
        }
        let value = json!({"group": group, "title": title, "pictures": listed});
        content.put(format!("pictures/{group}"), "pictures", &value);
        self.tell(content);
    }

    /// Whether a browser is looking.
    pub fn is_watched(&self) -> bool {
        self.0.news.receiver_count() > 0
    }
}

/// The router of a board; its streams end when `stop` is told.
pub fn router(board: Board, stop: Stop) -> Router {
    pages::with_page(Router::new(), pages::LIVE)
        .route("/events", get(events))
        .route("/pictures/{group}/{slot}", get(picture))
        .route("/health", get(|| async { json_response(StatusCode::OK, &json!({"status": "ok"})) }))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(guard::local_names_only))
        .layer(from_fn(guard::headers))
        .with_state((board, stop))
}

/// A browser's place in the stream.
struct Watching {
    board: Board,
    stop: Stop,
    news: watch::Receiver<u64>,
    seen: u64,
    begun: bool,
    ended: bool,
}

impl Watching {
    /// The next piece of the stream; nothing at its end.
    async fn next(mut self) -> Option<(Result<String, Infallible>, Self)> {
        if self.ended {
            return None;
        }
        if !self.begun {
            self.begun = true;
            // Browsers come back after two seconds; what is there already follows at once.
            let text = format!("retry: 2000\n\n{}", self.take());
            return Some((Ok(text), self));
        }
        sleep(PAUSE).await;
        let news = self.news.wait_for(|&stamp| stamp > self.seen);
        let news = async { news.await.is_ok() };
        tokio::select! {
            found = timeout(KEEP_ALIVE, news) => match found {
                Ok(true) => {}
                Ok(false) => self.ended = true,
                Err(_) => return Some((Ok(": still here\n\n".to_owned()), self)),
            },
            // The last words of the training are still sent.
            () = self.stop.stopped() => self.ended = true,
        }
        Some((Ok(self.take()), self))
    }

    fn take(&mut self) -> String {
        let content = self.board.content();
        let text = content.since(self.seen);
        self.seen = content.stamp;
        text
    }
}

async fn events(State((board, stop)): State<(Board, Stop)>) -> Response {
    // Each holds a connection for as long as it likes, and other requests need some, too.
    if board.0.news.receiver_count() >= MOST_WATCHERS {
        let message = format!("{MOST_WATCHERS} browsers are watching already");
        let next = "close one of them, and load the page again";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", message, next).into_response();
    }
    let news = board.0.news.subscribe();
    let watching = Watching { board, stop, news, seen: 0, begun: false, ended: false };
    let mut response = Response::new(Body::from_stream(stream::unfold(watching, Watching::next)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

async fn picture(State((board, _)): State<(Board, Stop)>, Path((group, slot)): Path<(String, String)>) -> Response {
    let found = board.content().pictures.get(&format!("{group}/{slot}")).cloned();
    let Some(bytes) = found else {
        let message = format!("there is no picture {group}/{slot}");
        let error = ApiError::new(StatusCode::NOT_FOUND, "not_found", message, "load the page again");
        return error.into_response();
    };
    let mut response = Response::new(bytes.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_items_come_in_their_order_and_replaced_ones_once() {
        let board = Board::default();
        board.put("a", "batch", &json!(1));
        board.put("b", "epoch", &json!({"line": "one\ntwo"}));
        board.put("a", "batch", &json!(2));
        let all = board.content().since(0);
        assert_eq!(all, "event: epoch\nid: 2\ndata: {\"line\":\"one\\ntwo\"}\n\nevent: batch\nid: 3\ndata: 2\n\n");
        assert_eq!(board.content().since(2), "event: batch\nid: 3\ndata: 2\n\n");
        assert_eq!(board.content().since(3), "");
    }

    #[test]
    fn pictures_of_a_group_replace_those_before() {
        let board = Board::default();
        board.show("train", "batch", vec![(vec![1], "one".into()), (vec![2], "two".into())]);
        board.show("val", "found", vec![(vec![3], "three".into())]);
        board.show("train", "batch", vec![(vec![4], "four".into())]);
        let content = board.content();
        let mut paths: Vec<&String> = content.pictures.keys().collect();
        paths.sort();
        assert_eq!(paths, ["train/0", "val/0"]);
        assert_eq!(content.pictures["train/0"][..], [4]);
    }
}
