//! The WebSocket gateway and `@connections`, over real connections, with closures for functions.

use std::{
    collections::HashSet,
    future::{Future, pending},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use aws_sdk_apigatewaymanagement::{
    Client as Management,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::post_to_connection::PostToConnectionError,
    primitives::Blob,
};
use bytes::Bytes;
use emulator::{
    doors::{self, Door},
    lambda::{FunctionError, Invocation, Invoke, InvokeError},
    stack::{Route, Throttle, WebSocketApi},
    websocket::{FRAME_LIMIT, Gateway, MESSAGE_LIMIT, WebSocketOptions},
};
use futures::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        protocol::{
            CloseFrame,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};
use tokio_util::sync::CancellationToken;

type Answer = BoxFuture<'static, Result<Invocation, InvokeError>>;
type Answering = dyn Fn(&str, Value) -> Answer + Send + Sync;
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Longer than any step of these tests.
const LONG: Duration = Duration::from_mins(1);

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("it takes too long")
}

struct Functions {
    answer: Box<Answering>,
    /// Every event as the function receives it.
    events: mpsc::UnboundedSender<Value>,
}

impl Invoke for Functions {
    fn invoke(&self, function: &str, payload: Bytes) -> Answer {
        let event: Value = serde_json::from_slice(&payload).unwrap();
        self.events.send(event.clone()).ok();
        (self.answer)(function, event)
    }
}

fn succeeds(answer: impl Into<Bytes>) -> Answer {
    let invocation = Invocation { request_id: "r".into(), outcome: Ok(answer.into()) };
    async { Ok(invocation) }.boxed()
}

fn ok() -> Answer {
    succeeds("{\"statusCode\":200}")
}

fn fails() -> Answer {
    let error = FunctionError { error_type: "Runtime.ExitError".into(), message: "exit status: 1".into() };
    async { Ok(Invocation { request_id: "r".into(), outcome: Err(error) }) }.boxed()
}

fn route(key: &str, responds: bool) -> Route {
    Route { route_key: key.into(), function: key.into(), timeout: Duration::from_secs(29), responds, throttle: None }
}

struct Api {
    gateway: Gateway,
    address: SocketAddr,
    events: mpsc::UnboundedReceiver<Value>,
}

