//! The REST gateway, over real connections, with closures for functions.

use std::{
    collections::BTreeMap,
    future::{Future, pending},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lambda_events::apigw::ApiGatewayProxyRequest;
use bytes::Bytes;
use emulator::{
    doors::{self, Door},
    lambda::{FunctionError, Invocation, Invoke, InvokeError},
    rest::{Gateway, PAYLOAD_LIMIT},
    stack::{GatewayResponse, Integration, Method, MockResponse, RestApi},
};
use futures::{FutureExt, future::BoxFuture};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

pub(crate) type Answer = BoxFuture<'static, Result<Invocation, InvokeError>>;

struct Functions<F>(F);

impl<F: Fn(&str, Value) -> Answer + Send + Sync + 'static> Invoke for Functions<F> {
    fn invoke(&self, function: &str, payload: Bytes) -> Answer {
        (self.0)(function, serde_json::from_slice(&payload).unwrap())
    }
}

pub(crate) fn succeeds(answer: impl Into<Bytes>) -> Answer {
    let invocation = Invocation { request_id: "r".into(), outcome: Ok(answer.into()) };
    async { Ok(invocation) }.boxed()
}

pub(crate) fn fails() -> Answer {
    let error = FunctionError { error_type: "Runtime.ExitError".into(), message: "exit status: 1".into() };
    async { Ok(Invocation { request_id: "r".into(), outcome: Err(error) }) }.boxed()
}

pub(crate) fn proxy(http_method: &str, path: &str, function: &str) -> Method {
    Method {
        resource_id: "res123".into(),
        path: path.into(),
        http_method: http_method.into(),
        integration: Integration::LambdaProxy { function: function.into(), timeout: Duration::from_secs(29) },
    }
}

