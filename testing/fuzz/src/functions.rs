//! The functions in one process, wired as in their `main`, behind the gateways of the local run and over its DynamoDB.
//! An input runs through all the real code between a request and a table, in a few hundred microseconds.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use bytes::Bytes;
use chat::{
    app::{
        channels::{ChosenChannelIds, CreationRules},
        connect::ConnectLimits,
        delivery::Reach,
        frame_budget::FrameBudgets,
        rate_limit::RateLimits,
    },
    model::{invitation::MemberAdditions, limits::CHANGE_DURATION, token_bucket::Bucket},
};
use chat_aws::{
    DynamoChannels, DynamoConnections, DynamoMessages, LambdaFanOut, LambdaMaintenance, ManagementApi, sdk,
};
use dynoxide::Database;
use emulator::{
    lambda::{Invocation, Invoke, InvokeError},
    stack::{Integration, Stack},
    template::{Deployment, Template},
};
use futures::future::BoxFuture;
use http_api::{Adapter, ApiRequest, Problem, Rest, adapter::GatewayEvent};
use lambda_http::{Error, LambdaEvent, Service, service_fn};
use lambda_runtime::Context;
use local::token::{AUDIENCE, DEVELOPMENT_SECRET, ISSUER};

use crate::{
    answer_frame,
    aws::{Aws, MANAGEMENT_URL},
    call, chat_delivery_worker, get_channel_messages, health, on_connect, router, send_channel_messages, send_message,
    tokens,
};

/// The product's own template.
pub static TEMPLATE: &str = include_str!("../../../infra/backend.yaml");

/// The stack that the template describes.
pub static STACK: LazyLock<Stack> = LazyLock::new(|| {
    let template = Template::parse(TEMPLATE).expect("the template is valid");
    template.resolve(&deployment()).expect("the template can be resolved")
});

/// A rate limit that no input reaches.
const UNLIMITED: Bucket = Bucket { every: Duration::from_nanos(1), burst: u32::MAX };

/// Returns the parameters of a deployment on this machine.
pub fn deployment() -> Deployment {
    let parameters = [
        ("Stage", "chat"),
        ("TablePrefix", ""),
        ("Disposable", "true"),
        ("JwtIssuer", ISSUER),
        ("JwtAudience", AUDIENCE),
        ("JwtHs256Secret", DEVELOPMENT_SECRET),
    ];
    Deployment {
        stack_name: "switchboard".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "000000000000".to_owned(),
        parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        rest_url: "http://127.0.0.1:3000".to_owned(),
        websocket_url: "ws://127.0.0.1:3001".to_owned(),
        management_url: "http://127.0.0.1:3001".to_owned(),
    }
}

/// All functions that clients call.
pub struct Functions {
    rest: Rest,
    channels: call::Dependencies,
    send: send_channel_messages::Handler,
    get: get_channel_messages::Handler,
    health: health::Handler,
    pub on_connect: on_connect::Handler,
    pub answer_frame: answer_frame::Handler,
    pub send_message: send_message::Handler,
    pub delivery: chat_delivery_worker::Handler,
    pub connections: DynamoConnections,
}

impl Functions {
    fn new(aws: &Aws) -> Self {
        let config = aws.config();
        let client = sdk::dynamodb(&config);
        let channels = DynamoChannels::new(client.clone(), "chat_channels").with_connections("chat_connections");
        let messages = DynamoMessages::new(client.clone(), "chat_events", "chat_channels");
        let connections = DynamoConnections::new(client.clone(), "chat_connections");
        let sockets = ManagementApi::over(SharedHttpConnector::new(aws.clone()), &config, MANAGEMENT_URL);
        let fan_out = LambdaFanOut::new(&config, "send-message");
        Self {
            rest: Rest::from_env(),
            channels: dependencies(
                (channels.clone(), messages.clone(), connections.clone()),
                (sockets.clone(), fan_out.clone()),
                LambdaMaintenance::new(&config, "maintenance"),
            ),
            send: send_channel_messages::Handler::new(
                channels.clone(),
                messages.clone(),
                tokens::verifier(),
                send_channel_messages::Buckets { send: UNLIMITED, nothing: UNLIMITED },
                CHANGE_DURATION,
            ),
            get: get_channel_messages::Handler {
                channels: channels.clone(),
                messages: messages.clone(),
                verifier: tokens::verifier(),
                // A request that waits would only take time.
                longest_wait: Duration::ZERO,
            },
            health: health::Handler {
                client,
                tables: ["chat_events", "chat_channels", "chat_connections"].map(str::to_owned),
                last: std::sync::Mutex::default(),
            },
            on_connect: on_connect::Handler {
                channels,
                sockets: sockets.clone(),
                connections: connections.clone(),
                verifier: tokens::verifier(),
                limits: ConnectLimits { bucket: UNLIMITED, connections: 1_000 },
                token_in_url: true,
            },
            answer_frame: answer_frame::Handler { budgets: FrameBudgets::default(), sockets: sockets.clone() },
            send_message: send_message::Handler {
                connections: connections.clone(),
                sockets: sockets.clone(),
                fan_out: fan_out.clone(),
            },
            delivery: chat_delivery_worker::Handler {
                connections: connections.clone(),
                sockets,
                fan_out,
                // A pace would only take time.
                reach: Reach { threshold: 20, rate: u32::MAX },
                presence: 200,
            },
            connections,
        }
    }

