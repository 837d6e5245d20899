//! Request bodies with a size limit. A body is read to its end even if it is too large, so that the sender receives the
//! response instead of a broken connection.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

/// Reason why a body was rejected.
pub(super) enum Refused {
    /// The body is too large. The value is its size in bytes.
    TooLarge(usize),
    /// The sender closed the connection before the end.
    Truncated,
}

/// Reads the complete `body`. Above `limit` bytes, only the size is counted.
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
