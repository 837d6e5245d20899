//! Bodies with a size limit that still read the request to its end, so that the sender sees the answer rather
//! than a broken connection.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

/// Why a body was not accepted.
pub(super) enum Refused {
    /// This many bytes came.
    TooLarge(usize),
    /// The sender went away half-way.
    Truncated,
}

/// Reads `body` whole; of one over `limit` bytes only the size is kept.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, Refused> {
    let mut chunks = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut size = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refused::Truncated)?;
        size += chunk.len();
        if size <= limit {
            kept.extend_from_slice(&chunk);
        } else {
            kept.clear();
        }
    }
    if size > limit { Err(Refused::TooLarge(size)) } else { Ok(kept.freeze()) }
}
