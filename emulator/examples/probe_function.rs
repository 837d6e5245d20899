//! A real function for the tests of the local Lambda, which performs the action in its event.
//!
//! With arguments it is a runner instead, for the test that kills one.

use std::{
    collections::BTreeMap,
    env,
    io::Write,
    net::TcpStream,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use emulator::{
    lambda::{Invoke, Lambda, LambdaConfig, Queues, guardian_main},
    stack::{AsyncInvoke, Function},
};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Error> {
    guardian_main();
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [control, queues] = arguments.as_slice() {
        return run_functions(control, queues).await;
    }
    match env::var("PROBE_INIT").as_deref() {
        Ok("exit") => process::exit(3),
        Ok("hang") => std::future::pending::<()>().await,
        Ok("error") => report_init_error().await?,
        _ => {}
    }
    if let Ok(witness) = env::var("PROBE_GRACEFUL") {
        lambda_runtime::spawn_graceful_shutdown_handler(move || async move {
            if let Ok(mut witness) = TcpStream::connect(witness) {
                let _ = writeln!(witness, "goodbye {}", process::id());
            }
        })
        .await;
    }
    if let Ok(meeting) = env::var("PROBE_EXTENSION") {
        extend(meeting).await?;
    }
    lambda_runtime::run(service_fn(handle)).await
}

/// Registers an internal extension that connects to a meeting on each invocation, and fails on request.
async fn extend(meeting: String) -> Result<(), Error> {
    let work = lambda_extension::service_fn(move |event: lambda_extension::LambdaEvent| {
        let meeting = meeting.clone();
        async move {
            let lambda_extension::NextEvent::Invoke(invocation) = event.next else { return Ok(()) };
            let mut stream = tokio::net::TcpStream::connect(meeting).await?;
            stream.write_all(format!("{} {}\n", invocation.request_id, process::id()).as_bytes()).await?;
            match stream.read_u8().await? {
                b'.' => Ok(()),
                _ => Err::<(), Error>("as told".into()),
            }
        }
    });
    let extension = lambda_extension::Extension::new()
        .with_extension_name("probe-extension")
        .with_events(&["INVOKE"])
        .with_events_processor(work)
        .register()
        .await?;
    tokio::spawn(extension.run());
    Ok(())
}

static INVOCATIONS: AtomicU64 = AtomicU64::new(0);

async fn handle(LambdaEvent { payload, context }: LambdaEvent<Value>) -> Result<Value, Error> {
    let invocation = INVOCATIONS.fetch_add(1, Ordering::Relaxed) + 1;
    let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
    match text("do").as_str() {
        "fail" => return Err(text("message").into()),
        "panic" => panic!("as told"),
        "exit" => process::exit(7),
        "hang" => std::future::pending::<()>().await,
        "big" => return Ok(json!("x".repeat(usize::try_from(payload["bytes"].as_u64().unwrap_or(0))?))),
        "environment" => return Ok(json!(env::vars().collect::<BTreeMap<_, _>>())),
        // Reports to the test that it runs, and waits until the test releases it.
        "meet" => {
            let mut meeting = tokio::net::TcpStream::connect(text("at")).await?;
            meeting.write_all(format!("{} {}\n", text("name"), process::id()).as_bytes()).await?;
            meeting.read_u8().await?;
        }
        // A connection that lasts as long as the process.
        "hold" => {
            let mut held = TcpStream::connect(text("at"))?;
            writeln!(held, "held {}", process::id())?;
            std::mem::forget(held);
            if payload["forever"] == true {
                std::future::pending::<()>().await;
            }
        }
        _ => {}
    }
    let remaining = context.deadline().duration_since(std::time::SystemTime::now()).unwrap_or_default();
    Ok(json!({
        "event": payload,
        "invocation": invocation,
        "pid": process::id(),
        "request_id": context.request_id,
        "arn": context.invoked_function_arn,
        "trace_id": context.xray_trace_id,
        "remaining_ms": u64::try_from(remaining.as_millis())?,
    }))
}

async fn report_init_error() -> Result<(), Error> {
    let api = env::var("AWS_LAMBDA_RUNTIME_API")?;
    reqwest::Client::new()
        .post(format!("http://{api}/2018-06-01/runtime/init/error"))
        .json(&json!({ "errorType": "Probe.NoConfiguration", "errorMessage": "nothing works", "stackTrace": [] }))
        .send()
        .await?
        .error_for_status()?;
    process::exit(1);
}

/// Runs two environments, an idle one and a busy one, until it is killed.
async fn run_functions(control: &str, queues: &str) -> Result<(), Error> {
    let executable = env::current_exe()?;
    let function = Function {
        logical_id: "ProbeFunction".into(),
        name: "probe".into(),
        arn: "arn:aws:lambda:eu-west-1:123456789012:function:probe".into(),
        binary: "probe_function".into(),
        timeout: Duration::from_mins(10),
        memory_mb: 128,
        environment: BTreeMap::new(),
        reserved_concurrency: None,
        log_group: "/aws/lambda/probe".into(),
        async_invoke: AsyncInvoke::default(),
    };
    let binaries = BTreeMap::from([("probe_function".to_owned(), executable)]);
    let mut config = LambdaConfig::new(vec![function], binaries, "eu-west-1", Arc::new(Queues::open(queues)?));
    config.pending_dir = Some(format!("{queues}/pending").into());
    let lambda = Lambda::new(config)?;
    let hold = |forever: bool| json!({ "do": "hold", "at": control, "forever": forever }).to_string().into();
    let (_, idle) = tokio::join!(lambda.invoke_async("probe", hold(true)), lambda.invoke("probe", hold(false)));
    idle?.outcome?;
    std::future::pending().await
}
