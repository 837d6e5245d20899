//! The event of a handshake as JSON: a caller without a valid token gets no socket.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use serde_json::Value;

use crate::{
    functions::{block_on, with_world},
    on_disconnect, tokens,
};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, has_token) = tokens::named(text);
    let Ok(mut event) = serde_json::from_str::<ApiGatewayWebsocketProxyRequest>(&text) else { return };
    // API Gateway generates the id, and never the same one twice.
    event.request_context.connection_id = Some("fuzzed=".to_owned());
    with_world(|world| {
        block_on(async {
            let answer = world.functions.on_connect.handle(event.clone()).await;
            let answer: Value = serde_json::to_value(&answer).expect("an answer is JSON");
            let status = answer["statusCode"].as_u64().expect("a status");
            assert!([200, 400, 401, 403, 429].contains(&status), "{status}");
            assert!(status != 200 || has_token, "a stranger got a socket");
            let ended = on_disconnect::handle(&world.functions.connections, &event).await.expect("an answer");
            assert_eq!(ended["statusCode"], 200);
        });
    });
}
