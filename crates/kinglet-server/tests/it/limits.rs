//! What is refused, with which status, and what it says.

use crate::client::{FORM, connect, form, get, head, options, png, post, read, send, serve, serve_within};
use kinglet_server::detection::DetectionOptions;
use kinglet_server::{ApiKey, HttpOptions};
use std::io::{Read, Write};
use std::time::Duration;

#[test]
fn a_full_queue_is_429_with_the_time_to_wait() {
    let (server, _stop) = serve(DetectionOptions { queue: 1, ..options() });
    let to = server.address();
    let body = form(&[("image", Some("a.png"), &png(50, 40))]);
    // A request that has begun holds the only place.
    let mut stream = connect(to);
    stream
        .write_all(head("POST", "/v2/detect", &[FORM, &format!("Content-Length: {}", body.len())]).as_bytes())
        .unwrap();
    let seen = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        get(to, "/metrics").text().contains("kinglet_queue_images 1")
    });
    assert!(seen);
    let answer = post(to, "/v2/detect", &[("image", Some("a.png"), &png(50, 40))]);
    assert_eq!((answer.status, answer.code().as_str()), (429, "queue_full"));
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // The first one is served, and its place is free again.
    stream.write_all(&body).unwrap();
    assert_eq!(read(&mut stream).status, 200);
    assert_eq!(post(to, "/v2/detect", &[("image", Some("a.png"), &png(50, 40))]).status, 200);
}

#[test]
fn too_many_bytes_are_413_whether_their_number_is_told_or_not() {
    let (server, _stop) = serve(DetectionOptions { max_bytes: 5000, ..options() });
    let to = server.address();
    let big = vec![7; 20_000];
    let answer = post(to, "/v2/detect", &[("image", Some("a.png"), &big)]);
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_many_bytes"));
    let mut stream = connect(to);
    stream.write_all(head("POST", "/v2/detect", &[FORM, "Transfer-Encoding: chunked"]).as_bytes()).unwrap();
    let body = form(&[("image", Some("a.png"), &big)]);
    for chunk in body.chunks(1000) {
        // The server may have refused already.
        let _ = stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes());
        let _ = stream.write_all(chunk);
        let _ = stream.write_all(b"\r\n");
    }
    let _ = stream.write_all(b"0\r\n\r\n");
    let answer = read(&mut stream);
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_many_bytes"));
}

#[test]
fn too_many_pixels_are_refused_before_they_are_decoded() {
    let (server, _stop) = serve(DetectionOptions { max_pixels: 10_000, ..options() });
    // A PNG whose header promises 100,000 x 100,000 pixels and brings none: decoding could only fail otherwise.
    let mut bomb = png(50, 40);
    bomb[16..20].copy_from_slice(&19_999u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&19_999u32.to_be_bytes());
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    for file in [png(101, 100), bomb] {
        let answer = post(server.address(), "/v2/detect", &[("image", Some("a.png"), &file)]);
        assert_eq!((answer.status, answer.code().as_str()), (413, "too_many_pixels"), "{}", answer.text());
        assert!(answer.text().contains("--max-pixels"));
    }
    assert_eq!(post(server.address(), "/v2/detect", &[("image", Some("a.png"), &png(100, 100))]).status, 200);
}

/// The checksum of PNG chunks, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn too_many_images_are_refused() {
    let (server, _stop) = serve(DetectionOptions { max_images: 2, ..options() });
    let file = png(50, 40);
    let part = ("image", Some("a.png"), file.as_slice());
    assert_eq!(post(server.address(), "/v2/detect", &[part, part]).status, 200);
    let answer = post(server.address(), "/v2/detect", &[part, part, part]);
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_many_images"));
    let answer = post(server.address(), "/v1/object-detection/small", &[part, part]);
    assert_eq!(answer.status, 413, "YOLOv5's route takes one image");
    assert!(answer.text().contains("more than 1 image\""), "{}", answer.text());
}