pub(crate) fn strings(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn api(methods: Vec<Method>, gateway_responses: Vec<GatewayResponse>) -> RestApi {
    RestApi { id: "api123".into(), stage: "dev".into(), methods, gateway_responses }
}

pub(crate) async fn serve(api: RestApi, invoke: impl Fn(&str, Value) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let gateway = Gateway::new(api, "eu-west-1", "123456789012", Arc::new(Functions(invoke)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Door::pages_of([]);
    tokio::spawn(doors::serve(listener, door, doors::LIMITS, gateway.router(), CancellationToken::new()));
    address
}

/// Serves methods whose function answers with its name and the event it got.
pub(crate) async fn serve_echo(methods: Vec<Method>) -> SocketAddr {
    serve(api(methods, Vec::new()), |function, event| {
        let body = json!({"function": function, "event": event}).to_string();
        succeeds(json!({"statusCode": 200, "body": body}).to_string())
    })
    .await
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Response {
    Client::new().get(format!("http://{address}{path}")).send().await.unwrap()
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn assert_signed(response: &Response) {
    assert_eq!(header(response, "x-amzn-requestid").map(str::len), Some(36));
    assert_eq!(header(response, "x-amz-apigw-id").map(str::len), Some(16));
}

/// Sends bytes unchanged and returns the complete response.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_event_is_that_of_aws() {
    let address = serve_echo(vec![proxy("POST", "/channels/{channel_id}/messages", "send")]).await;
    let response = Client::new()
        .post(format!("http://{address}/dev/channels/a%2Fb%20c/messages?x=1&x=2&y=%26+z"))
        .header("user-agent", "test/1")
        .header("idempotency-key", "one")
        .header("idempotency-key", "two")
        .header("x-forwarded-for", "203.0.113.9")
        .body("{\"content\":\"hi\"}")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    assert_signed(&response);
    let request_id = header(&response, "x-amzn-requestid").unwrap().to_owned();
    let echoed: Value = response.json().await.unwrap();
    assert_eq!(echoed["function"], "send");
    let event = &echoed["event"];

    assert_eq!(event["resource"], "/channels/{channel_id}/messages");
    assert_eq!(event["path"], "/channels/a%2Fb%20c/messages");
    assert_eq!(event["pathParameters"], json!({"channel_id": "a%2Fb%20c"}));
    assert_eq!(event["queryStringParameters"], json!({"x": "2", "y": "& z"}));
    assert_eq!(event["multiValueQueryStringParameters"], json!({"x": ["1", "2"], "y": ["& z"]}));
    assert_eq!(event["headers"]["idempotency-key"], "two");
    assert_eq!(event["multiValueHeaders"]["idempotency-key"], json!(["one", "two"]));
    assert_eq!(event["headers"]["Host"], address.to_string());
    assert_eq!(event["headers"]["X-Forwarded-For"], "203.0.113.9, 127.0.0.1");
    assert_eq!(event["headers"]["X-Forwarded-Port"], address.port().to_string());
    assert_eq!(event["headers"]["X-Forwarded-Proto"], "http");
    assert!(event["headers"]["X-Amzn-Trace-Id"].as_str().unwrap().starts_with("Root=1-"));
    assert_eq!(event["stageVariables"], Value::Null);
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["body"], "{\"content\":\"hi\"}");
    let context = &event["requestContext"];
    assert_eq!(context["path"], "/dev/channels/a%2Fb%20c/messages");
    assert_eq!(context["protocol"], "HTTP/1.1");
    assert_eq!(context["identity"]["sourceIp"], "127.0.0.1");
    assert_eq!(context["identity"]["cognitoIdentityId"], Value::Null);
    assert_eq!(context["extendedRequestId"].as_str().unwrap().len(), 16);

    let event: ApiGatewayProxyRequest = serde_json::from_value(event.clone()).unwrap();
    let context = event.request_context;
    assert_eq!(event.http_method, "POST");
    assert_eq!(context.account_id.as_deref(), Some("123456789012"));
    assert_eq!(context.apiid.as_deref(), Some("api123"));
    assert_eq!(context.resource_id.as_deref(), Some("res123"));
    assert_eq!(context.resource_path.as_deref(), Some("/channels/{channel_id}/messages"));
    assert_eq!(context.stage.as_deref(), Some("dev"));
    assert_eq!(context.request_id.as_deref(), Some(&*request_id));
    assert_eq!(context.domain_name.as_deref(), Some("api123.execute-api.eu-west-1.amazonaws.com"));
    assert_eq!(context.identity.user_agent.as_deref(), Some("test/1"));
    assert!(context.request_time_epoch > 1_700_000_000_000);
    assert!(context.request_time.unwrap().ends_with(" +0000"));
}

#[tokio::test]
async fn what_is_absent_is_null() {
    let address = serve_echo(vec![proxy("GET", "/health", "health")]).await;
    for path in ["/health", "/dev/health", "/dev/health/"] {
        let event = get(address, path).await.json::<Value>().await.unwrap()["event"].take();
        for name in ["queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "body"] {
            assert_eq!(event.get(name), Some(&Value::Null), "{name} of {path}");
        }
        serde_json::from_value::<ApiGatewayProxyRequest>(event).unwrap();
    }
}

#[tokio::test]
async fn answers_reach_the_client_as_the_function_gave_them() {
    let address = serve(api(vec![proxy("ANY", "/{proxy+}", "f")], Vec::new()), |_, event| {
        succeeds(
            match event["path"].as_str().unwrap() {
                "/unauthorized" => json!({"statusCode": 401, "headers": {"WWW-Authenticate": "Bearer"}, "body": "no"}),
                "/cookies" => json!({
                    "statusCode": "201",
                    "headers": {"Content-Type": "text/plain", "x-one": 1},
                    "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
                    "body": "made",
                }),
                "/base64" => json!({"statusCode": 200, "body": "aGk=", "isBase64Encoded": true}),
                other => panic!("{other}"),
            }
            .to_string(),
        )
    })
    .await;

    let response = get(address, "/unauthorized").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "401 stays 401");
    assert_eq!(header(&response, "x-amzn-remapped-www-authenticate"), Some("Bearer"));
    assert_eq!(header(&response, "www-authenticate"), None);
    assert_eq!(response.text().await.unwrap(), "no");

    let response = get(address, "/cookies").await;
    assert_eq!((response.status(), header(&response, "x-one")), (StatusCode::CREATED, Some("1")));
    assert_eq!(header(&response, "content-type"), Some("text/plain"));
    assert_eq!(response.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);

    // The API has no binary media types.
    assert_eq!(get(address, "/base64").await.text().await.unwrap(), "aGk=");
}

#[tokio::test]
async fn failures_have_the_status_and_body_of_aws() {
    let methods = ["fails", "malformed", "throttled", "unknown", "too-large", "stopping"];
    let methods = methods.map(|name| proxy("GET", &format!("/{name}"), name)).into();
    let address = serve(api(methods, Vec::new()), |function, _| match function {
        "fails" => fails(),
        "malformed" => succeeds("{\"hello\":\"world\"}"),
        "throttled" => async { Err(InvokeError::Throttled) }.boxed(),
        "unknown" => async { Err(InvokeError::UnknownFunction("unknown".into())) }.boxed(),
        "too-large" => async { Err(InvokeError::PayloadTooLarge { size: 2, limit: 1 }) }.boxed(),
        _ => async { Err(InvokeError::Stopping) }.boxed(),
    })
    .await;
    for (path, status, message) in [
        ("/fails", 502, "Internal server error"),
        ("/malformed", 502, "Internal server error"),
        ("/throttled", 500, "Internal server error"),
        ("/unknown", 500, "Internal server error"),
        ("/stopping", 500, "Internal server error"),
        ("/too-large", 413, "Request Too Long"),
        ("/nowhere", 403, "Missing Authentication Token"),
        ("/dev/nowhere", 403, "Missing Authentication Token"),
        ("/", 403, "Missing Authentication Token"),
    ] {
        let response = get(address, path).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(header(&response, "content-type"), Some("application/json"), "{path}");
        assert!(header(&response, "x-amzn-errortype").is_some(), "{path}");
        assert_signed(&response);
        assert_eq!(response.json::<Value>().await.unwrap(), json!({"message": message}), "{path}");
    }
    let response = Client::new().post(format!("http://{address}/fails")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN, "a method that the resource does not have");
}

#[tokio::test]
async fn an_integration_that_takes_too_long_times_out_but_runs_on() {
    let (entered, mut has_entered) = tokio::sync::mpsc::unbounded_channel();
    let (dropped, has_dropped) = tokio::sync::oneshot::channel::<()>();
    let dropped = Mutex::new(Some(dropped));
    let mut method = proxy("GET", "/slow", "slow");
    method.integration = Integration::LambdaProxy { function: "slow".into(), timeout: Duration::from_millis(50) };
    let address = serve(api(vec![method], Vec::new()), move |_, _| {
        entered.send(()).unwrap();
        let running = dropped.lock().unwrap().take();
        async move {
            pending::<()>().await;
            drop(running);
            unreachable!()
        }
        .boxed()
    })
    .await;
    let response = get(address, "/slow").await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.json::<Value>().await.unwrap(), json!({"message": "Endpoint request timed out"}));
    has_entered.recv().await.unwrap();
    assert!(has_dropped.now_or_never().is_none(), "the function was interrupted");
}

fn own_response(response_type: &str, status_code: Option<u16>, template: &str) -> GatewayResponse {
    GatewayResponse {
        response_type: response_type.into(),
        status_code,
        headers: strings(&[("Access-Control-Allow-Origin", "*"), ("Content-Type", "application/problem+json")]),
        templates: strings(&[("application/json", template)]),
    }
}

#[tokio::test]
async fn the_apis_own_gateway_responses_come_before_the_defaults() {
    let mut slow = proxy("GET", "/slow", "slow");
    slow.integration = Integration::LambdaProxy { function: "slow".into(), timeout: Duration::from_millis(20) };
    let responses = vec![
        own_response(
            "DEFAULT_4XX",
            None,
            r#"{"detail":"$context.error.responseType","message":$context.error.messageString}"#,
        ),
        own_response(
            "MISSING_AUTHENTICATION_TOKEN",
            Some(404),
            r#"{"status":404,"instance":"$context.requestId","detail":"$context.error.message"}"#,
        ),
        own_response("DEFAULT_5XX", None, r#"{"detail":"$context.error.responseType"}"#),
        own_response("INTEGRATION_TIMEOUT", Some(504), r#"{"status":504}"#),
    ];
    let methods = vec![slow, proxy("GET", "/fails", "fails"), proxy("POST", "/fails", "fails")];
    let address = serve(api(methods, responses), |function, _| match function {
        "slow" => pending().boxed(),
        _ => fails(),
    })
    .await;

    let response = get(address, "/nowhere").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
    assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
    let instance = header(&response, "x-amzn-requestid").unwrap().to_owned();
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"status": 404, "instance": instance, "detail": "Missing Authentication Token"})
    );

    let response = get(address, "/slow").await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.json::<Value>().await.unwrap(), json!({"status": 504}));

    let response = get(address, "/fails").await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.json::<Value>().await.unwrap(), json!({"detail": "INTEGRATION_FAILURE"}));

    let too_long = vec![b' '; PAYLOAD_LIMIT + 1];
    let response = Client::new().post(format!("http://{address}/fails")).body(too_long).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"detail": "REQUEST_TOO_LARGE", "message": "Request Too Long"})
    );
}

