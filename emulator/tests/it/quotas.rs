//! Quotas of an account, through the doors of the services. Time does not pass in their clock.

use std::{net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use aws_sdk_apigatewaymanagement::{
    Client as Management,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::SdkError,
    operation::post_to_connection::PostToConnectionError,
    primitives::Blob,
};
use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        AttributeValue, Delete, KeysAndAttributes, PutRequest, ReturnConsumedCapacity, TransactWriteItem, WriteRequest,
    },
};
use bytes::Bytes;
use emulator::{
    doors::{self, Door},
    dynamodb::{Engine, Options, Storage},
    lambda::{Invocation, Invoke, InvokeError},
    quotas::{self, Count, Limits, Quotas},
    rest,
    stack::{Route, WebSocketApi},
    websocket::{self, WebSocketOptions},
};
use futures::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, Message},
};
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, TABLE},
    rest::{api, get, header, proxy, strings},
};

/// Functions that return the id of the connection, or `throttled`.
struct Functions {
    is_throttled: bool,
}

impl Invoke for Functions {
    fn invoke(&self, _: &str, payload: Bytes) -> BoxFuture<'static, Result<Invocation, InvokeError>> {
        let event: Value = serde_json::from_slice(&payload).unwrap();
        let id = event["requestContext"]["connectionId"].as_str().unwrap_or_default();
        let outcome = Ok(json!({ "statusCode": 200, "body": id }).to_string().into());
        let answer = if self.is_throttled {
            Err(InvokeError::Throttled)
        } else {
            Ok(Invocation { request_id: "r".into(), outcome })
        };
        async { answer }.boxed()
    }
}

fn limited(limits: &[(&str, u32)]) -> Quotas {
    let mut all = Limits::default();
    for (name, value) in limits {
        all.set(name, NonZeroU32::new(*value).unwrap()).unwrap();
    }
    Quotas::with_clock(all, Arc::new(|| Duration::ZERO))
}

async fn serve(router: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(doors::serve(listener, Door::pages_of([]), doors::LIMITS, router, CancellationToken::new()));
    address
}

async fn serve_rest(quotas: Quotas, own: Vec<emulator::stack::GatewayResponse>, is_throttled: bool) -> SocketAddr {
    let functions = Arc::new(Functions { is_throttled });
    let api = api(vec![proxy("GET", "/exists", "f")], own);
    serve(rest::Gateway::with_quotas(api, "eu-west-1", "123456789012", functions, quotas).router()).await
}

async fn serve_sockets(quotas: Quotas) -> SocketAddr {
    let route = |key: &str, responds: bool| Route {
        route_key: key.into(),
        function: key.into(),
        timeout: Duration::from_secs(29),
        responds,
        throttle: None,
    };
    let api = WebSocketApi {
        id: "ws123".into(),
        route_selection_expression: "$request.body.action".into(),
        stage: "dev".into(),
        routes: vec![route("$connect", false), route("$default", true)],
    };
    let functions = Arc::new(Functions { is_throttled: false });
    let options = WebSocketOptions::default();
    serve(websocket::Gateway::with_quotas(api, "eu-west-1", functions, options, quotas).router()).await
}

#[tokio::test]
async fn a_request_over_the_rate_is_a_429_of_the_gateway() {
    let quotas = limited(&[("account-rate", 1), ("account-burst", 2)]);
    let address = serve_rest(quotas.clone(), Vec::new(), false).await;
    for _ in 0..2 {
        assert_eq!(get(address, "/dev/exists").await.status(), StatusCode::OK);
    }
    let refused = get(address, "/dev/exists").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "x-amzn-errortype"), Some("TooManyRequestsException"));
    assert_eq!(refused.json::<Value>().await.unwrap(), json!({ "message": "Too Many Requests" }));
    assert_eq!(quotas.report().rest, Count { admitted: 2, refused: 1 });
}