#[test]
fn what_is_no_form_is_415_and_a_broken_one_400() {
    let (server, _stop) = serve(options());
    let to = server.address();
    for lines in [&["Content-Type: image/png"][..], &[]] {
        let answer = send(to, "POST", "/v1/object-detection/small", lines, &png(50, 40));
        assert_eq!((answer.status, answer.code().as_str()), (415, "no_form"));
        assert!(!answer.text().contains("``"), "{}", answer.text());
    }
    let answer = send(to, "POST", "/v2/detect", &["Content-Type: multipart/form-data"], b"");
    assert_eq!((answer.status, answer.code().as_str()), (400, "broken_form"));
    let answer = send(to, "POST", "/v2/detect", &[FORM], b"--frontier\r\nnonsense");
    assert_eq!((answer.status, answer.code().as_str()), (400, "broken_form"));
    assert_eq!(post(to, "/v2/detect", &[("conf", None, b"0.5")]).code(), "no_image");
    let file = png(50, 40);
    let answer = post(to, "/v2/detect", &[("image", None, &file), ("size", None, b"640")]);
    assert_eq!((answer.status, answer.code().as_str()), (400, "unknown_field"));
    let long = vec![b'1'; 5000];
    assert_eq!(post(to, "/v2/detect", &[("image", None, &file), ("conf", None, &long)]).code(), "bad_setting");
    // A picture under a wrong name is no setting that is too long.
    let picture = ("file", Some("a.png"), &[&file[..], &long].concat()[..]);
    for route in ["/v2/detect", "/v1/object-detection/small"] {
        assert_eq!(post(to, route, &[picture]).code(), "no_image");
    }
    assert_eq!(post(to, "/v2/detect", &[("image", None, &file), picture]).code(), "unknown_field");
    // YOLOv5's route passes over fields that it does not know.
    assert_eq!(post(to, "/v1/object-detection/small", &[("image", None, &file), ("size", None, b"640")]).status, 200);
}

#[test]
fn pictures_that_are_none_are_400_and_say_which_one() {
    let (server, _stop) = serve(options());
    let (good, cut) = (png(50, 40), png(50, 40)[..100].to_vec());
    for bad in [&b""[..], b"no picture", &cut] {
        let answer = post(server.address(), "/v2/detect", &[("image", Some("bad.png"), bad)]);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_picture"), "{}", answer.text());
    }
    let parts = [("image", Some("good.png"), good.as_slice()), ("image", Some("bad.png"), b"no picture".as_slice())];
    let answer = post(server.address(), "/v2/detect", &parts);
    assert!(answer.text().contains("image 2 (`bad.png`)"), "{}", answer.text());
}

#[test]
fn without_the_key_only_health_and_the_page_are_open() {
    let key = ApiKey::new("correct-horse").unwrap();
    let (server, _stop) = serve(DetectionOptions { api_key: Some(key), ..options() });
    let to = server.address();
    for path in ["/", "/detect.js", "/style.css", "/health", "/openapi.json"] {
        assert_eq!(get(to, path).status, 200, "{path}");
    }
    for (method, path) in
        [("GET", "/metrics"), ("GET", "/v2/model"), ("POST", "/v2/detect"), ("POST", "/v1/object-detection/small")]
    {
        for lines in [&[][..], &["X-API-Key: correct-hors"], &["Authorization: Bearer wrong"]] {
            let answer = send(to, method, path, lines, b"");
            assert_eq!((answer.status, answer.code().as_str()), (401, "wrong_key"), "{path} {lines:?}");
        }
    }
    for line in ["X-API-Key: correct-horse", "Authorization: Bearer correct-horse"] {
        assert_eq!(send(to, "GET", "/v2/model", &[line], b"").status, 200);
        let body = form(&[("image", Some("a.png"), &png(50, 40))]);
        assert_eq!(send(to, "POST", "/v2/detect", &[FORM, line], &body).status, 200);
    }
}

