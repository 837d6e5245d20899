//! One reader: a socket that receives a channel.

use std::{
    error::Error,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use switchboard_client::{Event, EventKind, Frame, Handshake, Socket};
use tokio::time::timeout;

/// Times at which the messages were sent, in their order. The number of the first message is 1.
pub(crate) type Sent = Arc<[OnceLock<Instant>]>;

/// Time without a frame after which a reader ends.
const PATIENCE: Duration = Duration::from_mins(1);

/// Buffer of one socket, in bytes. The library fills it with zeros before each read, and its default is 128 KB.
const READ_BUFFER: usize = 8 * 1024;

/// Opens a socket that receives one channel.
pub(crate) async fn open(websocket: &str, channel: &str, token: &str) -> Result<Socket, Box<dyn Error>> {
    Ok(Handshake::for_channels(websocket, &[channel]).bearer(token).read_buffer(READ_BUFFER).open().await?)
}

/// Receives all messages. Returns the time that each took, without those that did not arrive. A push may be repeated, and
/// the first one counts.
pub(crate) async fn read(mut socket: Socket, sent: Sent) -> Vec<Duration> {
    let mut delays = vec![None; sent.len()];
    while delays.contains(&None) {
        let Ok(Ok(text)) = timeout(PATIENCE, socket.hear()).await else { break };
        // A client skips frames that it cannot parse.
        let Ok(Frame::Events { events, .. }) = Frame::parse(&text) else { continue };
        for index in events.iter().filter_map(index_of) {
            if let (Some(delay), Some(began)) = (delays.get_mut(index), sent.get(index).and_then(OnceLock::get)) {
                delay.get_or_insert_with(|| began.elapsed());
            }
        }
    }
    delays.into_iter().flatten().collect()
}

/// Returns the position of a sent message.
fn index_of(event: &Event) -> Option<usize> {
    (event.kind == EventKind::Created).then_some(event.seq)?.checked_sub(1)?.try_into().ok()
}
