//! The body of a model server's response: a reply does not depend on the boundaries of its chunks, and stays within
//! the limits.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use chat::ports::language_model::{Piece, Usage};
use futures::StreamExt;
use models::{OpenAi, limits::ReplyLimits};

use crate::functions::block_on;

/// A reply as the agent receives it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reply {
    text: String,
    pieces: usize,
    usage: Vec<Usage>,
    is_truncated: bool,
    error: Option<String>,
}

pub fn run(data: &[u8]) {
    // The first bytes tell where to cut the rest.
    let Some((first, rest)) = data.split_first() else { return };
    let count = usize::from(*first % 16).min(rest.len());
    let (cuts, body) = rest.split_at(count);
    // Limits that an input of this size can reach, and those of the product.
    let limits = match usize::from(*first / 16) {
        0 => ReplyLimits::default(),
        size => ReplyLimits { event_bytes: size * 24, reply_bytes: size * 64 },
    };
    let whole = read([body.to_vec()], limits).0;
    let mut chunks = Vec::new();
    let mut left = body;
    for cut in cuts {
        let (chunk, tail) = left.split_at(usize::from(*cut).min(left.len()));
        chunks.push(chunk.to_vec());
        left = tail;
    }
    chunks.push(left.to_vec());
    assert_eq!(read(chunks, limits).0, whole);
    let (reply, taken) = read(body.iter().map(|byte| vec![*byte]), limits);
    assert_eq!(reply, whole, "byte by byte");
    assert!(taken <= limits.reply_bytes + 1, "{taken} bytes are taken");
    assert!(reply.text.len() <= limits.reply_bytes);
}

/// Returns a reply, and the number of its bytes that were read.
fn read(chunks: impl IntoIterator<Item = Vec<u8>>, limits: ReplyLimits) -> (Reply, usize) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let chunks: Vec<_> = chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk))).collect();
    let chunks = futures::stream::iter(chunks).inspect(move |chunk| {
        counter.fetch_add(chunk.as_ref().map_or(0, Bytes::len), Ordering::Relaxed);
    });
    let mut pieces = OpenAi::pieces_within(chunks, limits);
    let mut reply = Reply::default();
    block_on(async {
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(Piece::Text(text)) => {
                    assert!(!text.is_empty());
                    reply.text.push_str(&text);
                    reply.pieces += 1;
                }
                Ok(Piece::Usage(usage)) => reply.usage.push(usage),
                Ok(Piece::Retracted) => reply.text.clear(),
                Ok(Piece::Truncated) => reply.is_truncated = true,
                // Depends on the chunks.
                Ok(Piece::Alive) => {}
                Err(error) => reply.error = Some(error.to_string()),
            }
        }
    });
    (reply, taken.load(Ordering::Relaxed))
}
