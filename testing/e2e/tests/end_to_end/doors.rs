//! The listeners of a run: responses to a page of another site in the same browser, to programs, and to the run's own
//! page.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
};

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, stream, stream::FuturesUnordered};
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    programs::{functions, runner},
    stack::{PATIENCE, SIGNATURE, Socket, Stack, answered, until},
};

/// Returns every port that a process listens on, with its number of unaccepted connections (`/proc/net/tcp`, proc(5)).
fn listening(process: u32) -> BTreeMap<u16, usize> {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
    let sockets: BTreeSet<String> = files
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut ports = BTreeMap::new();
    for table in ["tcp", "tcp6"] {
        for line in std::fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default().lines().skip(1)
        {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, queues, inode) = (fields[1], fields[3], fields[4], fields[9]);
            if state != "0A" || !sockets.contains(inode) {
                continue;
            }
            let (address, port) = local.split_once(':').unwrap();
            assert_eq!(address, "0100007F", "port {port} is open to other machines");
            let waiting = usize::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap();
            ports.insert(u16::from_str_radix(port, 16).unwrap(), waiting);
        }
    }
    ports
}

/// Ports in the ready file.
const NAMED: [&str; 8] = ["rest", "websocket", "dynamodb", "lambda", "sqs", "logs", "otlp", "page"];

fn port_of(stack: &Stack, name: &str) -> u16 {
    stack.address(name).rsplit(':').next().unwrap().parse().unwrap()
}

/// Sends a request as bytes, and returns the complete response, after which the connection is closed.
async fn raw(port: u16, request: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The server may respond and close the connection before the request is complete.
    let _ = connection.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str, host: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = headers.concat();
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}{length}\r\n{body}")
}

