//! Requests to `@connections` that a crowd causes beside its messages: a reply of the agent, a typing user, and people
//! that come.
//!
//! Presence has its default here. The simulated gateway accepts each connection, because those that come open real
//! sockets of the local run. Pushes to them go to the simulated gateway too, so these sockets receive nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::Client;
use chat::model::limits::DELIVERY_RATE;
use serde::Serialize;
use switchboard_client::Socket;
use tokio::task::JoinSet;

use super::{Options, PATIENCE, client, gateway::Gateway, model, write_crowd};
use crate::{
    Result,
    growth::key_of,
    system::System,
    table::{Table, short},
};

/// Channels of the scenarios.
const REPLY: &str = "reply";
const TYPING: &str = "typing";
const ARRIVALS: &str = "arrivals";

/// Time without a post after which a scenario has ended. It is longer than the window of the connections' stream.
const QUIET: Duration = Duration::from_secs(2);

/// Interval between two looks at the counts.
const LOOK: Duration = Duration::from_millis(50);

/// Interval between two requests of the typing user.
const TYPES_EVERY: Duration = Duration::from_secs(1);

/// Sizes of the scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    /// Listeners of a reply.
    reply: usize,
    /// Listeners of a typing user, and requests of that user.
    typing: usize,
    typed: u32,
    /// Users that come, and the time in which they come.
    arrivals: u32,
    arrive_within: Duration,
}

impl Sizes {
    fn new(quick: bool) -> Self {
        if quick {
            Self { reply: 50, typing: 100, typed: 2, arrivals: 20, arrive_within: Duration::from_secs(1) }
        } else {
            Self { reply: 1_000, typing: 10_000, typed: 10, arrivals: 1_000, arrive_within: Duration::from_secs(10) }
        }
    }
}

/// Posts of one scenario.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    scenario: &'static str,
    listeners: usize,
    /// Requests or handshakes that were accepted.
    accepted: usize,
    /// Requests or handshakes that were refused or failed.
    refused: usize,
    posts: usize,
    /// Maximum number of posts in one second.
    posts_in_a_second: usize,
    /// Maximum number of pushes a second that one channel may take (`DeliveryRate`).
    bound: u32,
    /// Posts that the account's quota refused.
    throttled: usize,
    /// Time from the first request to the last post.
    seconds: f64,
    /// Posts by the `type` of their frame.
    kinds: BTreeMap<String, usize>,
}

/// Requests of a scenario that were accepted, and that were not.
#[derive(Debug, Default)]
struct Asked {
    accepted: usize,
    refused: usize,
}

impl Asked {
    fn count(&mut self, is_accepted: bool) {
        let counter = if is_accepted { &mut self.accepted } else { &mut self.refused };
        *counter += 1;
    }
}

/// Local run with its simulated gateway.
struct Stage<'a> {
    options: &'a Options,
    system: System,
    gateway: Gateway,
    client: Client,
    bound: u32,
}

/// Runs the scenarios, one after another.
pub(super) async fn run(options: &Options) -> Result<Vec<Outcome>> {
    let sizes = Sizes::new(options.quick);
    let gateway = options.gateway(None).await?;
    let model = model::start(Duration::from_secs(options.reply_seconds)).await?;
    let url = format!("ModelUrl={model}");
    let folder = tempfile::tempdir()?;
    let parameters = ["ModelProvider=openai", "Model=simulated", url.as_str()];
    let system = options.system(&gateway, folder.path(), &parameters).await?;
    let client = client(&system.dynamodb);
    let stage = Stage { options, system, gateway, client, bound: bound(&options.parameters)? };
    Ok(vec![stage.reply(sizes).await?, stage.typing(sizes).await?, stage.arrivals(sizes).await?])
}

/// Returns the value of `DeliveryRate`, or its default.
fn bound(parameters: &[String]) -> Result<u32> {
    let given = parameters.iter().rev().find_map(|parameter| parameter.strip_prefix("DeliveryRate="));
    Ok(given.map_or(Ok(DELIVERY_RATE), str::parse)?)
}

