//! The servers as programs: what they print, that they answer, and how they end.

use crate::end_to_end::{BEST, trained};
use crate::program::{command, kinglet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Starts a server and waits for the line that holds its address.
fn start(folder: &Path, line: &str, on_stderr: bool) -> (Child, String) {
    let mut child = command(folder, line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output: Box<dyn Read> =
        if on_stderr { Box::new(child.stderr.take().unwrap()) } else { Box::new(child.stdout.take().unwrap()) };
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some((_, address)) = line.split_once("http://") {
            return (child, address.trim_end_matches('/').to_owned());
        }
    }
    panic!("no address: {:?}", child.wait_with_output());
}

/// Tells a server to end, and sees that it does as asked.
fn end(mut child: Child) {
    #[cfg(unix)]
    {
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "SIGTERM ends it as asked");
    }
    #[cfg(not(unix))]
    child.kill().unwrap();
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn runs_are_served_until_the_program_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("runs/train/exp")).unwrap();
    std::fs::write(folder.path().join("runs/train/exp/results.csv"), "epoch\n0\n").unwrap();
    let (child, address) = start(folder.path(), "ui --at 0", false);
    assert!(get(&address, "/").starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/api/runs").contains("train/exp"));
    end(child);
}

/// Sends a form with one image and the API key of the test; gives the status line and what follows.
fn post(address: &str, key: &str, image: &[u8]) -> String {
    let mut body = b"--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n".to_vec();
    body.extend(image);
    body.extend(b"\r\n--edge--\r\n");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "POST /v2/detect HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nX-API-Key: {key}\r\n\
         Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // What is refused by its head need not be read to its end.
    let _ = stream.write_all(&body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_detection_server_keeps_the_limits_of_its_flags() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.txt"), "correct-horse-battery\n").unwrap();
    let weights = trained().join(BEST);
    let image = std::fs::read(trained().join("data/images/train/0000.jpg")).unwrap();
    let line = format!(
        "serve --weights {} --port 0 --api-key-file key.txt --max-pixels 1000000 --max-bytes {}",
        weights.display(),
        image.len() + 1000
    );
    let (child, address) = start(folder.path(), &line, false);
    let answer = post(&address, "wrong", &image);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let answer = post(&address, "correct-horse-battery", &image);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"detections\":"), "{answer}");
    let answer = post(&address, "correct-horse-battery", &[&image[..], &image].concat());
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("--max-bytes"), "{answer}");
    end(child);
}

#[test]
fn what_stops_a_server_from_starting_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    std::fs::write(folder.path().join("key.txt"), "short\n").unwrap();
    std::fs::create_dir(folder.path().join("runs")).unwrap();
    for (line, code, told) in [
        (format!("serve --weights none.safetensors --port {port}"), 1, "choose another port: --at HOST:PORT"),
        ("serve --weights none.safetensors --port 0".into(), 1, "`none.safetensors` do not exist"),
        ("serve --weights none.safetensors --port 0 --api-key-file key.txt".into(), 1, "found 5 characters"),
        ("serve --weights none.safetensors --port 0 --api-key-file none.txt".into(), 1, "cannot read `none.txt`"),
        ("serve --weights none.safetensors --port 66000".into(), 2, "66000"),
        ("serve --weights none.safetensors --host 0.0.0.0".into(), 2, "one value: --at HOST:PORT"),
        ("serve --weights none.safetensors --at ::1".into(), 2, "[::1]:6060"),
        (format!("ui --at {port}"), 1, "choose another port: --at HOST:PORT"),
        ("ui nothing".into(), 1, "`nothing` is no folder"),
        (format!("train --data data.yaml --ui {port}"), 1, "data.yaml"),
        ("train --ui here".into(), 2, "expected HOST:PORT or PORT"),
    ] {
        let ran = kinglet(folder.path(), &line);
        assert_eq!(ran.code, code, "{line}\n{}", ran.all());
        assert!(ran.stderr.contains(told), "{line}\n{}", ran.all());
    }
    let ran = kinglet(folder.path(), &format!("train --epochs 1 --ui {port}"));
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains("--ui HOST:PORT"), "{}", ran.all());
    assert!(!folder.path().join("runs/train").exists(), "nothing was begun");
}

#[test]
fn a_training_shows_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, address) = start(folder.path(), "train --epochs 2 --img 64 --ui 127.0.0.1:0", true);
    let events = get(&address, "/events");
    for event in ["run", "batch", "epoch", "pictures", "finished"] {
        assert!(events.contains(&format!("event: {event}\n")), "{event}\n{events}");
    }
    assert!(events.contains("\"text\":\"done: 2 epochs\""), "{events}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!std::fs::read_to_string(folder.path().join("runs/train/exp/opt.yaml")).unwrap().contains("ui:"));
}