type Header = (&'static str, String);

/// A request to a port: method, path, headers in addition to those of a browser, body.
type Wish = (&'static str, String, Vec<Header>, &'static str);

fn wishes(token: &str) -> Vec<Wish> {
    let bearer = ("authorization", format!("Bearer {token}"));
    let signature = ("authorization", SIGNATURE.to_owned());
    let json = ("content-type", "application/json".to_owned());
    let amz = ("content-type", "application/x-amz-json-1.0".to_owned());
    let scan = ("x-amz-target", "DynamoDB_20120810.Scan".to_owned());
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let upgrade: Vec<_> = upgrade.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    vec![
        ("GET", "/channels/lobby/messages".to_owned(), vec![bearer.clone()], ""),
        ("POST", "/channels/lobby/messages".to_owned(), vec![bearer, json.clone()], r#"{"content":"forged"}"#),
        ("GET", format!("/?channels=lobby&token={token}"), upgrade, ""),
        ("POST", "/".to_owned(), vec![signature.clone(), amz, scan], r#"{"TableName":"chat_events"}"#),
        ("POST", "/2015-03-31/functions/Maintenance/invocations".to_owned(), vec![signature.clone()], "{}"),
        ("POST", "/@connections/abc".to_owned(), vec![signature], "forged"),
        ("GET", "/2018-06-01/runtime/invocation/next".to_owned(), vec![], ""),
        ("POST", "/2018-06-01/runtime/init/error".to_owned(), vec![], "{}"),
        ("POST", "/v1/traces".to_owned(), vec![json.clone()], r#"{"resourceSpans":[]}"#),
        ("POST", "/token".to_owned(), vec![json], r#"{"user":"alice"}"#),
        ("GET", "/config.json".to_owned(), vec![], ""),
    ]
}

/// A cross-origin request of a browser: its kind, a fixed method if it has one, the host, and the added headers.
type Attack = (&'static str, Option<&'static str>, String, Vec<Header>);

fn attacks(own: u16, page: u16) -> Vec<Attack> {
    const EVIL: &str = "https://evil.example";
    let host = format!("127.0.0.1:{own}");
    let fetched = |origin: &str, site: &str, mode: &str| {
        let headers = [("origin", origin), ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
        headers.map(|(name, value)| (name, value.to_owned())).to_vec()
    };
    let preflight = |origin: &str| {
        let mut headers = fetched(origin, "cross-site", "cors");
        headers.push(("access-control-request-method", "POST".to_owned()));
        headers.push(("access-control-request-headers", "authorization,content-type,x-amz-target".to_owned()));
        headers
    };
    let with_type = |kind: &str, mode: &str| {
        let mut headers = fetched(EVIL, "cross-site", mode);
        headers.push(("content-type", kind.to_owned()));
        headers
    };
    let only = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let rebound = format!("evil.example:{own}");
    let rebound_prefix = format!("localhost.evil.example:{own}");
    vec![
        ("fetch with CORS", None, host.clone(), fetched(EVIL, "cross-site", "cors")),
        ("preflight", Some("OPTIONS"), host.clone(), preflight(EVIL)),
        ("preflight of a sandboxed frame", Some("OPTIONS"), host.clone(), preflight("null")),
        ("fetch without CORS", Some("POST"), host.clone(), with_type("text/plain;charset=UTF-8", "no-cors")),
        ("form", Some("POST"), host.clone(), with_type("application/x-www-form-urlencoded", "navigate")),
        ("form of text", Some("POST"), host.clone(), with_type("text/plain", "navigate")),
        ("form with parts", Some("POST"), host.clone(), with_type("multipart/form-data; boundary=x", "navigate")),
        ("image", Some("GET"), host.clone(), only("sec-fetch-site", "cross-site")),
        ("socket", None, host.clone(), fetched(EVIL, "cross-site", "websocket")),
        ("an older browser", None, host.clone(), only("origin", EVIL)),
        ("sandboxed frame", None, host.clone(), fetched("null", "cross-site", "cors")),
        ("a file", None, host.clone(), fetched("file://", "cross-site", "cors")),
        (
            "a name that begins alike",
            None,
            host.clone(),
            only("origin", &format!("http://localhost.evil.example:{page}")),
        ),
        ("another port", None, host.clone(), fetched("http://127.0.0.1:5173", "same-site", "cors")),
        ("another port by name", None, host.clone(), fetched("http://localhost:5173", "cross-site", "cors")),
        ("the page's port with TLS", None, host, only("origin", &format!("https://127.0.0.1:{page}"))),
        ("rebinding", None, rebound.clone(), fetched(&format!("http://{rebound}"), "same-origin", "cors")),
        ("rebinding without an origin", None, rebound, only("sec-fetch-site", "same-origin")),
        ("rebinding of an older browser", None, rebound_prefix, vec![]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_gets_nothing_from_any_port() {
    let stack = Stack::secretive(&["--in-memory"], &[]);
    let token = stack.mint("alice");
    let said = json!({ "content": "private" });
    let sent = stack.bearing(&token, Method::POST, "/channels/lobby/messages").json(&said);
    assert_eq!(answered(sent).await.0, 201);
    until("the reply", async || history(&stack, &token).await.len() == 2).await;

    let (doors, page) = (doors_of(&stack).await, port_of(&stack, "page"));
    let mut tries = 0;
    for port in &doors {
        for (attack, forced, host, of_browser) in attacks(*port, page) {
            for (method, path, own, body) in wishes(&token) {
                let headers: Vec<(&str, &str)> =
                    of_browser.iter().chain(&own).map(|(name, value)| (*name, value.as_str())).collect();
                let answer = raw(*port, &request(forced.unwrap_or(method), &path, &host, &headers, body)).await;
                let (head, told) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
                let head = head.to_ascii_lowercase();
                let tried = format!("{attack}: {method} {path} on {port}: {answer}");
                assert!(head.starts_with("http/1.1 403 "), "{tried}");
                assert!(!head.contains("access-control") && !head.contains("sec-websocket-accept"), "{tried}");
                assert!(!told.contains("private") && !told.contains(&token), "{tried}");
                tries += 1;
            }
        }
    }
    assert!(tries > 2_000, "{tries}");
    // The requests had no effect, and everything works.
    let again = stack.bearing(&token, Method::POST, "/channels/lobby/messages").json(&said);
    assert_eq!(answered(again).await.1["seq"], 3);
    stack.stop();
}

/// Returns every port of the run that accepts connections. Each receives a request that it rejects.
async fn doors_of(stack: &Stack) -> Vec<u16> {
    // This request starts the engine's server.
    stack.dynamodb().await.list_tables().send().await.unwrap();
    // Running functions have a port each.
    let ports: Vec<u16> = listening(stack.runner.id()).into_keys().collect();
    let named = NAMED.map(|name| port_of(stack, name));
    assert!(named.iter().all(|port| ports.contains(port)), "{named:?} {ports:?}");
    assert!(ports.len() > named.len() + 2, "the functions' DynamoDB, the engine's server and Runtime APIs: {ports:?}");
    let asked = ports.iter().map(|port| async move {
        let request = request("GET", "/", &format!("127.0.0.1:{port}"), &[("origin", "null")], "");
        (*port, raw(*port, &request).await)
    });
    let mut answers: FuturesUnordered<_> = asked.collect();
    let mut doors = Vec::new();
    // The engine's server accepts no connection, so a request there waits. All others respond.
    while answers.len() > 1 {
        let (port, answer) =
            timeout(PATIENCE, answers.next()).await.expect("an answer from all ports but one").unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{port}: {answer}");
        doors.push(port);
    }
    let deaf = ports.iter().find(|port| !doors.contains(port)).unwrap();
    assert!(!named.contains(deaf));
    assert_eq!(listening(stack.runner.id())[deaf], 1, "the connection still waits to be accepted");
    doors
}

async fn history(stack: &Stack, token: &str) -> Vec<Value> {
    let (_, page) = answered(stack.bearing(token, Method::GET, "/channels/lobby/messages")).await;
    page["messages"].as_array().cloned().unwrap_or_default()
}

/// Returns the status of a handshake that a page of this origin begins.
async fn handshake_from(stack: &Stack, origin: &str, token: &str) -> Result<Socket, StatusCode> {
    let url = format!("{}/?channels=lobby", stack.address("websocket"));
    let pair = format!("bearer, {token}");
    let headers = [("origin", origin), ("sec-websocket-protocol", pair.as_str())];
    stack.handshake(&url, &headers).await.map(|(socket, _)| socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_page_and_named_origins_reach_the_two_apis_and_no_more() {
    const FRONT_END: &str = "http://localhost:5173";
    let stack = Stack::secretive(&["--in-memory", "--allow-origin", FRONT_END], &[]);
    let token = stack.mint("alice");
    let page = stack.address("page").to_owned();
    let by_name = page.replace("127.0.0.1", "localhost");
    for origin in [page.as_str(), &by_name, FRONT_END] {
        let headers =
            |request: reqwest::RequestBuilder| request.header("origin", origin).header("sec-fetch-site", "same-site");
        let preflight = stack
            .anonymous(Method::OPTIONS, "/channels/lobby/messages")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        let preflight = headers(preflight).send().await.unwrap();
        assert!(preflight.status().is_success(), "{origin}: {preflight:?}");
        // The template's headers, for all accepted origins.
        assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
        let list = headers(stack.bearing(&token, Method::GET, "/channels/lobby/messages")).send().await.unwrap();
        assert_eq!(
            (list.status(), &list.headers()["access-control-allow-origin"]),
            (StatusCode::OK, &"*".parse().unwrap())
        );
        assert!(!handshake_from(&stack, origin, &token).await.unwrap().id().await.is_empty());
    }
    for origin in ["http://localhost:5174", "https://localhost:5173", "null"] {
        let refused = stack.bearing(&token, Method::GET, "/channels").header("origin", origin).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{origin}");
        assert_eq!(handshake_from(&stack, origin, &token).await.err(), Some(StatusCode::FORBIDDEN), "{origin}");
    }
    // The front end gets its token from the developer and calls no other port.
    let http = crate::raw::http();
    let mut elsewhere: Vec<String> =
        ["dynamodb", "lambda", "sqs", "logs", "otlp"].iter().map(|name| stack.address(name).to_owned()).collect();
    elsewhere.push(format!("{page}/token"));
    elsewhere.push(format!("{}/@connections/abc", stack.address("management")));
    for url in elsewhere {
        let request = http.post(&url).header("origin", FRONT_END).header("authorization", SIGNATURE);
        let response = request.json(&json!({ "user": "alice" })).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{url}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{url}");
    }
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_reach_each_port_and_aws_apis_want_a_signature() {
    let stack = Stack::secretive(&["--in-memory"], &[]);
    let tables = stack.dynamodb().await;
    let names = tables.list_tables().send().await.unwrap();
    assert!(names.table_names().contains(&"chat_events".to_owned()));
    let key = [("channel_id", "lobby"), ("sk", "meta")]
        .map(|(name, value)| (name.to_owned(), AttributeValue::S(value.into())));
    let item = tables.get_item().table_name("chat_channels").set_key(Some(key.into())).send().await.unwrap();
    assert!(item.item().is_some());
    // DynamoDB's own error message, from the engine's server.
    let error =
        tables.get_item().table_name("nothing").key("a", AttributeValue::S("b".into())).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());

    let http = crate::raw::http();
    let health = http.get(stack.address("dynamodb")).send().await.unwrap();
    assert!(health.text().await.unwrap().starts_with("healthy"));
    let scan = |headers: &[(&'static str, &str)]| {
        let mut request = http.post(stack.address("dynamodb")).header("x-amz-target", "DynamoDB_20120810.Scan");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(r#"{"TableName":"chat_events"}"#)
    };
    let amz = ("content-type", "application/x-amz-json-1.0");
    let (status, unsigned) = answered(scan(&[amz])).await;
    assert_eq!(status, 400);
    assert!(unsigned["__type"].as_str().unwrap().contains("MissingAuthenticationToken"), "{unsigned}");
    let date = ("x-amz-date", "20260101T000000Z");
    assert_eq!(answered(scan(&[amz, date, ("authorization", SIGNATURE)])).await.0, 200);
    let as_text = answered(scan(&[("content-type", "text/plain"), date, ("authorization", SIGNATURE)])).await;
    assert_eq!(as_text.0, 404);

    for (port, path) in [
        ("lambda", "/2015-03-31/functions/Maintenance/invocations"),
        ("sqs", "/"),
        ("logs", "/"),
        ("management", "/@connections/a"),
    ] {
        let url = format!("{}{path}", stack.address(port));
        let (status, refused) = answered(http.post(&url).body("{}")).await;
        assert_eq!(status, 403, "{url}: {refused}");
        let (status, _) = answered(http.post(&url).header("authorization", SIGNATURE).body("{}")).await;
        assert_ne!(status, 403, "{url}");
    }
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_sent_by_half_are_left() {
    let stack = Stack::secretive(&["--in-memory"], &[("SWITCHBOARD_LOCAL_REQUEST_SECONDS", "5")]);
    let token = stack.mint("alice");
    let send = |content: &str| {
        let body = json!({ "content": content });
        stack.bearing(&token, Method::POST, "/channels/lobby/messages").json(&body)
    };
    assert_eq!(answered(send("before")).await.0, 201);
    let ports = doors_of(&stack).await;
    let headers: &[(&str, &str)] = &[("authorization", SIGNATURE), ("content-type", "application/json")];
    let half = |port: u16, path: &str| {
        let whole = request("POST", path, &format!("127.0.0.1:{port}"), headers, r#"{"content":"half"}"#);
        let head = whole[..whole.find("content-length").unwrap()].to_owned();
        (head, whole[..whole.len() - 5].to_owned())
    };
    let mut tried: Vec<(u16, String)> = ports.iter().map(|port| (*port, half(*port, "/").0)).collect();
    // A Runtime API waits for a function's response for as long as the function may run.
    let paths = [
        "/channels/lobby/messages",
        "/@connections/abc",
        "/",
        "/2015-03-31/functions/Maintenance/invocations",
        "/",
        "/",
        "/v1/traces",
        "/token",
    ];
    for (name, path) in NAMED.iter().zip(paths) {
        let port = port_of(&stack, name);
        tried.push((port, half(port, path).1));
    }
    // Twenty of each at once. None of them blocks other clients.
    let all = tried.iter().cycle().take(tried.len() * 20);
    let ended = stream::iter(all).map(async |(port, half)| {
        let answer = timeout(PATIENCE, raw(*port, half)).await.unwrap_or_else(|_| panic!("{port} waits for {half:?}"));
        assert!(answer.starts_with("HTTP/1.1 408 "), "{port}: {half:?}: {answer}");
    });
    let ended = ended.buffer_unordered(usize::MAX).collect::<Vec<()>>();
    let meanwhile = async {
        for number in 0..5 {
            assert_eq!(answered(send(&format!("meanwhile {number}"))).await.0, 201);
        }
    };
    tokio::join!(ended, meanwhile);
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_has_a_secret_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let kept = ["--data-dir", data.to_str().unwrap()];
    let (stack, other) = (Stack::secretive(&kept, &[]), Stack::secretive(&["--in-memory"], &[]));
    let (alice, theirs) = (stack.mint("alice"), other.mint("alice"));
    let accepts = async |stack: &Stack, token: &str| answered(stack.bearing(token, Method::GET, "/channels")).await.0;
    let known = crate::stack::token_of("alice");
    for (stack, good, bad) in [(&stack, &alice, &theirs), (&other, &theirs, &alice)] {
        assert_eq!(accepts(stack, good).await, 200);
        assert_eq!(accepts(stack, bad).await, 401, "a token of another run");
        assert_eq!(accepts(stack, &known).await, 401, "a token signed with the public secret");
        assert!(stack.connect(good, "?channels=lobby").await.is_ok());
        assert_eq!(stack.connect(&known, "?channels=lobby").await.err(), Some(StatusCode::UNAUTHORIZED));
        // The page's tokens are those of its run.
        let token = stack.http.post(format!("{}/token", stack.address("page")));
        let (_, minted) = answered(token.json(&json!({ "user": "bob" }))).await;
        assert_eq!(accepts(stack, minted["token"].as_str().unwrap()).await, 200);
    }
    // Other users may read the ready file.
    let ready = std::fs::read_to_string(stack.ready_file()).unwrap();
    let secret = std::fs::read_to_string(data.join("secret")).unwrap();
    assert!(!ready.contains(secret.trim()));
    let mode = |file: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(data.join(file)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("secret"), mode("")), (0o600, 0o700));
    // The secret persists: tokens stay valid after a restart, also after a kill.
    stack.kill();
    let by_directory = token_for(&kept).await.unwrap();
    let stack = Stack::secretive(&kept, &[]);
    assert_eq!((accepts(&stack, &alice).await, accepts(&stack, &by_directory).await), (200, 200));
    assert_eq!(accepts(&stack, &token_for(&kept).await.unwrap()).await, 200);
    let error = token_for(&["--data-dir", directory.path().to_str().unwrap()]).await.unwrap_err();
    assert!(error.contains("--data-dir") && error.contains(directory.path().to_str().unwrap()), "{error}");
    let ready_file = stack.ready_file();
    let named = token_for(&["--ready-file", ready_file.to_str().unwrap()]).await.unwrap();
    assert_eq!(accepts(&stack, &named).await, 200);
    let copy = directory.path().join("ready.json");
    std::fs::copy(&ready_file, &copy).unwrap();
    stack.stop();
    let error = token_for(&["--ready-file", copy.to_str().unwrap()]).await.unwrap_err();
    assert!(error.contains("has ended"), "{error}");
    other.stop();
}

/// Returns the output of `token` for alice, or its error.
async fn token_for(options: &[&str]) -> Result<String, String> {
    let output = tokio::process::Command::from(runner()).args(["token", "--user", "alice"]).args(options).output();
    let output = timeout(PATIENCE, output).await.expect("it ends by itself").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_of_the_template_may_be_the_secret() {
    let stack = Stack::in_memory();
    // `Stack::in_memory` uses a secret that all tests know.
    let token = token_for(&["--ready-file", stack.ready_file().to_str().unwrap()]).await.unwrap();
    for token in [token, crate::stack::token_of("alice")] {
        assert_eq!(answered(stack.bearing(&token, Method::GET, "/channels")).await.0, 200);
    }
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_killed_is_in_no_later_starts_way() {
    for stage in ["lock", "dynamodb.sqlite.new", "dynamodb.sqlite", "secret.new", "secret", "queues"] {
        let directory = tempfile::tempdir().unwrap();
        let free = ["--rest-port", "0", "--websocket-port", "0", "--dynamodb-port", "0", "--page-port", "0"];
        let mut command = runner();
        command.arg("--bin-dir").arg(functions());
        let mut killed =
            command.args(free).arg("--data-dir").arg(directory.path()).stderr(Stdio::null()).spawn().unwrap();
        // Some stages are short; the next file shows that the stage is over.
        let after = ["secret", "queues"].map(|file| directory.path().join(file));
        let reached = directory.path().join(stage);
        let began = std::time::Instant::now();
        while !reached.exists() && !after.iter().any(|file| file.exists()) {
            assert!(began.elapsed() < PATIENCE, "{stage} is never reached");
            std::thread::yield_now();
        }
        killed.kill().unwrap();
        killed.wait().unwrap();
        let stack = Stack::secretive(&["--data-dir", directory.path().to_str().unwrap()], &[]);
        let token = stack.mint("alice");
        assert_eq!(answered(stack.bearing(&token, Method::GET, "/channels/lobby")).await.0, 200, "{stage}");
        stack.stop();
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().flatten().map(|file| file.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_str().unwrap().contains(".new")), "{stage}: {left:?}");
    }
}
