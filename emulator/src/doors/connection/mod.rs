//! One connection: HTTP/1.1 by hyper, with limits for waits on the client.
//!
//! hyper has one limit for an idle connection and for a request's head. This module has two: an idle connection may
//! last long, a head must arrive quickly. It also limits the body, and clients that do not read.

mod bodies;
mod monitored_io;
mod progress;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use axum::{Router, extract::ConnectInfo};
use futures::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{Notify, OwnedSemaphorePermit},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use self::{
    bodies::{Answer, Timed},
    monitored_io::MonitoredIo,
    progress::{Overdue, Phase, Progress},
};
use super::{Door, Limits, guard};

/// Settings and state shared by all connections of a listener.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) door: Door,
    pub(super) limits: Limits,
    /// Ends connections after their running requests.
    pub(super) stop: CancellationToken,
    /// State of waiting connections.
    pub(super) crowd: Crowd,
}

/// Flag that new connections wait for a place. Connections without a request then close earlier.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    is_waiting: AtomicBool,
    changed: Notify,
}

impl Crowd {
    pub(super) fn set(&self, is_waiting: bool) {
        self.is_waiting.store(is_waiting, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }
}

/// Serves a connection until its end.
pub(super) async fn serve<Io>(shared: Arc<Shared>, io: Io, peer: SocketAddr, place: OwnedSemaphorePermit)
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let progress = Progress::new(shared.limits);
    let io = MonitoredIo::new(io, progress.clone(), place);
    let service = service_fn(|request| answer(&shared, &progress, peer, request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(io), service).with_upgrades();
    let mut is_ending = false;
    let mut timer = None;
    let overdue = loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "a connection was interrupted");
                }
                return;
            }
            // Polled after the connection itself, so that its latest progress counts.
            why = overdue(&shared, &progress, &mut timer) => match why {
                Overdue::Idle if !is_ending => {}
                why => break why,
            },
            () = shared.stop.cancelled(), if !is_ending => {}
            () = shared.crowd.changed.notified() => continue,
        }
        is_ending = true;
        Pin::new(&mut connection).graceful_shutdown();
    };
    tracing::debug!(?overdue, %peer, "a connection was closed, because its client exceeded a time limit");
    if let (Overdue::Head, Some(parts)) = (overdue, connection.into_parts()) {
        say_late(parts.io.into_inner());
    }
}

/// Resolves when the connection is overdue. The timer is reset only after it has expired or if it must expire earlier.
/// Ordinary requests do not reset it.
async fn overdue(shared: &Shared, progress: &Progress, timer: &mut Option<Pin<Box<Sleep>>>) -> Overdue {
    poll_fn(|cx| {
        loop {
            let Some((due, why)) = progress.due(shared.crowd.is_waiting()) else { return Poll::Pending };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() > due || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            match timer.as_mut().poll(cx) {
                Poll::Ready(()) if Instant::now() >= due => return Poll::Ready(why),
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Sends `408 Request Timeout` to the client, without waiting.
fn say_late(mut io: impl AsyncWrite + Unpin) {
    let body = problem_of_late_request();
    let answer = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // Writes only as much as the client accepts at once.
    let told = async {
        io.write_all(answer.as_bytes()).await?;
        io.shutdown().await
    };
    let _ = told.now_or_never();
}

fn problem_of_late_request() -> String {
    json!({
        "type": "about:blank", "title": "Request Timeout", "status": 408,
        "detail": "The request did not arrive in time. Send it whole, and at once.",
    })
    .to_string()
}

async fn answer(
    shared: &Shared,
    progress: &Progress,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    progress.began();
    let mut response = if let Some(refusal) = shared.door.refuse(&request) {
        refusal
    } else {
        let mut request = request.map(|body| Timed::new(body, progress.clone()));
        request.extensions_mut().insert(ConnectInfo(peer));
        shared.router.clone().call(request).await?
    };
    {
        let mut state = progress.state();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            state.phase = Phase::Socket;
        } else if state.is_body_late {
            response = guard::problem(StatusCode::REQUEST_TIMEOUT, &problem_of_late_request());
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else if shared.crowd.is_waiting() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    Ok(response.map(|body| Answer::new(body, progress.clone())))
}

#[cfg(test)]
mod tests;