async fn serve_with(
    routes: Vec<Route>,
    options: WebSocketOptions,
    answer: impl Fn(&str, Value) -> Answer + Send + Sync + 'static,
) -> Api {
    let (sender, events) = mpsc::unbounded_channel();
    let api = WebSocketApi {
        id: "ws123".into(),
        route_selection_expression: "$request.body.action".into(),
        stage: "dev".into(),
        routes,
    };
    let functions = Arc::new(Functions { answer: Box::new(answer), events: sender });
    let gateway = Gateway::new(api, "eu-west-1", functions, options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Door::pages_of([]);
    tokio::spawn(doors::serve(listener, door, doors::LIMITS, gateway.router(), CancellationToken::new()));
    Api { gateway, address, events }
}

/// Returns all routes. `$default` and `talk` respond.
fn routes() -> Vec<Route> {
    vec![route("$connect", false), route("$disconnect", false), route("$default", true), route("silent", false)]
}

async fn serve(answer: impl Fn(&str, Value) -> Answer + Send + Sync + 'static) -> Api {
    serve_with(routes(), WebSocketOptions::default(), answer).await
}

impl Api {
    async fn connect(&self) -> Socket {
        within(connect_async(format!("ws://{}/dev", self.address))).await.unwrap().0
    }

    /// Returns the next event, which must be of `event_type`.
    async fn event(&mut self, event_type: &str) -> Value {
        let event = within(self.events.recv()).await.unwrap();
        assert_eq!(event["requestContext"]["eventType"], event_type, "{event}");
        event
    }

    /// Connects, and also returns the connection's id.
    async fn connected(&mut self) -> (Socket, String) {
        let socket = self.connect().await;
        let event = self.event("CONNECT").await;
        (socket, event["requestContext"]["connectionId"].as_str().unwrap().to_owned())
    }

    /// Returns the close code and reason of the next event, which must be a `$disconnect`.
    async fn disconnected(&mut self) -> (u64, String) {
        let event = self.event("DISCONNECT").await;
        let context = &event["requestContext"];
        (context["disconnectStatusCode"].as_u64().unwrap(), context["disconnectReason"].as_str().unwrap().to_owned())
    }

    /// Checks that no event remains after the gateway has stopped.
    async fn ends_without_another_event(mut self) {
        self.gateway.shutdown(LONG).await;
        assert_eq!(self.events.try_recv().ok(), None);
    }

    fn management(&self, stage: &str) -> Management {
        Management::from_conf(
            aws_sdk_apigatewaymanagement::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .endpoint_url(format!("http://{}{stage}", self.address))
                .region(Region::new("eu-west-1"))
                .credentials_provider(Credentials::new("local", "local", None, None, "test"))
                .retry_config(RetryConfig::disabled())
                .build(),
        )
    }

    async fn post(&self, id: &str, data: impl Into<Vec<u8>>) -> Result<(), SdkError<PostToConnectionError>> {
        let data = Blob::new(data);
        let post = self.management("/dev").post_to_connection().connection_id(id).data(data).send();
        // The SDK's futures are large.
        within(Box::pin(post)).await.map(drop)
    }

    async fn assert_gone(&self, id: &str) {
        let error = self.post(id, "x").await.unwrap_err().into_service_error();
        assert!(error.is_gone_exception(), "{error:?}");
    }
}

async fn text(socket: &mut Socket) -> String {
    match within(socket.next()).await.unwrap().unwrap() {
        Message::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Returns the next close frame of the gateway.
async fn close_frame(socket: &mut Socket) -> Option<CloseFrame> {
    loop {
        if let Message::Close(frame) = within(socket.next()).await.unwrap().unwrap() {
            return frame;
        }
    }
}

async fn close_code(socket: &mut Socket) -> CloseCode {
    close_frame(socket).await.unwrap().code
}

/// Returns the status and the body of a handshake that must fail.
async fn refused(url: String) -> (u16, String) {
    match within(connect_async(url)).await.unwrap_err() {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().map(|body| String::from_utf8_lossy(body).into_owned());
            (response.status().as_u16(), body.unwrap_or_default())
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn events_are_those_of_aws() {
    let mut api = serve(|_, _| ok()).await;
    let mut request =
        format!("ws://{}/dev?token=a%20b&channels=x&channels=y", api.address).into_client_request().unwrap();
    request.headers_mut().insert("user-agent", "test/1".parse().unwrap());
    request.headers_mut().insert("authorization", "Bearer t".parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let connect = api.event("CONNECT").await;
    socket.send(Message::text("{\"action\":\"silent\"}")).await.unwrap();
    let message = api.event("MESSAGE").await;
    let frame = CloseFrame { code: CloseCode::Library(4001), reason: "bye".into() };
    socket.close(Some(frame)).await.unwrap();
    let disconnect = api.event("DISCONNECT").await;

    assert_eq!(connect["queryStringParameters"], json!({"token": "a b", "channels": "y"}));
    assert_eq!(connect["multiValueQueryStringParameters"], json!({"token": ["a b"], "channels": ["x", "y"]}));
    assert_eq!(connect["headers"]["Authorization"], "Bearer t");
    assert_eq!(connect["headers"]["Host"], api.address.to_string());
    assert_eq!(connect["headers"]["X-Forwarded-For"], "127.0.0.1");
    assert_eq!(connect["headers"]["Sec-WebSocket-Version"], "13");
    assert_eq!(connect["headers"].get("upgrade"), None);
    assert_eq!(connect.get("body"), None);
    assert_eq!(connect["requestContext"].get("messageId"), None);

    assert_eq!(message["body"], "{\"action\":\"silent\"}");
    assert_eq!(message.get("headers"), None);
    assert_eq!(message["requestContext"]["messageId"].as_str().unwrap().len(), 16);

    assert_eq!(disconnect["requestContext"]["disconnectStatusCode"], 4001);
    assert_eq!(disconnect["requestContext"]["disconnectReason"], "bye");
    assert_eq!(disconnect["headers"]["Host"], api.address.to_string());

    for (event, route_key) in [(connect, "$connect"), (message, "silent"), (disconnect, "$disconnect")] {
        assert_eq!(event["isBase64Encoded"], false);
        assert_eq!(event["requestContext"]["identity"], json!({"sourceIp": "127.0.0.1", "userAgent": "test/1"}));
        let event: ApiGatewayWebsocketProxyRequest = serde_json::from_value(event).unwrap();
        let context = event.request_context;
        assert_eq!(context.route_key.as_deref(), Some(route_key));
        assert_eq!(context.message_direction.as_deref(), Some("IN"));
        assert_eq!(context.stage.as_deref(), Some("dev"));
        assert_eq!(context.apiid.as_deref(), Some("ws123"));
        assert_eq!(context.domain_name.as_deref(), Some("ws123.execute-api.eu-west-1.amazonaws.com"));
        assert_eq!(context.connection_id.unwrap().len(), 16);
        assert_eq!(context.request_id, context.extended_request_id);
        assert!(context.connected_at > 1_700_000_000_000 && context.request_time_epoch >= context.connected_at);
        assert!(context.request_time.unwrap().ends_with(" +0000"));
    }
    api.ends_without_another_event().await;
}

#[tokio::test]
async fn a_refused_handshake_has_the_functions_status_and_not_its_body() {
    for status in [400, 401, 403, 404, 302, 500, 503] {
        let answer = json!({"statusCode": status, "body": "secret"}).to_string();
        let api = serve(move |key, _| if key == "$connect" { succeeds(answer.clone()) } else { ok() }).await;
        for path in ["", "/", "/dev", "/dev/"] {
            assert_eq!(refused(format!("ws://{}{path}", api.address)).await, (status, String::new()), "401 stays 401");
        }
        let mut events = Vec::new();
        api.gateway.shutdown(LONG).await;
        let mut received = api.events;
        while let Ok(event) = received.try_recv() {
            events.push(event["requestContext"]["eventType"].as_str().unwrap().to_owned());
        }
        assert_eq!(events, ["CONNECT"; 4], "no client was accepted, so none disconnects");
    }
}

#[tokio::test]
async fn a_connect_that_fails_is_a_502() {
    for answer in [fails as fn() -> Answer, || succeeds("null"), || async { Err(InvokeError::Throttled) }.boxed()] {
        let api = serve(move |_, _| answer()).await;
        let (status, body) = refused(format!("ws://{}/", api.address)).await;
        assert_eq!(status, 502);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["message"], "Internal server error");
    }
    let mut slow = route("$connect", false);
    slow.timeout = Duration::from_millis(20);
    let api = serve_with(vec![slow], WebSocketOptions::default(), |_, _| pending().boxed()).await;
    assert_eq!(refused(format!("ws://{}/", api.address)).await.0, 502);
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    let api = serve(|_, _| ok()).await;
    assert_eq!(refused(format!("ws://{}/prod", api.address)).await.0, 403);
    let response = reqwest::get(format!("http://{}/dev", api.address)).await.unwrap();
    assert_eq!(response.status(), 426);
    api.ends_without_another_event().await;
}

#[tokio::test]
async fn the_subprotocol_is_the_functions_choice() {
    let api = serve(|_, event| {
        succeeds(
            match event["queryStringParameters"]["answer"].as_str() {
                Some("lower") => json!({"statusCode": 200, "headers": {"sec-websocket-protocol": "bearer"}}),
                Some("multi") => {
                    json!({"statusCode": 200, "multiValueHeaders": {"Sec-WebSocket-Protocol": ["bearer"]}})
                }
                Some("exact") => json!({"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "bearer"}}),
                _ => json!({"statusCode": 200}),
            }
            .to_string(),
        )
    })
    .await;
    for (answer, chosen) in [("exact", true), ("lower", true), ("multi", true), ("none", false)] {
        let mut request = format!("ws://{}/?answer={answer}", api.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "bearer, token".parse().unwrap());
        match within(connect_async(request)).await {
            Ok((_, response)) if chosen => assert_eq!(response.headers()["sec-websocket-protocol"], "bearer"),
            // A client that asks for a subprotocol and gets none fails the connection, as browsers do.
            Err(tungstenite::Error::Protocol(_)) if !chosen => {}
            other => panic!("{answer}: {other:?}"),
        }
    }
    // A client that requested no subprotocol gets none.
    let (_, response) = connect_async(format!("ws://{}/", api.address)).await.unwrap();
    assert_eq!(response.headers().get("sec-websocket-protocol"), None);
}

#[tokio::test]
async fn frames_are_answered_by_their_route() {
    let api = serve(|key, event| match key {
        "$default" => succeeds(json!({"statusCode": 200, "body": format!("default: {}", event["body"])}).to_string()),
        _ => succeeds("{\"statusCode\":200,\"body\":\"never sent\"}"),
    })
    .await;
    let mut socket = api.connect().await;
    // `silent` has no route response, so the first response belongs to the next frame.
    socket.send(Message::text("{\"action\":\"silent\"}")).await.unwrap();
    for (frame, answer) in [
        ("not json", "default: \"not json\""),
        ("{\"action\":\"nowhere\"}", "default: \"{\\\"action\\\":\\\"nowhere\\\"}\""),
        ("", "default: \"\""),
    ] {
        socket.send(Message::text(frame)).await.unwrap();
        assert_eq!(text(&mut socket).await, answer);
    }
}

#[tokio::test]
async fn without_a_default_route_a_frame_is_forbidden() {
    let routes = vec![route("$connect", false), route("silent", false)];
    let mut api = serve_with(routes, WebSocketOptions::default(), |_, _| ok()).await;
    let (mut socket, id) = api.connected().await;
    for frame in ["not json", "{\"action\":\"nowhere\"}", "{\"action\":\"$connect\"}"] {
        socket.send(Message::text(frame)).await.unwrap();
        let answer: Value = serde_json::from_str(&text(&mut socket).await).unwrap();
        assert_eq!((&answer["message"], &answer["connectionId"]), (&json!("Forbidden"), &json!(id)));
        assert_eq!(answer["requestId"].as_str().unwrap().len(), 16);
    }
}

#[tokio::test]
async fn a_route_takes_as_many_frames_as_its_throttle_allows_of_all_sockets_together() {
    let limit = |number: u32| std::num::NonZeroU32::new(number).unwrap();
    let mut routes = routes();
    // The next token is available only after a time longer than the test.
    routes[2].throttle = Some(Throttle { rate: limit(1), burst: limit(5) });
    let mut api =
        serve_with(routes, WebSocketOptions::default(), |_, _| succeeds("{\"statusCode\":200,\"body\":\"ok\"}")).await;
    let (mut first, id) = api.connected().await;
    let (mut second, _) = api.connected().await;
    let mut answers = Vec::new();
    for _ in 0..100 {
        for socket in [&mut first, &mut second] {
            socket.send(Message::text("hello")).await.unwrap();
        }
    }
    for _ in 0..100 {
        answers.push(text(&mut first).await);
        answers.push(text(&mut second).await);
    }
    let admitted = answers.iter().filter(|answer| *answer == "ok").count();
    // One token per second is refilled meanwhile.
    assert!((5..25).contains(&admitted), "{admitted}");
    let refused = answers.iter().find(|answer| *answer != "ok").unwrap();
    let refused: Value = serde_json::from_str(refused).unwrap();
    assert_eq!(refused["message"], "Too Many Requests");
    assert_eq!(refused["connectionId"].as_str().unwrap().len(), id.len());
    first.send(Message::text("{\"action\":\"silent\"}")).await.unwrap();
    loop {
        let event = api.event("MESSAGE").await;
        if event["requestContext"]["routeKey"] == "silent" {
            break;
        }
    }
}

#[tokio::test]
async fn a_frame_whose_function_fails_leaves_the_socket_open() {
    let mut routes = routes();
    routes[3].timeout = Duration::from_millis(20);
    let mut api = serve_with(routes, WebSocketOptions::default(), |key, event| match (key, event["body"].as_str()) {
        ("silent", _) => pending().boxed(),
        ("$default", Some("fail")) => fails(),
        ("$default", Some("malformed")) => succeeds("null"),
        _ => succeeds("{\"statusCode\":200,\"body\":\"fine\"}"),
    })
    .await;
    let (mut socket, id) = api.connected().await;
    for (frame, message) in [
        ("fail", "Internal server error"),
        ("malformed", "Internal server error"),
        ("{\"action\":\"silent\"}", "Endpoint request timed out"),
    ] {
        socket.send(Message::text(frame)).await.unwrap();
        let answer: Value = serde_json::from_str(&text(&mut socket).await).unwrap();
        assert_eq!((&answer["message"], &answer["connectionId"]), (&json!(message), &json!(id)));
    }
    socket.send(Message::text("again")).await.unwrap();
    assert_eq!(text(&mut socket).await, "fine");
}

#[tokio::test]
async fn messages_of_one_connection_are_handled_side_by_side_up_to_a_bound() {
    let (release, released) = watch::channel(false);
    let options = WebSocketOptions { concurrent_messages: 2, ..WebSocketOptions::default() };
    let mut api = serve_with(routes(), options, move |key, _| {
        let mut released = released.clone();
        match key {
            "silent" => async move {
                released.wait_for(|released| *released).await.unwrap();
                ok().await
            }
            .boxed(),
            _ => ok(),
        }
    })
    .await;
    let (mut socket, id) = api.connected().await;
    for number in 0..3 {
        socket.send(Message::text(json!({"action": "silent", "number": number}).to_string())).await.unwrap();
    }
    api.event("MESSAGE").await;
    api.event("MESSAGE").await;
    // A round trip on this socket ensures that its third frame has arrived.
    api.post(&id, "posted").await.unwrap();
    assert_eq!(text(&mut socket).await, "posted");
    assert_eq!(api.events.try_recv().ok(), None, "three at a time");
    release.send(true).unwrap();
    api.event("MESSAGE").await;
}

/// Sends `size` bytes of text in frames of at most `frame_size`.
async fn send_in_frames(socket: &mut Socket, size: usize, frame_size: usize) {
    let text = vec![b'x'; size];
    let count = text.chunks(frame_size).count();
    for (index, chunk) in text.chunks(frame_size).enumerate() {
        let opcode = OpCode::Data(if index == 0 { Data::Text } else { Data::Continue });
        let frame = Frame::message(chunk.to_vec(), opcode, index + 1 == count);
        if socket.send(Message::Frame(frame)).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_message_over_128_kb_or_a_frame_over_32_kb_closes_with_1009() {
    let mut api = serve(|key, event| match key {
        "$default" => {
            let size = event["body"].as_str().unwrap().len();
            succeeds(json!({"statusCode": 200, "body": size.to_string()}).to_string())
        }
        _ => ok(),
    })
    .await;
    let mut socket = api.connect().await;
    api.event("CONNECT").await;
    send_in_frames(&mut socket, MESSAGE_LIMIT, FRAME_LIMIT).await;
    assert_eq!(text(&mut socket).await, MESSAGE_LIMIT.to_string());
    api.event("MESSAGE").await;
    send_in_frames(&mut socket, MESSAGE_LIMIT + 1, FRAME_LIMIT).await;
    assert_eq!(close_code(&mut socket).await, CloseCode::Size);
    assert_eq!(api.disconnected().await.0, 1009);

    let mut socket = api.connect().await;
    api.event("CONNECT").await;
    send_in_frames(&mut socket, FRAME_LIMIT + 1, FRAME_LIMIT + 1).await;
    assert_eq!(close_code(&mut socket).await, CloseCode::Size);
    assert_eq!(api.disconnected().await.0, 1009);
    api.ends_without_another_event().await;
}

#[tokio::test]
async fn a_binary_frame_closes_with_1003() {
    let mut api = serve(|_, _| ok()).await;
    let (mut socket, id) = api.connected().await;
    socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(close_code(&mut socket).await, CloseCode::Unsupported);
    assert_eq!(api.disconnected().await.0, 1003);
    api.assert_gone(&id).await;
    api.ends_without_another_event().await;
}

#[tokio::test]
async fn text_that_is_no_utf8_closes_with_1007() {
    let mut api = serve(|_, _| ok()).await;
    let (mut socket, _) = api.connected().await;
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    socket.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(close_code(&mut socket).await, CloseCode::Invalid);
    assert_eq!(api.disconnected().await.0, 1007);
    api.ends_without_another_event().await;
}

#[tokio::test]
async fn disconnect_carries_how_the_client_left() {
    let mut api = serve(|_, _| ok()).await;
    let (mut socket, id) = api.connected().await;
    socket.close(None).await.unwrap();
    assert_eq!(api.disconnected().await, (1005, "Client-side close frame status not set".into()));
    api.assert_gone(&id).await;
    // The gateway completes the closing handshake.
    assert_eq!(close_frame(&mut socket).await, None);

    let (mut socket, id) = api.connected().await;
    socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "done".into() })).await.unwrap();
    assert_eq!(api.disconnected().await, (1000, "done".into()));
    api.assert_gone(&id).await;

    let (socket, id) = api.connected().await;
    drop(socket);
    assert_eq!(api.disconnected().await, (1006, String::new()));
    api.assert_gone(&id).await;
    api.ends_without_another_event().await;
}

#[tokio::test]
async fn idle_and_old_connections_are_closed_with_1001() {
    for options in [
        WebSocketOptions { idle_timeout: Duration::from_millis(30), ..WebSocketOptions::default() },
        WebSocketOptions { maximum_duration: Duration::from_millis(30), ..WebSocketOptions::default() },
    ] {
        let mut api = serve_with(routes(), options, |_, _| ok()).await;
        let (mut socket, id) = api.connected().await;
        assert_eq!(close_code(&mut socket).await, CloseCode::Away);
        assert_eq!(api.disconnected().await, (1001, "Going away".into()));
        api.assert_gone(&id).await;
        api.ends_without_another_event().await;
    }
}

/// Returns `false` if the traffic itself paused for longer than `idle_timeout`, so that nothing is shown.
async fn is_kept_by_traffic(idle_timeout: Duration) -> bool {
    let options = WebSocketOptions { idle_timeout, ..WebSocketOptions::default() };
    let mut api = serve_with(routes(), options, |_, _| ok()).await;
    let began = tokio::time::Instant::now();
    let (mut socket, id) = api.connected().await;
    let (opened, mut last) = (tokio::time::Instant::now(), began);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for number in 0_u32.. {
        ticks.tick().await;
        let now = tokio::time::Instant::now();
        let (is_sent, expected) = if number.is_multiple_of(2) {
            (api.post(&id, "posted").await.is_ok(), Message::text("posted"))
        } else {
            (socket.send(Message::Ping(Bytes::new())).await.is_ok(), Message::Pong(Bytes::new()))
        };
        let answer = within(socket.next()).await;
        if last.elapsed() >= idle_timeout {
            return false;
        }
        assert!(is_sent, "closed by {answer:?}");
        assert_eq!(answer.unwrap().unwrap(), expected);
        last = now;
        if opened.elapsed() > idle_timeout * 2 {
            break;
        }
    }
    assert_eq!(close_code(&mut socket).await, CloseCode::Away);
    true
}

#[tokio::test]
async fn traffic_in_either_direction_keeps_a_connection() {
    for seconds in [1, 4, 16] {
        if is_kept_by_traffic(Duration::from_secs(seconds)).await {
            return;
        }
    }
    panic!("this machine pauses for too long");
}

#[tokio::test]
async fn a_connection_cannot_be_posted_to_before_its_connect_has_answered() {
    let (asked, mut questions) = mpsc::unbounded_channel::<(String, oneshot::Sender<()>)>();
    let mut api = serve(move |key, event| {
        if key != "$connect" {
            return ok();
        }
        let (answer, answered) = oneshot::channel();
        let id = event["requestContext"]["connectionId"].as_str().unwrap().to_owned();
        asked.send((id, answer)).unwrap();
        async move {
            answered.await.unwrap();
            ok().await
        }
        .boxed()
    })
    .await;
    let connecting = tokio::spawn(connect_async(format!("ws://{}/", api.address)));
    let (id, answer) = within(questions.recv()).await.unwrap();
    api.assert_gone(&id).await;
    answer.send(()).unwrap();
    let (mut socket, _) = within(connecting).await.unwrap().unwrap();
    api.post(&id, "now").await.unwrap();
    assert_eq!(text(&mut socket).await, "now");
    api.event("CONNECT").await;
}

#[tokio::test]
async fn what_is_posted_before_the_socket_is_up_is_queued() {
    let mut api = serve(|_, _| ok()).await;
    // This client has not read the response to its handshake, so the test cannot know whether the socket is open.
    let mut client = TcpStream::connect(api.address).await.unwrap();
    let handshake = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(handshake.as_bytes()).await.unwrap();
    let event = api.event("CONNECT").await;
    let id = event["requestContext"]["connectionId"].as_str().unwrap();
    // 410 until `$connect` has responded, then never again.
    within(async { while api.post(id, "early").await.is_err() {} }).await;
    api.post(id, "second").await.unwrap();
    let mut head = Vec::new();
    within(async {
        use tokio::io::AsyncReadExt;
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
    })
    .await;
    let mut socket =
        WebSocketStream::from_raw_socket(MaybeTlsStream::Plain(client), tungstenite::protocol::Role::Client, None)
            .await;
    assert_eq!(text(&mut socket).await, "early");
    assert_eq!(text(&mut socket).await, "second");
}

#[tokio::test]
async fn a_client_that_leaves_during_the_handshake_is_disconnected_once() {
    let (asked, mut questions) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let mut api = serve(move |key, _| {
        if key != "$connect" {
            return ok();
        }
        let (answer, answered) = oneshot::channel();
        asked.send(answer).unwrap();
        async move {
            answered.await.unwrap();
            ok().await
        }
        .boxed()
    })
    .await;
    let connecting = tokio::spawn(connect_async(format!("ws://{}/", api.address)));
    let answer = within(questions.recv()).await.unwrap();
    connecting.abort();
    assert!(connecting.await.unwrap_err().is_cancelled());
    answer.send(()).unwrap();
    let event = api.event("CONNECT").await;
    assert_eq!(api.disconnected().await.0, 1006);
    api.assert_gone(event["requestContext"]["connectionId"].as_str().unwrap()).await;
    api.ends_without_another_event().await;
}

#[tokio::test]
async fn connections_can_be_read_and_deleted() {
    let mut api = serve(|_, _| ok()).await;
    let (mut socket, id) = api.connected().await;
    for stage in ["", "/dev"] {
        let management = api.management(stage);
        let connection = management.get_connection().connection_id(&id).send().await.unwrap();
        assert_eq!(connection.identity().unwrap().source_ip(), Some("127.0.0.1"));
        let (connected, active) = (connection.connected_at().unwrap(), connection.last_active_at().unwrap());
        assert!(active >= connected && connected.secs() > 1_700_000_000);
    }
    // Messages that were accepted earlier are sent before the close frame.
    api.post(&id, "last").await.unwrap();
    let management = api.management("");
    management.delete_connection().connection_id(&id).send().await.unwrap();
    api.assert_gone(&id).await;
    let error = management.get_connection().connection_id(&id).send().await.unwrap_err().into_service_error();
    assert!(error.is_gone_exception(), "{error:?}");
    let error = management.delete_connection().connection_id(&id).send().await.unwrap_err().into_service_error();
    assert!(error.is_gone_exception(), "{error:?}");
    assert_eq!(text(&mut socket).await, "last");
    assert_eq!(close_code(&mut socket).await, CloseCode::Normal);
    assert_eq!(api.disconnected().await.0, 1000);
    api.ends_without_another_event().await;
}

#[tokio::test]
async fn posts_are_limited_in_size() {
    let mut api = serve(|_, _| ok()).await;
    let (mut socket, id) = api.connected().await;
    let error = api.post(&id, vec![b'x'; MESSAGE_LIMIT + 1]).await.unwrap_err().into_service_error();
    assert!(error.is_payload_too_large_exception(), "{error:?}");
    api.post(&id, vec![b'x'; MESSAGE_LIMIT]).await.unwrap();
    assert_eq!(text(&mut socket).await.len(), MESSAGE_LIMIT);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_a_429_and_does_not_hold_up_others() {
    let options = WebSocketOptions {
        queue_length: 4,
        post_timeout: Duration::from_millis(20),
        close_timeout: Duration::from_millis(50),
        ..WebSocketOptions::default()
    };
    let mut api = serve_with(routes(), options, |_, _| ok()).await;
    let (_unread, full) = api.connected().await;
    let (mut read, other) = api.connected().await;
    let error = within(async {
        loop {
            if let Err(error) = api.post(&full, vec![b'x'; MESSAGE_LIMIT]).await {
                break error.into_service_error();
            }
        }
    })
    .await;
    assert!(error.is_limit_exceeded_exception(), "{error:?}");
    api.post(&other, "through").await.unwrap();
    assert_eq!(text(&mut read).await, "through");
    // A deletion also works for a client that does not read.
    api.management("").delete_connection().connection_id(&full).send().await.unwrap();
    api.assert_gone(&full).await;
    assert_eq!(api.disconnected().await.0, 1000);
}

#[tokio::test]
async fn a_request_that_is_not_signed_is_forbidden() {
    let mut api = serve(|_, _| ok()).await;
    let (mut socket, id) = api.connected().await;
    let url = format!("http://{}/@connections/{}", api.address, id.replace('=', "%3D"));
    let client = reqwest::Client::new();
    for request in
        [client.post(&url).body("x"), client.post(&url).header("authorization", "Bearer x"), client.get(&url)]
    {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(response.headers()["x-amzn-errortype"], "ForbiddenException");
        assert!(response.headers().contains_key("x-amzn-requestid"));
        assert_eq!(response.json::<Value>().await.unwrap(), json!({"message": "Forbidden"}));
    }
    let signed = client.post(format!("{url}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0")).body("presigned");
    assert_eq!(signed.send().await.unwrap().status(), 200);
    assert_eq!(text(&mut socket).await, "presigned");
    let error = api.management("/dev").get_connection().connection_id("unknown=").send().await.unwrap_err();
    assert_eq!(error.code(), Some("GoneException"));
}

#[tokio::test]
async fn stopping_closes_every_socket_and_runs_disconnect_for_each() {
    let ended = Arc::new(Mutex::new(HashSet::new()));
    let ending = Arc::clone(&ended);
    let mut api = serve(move |key, event| {
        let ending = Arc::clone(&ending);
        let is_end = key == "$disconnect";
        async move {
            if is_end {
                // A late response: the stop must wait for it.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                ending.lock().unwrap().insert(event["requestContext"]["connectionId"].to_string());
            }
            ok().await
        }
        .boxed()
    })
    .await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(api.connected().await.0);
    }
    let gateway = api.gateway.clone();
    let stopping = tokio::spawn(async move { gateway.shutdown(LONG).await });
    for socket in &mut sockets {
        assert_eq!(close_code(socket).await, CloseCode::Away);
        // The response to the close frame.
        assert!(within(socket.next()).await.is_none_or(|end| end.is_err()));
    }
    within(stopping).await.unwrap();
    assert_eq!(ended.lock().unwrap().len(), sockets.len());
    for _ in &sockets {
        assert_eq!(api.disconnected().await, (1001, "Going away".into()));
    }
    assert_eq!(api.events.try_recv().ok(), None);
    assert_eq!(refused(format!("ws://{}/", api.address)).await.0, 503);
}

#[tokio::test]
async fn a_thousand_sockets_each_get_their_own_message() {
    const SOCKETS: usize = 1_000;
    let mut api = serve(|_, _| ok()).await;
    let mut sockets = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        sockets.push(api.connected().await);
    }
    let client = reqwest::Client::new();
    let posts = sockets.iter().map(|(_, id)| {
        let url = format!("http://{}/@connections/{id}", api.address);
        let request = client.post(url).header("authorization", "AWS4-HMAC-SHA256 Credential=x").body(id.clone());
        async move { assert_eq!(request.send().await.unwrap().status(), 200) }
    });
    within(futures::stream::iter(posts).for_each_concurrent(32, |post| post)).await;
    for (socket, id) in &mut sockets {
        assert_eq!(text(socket).await, *id);
    }
}
