//! Measures the processor time of one push: of this project's signed request, and of the SDK's client, in pairs.
//!
//! Both use the same HTTP connector against a local server that responds to everything with an empty `200`. The server
//! is a process of its own, so that its time is not counted.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_apigatewaymanagement::{Client, primitives::Blob};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use chat::{
    model::{
        id::ConnectionId,
        limits::{PUSH_CONCURRENCY, PUSH_DURATION},
    },
    ports::socket_gateway::SocketGateway,
};
use chat_aws::{ManagementApi, api_gateway};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    Result,
    program::ran,
    report::Report,
    stats::{Sample, Summary, microseconds, real},
    system::serve,
    table::{Table, short},
};

/// Largest ratio of the SDK's processor time to this project's at which the SDK's client would take over the push.
const WITHIN: f64 = 1.25;

/// Pairs that are not counted: they open connections, and fetch the identity.
const WARM_UP: usize = 2;

/// Options of `push`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs few pairs
    #[arg(long)]
    quick: bool,
    /// Number of pairs
    #[arg(long, default_value_t = 30)]
    pairs: usize,
    /// Number of pushes in each half of a pair
    #[arg(long, default_value_t = 2000)]
    pushes: usize,
    /// Size of a frame, in bytes
    #[arg(long, default_value_t = 400)]
    bytes: usize,
    /// Number of concurrent pushes
    #[arg(long, default_value_t = PUSH_CONCURRENCY)]
    concurrency: usize,
}

/// One pair, in microseconds of processor time per push.
#[derive(Debug, Serialize)]
struct Pair {
    ours_us: f64,
    sdk_us: f64,
    /// The SDK's time, as a multiple of this project's.
    ratio: f64,
}

/// All pairs.
#[derive(Debug, Serialize)]
struct Whole {
    pushes: usize,
    ours_us: Summary,
    sdk_us: Summary,
    ratio: Summary,
    is_within: bool,
    pairs: Vec<Pair>,
}

/// The two ways to the same server.
struct Ways {
    ours: ManagementApi,
    sdk: Client,
    ids: Vec<ConnectionId>,
    frame: String,
    concurrency: usize,
}

pub(crate) async fn run(mut options: Options) -> Result<Report> {
    if options.quick {
        (options.pairs, options.pushes) = (options.pairs.min(3), options.pushes.min(500));
    }
    let files = tempfile::tempdir()?;
    let (_server, address) = serve("sink", files.path()).await?;
    let url = format!("http://{address}/prod");
    let connector = SharedHttpConnector::new(Connector::builder().build_http());
    let config = config();
    let ids = (0..options.pushes).map(|number| format!("L0SM9c{number:08x}=").parse::<ConnectionId>());
    let ways = Ways {
        ours: ManagementApi::over(connector.clone(), &config, &url),
        sdk: api_gateway::client(connector, &config, &url),
        ids: ids.collect::<std::result::Result<_, _>>()?,
        frame: "x".repeat(options.bytes),
        concurrency: options.concurrency,
    };
    let mut pairs = Vec::new();
    for number in 0..WARM_UP + options.pairs {
        // The order alternates, so that neither way always has the warmer caches.
        let (ours, sdk) = if number % 2 == 0 {
            let ours = ways.ours().await?;
            (ours, ways.sdk().await?)
        } else {
            let sdk = ways.sdk().await?;
            (ways.ours().await?, sdk)
        };
        if number >= WARM_UP {
            pairs.push(Pair { ours_us: ours, sdk_us: sdk, ratio: sdk / ours });
        }
    }
    let of = |value: fn(&Pair) -> f64| Sample::of(pairs.iter().map(value)).summary();
    let (ours_us, sdk_us, ratio) = (of(|pair| pair.ours_us), of(|pair| pair.sdk_us), of(|pair| pair.ratio));
    let whole = Whole { pushes: options.pushes, ours_us, sdk_us, ratio, is_within: ratio.p50 <= WITHIN, pairs };
    Report::new("push", table(&whole), &whole)
}

fn config() -> SdkConfig {
    let credentials = Credentials::new("AKID", "secret", Some("session".repeat(100)), None, "bench");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

impl Ways {
    /// Returns the processor time of one push by this project's request, in microseconds.
    async fn ours(&self) -> Result<f64> {
        let before = ran(std::process::id());
        futures::stream::iter(&self.ids)
            .map(async |id| self.ours.push(id, &self.frame).await)
            .buffer_unordered(self.concurrency)
            .try_for_each(async |_| Ok(()))
            .await?;
        Ok(self.each(before))
    }

    /// Returns the processor time of one push by the SDK's client, in microseconds.
    async fn sdk(&self) -> Result<f64> {
        let before = ran(std::process::id());
        futures::stream::iter(&self.ids)
            .map(async |id| {
                let post = self.sdk.post_to_connection().connection_id(id.as_str());
                let post = Box::pin(post.data(Blob::new(self.frame.as_str())).send());
                timeout(PUSH_DURATION, post).await.map_err(crate::Error::from)?.map_err(crate::Error::from)
            })
            .buffer_unordered(self.concurrency)
            .try_for_each(async |_| Ok(()))
            .await?;
        Ok(self.each(before))
    }

    fn each(&self, before: Duration) -> f64 {
        microseconds(ran(std::process::id()).saturating_sub(before)) / real(self.ids.len())
    }
}

fn table(whole: &Whole) -> String {
    let mut table = Table::new(&["processor time of a push", "p50 µs", "p99 µs", "max µs"]);
    for (way, summary) in [("signed request", whole.ours_us), ("SDK's client", whole.sdk_us)] {
        table.row([way.to_owned(), short(summary.p50), short(summary.p99), short(summary.max)]);
    }
    let is = if whole.is_within { "within" } else { "not within" };
    format!(
        "{}\nSDK's client to signed request, median of {} pairs of {} pushes each: {:.3}, {is} {WITHIN}\n",
        table.text(),
        whole.pairs.len(),
        whole.pushes,
        whole.ratio.p50,
    )
}