#[tokio::test]
async fn a_payload_of_ten_megabytes_passes() {
    let address = serve(api(vec![proxy("POST", "/", "f")], Vec::new()), |_, event| {
        let size = event["body"].as_str().unwrap().len();
        succeeds(json!({"statusCode": 200, "body": size.to_string()}).to_string())
    })
    .await;
    let at_limit = vec![b' '; PAYLOAD_LIMIT];
    let response = Client::new().post(format!("http://{address}/")).body(at_limit).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), PAYLOAD_LIMIT.to_string());
}

#[tokio::test]
async fn mocks_answer_by_their_templates() {
    let mock = |http_method: &str, status_code: u16, headers: &[(&str, &str)], template: Option<&str>| Method {
        resource_id: "res".into(),
        path: "/channels".into(),
        http_method: http_method.into(),
        integration: Integration::Mock {
            request_templates: strings(&[("application/json", &format!("{{\"statusCode\": {status_code}}}"))]),
            responses: vec![
                MockResponse { status_code: 299, headers: BTreeMap::new(), templates: BTreeMap::new() },
                MockResponse {
                    status_code,
                    headers: strings(headers),
                    templates: template.map(|t| strings(&[("application/problem+json", t)])).unwrap_or_default(),
                },
            ],
        },
    };
    let mut unmatched = mock("PATCH", 200, &[], None);
    if let Integration::Mock { responses, .. } = &mut unmatched.integration {
        responses.pop();
    }
    let methods = vec![
        mock("OPTIONS", 204, &[("Access-Control-Allow-Methods", "GET,OPTIONS")], None),
        mock(
            "ANY",
            405,
            &[("Allow", "GET, OPTIONS")],
            Some(r#"{"status":405,"instance":"$context.requestId","method":"$context.httpMethod"}"#),
        ),
        unmatched,
    ];
    let address = serve(api(methods, Vec::new()), |_, _| panic!("a mock runs no function")).await;
    let url = format!("http://{address}/dev/channels");
    let send = |http_method: &str, content_type: &str| {
        let request = Client::new().request(http_method.parse().unwrap(), &url).header("content-type", content_type);
        async { request.send().await.unwrap() }
    };

    let response = Client::new().request("OPTIONS".parse().unwrap(), &url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&response, "access-control-allow-methods"), Some("GET,OPTIONS"));
    assert_signed(&response);

    let response = send("DELETE", "application/json; charset=utf-8").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
    assert_eq!(header(&response, "allow"), Some("GET, OPTIONS"));
    let instance = header(&response, "x-amzn-requestid").unwrap().to_owned();
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"status": 405, "instance": instance, "method": "DELETE"})
    );

    assert_eq!(send("DELETE", "text/plain").await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(send("PATCH", "application/json").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn bad_input_is_answered_and_never_with_a_5xx() {
    let address = serve_echo(vec![proxy("ANY", "/{proxy+}", "f"), proxy("ANY", "/", "root")]).await;
    let close = "connection: close\r\n";
    for (request, status) in [
        ("GET /%zz%ff%00?%=%zz&&&%ff HTTP/1.1\r\nhost: localhost\r\n", 200),
        ("BREW /pot HTTP/1.1\r\nhost: localhost\r\n", 200),
        ("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n", 200),
        ("GET //// HTTP/1.1\r\nhost: localhost\r\n", 200),
        ("GET /x HTTP/1.0\r\nhost: localhost\r\n", 200),
        ("GET /x HTTP/1.0\r\n", 400),
        ("GET http://localhost/x HTTP/1.1\r\nhost: localhost\r\n", 200),
        ("GET http://elsewhere/x HTTP/1.1\r\nhost: localhost\r\n", 403),
        ("GET /x HTTP/1.1\r\nhost: a b\r\n", 400),
        ("GET /x HTTP/1.1\r\nhost: localhost:99999\r\n", 400),
        ("GET /x HTTP/1.1\r\nhost: localhost\r\nhost: i\r\n", 400),
        ("POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: nonsense\r\n", 400),
        ("POST /x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n", 400),
        ("nonsense\r\n", 400),
    ] {
        let bad_chunk = if request.contains("chunked") { "zz\r\n" } else { "" };
        let answer = raw(address, format!("{request}{close}\r\n{bad_chunk}").as_bytes()).await;
        let (_, after) = answer.split_once(' ').unwrap_or_else(|| panic!("no answer to {request:?}"));
        assert_eq!(after[..3].parse::<u16>().unwrap(), status, "{request:?}: {answer}");
    }
    let answer =
        raw(address, b"GET /x HTTP/1.1\r\nhost: localhost\r\nx-bytes: \xff\xfe\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body = Client::new().post(format!("http://{address}/x")).body(vec![0xff, 0x00]).send().await.unwrap();
    assert_eq!(body.json::<Value>().await.unwrap()["event"]["body"], "\u{fffd}\u{0}");
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_function() {
    let (started, mut has_started) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = tokio::sync::watch::channel(false);
    let (ended, mut has_ended) = tokio::sync::mpsc::unbounded_channel();
    let address = serve(api(vec![proxy("GET", "/", "f")], Vec::new()), move |_, _| {
        started.send(()).unwrap();
        let (mut released, ended) = (released.clone(), ended.clone());
        async move {
            released.wait_for(|released| *released).await.unwrap();
            ended.send(()).unwrap();
            succeeds("{\"statusCode\":200}").await
        }
        .boxed()
    })
    .await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    has_started.recv().await.unwrap();
    client.shutdown().await.unwrap();
    within(Duration::from_mins(1), async {
        // The end of the stream shows that the gateway has dropped the request.
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        release.send(true).unwrap();
        has_ended.recv().await.expect("the function was interrupted");
    })
    .await;
}

async fn within<T>(limit: Duration, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, what).await.expect("it takes too long")
}
