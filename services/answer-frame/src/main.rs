//! `AnswerFrameFunction`: answers the frames that clients send on receive-only sockets, within a budget for each
//! socket.

mod handler;

use chat::app::frame_budget::FrameBudgets;
use chat_aws::{ManagementApi, env::variable, sdk};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let handler = Handler {
        budgets: FrameBudgets::default(),
        sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?),
    };
    let handler = &handler;
    telemetry.run(service_fn(async |event: LambdaEvent<_>| handler.handle(&event.payload).await)).await
}
