//! What `SendMessageFunction` is invoked with, as JSON: a frame of a client's, or a broadcast of a worker's.

use chat::{frame::Answer, limits::FRAME_BYTES};
use lambda_runtime::Context;
use serde_json::Value;

use crate::{
    functions::{block_on, with_world},
    send_message::Event,
};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // As a client's frame.
    let connection = "abc=".parse().expect("an id");
    let answer = serde_json::to_value(Answer::to(text, &connection)).expect("an answer is JSON");
    assert!(answer.to_string().len() <= FRAME_BYTES);
    match answer["type"].as_str() {
        Some("pong") => assert!(text.contains("ping") || text.contains('\\'), "{text}"),
        Some("error") => assert_eq!(answer["code"], "receive_only"),
        other => panic!("{other:?}"),
    }
    // As the whole event.
    let Ok(event) = serde_json::from_str::<Event>(text) else { return };
    with_world(|world| {
        let mut context = Context::default();
        context.deadline = u64::MAX / 4;
        let (targets, frames) = match &event {
            Event::Broadcast(tenant) => (tenant.broadcast.targets.clone(), tenant.broadcast.frames.clone()),
            Event::Frame(_) => (Vec::new(), Vec::new()),
        };
        let is_frame = matches!(event, Event::Frame(_));
        let answer = block_on(world.functions.send_message.handle(event, &context));
        let posted = world.aws.take_posted();
        if is_frame {
            // Fails only without a connection id, which API Gateway never leaves out.
            let Ok(answer) = answer else { return };
            assert_eq!(answer["statusCode"], 200);
            let body: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
            assert!(["pong", "error"].iter().any(|kind| body["type"] == *kind));
            return;
        }
        answer.expect("a broadcast goes through");
        for one in &posted {
            assert!(frames.contains(&one.frame), "nothing else is posted");
        }
        assert!(posted.len() <= frames.len() * targets.len());
    });
}
