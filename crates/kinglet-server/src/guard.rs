//! What every request passes: the name it used for this server, its key, and the headers of every answer.

use crate::api_error::ApiError;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Where keys of clients stand, as in YOLOv5's sample; `Authorization: Bearer` works as well.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// The shortest key that is worth having.
const LEAST_KEY: usize = 8;

/// Pages may load from this server alone, and nobody may frame them.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A secret that clients must send. Only its hash is kept, and hashes are compared in constant time.
#[derive(Clone)]
pub struct ApiKey(blake3::Hash);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Why a key is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the API key must be one line of at least {LEAST_KEY} visible ASCII characters, found {found}; make one with `openssl rand -hex 24`"
)]
pub struct KeyError {
    found: String,
}

impl ApiKey {
    /// The key in a text; white space around it does not count.
    ///
    /// # Errors
    /// A key that is too short, or holds characters that HTTP headers do not carry.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let key = text.trim();
        let bad = key.chars().find(|c| !c.is_ascii_graphic());
        match bad {
            Some(c) => Err(KeyError { found: format!("the character {c:?}") }),
            None if key.len() < LEAST_KEY => Err(KeyError { found: format!("{} characters", key.len()) }),
            None => Ok(ApiKey(blake3::hash(key.as_bytes()))),
        }
    }

    /// Whether the headers of a request carry the key.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
        let given = headers.get(KEY_HEADER).map(HeaderValue::as_bytes).or(bearer);
        // The comparison of hashes takes the same time whatever differs.
        given.is_some_and(|given| blake3::hash(given) == self.0)
    }
}

/// Lets requests pass that carry the key, where there is one.
pub(crate) async fn key(State(key): State<Option<ApiKey>>, request: Request, next: Next) -> Response {
    match key {
        Some(key) if !key.is_in(request.headers()) => ApiError::new(
            StatusCode::UNAUTHORIZED,
            "wrong_key",
            "this server wants an API key, and the request has none or a wrong one",
            "send the key in the header `X-API-Key` or as `Authorization: Bearer KEY`",
        )
        .into_response(),
        _ => next.run(request).await,
    }
}

/// Lets requests pass that name this server by an IP address or as localhost.
///
/// A web site may point a name of its own at 127.0.0.1 and so read what a server there tells (DNS rebinding); its
/// requests carry that name.
pub(crate) async fn local_names_only(request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| request.uri().host()).unwrap_or_default();
    if is_local_name(host) {
        return next.run(request).await;
    }
    ApiError::new(
        StatusCode::FORBIDDEN,
        "foreign_host",
        format!("the request is for the host `{host}`, expected an IP address or localhost"),
        "use the address that the program printed; behind a proxy, let it send the server's own address as Host",
    )
    .into_response()
}

/// Whether `host`, with or without a port, is an IP address or localhost.
fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Adds the headers that every answer has.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_sites_are_not_local() {
        for host in ["127.0.0.1:5000", "localhost", "LOCALHOST:80", "[::1]:5000", "192.168.0.7", "[::1]"] {
            assert!(is_local_name(host), "{host}");
        }
        for host in ["", "example.com", "example.com:5000", "localhost.example.com", "127.0.0.1.example.com:80", "["] {
            assert!(!is_local_name(host), "{host}");
        }
    }

    #[test]
    fn a_key_is_accepted_in_either_header_and_no_other_text_is() {
        let key = ApiKey::new(" correct-horse \n").unwrap();
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            key.is_in(&headers)
        };
        assert!(with("x-api-key", "correct-horse"));
        assert!(with("authorization", "Bearer correct-horse"));
        for value in ["", "correct-hors", "correct-horse2", "Correct-horse"] {
            assert!(!with("x-api-key", value), "{value}");
        }
        assert!(!with("authorization", "correct-horse"));
        assert!(!key.is_in(&HeaderMap::new()));
        assert_eq!(format!("{key:?}"), "ApiKey(..)");
    }

    #[test]
    fn keys_that_cannot_be_sent_are_told() {
        let told = |text: &str| ApiKey::new(text).unwrap_err().to_string();
        assert!(told("short").contains("5 characters"));
        assert!(told("two words are").contains("' '"));
        assert!(told("schlüssel-lang").contains("'ü'"));
    }
}
