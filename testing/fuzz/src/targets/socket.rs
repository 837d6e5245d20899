//! Events of `AnswerFrameFunction` and `SendMessageFunction`, as JSON: a client's frame, or a worker's push batch.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use chat::{
    model::frame::{Answer, ClosingReason, closing_frame},
    ports::socket_gateway::FRAME_BYTES,
};
use chat_aws::lambda::fan_out::TenantPushBatch;
use lambda_runtime::Context;
use serde_json::Value;

use crate::functions::{block_on, with_world};

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
    // As the whole event of either function.
    if let Ok(batch) = serde_json::from_str::<TenantPushBatch>(text) {
        push(batch);
    } else if let Ok(event) = serde_json::from_str::<ApiGatewayWebsocketProxyRequest>(text) {
        answer_frame(&event);
    }
}

fn push(tenant: TenantPushBatch) {
    with_world(|world| {
        let mut context = Context::default();
        context.deadline = u64::MAX / 4;
        let (recipients, frames) = (tenant.batch.recipients.len(), tenant.batch.frames.clone());
        let answer = block_on(world.functions.send_message.handle(tenant, &context));
        answer.expect("a push batch is pushed");
        let posted = world.aws.take_posted();
        for one in &posted {
            assert!(frames.contains(&one.frame), "nothing else is posted");
        }
        assert!(posted.len() <= frames.len() * recipients);
    });
}

fn answer_frame(event: &ApiGatewayWebsocketProxyRequest) {
    with_world(|world| {
        // Fails only without a connection id, which API Gateway always sends.
        let Ok(answer) = block_on(world.functions.answer_frame.handle(event)) else { return };
        let last = closing_frame(ClosingReason::TooManyFrames);
        let posted = world.aws.take_posted();
        assert!(posted.iter().all(|one| one.frame == last), "an answer is the route's response");
        assert_eq!(answer["statusCode"], 200);
        // Beyond the socket's rate limit there is no response.
        let Some(body) = answer["body"].as_str() else { return };
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert!(["pong", "error"].iter().any(|kind| body["type"] == *kind));
    });
}