    async fn route(&self, binary: &str, request: ApiRequest) -> Result<http::Response<lambda_http::Body>, Problem> {
        match binary {
            "channels" => router::handle(&self.channels, request).await,
            "send-channel-messages" => self.send.handle(request).await,
            "get-channel-messages" => self.get.handle(request).await,
            "health" => self.health.handle().await,
            other => panic!("no route leads to {other}"),
        }
    }

    /// Returns the response of a REST function to an event; `None` if the input is not an event.
    pub async fn answer_event(self: Arc<Self>, binary: String, event: Bytes) -> Option<Bytes> {
        let event: GatewayEvent = serde_json::from_slice(&event).ok()?;
        let mut adapter = Adapter::from(service_fn(move |request: lambda_http::Request| {
            let (functions, binary) = (Arc::clone(&self), binary.clone());
            async move {
                let handle = async |request| functions.route(&binary, request).await;
                Ok::<_, Error>(functions.rest.answer(request, handle).await)
            }
        }));
        let answer = adapter.call(LambdaEvent::new(event, Context::default())).await.expect("an answer");
        Some(serde_json::to_vec(&answer).expect("an answer is JSON").into())
    }
}

/// Returns the dependencies of the function of the channels.
fn dependencies(
    (channels, messages, connections): (DynamoChannels, DynamoMessages, DynamoConnections),
    (sockets, fan_out): (ManagementApi, LambdaFanOut),
    maintenance: LambdaMaintenance,
) -> call::Dependencies {
    call::Dependencies {
        channels,
        messages,
        connections,
        sockets,
        fan_out,
        maintenance,
        verifier: tokens::verifier(),
        limits: RateLimits {
            connect: UNLIMITED,
            create: UNLIMITED,
            members: UNLIMITED,
            presence: UNLIMITED,
            other: UNLIMITED,
        },
        additions: MemberAdditions::Everybody,
        creations: CreationRules { chosen_ids: ChosenChannelIds::Any, channels_per_user: 1_000_000 },
        presence: 200,
        agent_name: "agent".to_owned(),
    }
}

/// Lambda in one process.
struct Lambda {
    functions: Arc<Functions>,
}

impl Invoke for Lambda {
    fn invoke(&self, function: &str, payload: Bytes) -> BoxFuture<'static, Result<Invocation, InvokeError>> {
        let functions = Arc::clone(&self.functions);
        let binary = binary(function).to_owned();
        Box::pin(async move {
            let answer = functions.answer_event(binary, payload).await;
            let answer = answer.expect("a function understands the gateway's event");
            Ok(Invocation { request_id: "request".to_owned(), outcome: Ok(answer) })
        })
    }
}

/// Returns the binary of a function, by the function's name.
pub fn binary(function: &str) -> &'static str {
    static BINARIES: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
        let functions = STACK.functions.iter();
        functions.map(|function| (function.name.as_str(), function.binary.as_str())).collect()
    });
    BINARIES.get(function).copied().unwrap_or_else(|| panic!("no function is called {function}"))
}

/// Returns the binary of a route's function, if the route has one.
pub fn binary_of(resource: &str, method: &str) -> Option<&'static str> {
    let methods = &STACK.rest_api.methods;
    let found = methods.iter().find(|known| known.path == resource && known.http_method == method)?;
    match &found.integration {
        Integration::LambdaProxy { function, .. } => Some(binary(function)),
        Integration::Mock { .. } => None,
    }
}

