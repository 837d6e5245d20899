//! A request to the WebSocket API as text: `@connections`, handshakes, and other paths.

use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::{
    functions::{block_on, with_world},
    tokens,
};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, _) = tokens::named(text);
    let Some(request) = super::request(&text) else { return };
    let (is_management, is_signed) = (text.contains("onnections"), text.contains("AWS4") || text.contains("Amz"));
    with_world(|world| {
        block_on(async {
            let answer = world.sockets.clone().oneshot(request).await.expect("an answer");
            let status = answer.status().as_u16();
            // No connection is open, so none is found.
            assert!([400, 403, 405, 410, 413, 426].contains(&status), "{status}");
            assert!(status != 410 || (is_management && is_signed) || text.contains('%'), "{text}");
            let body = answer.into_body().collect().await.expect("a body").to_bytes();
            assert!(body.is_empty() || serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        });
    });
}
