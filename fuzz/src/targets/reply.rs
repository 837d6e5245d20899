//! The body of a model server's answer: a reply is the same wherever its chunks are cut.

use std::convert::Infallible;

use bytes::Bytes;
use chat::agent::{Piece, Usage};
use futures::StreamExt;
use models::OpenAi;

use crate::functions::block_on;

/// What a reply is to the agent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reply {
    text: String,
    pieces: usize,
    usage: Vec<Usage>,
    error: Option<String>,
}

pub fn run(data: &[u8]) {
    // The first bytes tell where to cut, the rest is cut.
    let Some((count, rest)) = data.split_first() else { return };
    let count = usize::from(*count % 16).min(rest.len());
    let (cuts, body) = rest.split_at(count);
    let whole = read([body.to_vec()]);
    let mut chunks = Vec::new();
    let mut left = body;
    for cut in cuts {
        let (chunk, tail) = left.split_at(usize::from(*cut).min(left.len()));
        chunks.push(chunk.to_vec());
        left = tail;
    }
    chunks.push(left.to_vec());
    assert_eq!(read(chunks), whole);
    assert_eq!(read(body.iter().map(|byte| vec![*byte])), whole, "byte by byte");
}

fn read(chunks: impl IntoIterator<Item = Vec<u8>>) -> Reply {
    let chunks: Vec<_> = chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk))).collect();
    let mut pieces = OpenAi::pieces(futures::stream::iter(chunks));
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
                Err(error) => reply.error = Some(error.to_string()),
            }
        }
    });
    reply
}