#[tokio::test]
async fn a_request_over_the_rate_has_the_apis_own_response() {
    let own = emulator::stack::GatewayResponse {
        response_type: "THROTTLED".into(),
        status_code: Some(429),
        headers: strings(&[("Retry-After", "1")]),
        templates: strings(&[("application/json", r#"{"code":"throttled","type":"$context.error.responseType"}"#)]),
    };
    let quotas = limited(&[("account-rate", 1), ("account-burst", 1)]);
    let address = serve_rest(quotas, vec![own], false).await;
    assert_eq!(get(address, "/dev/exists").await.status(), StatusCode::OK);
    let refused = get(address, "/dev/exists").await;
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (429, Some("1")));
    assert_eq!(refused.json::<Value>().await.unwrap(), json!({ "code": "throttled", "type": "THROTTLED" }));
}

#[tokio::test]
async fn a_throttled_function_is_a_500_of_the_gateway() {
    let address = serve_rest(Quotas::default(), Vec::new(), true).await;
    let refused = get(address, "/dev/exists").await;
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(refused.json::<Value>().await.unwrap(), json!({ "message": "Internal server error" }));
}

#[tokio::test]
async fn a_handshake_over_the_rate_is_a_429() {
    let quotas = limited(&[("connects", 1)]);
    let address = serve_sockets(quotas.clone()).await;
    let _open = connect_async(format!("ws://{address}/dev")).await.unwrap();
    match connect_async(format!("ws://{address}/dev")).await {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status().as_u16(), 429),
        other => panic!("{other:?}"),
    }
    assert_eq!(quotas.report().connects, Count { admitted: 1, refused: 1 });
}

async fn post(address: SocketAddr, id: &str) -> Result<(), SdkError<PostToConnectionError>> {
    let client = Management::from_conf(
        aws_sdk_apigatewaymanagement::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(format!("http://{address}/dev"))
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .build(),
    );
    let post = client.post_to_connection().connection_id(id).data(Blob::new("hello")).send();
    // The SDK's futures are large.
    Box::pin(post).await.map(drop)
}

#[tokio::test]
async fn messages_and_the_management_api_share_the_rate() {
    let quotas = limited(&[("account-rate", 1), ("account-burst", 2)]);
    let address = serve_sockets(quotas.clone()).await;
    let (mut socket, _) = connect_async(format!("ws://{address}/dev")).await.unwrap();
    socket.send(Message::text("who am I")).await.unwrap();
    let id = socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
    post(address, &id).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), "hello");

    let refused = post(address, &id).await.unwrap_err().into_service_error();
    assert!(refused.is_limit_exceeded_exception(), "{refused:?}");
    socket.send(Message::text("who am I")).await.unwrap();
    let frame = socket.next().await.unwrap().unwrap().into_text().unwrap();
    let frame: Value = serde_json::from_str(frame.as_str()).unwrap();
    assert_eq!((&frame["message"], &frame["connectionId"]), (&json!("Too Many Requests"), &json!(id)));
    let report = quotas.report();
    assert_eq!(report.messages, Count { admitted: 1, refused: 1 });
    assert_eq!(report.management, Count { admitted: 1, refused: 1 });
}

async fn database(quotas: Quotas) -> (Database, Client) {
    let options = Options { quotas, ..Options::default() };
    let database = Database::serve(Engine::open(Storage::InMemory, options).unwrap()).await;
    let config = database.client.config().to_builder();
    let client = Client::from_conf(config.retry_config(RetryConfig::disabled()).build());
    (database, client)
}

fn item(channel: &str, seq: u64) -> [(String, AttributeValue); 3] {
    [
        ("channel".to_owned(), AttributeValue::S(channel.to_owned())),
        ("seq".to_owned(), AttributeValue::N(seq.to_string())),
        ("text".to_owned(), AttributeValue::S("x".repeat(3_000))),
    ]
}

fn key(channel: &str) -> [(String, AttributeValue); 2] {
    let [channel, seq, _] = item(channel, 1);
    [channel, seq]
}

