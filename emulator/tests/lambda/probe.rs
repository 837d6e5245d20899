//! Helpers of the tests of the local Lambda.

use std::{collections::BTreeMap, env, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use emulator::{
    lambda::{FunctionError, Invocation, InvokeError, Lambda, LambdaConfig, OnFailure},
    quotas::Quotas,
    stack::{AsyncInvoke, Function},
};
use rustix::process::{Pid, Signal, getpgid, kill_process};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

pub(crate) const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:probe";

/// Returns the example `probe_function`, which Cargo builds with the tests.
pub(crate) fn probe_function() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let example = profile.join("examples/probe_function");
    // Cargo builds it only in a run of all tests.
    assert!(example.exists(), "build it first: cargo build --package emulator --example probe_function");
    example
}

/// A [`Lambda`] with one function, `probe`.
pub(crate) struct Probe(LambdaConfig);

impl Default for Probe {
    fn default() -> Self {
        let function = Function {
            logical_id: "ProbeFunction".into(),
            name: "probe".into(),
            arn: ARN.into(),
            binary: "probe_function".into(),
            timeout: Duration::from_secs(30),
            memory_mb: 128,
            environment: BTreeMap::new(),
            reserved_concurrency: None,
            log_group: "/aws/lambda/probe".into(),
            async_invoke: AsyncInvoke::default(),
        };
        let binaries = BTreeMap::from([("probe_function".into(), probe_function())]);
        let mut config = LambdaConfig::new(vec![function], binaries, "eu-west-1", Arc::new(NoDestination));
        config.guardian = Some(probe_function());
        config.async_retry_delays = vec![Duration::from_millis(1)];
        // A busy machine starts processes slowly.
        config.init_timeout = Duration::from_secs(30);
        Self(config)
    }
}

impl Probe {
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.0.functions[0].environment.insert(name.into(), value.into());
        self
    }

    pub(crate) fn added(mut self, name: &str, value: &str) -> Self {
        self.0.environment.insert(name.into(), value.into());
        self
    }

    pub(crate) fn concurrency(mut self, environments: usize) -> Self {
        self.0.functions[0].reserved_concurrency = Some(environments);
        self
    }

    pub(crate) fn quotas(mut self, quotas: Quotas) -> Self {
        self.0.quotas = quotas;
        self
    }

    pub(crate) fn queue_capacity(mut self, invocations: usize) -> Self {
        self.0.queue_capacity = invocations;
        self
    }

    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.0.functions[0].timeout = timeout;
        self
    }

    pub(crate) fn init_timeout(mut self, timeout: Duration) -> Self {
        self.0.init_timeout = timeout;
        self
    }

    pub(crate) fn shutdown_phase(mut self, phase: Duration) -> Self {
        self.0.shutdown_phase = phase;
        self
    }

    pub(crate) fn binary(mut self, binary: PathBuf) -> Self {
        self.0.binaries.insert("probe_function".into(), binary);
        self
    }

    pub(crate) fn config(self) -> LambdaConfig {
        self.0
    }

    pub(crate) fn start(self) -> Lambda {
        Lambda::new(self.0).unwrap()
    }
}

/// A destination that accepts failed invocations and keeps none.
struct NoDestination;

impl OnFailure for NoDestination {
    fn send(&self, _: &str, _: Value) -> io::Result<()> {
        Ok(())
    }
}

/// A listener to which running functions report.
pub(crate) struct Meeting(TcpListener);

impl Meeting {
    pub(crate) async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Makes a function connect and wait until it is released.
    pub(crate) fn event(&self, name: &str) -> Bytes {
        event(json!({ "do": "meet", "at": self.address(), "name": name }))
    }

    /// Makes a function keep a connection as long as its process lives.
    pub(crate) fn hold(&self, forever: bool) -> Bytes {
        event(json!({ "do": "hold", "at": self.address(), "forever": forever }))
    }

    pub(crate) async fn next(&self) -> Guest {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let (name, pid) = line.trim_end().split_once(' ').unwrap();
        Guest { name: name.to_owned(), process: Pid::from_raw(pid.parse().unwrap()).unwrap(), stream }
    }
}

/// A function that has connected to a [`Meeting`].
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) process: Pid,
    stream: BufReader<TcpStream>,
}

impl Guest {
    /// Lets the function continue.
    pub(crate) async fn dismiss(mut self) {
        self.stream.write_all(b".").await.unwrap();
    }

    /// Makes the extension fail.
    pub(crate) async fn fail(mut self) {
        self.stream.write_all(b"!").await.unwrap();
    }

    /// Waits for the end of the process, which ends the connection.
    pub(crate) async fn gone(mut self) {
        let end = tokio::time::timeout(Duration::from_secs(30), self.stream.read_u8()).await;
        assert!(end.expect("the process is still there").is_err());
    }

    pub(crate) fn guardian(&self) -> Pid {
        getpgid(Some(self.process)).unwrap()
    }
}

pub(crate) fn kill(process: Pid) {
    kill_process(process, Signal::KILL).unwrap();
}

#[allow(clippy::needless_pass_by_value)]
pub(crate) fn event(event: Value) -> Bytes {
    event.to_string().into()
}

pub(crate) fn json_of(invocation: Result<Invocation, InvokeError>) -> Value {
    serde_json::from_slice(&invocation.unwrap().outcome.unwrap()).unwrap()
}

pub(crate) fn failure(invocation: Result<Invocation, InvokeError>) -> FunctionError {
    invocation.unwrap().outcome.unwrap_err()
}