/// All services and functions, with some channels, members, messages and one socket.
pub struct World {
    pub aws: Aws,
    pub functions: Arc<Functions>,
    pub rest: axum::Router,
    pub sockets: axum::Router,
    snapshot: String,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let database = Database::memory().expect("a database");
        for table in &STACK.tables {
            let request = serde_json::from_value(table.create_request.clone()).expect("a description of a table");
            database.create_table(request).expect("the table is created");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let snapshot = directory.path().join("snapshot").to_str().expect("a path").to_owned();
        let aws = Aws::new(database);
        let (functions, rest, sockets) = start(&aws);
        let world = Self { aws, functions, rest, sockets, snapshot, _directory: directory };
        block_on(world.fill());
        world.aws.database.vacuum_into(&world.snapshot).expect("a snapshot");
        world.aws.take_written();
        world.aws.take_posted();
        world
    }

    async fn fill(&self) {
        let requests = [
            ("alice", "POST", "/channels", r#"{"channel_id":"general","name":"General","visibility":"public"}"#),
            ("alice", "POST", "/channels", r#"{"channel_id":"secret","name":"Secret","visibility":"private"}"#),
            ("carol", "POST", "/channels", r#"{"channel_id":"other","name":"Other","visibility":"private"}"#),
            ("bob", "PUT", "/channels/general/members/bob", ""),
            ("alice", "POST", "/channels/general/messages", r#"{"content":"one"}"#),
            ("bob", "POST", "/channels/general/messages", r#"{"content":"two","reply_to":1}"#),
            ("alice", "POST", "/channels/general/messages", r#"{"content":"three","metadata":{"a":[1,2.5]}}"#),
            ("carol", "POST", "/channels/general/messages", r#"{"content":"four","thread_seq":1}"#),
            ("alice", "POST", "/channels/secret/messages", r#"{"content":"psst"}"#),
        ];
        for (user, method, path, body) in requests {
            let request = http::Request::builder()
                .method(method)
                .uri(path)
                .header("host", "localhost")
                .header("authorization", format!("Bearer {}", tokens::of_user(user, tokens::LATER)))
                .body(axum::body::Body::from(body))
                .expect("a request");
            let answer = tower::ServiceExt::oneshot(self.rest.clone(), request).await.expect("an answer");
            assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        }
        let event = serde_json::json!({
            "headers": { "authorization": format!("Bearer {}", tokens::of_user("bob", tokens::LATER)) },
            "multiValueHeaders": {}, "isBase64Encoded": false,
            "requestContext": {
                "routeKey": "$connect", "eventType": "CONNECT", "connectionId": "c1=", "requestId": "r",
                "connectedAt": 1_795_506_024_000_i64, "requestTimeEpoch": 1_795_506_024_000_i64,
                "identity": { "sourceIp": "127.0.0.1" },
            },
        });
        let event = serde_json::from_value(event).expect("an event");
        let answer = serde_json::to_value(self.functions.on_connect.handle(event).await).expect("JSON");
        assert_eq!(answer["statusCode"], 200);
    }

    /// Restores the state of the start.
    fn restore(&mut self) {
        self.aws.take_posted();
        if self.aws.take_written() {
            self.aws.database.restore_from(&self.snapshot).expect("the snapshot can be read");
            // The functions' caches must not be newer than the tables, so the functions are recreated.
            (self.functions, self.rest, self.sockets) = start(&self.aws);
        }
    }
}

fn start(aws: &Aws) -> (Arc<Functions>, axum::Router, axum::Router) {
    let functions = Arc::new(Functions::new(aws));
    let lambda: Arc<dyn Invoke> = Arc::new(Lambda { functions: Arc::clone(&functions) });
    let Stack { rest_api, websocket_api, region, account_id, .. } = &*STACK;
    let rest = emulator::rest::Gateway::new(rest_api.clone(), region, account_id, Arc::clone(&lambda));
    let options = emulator::websocket::WebSocketOptions::default();
    let sockets = emulator::websocket::Gateway::new(websocket_api.clone(), region, lambda, options);
    (functions, rest.router(), sockets.router())
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The code here waits only for timers.
        .start_paused(true)
        .build()
        .expect("a runtime");

    static WORLD: OnceCell<RefCell<World>> = const { OnceCell::new() };
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// Runs a function with the world in its state of the start.
pub fn with_world<T>(run: impl FnOnce(&World) -> T) -> T {
    WORLD.with(|world| {
        let mut world = world.get_or_init(|| RefCell::new(World::new())).borrow_mut();
        world.restore();
        run(&world)
    })
}
