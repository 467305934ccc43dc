//! The description of the routes says what they do.

use crate::client::{get, options, png, post, send, serve};
use kinglet_server::detection::{OPENAPI, ROUTES};
use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// The schema behind a reference.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path}")),
        None => schema,
    }
}

/// Checks a value against the words of JSON Schema that the document uses. No property may be missing from it.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = resolve(document, schema);
    match schema["type"].as_str() {
        Some("object") => {
            let object = value.as_object().unwrap_or_else(|| panic!("{place}: {value}"));
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(object.contains_key(name.as_str().unwrap()), "{place}: no {name} in {value}");
            }
            for (name, value) in object {
                let property = &schema["properties"][name];
                assert!(!property.is_null(), "{place}: `{name}` is not described");
                check(document, property, value, &format!("{place}.{name}"));
            }
        }
        Some("array") => {
            let values = value.as_array().unwrap_or_else(|| panic!("{place}: {value}"));
            values.iter().for_each(|value| check(document, &schema["items"], value, place));
        }
        Some("string") => assert!(value.is_string(), "{place}: {value}"),
        Some("integer") => assert!(value.is_u64(), "{place}: {value}"),
        Some("number") => assert!(value.is_number(), "{place}: {value}"),
        None => assert_eq!(value, &schema["const"], "{place}"),
        Some(other) => panic!("{place}: no check for {other}"),
    }
}

#[test]
fn the_document_and_the_server_have_the_same_routes() {
    let document = document();
    let mut described = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        described.extend(methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    described.sort();
    let mut known: Vec<_> = ROUTES.iter().map(|(m, p)| (String::from(*m), String::from(*p))).collect();
    known.sort();
    assert_eq!(described, known);
    let (server, _stop) = serve(options());
    for (method, path) in ROUTES {
        let path = path.replace("{model}", "small");
        let status = send(server.address(), &method.to_uppercase(), &path, &[], b"").status;
        assert!(status != 404 && status != 405, "{method} {path}: {status}");
    }
    assert_eq!(get(server.address(), "/openapi.json").json(), document);
}

#[test]
fn answers_are_as_described() {
    let document = document();
    let (server, _stop) = serve(options());
    let to = server.address();
    let file = png(50, 40);
    let parts = [("image", Some("a.png"), file.as_slice()), ("conf", None, b"0.001".as_slice())];
    for (method, path, answer) in [
        ("get", "/health", get(to, "/health")),
        ("get", "/v2/model", get(to, "/v2/model")),
        ("post", "/v2/detect", post(to, "/v2/detect", &parts)),
        ("post", "/v1/object-detection/{model}", post(to, "/v1/object-detection/small", &parts)),
        ("post", "/v2/detect", post(to, "/v2/detect", &[("image", None, b"")])),
        ("post", "/v1/object-detection/{model}", post(to, "/v1/object-detection/none", &parts)),
    ] {
        let described = &document["paths"][path][method]["responses"][answer.status.to_string()];
        assert!(!described.is_null(), "{method} {path}: {} is not described", answer.status);
        let schema = &resolve(&document, described)["content"]["application/json"]["schema"];
        check(&document, schema, &answer.json(), path);
    }
    let found = post(to, "/v2/detect", &parts).json();
    assert!(!found["images"][0]["detections"].as_array().unwrap().is_empty(), "detections were checked, too");
}