impl Stage<'_> {
    /// Sends one message to which the agent replies, and waits until each listener has the reply.
    async fn reply(&self, sizes: Sizes) -> Result<Outcome> {
        let listeners = sizes.reply;
        eprintln!("a reply before {listeners} listeners");
        self.system.open_answered_channel(REPLY).await?;
        self.gather(REPLY, listeners).await?;
        let began = self.begin();
        self.system.post(REPLY, 0, "How long does it take to write a page?").await?;
        let lasts = Duration::from_secs(self.options.reply_seconds);
        let replied = async {
            while self.gateway.tally().counts().answered() < listeners {
                tokio::time::sleep(LOOK).await;
            }
        };
        let replied = tokio::time::timeout(PATIENCE + lasts, replied).await;
        let reached = self.gateway.tally().counts().answered();
        replied.map_err(|_| format!("the reply reached {reached} of {listeners} sockets in time"))?;
        self.settle().await;
        Ok(self.outcome("reply", listeners, &Asked { accepted: 1, refused: 0 }, began))
    }

    /// Lets one user type.
    async fn typing(&self, sizes: Sizes) -> Result<Outcome> {
        let listeners = sizes.typing;
        eprintln!("a typing user before {listeners} listeners");
        self.system.open_channel(TYPING).await?;
        self.gather(TYPING, listeners).await?;
        let began = self.begin();
        let mut ticks = tokio::time::interval(TYPES_EVERY);
        let mut requests = JoinSet::new();
        for _ in 0..sizes.typed {
            ticks.tick().await;
            requests.spawn(self.system.typing(TYPING, 0));
        }
        let mut asked = Asked::default();
        for answered in requests.join_all().await {
            asked.count(matches!(answered, Ok(200..=299)));
        }
        self.settle().await;
        Ok(self.outcome("typing", listeners, &asked, began))
    }

    /// Lets users open sockets, each its own, at fixed times.
    async fn arrivals(&self, sizes: Sizes) -> Result<Outcome> {
        let users = sizes.arrivals;
        eprintln!("{users} users come");
        self.system.open_channel(ARRIVALS).await?;
        self.settle().await;
        let began = self.begin();
        let mut ticks = tokio::time::interval(sizes.arrive_within / users.max(1));
        let mut handshakes = JoinSet::new();
        for number in 0..users {
            ticks.tick().await;
            handshakes.spawn(self.system.listen_as(ARRIVALS, &format!("person-{number}")));
        }
        let opened: Vec<Result<Socket>> = handshakes.join_all().await;
        let mut asked = Asked::default();
        for socket in &opened {
            asked.count(socket.is_ok());
        }
        self.settle().await;
        let outcome = self.outcome("arrivals", usize::try_from(users)?, &asked, began);
        // The sockets were open until here, so that no user went.
        drop(opened);
        Ok(outcome)
    }

    /// Writes the subscriptions of a channel, and waits until their arrival has caused all its posts.
    async fn gather(&self, channel: &str, listeners: usize) -> Result<()> {
        let key = key_of(&self.client, channel).await?;
        write_crowd(&self.client, &key, listeners, self.options.parts(listeners)).await?;
        self.settle().await;
        Ok(())
    }

    /// Waits until the functions are idle and no post comes.
    async fn settle(&self) {
        let began = Instant::now();
        let posts = || self.gateway.tally().counts().posts();
        while began.elapsed() < PATIENCE {
            let before = posts();
            self.system.come_to_rest().await;
            tokio::time::sleep(QUIET).await;
            if posts() == before {
                return;
            }
        }
    }

    /// Begins to count. Returns the time.
    fn begin(&self) -> Instant {
        self.gateway.forget();
        Instant::now()
    }

    fn outcome(&self, scenario: &'static str, listeners: usize, asked: &Asked, began: Instant) -> Outcome {
        let counts = self.gateway.tally().counts().clone();
        let last = counts.last.unwrap_or(began);
        let Asked { accepted, refused } = *asked;
        Outcome {
            scenario,
            listeners,
            accepted,
            refused,
            posts: counts.posts(),
            posts_in_a_second: counts.posts_in_a_second(),
            bound: self.bound,
            throttled: self.gateway.throttled(),
            seconds: last.saturating_duration_since(began).as_secs_f64(),
            kinds: counts.kinds,
        }
    }
}

/// Formats the posts, and those of each kind of frame.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let header = ["scenario", "listeners", "accepted", "refused", "posts", "in a second", "bound", "throttled", "s"];
    let mut posts = Table::new(&header);
    let mut kinds = Table::new(&["scenario", "frame", "posts"]);
    for outcome in outcomes {
        posts.row([
            outcome.scenario.to_owned(),
            outcome.listeners.to_string(),
            outcome.accepted.to_string(),
            outcome.refused.to_string(),
            outcome.posts.to_string(),
            outcome.posts_in_a_second.to_string(),
            outcome.bound.to_string(),
            outcome.throttled.to_string(),
            short(outcome.seconds),
        ]);
        for (kind, count) in &outcome.kinds {
            kinds.row([outcome.scenario.to_owned(), kind.clone(), count.to_string()]);
        }
    }
    format!("{}\n{}", posts.text(), kinds.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_last_rate_that_is_given() {
        let given = |parameters: &[&str]| {
            let parameters: Vec<String> = parameters.iter().map(|&parameter| parameter.to_owned()).collect();
            bound(&parameters).ok()
        };
        assert_eq!(given(&[]), Some(DELIVERY_RATE));
        assert_eq!(given(&["FanoutThreshold=50"]), Some(DELIVERY_RATE));
        assert_eq!(given(&["DeliveryRate=5000", "DeliveryRate=6000"]), Some(6_000));
        assert_eq!(given(&["DeliveryRate=fast"]), None);
    }

    #[test]
    fn a_table_names_each_scenario_and_each_kind_of_frame() {
        let outcome = |scenario, kinds: &[(&str, usize)]| Outcome {
            scenario,
            listeners: 10,
            accepted: 1,
            refused: 0,
            posts: 30,
            posts_in_a_second: 20,
            bound: DELIVERY_RATE,
            throttled: 0,
            seconds: 2.0,
            kinds: kinds.iter().map(|&(kind, count)| (kind.to_owned(), count)).collect(),
        };
        let text = table(&[outcome("reply", &[("events", 20), ("message.delta", 10)]), outcome("typing", &[])]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        for wanted in [
            &["reply", "10", "1", "0", "30", "20", "8000", "0", "2.00"][..],
            &["reply", "message.delta", "10"],
            &["typing", "10", "1", "0", "30", "20", "8000", "0", "2.00"],
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{text}");
        }
    }

    #[test]
    fn a_quick_run_is_smaller() {
        let (quick, full) = (Sizes::new(true), Sizes::new(false));
        assert!(quick.reply < full.reply && quick.typing < full.typing && quick.arrivals < full.arrivals);
        assert!(quick.arrive_within < full.arrive_within && quick.typed < full.typed);
    }
}
