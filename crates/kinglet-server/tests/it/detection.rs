//! What is detected: the same as the detector finds by itself.

use crate::client::{FORM, connect, detector, form, get, head, options, picture, png, post, read, send, serve};
use kinglet_runtime::Fit;
use kinglet_vision::{Detection, NmsOptions};
use serde_json::Value;
use std::io::Write;

/// Scores of random weights are low.
const CONF: f32 = 0.001;

fn nms() -> NmsOptions {
    NmsOptions { conf: CONF, max_det: 20, ..NmsOptions::default() }
}

/// What the detector finds in the picture of this size, without a server between.
fn expected(width: usize, height: usize, options: &NmsOptions) -> Vec<Detection> {
    detector().detect(&picture(width, height), [64, 64], Fit::Stride, options).unwrap().0
}

fn assert_same(answer: &Value, expected: &[Detection]) {
    let found = answer.as_array().unwrap();
    assert!(!expected.is_empty(), "a test with nothing to find tests nothing");
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]);
        for (key, value) in ["xmin", "ymin", "xmax", "ymax"].iter().zip(expected.xyxy) {
            // Rounded to thousandths of a pixel; a batch may round otherwise than a single image.
            assert!((found[*key].as_f64().unwrap() - f64::from(value)).abs() < 2e-3, "{found} {expected:?}");
        }
        assert!((found["confidence"].as_f64().unwrap() - f64::from(expected.score)).abs() < 2e-5);
        assert_eq!(found["class"], expected.class);
        assert_eq!(found["name"], ["cat", "dog"][expected.class]);
    }
}

#[test]
fn yolov5s_route_answers_as_its_sample_does() {
    let (server, _stop) = serve(kinglet_server::detection::DetectionOptions { nms: nms(), ..options() });
    let answer = post(server.address(), "/v1/object-detection/small", &[("image", Some("a.png"), &png(50, 40))]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_same(&answer.json(), &expected(50, 40, &nms()));
}

#[test]
fn a_batch_of_several_shapes_is_answered_in_order() {
    let (server, _stop) = serve(options());
    let sizes = [(50, 40), (40, 50), (64, 64), (200, 30), (50, 40)];
    let files: Vec<Vec<u8>> = sizes.iter().map(|&(w, h)| png(w, h)).collect();
    let names: Vec<String> = sizes.iter().map(|(w, h)| format!("{w}x{h}.png")).collect();
    let mut parts: Vec<_> = files.iter().zip(&names).map(|(f, n)| ("image", Some(n.as_str()), f.as_slice())).collect();
    let conf = CONF.to_string();
    parts.push(("conf", None, conf.as_bytes()));
    parts.push(("max_det", None, b"20"));
    let answer = post(server.address(), "/v2/detect", &parts).json();
    assert_eq!(answer["model"], "small");
    let images = answer["images"].as_array().unwrap();
    assert_eq!(images.len(), sizes.len(), "{answer}");
    for ((image, &(w, h)), name) in images.iter().zip(&sizes).zip(&names) {
        assert_eq!((&image["width"], &image["height"], &image["name"]), (&w.into(), &h.into(), &name.as_str().into()));
        assert_same(&image["detections"], &expected(w, h, &nms()));
    }
}

#[test]
fn settings_of_a_request_are_obeyed() {
    let (server, _stop) = serve(options());
    let file = png(50, 40);
    let ask = |fields: &[(&str, &str)]| {
        let mut parts = vec![("image", Some("a.png"), file.as_slice())];
        parts.extend(fields.iter().map(|(k, v)| (*k, None, v.as_bytes())));
        post(server.address(), "/v2/detect", &parts).json()["images"][0]["detections"].clone()
    };
    let base = NmsOptions { conf: CONF, ..options().nms };
    assert_same(&ask(&[("conf", "0.001")]), &expected(50, 40, &base));
    // The random weights may take everything for one class; what is asked for is found, and the other class is not.
    let all = expected(50, 40, &base);
    for (class, name) in ["cat", "dog"].into_iter().enumerate() {
        let found = ask(&[("conf", "0.001"), ("classes", name)]);
        assert_eq!(found.as_array().map(Vec::len), Some(all.iter().filter(|d| d.class == class).count()), "{name}");
        assert!(found.as_array().unwrap().iter().all(|d| d["name"] == name));
    }
    let loose = NmsOptions { iou: 1.0, max_det: 7, ..base };
    assert_same(&ask(&[("conf", "0.001"), ("iou", "1"), ("max_det", "7")]), &expected(50, 40, &loose));
    assert_eq!(ask(&[("conf", "1")]), serde_json::json!([]));
    // Clipping what was not clipped gives what is: some boxes of small anchors at the edges reach beyond.
    let clipped = ask(&[("conf", "0.001"), ("iou", "1")]);
    let whole = ask(&[("conf", "0.001"), ("iou", "1"), ("clip", "0")]);
    let (mut beyond, sides) = (0, [("xmin", 50.0), ("ymin", 40.0), ("xmax", 50.0), ("ymax", 40.0)]);
    for (clipped, whole) in clipped.as_array().unwrap().iter().zip(whole.as_array().unwrap()) {
        for (side, most) in sides {
            let (clipped, whole) = (clipped[side].as_f64().unwrap(), whole[side].as_f64().unwrap());
            assert!((whole.clamp(0.0, most) - clipped).abs() < 2e-3, "{side}: {whole} and {clipped}");
            beyond += usize::from(whole < 0.0 || whole > most);
        }
    }
    assert!(beyond > 0, "a test without boxes at the edges tests nothing");
    // Whoever chooses among them by overlap needs more than thousandths.
    let is_finer = |box_: &serde_json::Value| {
        let scaled = box_["xmin"].as_f64().unwrap() * 1e3;
        (scaled - scaled.round()).abs() > 1e-6
    };
    assert!(whole.as_array().unwrap().iter().any(is_finer) && !clipped.as_array().unwrap().iter().any(is_finer));
}

#[test]
fn health_and_metrics_tell_what_was_done() {
    let (server, _stop) = serve(options());
    let to = server.address();
    assert_eq!(get(to, "/health").json(), serde_json::json!({"status": "ok"}));
    let file = png(50, 40);
    let parts = [("image", Some("a"), file.as_slice()), ("image", Some("b"), file.as_slice())];
    assert_eq!(post(to, "/v2/detect", &parts).status, 200);
    assert_eq!(get(to, "/nowhere").status, 404);
    let answer = get(to, "/metrics");
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    for line in [
        "kinglet_requests_total{method=\"POST\",route=\"/v2/detect\",status=\"200\"} 1",
        "kinglet_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 1",
        "kinglet_images_total 2",
        "kinglet_queue_images 0",
        "kinglet_queue_capacity 32",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    // Each line is a comment, or a name with labels and a number.
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("kinglet_") || name.starts_with("process_"), "{line}");
        value.parse::<f64>().unwrap();
    }
}