#[tokio::test]
async fn a_partition_over_its_writes_throttles_and_others_do_not() {
    let (_database, client) = database(limited(&[("partition-writes", 2)])).await;
    let put = |channel: &str| client.put_item().table_name(TABLE).set_item(Some(item(channel, 1).into())).send();
    let told = put("hot").await.unwrap();
    assert!(told.consumed_capacity().is_none(), "it was not asked for");
    let refused = put("hot").await.unwrap_err().into_service_error();
    assert_eq!(refused.code(), Some("ThrottlingException"), "{refused:?}");
    put("cold").await.unwrap();
    let read = client.get_item().table_name(TABLE).set_key(Some(key("hot").into())).send().await.unwrap();
    assert!(read.item().is_some());
}

#[tokio::test]
async fn a_partition_over_its_reads_throttles_its_queries() {
    let (_database, client) = database(limited(&[("partition-reads", 1)])).await;
    client.put_item().table_name(TABLE).set_item(Some(item("hot", 1).into())).send().await.unwrap();
    let query = || {
        client
            .query()
            .table_name(TABLE)
            .key_condition_expression("#c = :c AND seq > :s")
            .expression_attribute_names("#c", "channel")
            .expression_attribute_values(":c", AttributeValue::S("hot".into()))
            .expression_attribute_values(":s", AttributeValue::N("0".into()))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    };
    let told = query().await.unwrap();
    let capacity = told.consumed_capacity().unwrap();
    assert_eq!((capacity.capacity_units(), capacity.table().is_none()), (Some(1.0), true));
    let refused = query().await.unwrap_err().into_service_error();
    assert_eq!(refused.code(), Some("ThrottlingException"), "{refused:?}");
}

#[tokio::test]
async fn batches_leave_items_unprocessed() {
    let (_database, client) = database(limited(&[("partition-reads", 1), ("partition-writes", 1)])).await;
    let write = |channel: &str, seq: u64| {
        let put = PutRequest::builder().set_item(Some(item(channel, seq).into())).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let writes = vec![write("hot", 1), write("cold", 1), write("hot", 2)];
    let told = client.batch_write_item().request_items(TABLE, writes).send().await.unwrap();
    assert_eq!(told.unprocessed_items().unwrap()[TABLE], [write("hot", 2)]);

    let keys = |channels: &[&str]| {
        let all = channels.iter().map(|channel| key(channel).into()).collect();
        KeysAndAttributes::builder().set_keys(Some(all)).consistent_read(true).build().unwrap()
    };
    let told = client.batch_get_item().request_items(TABLE, keys(&["hot", "cold"])).send().await.unwrap();
    assert_eq!(told.responses().unwrap()[TABLE].len(), 2);
    let refused = client.batch_get_item().request_items(TABLE, keys(&["hot"])).send().await.unwrap_err();
    assert_eq!(refused.into_service_error().code(), Some("ThrottlingException"));
}

#[tokio::test]
async fn a_transaction_is_cancelled_with_a_throttling_error() {
    let (_database, client) = database(limited(&[("partition-writes", 1)])).await;
    client.put_item().table_name(TABLE).set_item(Some(item("hot", 1).into())).send().await.unwrap();
    let delete = |channel: &str| {
        let delete = Delete::builder().table_name(TABLE).set_key(Some(key(channel).into())).build().unwrap();
        TransactWriteItem::builder().delete(delete).build()
    };
    let transaction = client.transact_write_items().transact_items(delete("cold")).transact_items(delete("hot"));
    let error = transaction.send().await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
        cancelled,
    ) = error
    else {
        panic!("{error:?}")
    };
    let codes: Vec<_> = cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap()).collect();
    assert_eq!(codes, ["None", "ThrottlingError"]);
}

#[tokio::test]
async fn the_counts_are_readable() {
    let quotas = limited(&[("account-rate", 1), ("account-burst", 1)]);
    let api = serve_rest(quotas.clone(), Vec::new(), false).await;
    for _ in 0..3 {
        get(api, "/dev/exists").await;
    }
    let told: Value = get(serve(quotas::router(quotas)).await, "/quotas.json").await.json().await.unwrap();
    assert_eq!(told["rest"], json!({ "admitted": 1, "refused": 2 }));
    assert_eq!(told["limits"]["account-rate"], 1);
    assert_eq!(told["peakRequests"], 1.0);
}
