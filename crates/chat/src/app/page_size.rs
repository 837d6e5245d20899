//! Size of pages: the JSON of their messages.

use std::io::{self, Write};

use crate::model::message::Message;

/// Returns the number of messages, from the first, whose JSON fits `most` bytes. It is at least one, unless there is
/// none.
pub(crate) fn fitting<'a>(messages: impl IntoIterator<Item = &'a Message>, most: usize) -> usize {
    let (mut fits, mut bytes) = (0, 0);
    for message in messages {
        bytes += json_bytes(message);
        if fits > 0 && bytes > most {
            break;
        }
        fits += 1;
    }
    fits
}

/// Returns the size of a message's JSON in bytes.
fn json_bytes(message: &Message) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Serializing an accepted message does not fail.
    let _ = serde_json::to_writer(&mut count, message);
    count.0
}
