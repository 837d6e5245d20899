//! Servers that the benchmarks start as separate programs: the floor, the tables of serverless-offline,
//! and the server of `push`.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        Path as Segment, Query, State, WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket},
    },
    http::StatusCode,
    response::Response,
    routing::{get, post},
    serve::ListenerExt,
};
use emulator::{
    dynamodb::{Engine, Options, Storage},
    stack::Table,
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{Result, program::tell_address};

/// Maximum number of frames that wait for one socket.
const QUEUE: usize = 1024;

/// Listening sockets by channel.
type Listeners = Arc<Mutex<HashMap<String, Vec<mpsc::Sender<Utf8Bytes>>>>>;

/// Relays each `POST` directly to the sockets, without functions and tables.
pub(crate) async fn floor(ready: &Path) -> Result<()> {
    let router = Router::new()
        .route("/channels/{channel_id}/messages", post(relay))
        .route("/", get(listen))
        .with_state(Listeners::default());
    let (listener, address) = listen_anywhere().await?;
    tell_address(ready, address)?;
    // Without `TCP_NODELAY`, small frames would wait for more data. An error is ignored.
    let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
    Ok(axum::serve(listener, router).await?)
}

async fn relay(
    State(listeners): State<Listeners>,
    Segment(channel): Segment<String>,
    Json(message): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let frame = Utf8Bytes::from(json!({ "type": "message.created", "message": message }).to_string());
    let here = listeners.lock().unwrap_or_else(PoisonError::into_inner).get(&channel).cloned().unwrap_or_default();
    for listener in here {
        // A closed socket stays in the list: no socket closes during a measurement.
        let _ = listener.send(frame.clone()).await;
    }
    (StatusCode::CREATED, Json(message))
}

async fn listen(
    State(listeners): State<Listeners>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let channel = query.get("channels").cloned().unwrap_or_default();
    let (sender, receiver) = mpsc::channel(QUEUE);
    listeners.lock().unwrap_or_else(PoisonError::into_inner).entry(channel).or_default().push(sender);
    upgrade.write_buffer_size(0).on_upgrade(|socket| push(socket, receiver))
}

async fn push(mut socket: WebSocket, mut frames: mpsc::Receiver<Utf8Bytes>) {
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let Some(frame) = frame else { return };
                if socket.send(Message::Text(frame)).await.is_err() {
                    return;
                }
            }
            heard = socket.next() => if !matches!(heard, Some(Ok(_))) { return },
        }
    }
}

/// Responds to each request with an empty `200`, after it has read the body.
pub(crate) async fn sink(ready: &Path) -> Result<()> {
    let router = Router::new().fallback(async |_: Bytes| StatusCode::OK);
    let (listener, address) = listen_anywhere().await?;
    tell_address(ready, address)?;
    let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
    Ok(axum::serve(listener, router).await?)
}

/// Serves DynamoDB with the tables of `serverless-offline/serverless.yml`, in the engine that the local run uses.
pub(crate) async fn dynamodb(ready: &Path) -> Result<()> {
    let engine = Engine::open(Storage::InMemory, Options::default())?;
    let tables = [
        table("bench_channels", "channel_id", ("sk", "S")),
        table("bench_messages", "channel_id", ("seq", "N")),
        table("bench_bare_messages", "channel_id", ("message_id", "S")),
        table("bench_connections", "pk", ("sk", "S")),
    ];
    engine.ensure_tables(&tables)?;
    let (listener, address) = listen_anywhere().await?;
    tell_address(ready, address)?;
    Ok(engine.serve(listener, CancellationToken::new()).await?)
}

fn table(name: &str, partition: &str, (sort, sort_type): (&str, &str)) -> Table {
    let attribute = |name: &str, kind: &str| json!({ "AttributeName": name, "AttributeType": kind });
    let key = |name: &str, kind: &str| json!({ "AttributeName": name, "KeyType": kind });
    Table {
        logical_id: name.to_owned(),
        name: name.to_owned(),
        create_request: json!({
            "TableName": name,
            "AttributeDefinitions": [attribute(partition, "S"), attribute(sort, sort_type)],
            "KeySchema": [key(partition, "HASH"), key(sort, "RANGE")],
            "BillingMode": "PAY_PER_REQUEST",
        }),
        ttl_attribute: None,
    }
}

pub(crate) async fn listen_anywhere() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
