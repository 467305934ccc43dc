//! A small HTTP client, and a server with a model to talk to.

use kinglet_nn::Model;
use kinglet_runtime::Detector;
use kinglet_server::detection::{self, DetectionOptions};
use kinglet_server::{HttpOptions, Server, Stop, http};
use kinglet_spec::ResolveOptions;
use kinglet_vision::Image;
use kinglet_vision::encode::png_bytes;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The word of an error, after checking that it is one a person can act on.
    pub fn code(&self) -> String {
        let error = &self.json()["error"];
        for key in ["message", "next_step"] {
            assert!(!error[key].as_str().unwrap().is_empty(), "{error}");
        }
        error["code"].as_str().unwrap().to_owned()
    }
}

/// A connection that does not wait for ever.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The head of a request with these further lines.
pub fn head(method: &str, path: &str, lines: &[&str]) -> String {
    let host = if lines.iter().any(|line| line.starts_with("Host:")) { "" } else { "Host: localhost\r\n" };
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{lines}\r\n")
}

/// Reads an answer to the connection's end.
pub fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A server that refuses a body may close while it is still being sent; the answer has arrived then.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no head in {bytes:?}"));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}

/// Sends a request and reads its answer.
pub fn send(to: SocketAddr, method: &str, path: &str, lines: &[&str], body: &[u8]) -> Answer {
    let mut stream = connect(to);
    let length = format!("Content-Length: {}", body.len());
    let lines: Vec<&str> = lines.iter().copied().chain([length.as_str()]).collect();
    stream.write_all(head(method, path, &lines).as_bytes()).unwrap();
    // As above: a refused body.
    let _ = stream.write_all(body);
    read(&mut stream)
}

pub fn get(to: SocketAddr, path: &str) -> Answer {
    send(to, "GET", path, &[], &[])
}

/// A part of a form: its name, its file name if it is a file, its content.
pub type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

pub const FORM: &str = "Content-Type: multipart/form-data; boundary=frontier";

/// A multipart form.
pub fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map(|f| format!("; filename=\"{f}\"")).unwrap_or_default();
        body.extend(format!("--frontier\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--frontier--\r\n");
    body
}

pub fn post(to: SocketAddr, path: &str, parts: &[Part<'_>]) -> Answer {
    send(to, "POST", path, &[FORM], &form(parts))
}

/// A picture with some structure.
pub fn picture(width: usize, height: usize) -> Image {
    let mut image = Image::new(width, height, [0; 3]);
    image.data.iter_mut().enumerate().for_each(|(i, b)| *b = (i * 37 % 251) as u8);
    image
}

/// The same as PNG.
pub fn png(width: usize, height: usize) -> Vec<u8> {
    png_bytes(&picture(width, height)).unwrap()
}

/// Two small levels, random weights: enough detections at low scores.
const MODEL: &str = "nc: 2\nanchors:\n  - [10, 13, 16, 30]\n  - [30, 61, 62, 45]\nbackbone:\n  \
    - [-1, 1, Conv, [8, 3, 2]]\n  - [-1, 1, Conv, [8, 3, 2]]\n  - [-1, 1, Conv, [16, 3, 2]]\n  - [-1, 1, Conv, [16, 3, 2]]\n\
    head:\n  - [[2, 3], 1, Detect, [nc, anchors]]\n";

pub fn detector() -> Detector {
    let mut model = Model::from_yaml(MODEL, "small.yaml", &ResolveOptions::default()).unwrap();
    model.params.initialise(1);
    Detector::new(model)
}

pub fn options() -> DetectionOptions {
    DetectionOptions::new("small".into(), vec!["cat".into(), "dog".into()], [64, 64])
}

/// A detection server at a free port.
pub fn serve(options: DetectionOptions) -> (Server, Stop) {
    serve_within(options, HttpOptions::default())
}

pub fn serve_within(options: DetectionOptions, limits: HttpOptions) -> (Server, Stop) {
    let stop = Stop::default();
    let router = detection::router(detector(), options).unwrap();
    let server = Server::start(http::listen("127.0.0.1", 0).unwrap(), router, stop.clone(), limits).unwrap();
    (server, stop)
}
