//! Shards: parts of a push batch that fit one asynchronous invocation.

use crate::ports::fan_out::{PushBatch, Recipient, SHARD_BYTES, SHARD_CONNECTIONS};

/// Splits a batch into shards: by recipients, and also by frames if these alone exceed [`SHARD_BYTES`].
pub(super) fn shards(batch: PushBatch) -> Vec<PushBatch> {
    let PushBatch { channel, frames, recipients, attempt } = batch;
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, frame) in frames.iter().enumerate() {
        // In the payload a frame is a JSON string: each quote and backslash takes two bytes.
        let size = frame.len() + frame.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        if index > start && bytes + size > SHARD_BYTES {
            ranges.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    ranges.push(start..frames.len());

    let mut shards = Vec::new();
    for range in ranges {
        let waiting: Vec<Recipient> = recipients
            .iter()
            .filter(|recipient| recipient.next_frame < range.end)
            .map(|recipient| Recipient {
                next_frame: recipient.next_frame.saturating_sub(range.start),
                ..recipient.clone()
            })
            .collect();
        for recipients in waiting.chunks(SHARD_CONNECTIONS) {
            let (channel, frames) = (channel.clone(), frames[range.clone()].to_vec());
            shards.push(PushBatch { channel, frames, recipients: recipients.to_vec(), attempt });
        }
    }
    shards
}