#[test]
fn the_page_loads_what_it_names_and_nothing_from_elsewhere() {
    let (server, _stop) = serve(options());
    let to = server.address();
    let page = get(to, "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'self'"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let html = page.text();
    assert!(!html.contains("style=\"") && !html.contains("<script>"), "the policy forbids inline styles and scripts");
    let mut seen = 0;
    for attribute in ["src=\"", "href=\""] {
        for path in html.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(path.starts_with('/'), "{path}");
            assert_eq!(get(to, path).status, 200, "{path}");
            seen += 1;
        }
    }
    assert!(seen >= 4);
    assert_eq!(get(to, "/chart.js").header("content-type"), Some("text/javascript; charset=utf-8"));
}

#[test]
fn a_server_that_is_told_to_stop_answers_what_is_under_way_first() {
    let (server, stop) = serve(options());
    let to = server.address();
    let body = form(&[("image", Some("a.png"), &png(50, 40))]);
    let mut stream = connect(to);
    let length = format!("Content-Length: {}", body.len());
    stream.write_all(head("POST", "/v2/detect", &[FORM, &length]).as_bytes()).unwrap();
    stream.write_all(&body[..20]).unwrap();
    // The request is in the house once its place is taken.
    let waiting = |text: String| text.lines().any(|line| line == "kinglet_queue_images 1");
    let seen = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        waiting(get(to, "/metrics").text())
    });
    assert!(seen, "the request did not arrive");
    stop.stop();
    let closed = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        std::net::TcpStream::connect(to).is_err()
    });
    assert!(closed, "new connections are refused");
    stream.write_all(&body[20..]).unwrap();
    let answer = read(&mut stream);
    assert_eq!(answer.status, 200, "{answer:?}");
    server.join();
}

#[test]
fn an_unknown_model_a_wrong_method_and_an_unknown_route_are_told() {
    let (server, _stop) = serve(options());
    let to = server.address();
    let answer = post(to, "/v1/object-detection/yolov5s", &[("image", Some("a.png"), &png(50, 40))]);
    assert_eq!((answer.status, answer.code().as_str()), (404, "no_such_model"));
    assert!(answer.text().contains("/v1/object-detection/small"), "the next step names the model");
    let answer = get(to, "/v2/detect");
    assert_eq!((answer.status, answer.code().as_str()), (405, "wrong_method"));
    assert!(answer.header("allow").unwrap().contains("POST"));
    assert_eq!(get(to, "/v3").code(), "not_found");
    assert_eq!(send(to, "POST", "/v2/detect", &["Content-Type: text/plain"], b"x").status, 415);
}
