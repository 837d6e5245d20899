//! Runs the conformance suite of the ports on the DynamoDB stores.

use chat::memory::conformance::{Ports, check};

use super::*;

#[tokio::test]
async fn the_stores_on_dynamodb_keep_the_laws() {
    let tables = Tables::new().await;
    let ports = Ports {
        channels: &tables.channels(),
        messages: &tables.messages(),
        connections: &tables.connections(),
        removal: &tables.deleted_channels(),
    };
    check(&ports, NOW).await.unwrap();
}
