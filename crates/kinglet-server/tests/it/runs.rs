//! The comparison of runs, over HTTP.

use crate::client::{get, send};
use kinglet_server::{HttpOptions, Server, Stop, http, runs};

#[test]
fn runs_and_their_pictures_are_served_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("runs/train/my run");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("results.csv"), "epoch, metrics/mAP_0.5\n0, 0.25\n").unwrap();
    std::fs::write(run.join("opt.yaml"), "imgsz: 320\n").unwrap();
    std::fs::write(run.join("results.png"), "pixels").unwrap();
    std::fs::write(dir.path().join("secret.png"), "secret").unwrap();
    let router = runs::router(dir.path().join("runs"));
    let listener = http::listen("127.0.0.1", 0).unwrap();
    let server = Server::start(listener, router, Stop::default(), HttpOptions::default()).unwrap();
    let to = server.address();
    assert_eq!(get(to, "/").status, 200);
    let found = get(to, "/api/runs").json();
    assert_eq!(found["runs"][0]["name"], "train/my run");
    assert_eq!(found["runs"][0]["rows"], serde_json::json!([[0.0, 0.25]]));
    assert_eq!(found["runs"][0]["settings"]["imgsz"], "320");
    let picture = get(to, "/pictures/train/my%20run/results.png");
    assert_eq!((picture.status, picture.header("content-type")), (200, Some("image/png")));
    assert_eq!(picture.body, b"pixels");
    for path in [
        "/pictures/train/my%20run/opt.yaml",
        "/pictures/../secret.png",
        "/pictures/%2e%2e/secret.png",
        "/pictures/..%2fsecret.png",
        "/pictures/train/none.png",
    ] {
        let answer = get(to, path);
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}");
    }
    assert_eq!(send(to, "GET", "/api/runs", &["Host: evil.example"], b"").status, 403);
}

#[test]
fn of_very_many_runs_the_newest_are_shown_and_the_others_counted() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..502 {
        let run = folder.path().join(format!("exp{number}"));
        std::fs::create_dir(&run).unwrap();
        std::fs::write(run.join("results.csv"), "epoch\n0\n").unwrap();
    }
    assert_eq!(runs::count(folder.path()), 502);
    let server = Server::start(
        http::listen("127.0.0.1", 0).unwrap(),
        runs::router(folder.path().into()),
        Stop::default(),
        HttpOptions::default(),
    )
    .unwrap();
    let found = get(server.address(), "/api/runs").json();
    assert_eq!((found["runs"].as_array().unwrap().len(), &found["left_out"]), (500, &2.into()));
}
