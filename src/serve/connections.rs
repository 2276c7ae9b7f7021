//! Connections: taken, bounded, and ended.

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once.
const MOST: usize = 1024;
/// How long the head of a request may take to arrive: who sends a byte a minute holds a connection no longer.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Bytes of a request's head, at most, and its fields.
const HEAD_BYTES: usize = 64 << 10;
const HEAD_FIELDS: usize = 100;
/// How long to wait where the system gives out no more connections.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Serves until `stop` is there, then until the requests under way are answered.
pub(super) async fn serve(listener: TcpListener, paths: Router, stop: impl Future<Output = ()>) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES).max_headers(HEAD_FIELDS);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MOST));
    tokio::pin!(stop);
    loop {
        let accepted = async {
            // Where all places are taken, who comes waits in the system's own queue.
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            () = &mut stop => break,
            (accepted, place) = accepted => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(EXHAUSTED).await;
                    continue;
                };
                (stream, place)
            }
        };
        // Small pieces of a stream must not wait for one another.
        let _only_slower = stream.set_nodelay(true);
        let service = TowerToHyperService::new(paths.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _client_gone_or_wrong = connection.await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