#[test]
fn requests_for_a_foreign_host_name_are_refused_on_loopback() {
    let (server, _stop) = serve(options());
    let answer = send(server.address(), "GET", "/v2/model", &["Host: evil.example"], b"");
    assert_eq!((answer.status, answer.code().as_str()), (403, "foreign_host"));
    let (server, _stop) = serve(DetectionOptions { local_names_only: false, ..options() });
    assert_eq!(send(server.address(), "GET", "/v2/model", &["Host: cats.example"], b"").status, 200);
}

#[test]
fn an_upload_that_does_not_end_is_408_and_frees_its_place() {
    let (server, _stop) = serve(DetectionOptions { timeout: Duration::from_millis(300), queue: 1, ..options() });
    let mut stream = connect(server.address());
    stream.write_all(head("POST", "/v2/detect", &[FORM, "Content-Length: 1000"]).as_bytes()).unwrap();
    stream.write_all(b"--frontier\r\n").unwrap();
    let answer = read(&mut stream);
    assert_eq!((answer.status, answer.code().as_str()), (408, "slow_upload"));
    assert!(get(server.address(), "/metrics").text().contains("kinglet_queue_images 0"));
}

#[test]
fn a_head_that_does_not_end_closes_the_connection() {
    let limits = HttpOptions { head_timeout: Duration::from_millis(200), ..HttpOptions::default() };
    let (server, _stop) = serve_within(options(), limits);
    let mut stream = connect(server.address());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    let mut rest = Vec::new();
    // The client's own patience is much longer, and would be an error.
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn connections_beyond_the_limit_wait_and_are_served_then() {
    let limits = HttpOptions { connections: 1, ..HttpOptions::default() };
    let (server, _stop) = serve_within(options(), limits);
    let idle = connect(server.address());
    let mut waiting = connect(server.address());
    waiting.write_all(head("GET", "/health", &[]).as_bytes()).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let early = waiting.read(&mut [0; 1]);
    assert!(early.is_err(), "the first connection holds the only place: {early:?}");
    drop(idle);
    waiting.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(read(&mut waiting).status, 200);
}

#[test]
fn a_client_that_does_not_read_loses_its_connection() {
    let limits = HttpOptions { connections: 1, write_timeout: Duration::from_millis(200), ..HttpOptions::default() };
    let (server, _stop) = serve_within(options(), limits);
    // Requests one after another, of which nobody reads the answers, until nothing goes in any more.
    let mut stuck = connect(server.address());
    stuck.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let request = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    while stuck.write_all(request.as_bytes()).is_ok() {}
    // The only connection is free again.
    assert_eq!(get(server.address(), "/health").status, 200);
    drop(stuck);
}

#[test]
fn advice_names_the_limit_that_was_met() {
    let file = png(50, 40);
    let two = [("image", Some("a.png"), file.as_slice()), ("image", Some("b.png"), file.as_slice())];
    let (server, _stop) = serve(DetectionOptions { queue: 1, ..options() });
    assert!(post(server.address(), "/v2/detect", &two).text().contains("--queue"));
    let (server, _stop) = serve(options());
    let answer = post(server.address(), "/v1/object-detection/small", &two);
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_many_images"));
    assert!(answer.text().contains("/v2/detect") && !answer.text().contains("--max-images"), "{}", answer.text());
    // No setting of the server's lets a side of more than 20,000 px in.
    let mut long = file.clone();
    long[16..20].copy_from_slice(&20_001u32.to_be_bytes());
    long[20..24].copy_from_slice(&1u32.to_be_bytes());
    let crc = crc32(&long[12..29]);
    long[29..33].copy_from_slice(&crc.to_be_bytes());
    let answer = post(server.address(), "/v2/detect", &[("image", Some("a.png"), &long)]);
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_many_pixels"), "{}", answer.text());
    assert!(answer.text().contains("shorter sides") && !answer.text().contains("--max-pixels"), "{}", answer.text());
}
