//! A listener that serves a router on one thread, within limits, until it is told to stop; then requests under way are
//! finished.

use crate::impatient::Impatient;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How long to wait where connections cannot be accepted, for want of file handles mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits of the connections.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Most connections at a time; others wait to be accepted.
    pub connections: usize,
    /// Time for the head of a request to arrive.
    pub head_timeout: Duration,
    /// Time that a client may take nothing in while there is something to send.
    pub write_timeout: Duration,
    /// Time to finish what is under way once the server stops.
    pub drain: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            connections: 256,
            head_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {source}; {next}")]
pub struct ListenError {
    address: String,
    source: std::io::Error,
    next: &'static str,
}

/// Tells everyone who holds a copy that it is time to end.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Stop(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// Begins the end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Waits for it.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}

/// Takes an address, `host:port`. Port 0 takes a free one.
///
/// # Errors
/// An unknown host, a port that is taken or forbidden.
pub fn listen(host: &str, port: u16) -> Result<TcpListener, ListenError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    TcpListener::bind((host, port)).map_err(|source| {
        let next = match source.kind() {
            ErrorKind::AddrInUse => "another program has this port: stop it, or choose another port",
            ErrorKind::PermissionDenied => "choose a port of at least 1024",
            _ => "use an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them",
        };
        ListenError { address: shown, source, next }
    })
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves on a thread of its own until `stop`.
    ///
    /// # Errors
    /// A system that gives no threads or sockets.
    pub fn start(listener: TcpListener, router: Router, stop: Stop, options: HttpOptions) -> std::io::Result<Server> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stopping = stop.clone();
        let thread = std::thread::Builder::new().name("server".into()).spawn(move || {
            runtime.block_on(accept(listener, router, stopping, options));
            // What computes for nobody any more is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Server { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page's address, for people.
    pub fn url(&self) -> String {
        if self.address.ip().is_unspecified() {
            format!("http://localhost:{}/", self.address.port())
        } else {
            format!("http://{}/", self.address)
        }
    }

    /// Waits until it was told to stop and has drained.
    pub fn join(mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.stop();
        self.wait();
    }
}

async fn accept(listener: TcpListener, router: Router, stop: Stop, options: HttpOptions) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listening socket that does not block");
    let places = Arc::new(Semaphore::new(options.connections));
    let graceful = GracefulShutdown::new();
    let next = async || {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        (listener.accept().await, place)
    };
    loop {
        let (accepted, place) = tokio::select! {
            () = stop.stopped() => break,
            accepted = next() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Answers are written whole, so waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(options.head_timeout).serve_connection(
                TokioIo::new(Impatient::new(stream, options.write_timeout)),
                TowerToHyperService::new(router.clone()),
            );
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that went away is no failure of ours.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(options.drain, graceful.shutdown()).await;
}
