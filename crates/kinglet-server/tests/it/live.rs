//! The page of a training: what it is sent when it comes, when it comes again, and at the end.

use crate::client::{connect, get, head};
use kinglet_server::live::{self, Board};
use kinglet_server::{HttpOptions, Server, Stop, http};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

fn serve(board: &Board) -> (Server, Stop) {
    let stop = Stop::default();
    let router = live::router(board.clone(), stop.clone());
    let server = Server::start(http::listen("127.0.0.1", 0).unwrap(), router, stop.clone(), HttpOptions::default());
    (server.unwrap(), stop)
}

fn watch(to: SocketAddr) -> BufReader<TcpStream> {
    let mut stream = connect(to);
    stream.write_all(head("GET", "/events", &[]).as_bytes()).unwrap();
    BufReader::new(stream)
}

/// The next events, `count` of them or those up to the stream's end, as `name data`.
fn events(stream: &mut BufReader<TcpStream>, count: usize) -> Vec<String> {
    let (mut found, mut name, mut line) = (Vec::new(), String::new(), String::new());
    while found.len() < count {
        line.clear();
        if stream.read_line(&mut line).unwrap() == 0 {
            break;
        }
        if let Some(event) = line.trim_end().strip_prefix("event: ") {
            name = event.to_owned();
        } else if let Some(data) = line.trim_end().strip_prefix("data: ") {
            found.push(format!("{name} {data}"));
        }
    }
    found
}

#[test]
fn a_page_that_comes_late_or_again_gets_the_whole_state() {
    let board = Board::default();
    let (server, _stop) = serve(&board);
    board.put("run", "run", &json!({"name": "exp"}));
    for n in 1..=3 {
        board.put("batch", "batch", &json!(n));
        board.put(format!("epoch/{n}"), "epoch", &json!({ "epoch": n }));
    }
    let all =
        ["run {\"name\":\"exp\"}", "epoch {\"epoch\":1}", "epoch {\"epoch\":2}", "batch 3", "epoch {\"epoch\":3}"];
    let mut first = watch(server.address());
    assert_eq!(events(&mut first, 5), all);
    board.put("batch", "batch", &json!(4));
    assert_eq!(events(&mut first, 1), ["batch 4"], "what came later follows");
    drop(first);
    let mut again = watch(server.address());
    assert_eq!(events(&mut again, 5), [all[0], all[1], all[2], all[4], "batch 4"]);
}

#[test]
fn nobody_who_does_not_read_holds_the_training_up() {
    let board = Board::default();
    let (server, _stop) = serve(&board);
    // Watches, and reads nothing at all.
    let silent = watch(server.address());
    let mut reading = watch(server.address());
    let long = "x".repeat(10_000);
    for n in 0..2000 {
        board.put("batch", "batch", &json!({"n": n, "text": long}));
    }
    board.put("finished", "finished", &json!(true));
    let mut heard = Vec::new();
    while heard.last().is_none_or(|event: &String| !event.starts_with("finished")) {
        heard.extend(events(&mut reading, 1));
    }
    assert!(heard.len() < 2000, "values that were replaced meanwhile are not sent");
    drop(silent);
}

#[test]
fn the_last_words_are_sent_before_the_server_ends() {
    let board = Board::default();
    let (server, stop) = serve(&board);
    let mut stream = watch(server.address());
    board.put("run", "run", &json!(1));
    assert_eq!(events(&mut stream, 1), ["run 1"]);
    board.put("finished", "finished", &json!("done"));
    stop.stop();
    assert_eq!(events(&mut stream, 9), ["finished \"done\""], "and then the stream ends");
    server.join();
}

#[test]
fn pictures_have_addresses_and_texts() {
    let board = Board::default();
    let (server, _stop) = serve(&board);
    board.show("val", "after epoch 1", vec![(b"one".to_vec(), "2 cats".into()), (b"two".to_vec(), "none".into())]);
    let event = events(&mut watch(server.address()), 1).remove(0);
    let value: serde_json::Value = serde_json::from_str(event.strip_prefix("pictures ").unwrap()).unwrap();
    assert_eq!(value["pictures"][0]["text"], "2 cats");
    let path = value["pictures"][1]["path"].as_str().unwrap();
    let answer = get(server.address(), path);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/jpeg")));
    assert_eq!(answer.body, b"two");
    assert_eq!(get(server.address(), "/pictures/val/2").status, 404);
    assert_eq!(get(server.address(), "/").status, 200);
}
