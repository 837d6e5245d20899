//! Listeners: the limit of connections, and the handling of further ones.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, extract::ConnectInfo, routing::get};
use emulator::doors::{self, Door, Limits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 4;

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
    began: mpsc::UnboundedReceiver<()>,
    release: watch::Sender<bool>,
}

impl Server {
    /// Starts a listener with few places. A request to `/held` waits until it is released.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ((release, released), (begin, began)) = (watch::channel(false), mpsc::unbounded_channel());
        let held = get(async move || {
            let mut released = released.clone();
            begin.send(()).unwrap();
            released.wait_for(|released| *released).await.unwrap();
            "held"
        });
        let peer = get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string());
        let router = Router::new().route("/", peer).route("/held", held);
        let limits = Limits { connections: CONNECTIONS, ..doors::LIMITS };
        let stop = CancellationToken::new();
        let served = tokio::spawn(doors::serve(listener, Door::programs(), limits, router, stop.clone()));
        Self { address, stop, served, began, release }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

async fn ask(connection: &mut TcpStream, path: &str) {
    connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads until the received text ends with `end`.
async fn hear(connection: &mut TcpStream, end: &str) {
    let mut said = Vec::new();
    while !said.ends_with(end.as_bytes()) {
        said.push(connection.read_u8().await.unwrap());
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it takes too long")
}

#[tokio::test]
async fn a_full_listener_lets_others_in_when_somebody_has_no_request() {
    let server = Server::start().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = server.connect().await;
        let own = connection.local_addr().unwrap().to_string();
        ask(&mut connection, "/").await;
        within(hear(&mut connection, &own)).await;
        idle.push(connection);
    }
    // All places are taken by clients that keep their connections.
    let mut late = server.connect().await;
    let own = late.local_addr().unwrap().to_string();
    ask(&mut late, "/").await;
    within(hear(&mut late, &own)).await;
    // One idle connection was closed without a response.
    let ended = futures::future::select_all(idle.iter_mut().map(|connection| Box::pin(connection.read_u8()))).await;
    assert_eq!(ended.0.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn who_has_a_request_keeps_the_place() {
    let mut server = Server::start().await;
    let mut busy = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = server.connect().await;
        ask(&mut connection, "/held").await;
        within(server.began.recv()).await.unwrap();
        busy.push(connection);
    }
    let mut late = server.connect().await;
    let own = late.local_addr().unwrap().to_string();
    ask(&mut late, "/").await;
    server.release.send(true).unwrap();
    for connection in &mut busy {
        within(hear(connection, "held")).await;
    }
    within(hear(&mut late, &own)).await;
}

#[tokio::test]
async fn a_stop_answers_what_was_asked_and_accepts_nobody() {
    let mut server = Server::start().await;
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    let own = idle.local_addr().unwrap().to_string();
    ask(&mut idle, "/").await;
    within(hear(&mut idle, &own)).await;
    ask(&mut busy, "/held").await;
    within(server.began.recv()).await.unwrap();
    server.stop.cancel();
    within(async { assert!(idle.read_u8().await.is_err()) }).await;
    server.release.send(true).unwrap();
    within(hear(&mut busy, "held")).await;
    within(server.served).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
