//! The engine's own server, isolated from other processes.
//!
//! `dynoxide` describes each error in DynamoDB's words, but it serves a TCP port and lets every page of a browser read
//! the responses. Therefore its server gets a port on which it accepts a single connection, that of this module. All
//! other clients use [`super::front`].

use std::{
    future::{Future, poll_fn},
    io,
    net::Ipv4Addr,
    pin::Pin,
    task::Poll,
    thread::JoinHandle,
    time::Duration,
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use dynoxide::Database;
use futures::StreamExt;
use http::{HeaderValue, Request, Response, header};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpSocket, TcpStream},
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{Error, cannot_run};

/// Maximum number of pending connections in the operating system. Only one connection is ever accepted.
const BACKLOG: u32 = 1;

/// Maximum number of attempts to get a port without other connections. An attempt fails only if another process
/// connects within microseconds.
const ATTEMPTS: usize = 10;

/// Maximum wait for the first response. After that the connection is considered foreign.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

type Answer = Result<Response<Bytes>, Error>;
type Job = (Request<Bytes>, oneshot::Sender<Answer>);

/// The server. It stops on drop.
pub(super) struct Server {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the server on its own thread, because the engine works on the thread that received a request.
    pub(super) fn start(database: Database) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot_run)?;
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let serve = async move {
            let mut link = None;
            while let Some((request, reply)) = queue.recv().await {
                // The caller may have disconnected.
                let _ = reply.send(answer(&database, &mut link, request).await);
            }
        };
        let thread = std::thread::Builder::new()
            .name("dynamodb-engine".to_owned())
            .spawn(move || runtime.block_on(serve))
            .map_err(cannot_run)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Sends a request to the engine's server. Requests run one after another, as in the engine itself.
    pub(super) async fn ask(&self, request: Request<Bytes>) -> Answer {
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(Error::Stopped)?;
        jobs.send((request, reply)).map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The only connection to the engine's server.
struct Link {
    sender: SendRequest<Body>,
    /// Future of the server. It is never polled again, so that it accepts no other connection. It holds the port, so
    /// that no other process can use it.
    _server: Pin<Box<dyn Future<Output = ()> + Send>>,
}

async fn answer(database: &Database, link: &mut Option<Link>, request: Request<Bytes>) -> Answer {
    let usable = match link {
        // The server closes the connection after an unreadable request.
        Some(link) => link.sender.ready().await.is_ok(),
        None => false,
    };
    if !usable {
        *link = None;
    }
    let link = match link {
        Some(link) => link,
        None => link.insert(connect(database).await?),
    };
    send(&mut link.sender, request.map(Body::from)).await
}

async fn send(sender: &mut SendRequest<Body>, mut request: Request<Body>) -> Answer {
    // These headers belong to the connection that delivered the request here.
    for hop in [header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING, header::EXPECT] {
        request.headers_mut().remove(hop);
    }
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    let (mut parts, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
    for hop in [header::CONNECTION, header::TRANSFER_ENCODING] {
        parts.headers.remove(hop);
    }
    let mut chunks = Body::new(body).into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        whole.extend_from_slice(&chunk.map_err(failed)?);
    }
    Ok(Response::from_parts(parts, whole.freeze()))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Engine(format!("its server does not answer: {error}"))
}

/// Starts the engine's server with a single connection.
async fn connect(database: &Database) -> Result<Link, Error> {
    for _ in 0..ATTEMPTS {
        if let Some(link) = try_connect(database).await? {
            return Ok(link);
        }
    }
    Err(Error::Engine("its server cannot have a port to itself".to_owned()))
}

/// Returns `None` if another process has connected as well. Dropping this attempt's server closes that connection.
async fn try_connect(database: &Database) -> Result<Option<Link>, Error> {
    let socket = TcpSocket::new_v4().map_err(cannot_run)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(cannot_run)?;
    let listener = socket.listen(BACKLOG).map_err(cannot_run)?;
    let address = listener.local_addr().map_err(cannot_run)?;
    let stream = connect_to(address).await.map_err(cannot_run)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(async move { _ = connection.await });
    let mut server: Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(dynoxide::server::serve_on(listener, database.clone()));
    let accepted = accepted(&mut server).await;
    if accepted != 1 {
        return Ok(None);
    }
    // The accepted connection belongs to this module if it responds.
    let probe = Request::new(Body::empty());
    let answer = timeout(FIRST_ANSWER, send(&mut sender, probe)).await;
    let is_ours = matches!(answer, Ok(Ok(answer)) if answer.status().is_success());
    Ok(is_ours.then_some(Link { sender, _server: server }))
}

async fn connect_to(address: std::net::SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Polls the server until it has accepted connections, and returns their number. Each connection has a task, and on
/// this runtime no other task begins or ends during the poll.
async fn accepted(server: &mut Pin<Box<dyn Future<Output = ()> + Send>>) -> usize {
    let metrics = Handle::current().metrics();
    poll_fn(|cx| {
        let before = metrics.num_alive_tasks();
        // The server never returns.
        let _ = server.as_mut().poll(cx);
        match metrics.num_alive_tasks() - before {
            0 => Poll::Pending,
            accepted => Poll::Ready(accepted),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn request() -> Request<Bytes> {
        Request::new(Bytes::new())
    }

    #[test]
    fn it_answers_here_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let database = Database::memory().unwrap();
            let mut link = None;
            for _ in 0..3 {
                let health = answer(&database, &mut link, request()).await.unwrap();
                assert!(health.body().starts_with(b"healthy"), "{health:?}");
            }
        });
    }

    #[test]
    fn a_stranger_who_is_accepted_too_is_noticed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut server: Pin<Box<dyn Future<Output = ()> + Send>> =
                Box::pin(dynoxide::server::serve_on(listener, Database::memory().unwrap()));
            let _ours = connect_to(address).await.unwrap();
            let _stranger = connect_to(address).await.unwrap();
            assert_eq!(accepted(&mut server).await, 2);
            // A later connection waits and receives nothing: the port closes with the server.
            let mut late = connect_to(address).await.unwrap();
            late.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
            tokio::task::yield_now().await;
            drop(server);
            let mut said = Vec::new();
            let _ = late.read_to_end(&mut said).await;
            assert_eq!(said, b"");
        });
    }
}
