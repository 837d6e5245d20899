//! A table with a stream, and an SDK client for it.

use aws_sdk_dynamodb::{Client, config::Credentials, types::AttributeValue};
use emulator::{
    dynamodb::{Engine, Options, Storage},
    stack::Table,
};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Name of the table.
pub(crate) const TABLE: &str = "events";

/// A served engine.
pub(crate) struct Database {
    /// The engine.
    pub(crate) engine: Engine,
    /// Client of the engine.
    pub(crate) client: Client,
    _stop: DropGuard,
}

/// Returns a table with a stream and the keys `channel` and `seq`. Items with a past `expires_at` have expired.
pub(crate) fn table() -> Table {
    Table {
        logical_id: "Events".into(),
        name: TABLE.into(),
        create_request: json!({
            "TableName": TABLE,
            "AttributeDefinitions": [
                { "AttributeName": "channel", "AttributeType": "S" },
                { "AttributeName": "seq", "AttributeType": "N" }
            ],
            "KeySchema": [
                { "AttributeName": "channel", "KeyType": "HASH" },
                { "AttributeName": "seq", "KeyType": "RANGE" }
            ],
            "BillingMode": "PAY_PER_REQUEST",
            "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" }
        }),
        ttl_attribute: Some("expires_at".into()),
    }
}

impl Database {
    /// Opens `storage` with the table in it, and serves it.
    pub(crate) async fn open(storage: Storage) -> Self {
        Self::serve(Engine::open(storage, Options::default()).unwrap()).await
    }

    /// Opens `directory` as soon as its last owner has unlocked it.
    pub(crate) async fn open_when_free(directory: &std::path::Path) -> Self {
        loop {
            match Engine::open(Storage::Directory(directory.to_owned()), Options::default()) {
                Ok(engine) => return Self::serve(engine).await,
                Err(emulator::dynamodb::Error::InUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Creates the table and serves the engine.
    pub(crate) async fn serve(engine: Engine) -> Self {
        engine.ensure_tables(&[table()]).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn({
            let (engine, stop) = (engine.clone(), stop.clone());
            async move { engine.serve(listener, stop).await }
        });
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .region("us-east-1")
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(url)
            .load()
            .await;
        Self { engine, client: Client::new(&config), _stop: stop.drop_guard() }
    }

    /// Writes an item.
    pub(crate) async fn put(&self, channel: &str, seq: u64, role: &str) {
        self.put_with(channel, seq, &[("role", AttributeValue::S(role.into()))]).await;
    }

    /// Writes an item with further attributes.
    pub(crate) async fn put_with(&self, channel: &str, seq: u64, attributes: &[(&str, AttributeValue)]) {
        let mut put = self
            .client
            .put_item()
            .table_name(TABLE)
            .item("channel", AttributeValue::S(channel.into()))
            .item("seq", AttributeValue::N(seq.to_string()));
        for (name, value) in attributes {
            put = put.item(*name, value.clone());
        }
        put.send().await.unwrap();
    }

    /// Returns the number of items in the table.
    pub(crate) async fn count(&self) -> i32 {
        self.client.scan().table_name(TABLE).consistent_read(true).send().await.unwrap().count()
    }
}
