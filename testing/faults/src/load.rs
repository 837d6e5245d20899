//! `cargo faults load`: several kinds of load, and their effect on the stack.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use switchboard_client::Method;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    changer::Changer,
    changes,
    client::{Shared, User},
    machine::Machine,
    oracle, poison,
    samples::{Samples, Series, median_and_p99},
    sender::{LARGEST, SendProfile, Sender},
    subscriber::{Buffer, Handle, Order, subscribe},
};

/// Timeout of every wait.
const PATIENCE: Duration = Duration::from_mins(5);

/// Interval between two checks of a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Amounts of load.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Amounts {
    /// Duration of the soak, in minutes
    #[arg(long, default_value_t = 3.0)]
    soak_minutes: f64,
    /// Sockets of the reconnect storm
    #[arg(long, default_value_t = 1_000)]
    sockets: usize,
    /// Senders of the hot channel
    #[arg(long, default_value_t = 32)]
    senders: usize,
    /// Messages of each sender
    #[arg(long, default_value_t = 20)]
    messages: usize,
    /// Runs only these kinds of load
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    only: Vec<Kind>,
}

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Hot,
    Huge,
    Slow,
    Storm,
    Soak,
}

/// A stack and its clients.
struct Load {
    machine: Arc<Machine>,
    shared: Arc<Shared>,
    chance: StdRng,
}

/// Runs the kinds in sequence and prints the result of each. Violations are in the ledger of the result.
pub(crate) async fn run(machine: &Arc<Machine>, seed: u64, amounts: Amounts) -> Result<Arc<Shared>, String> {
    let wanted = u64::try_from(amounts.sockets).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(500);
    raise_handles(wanted)?;
    machine.start().await?;
    let shared = Shared::new(machine)?;
    let load = Load { machine: Arc::clone(machine), shared: Arc::clone(&shared), chance: StdRng::seed_from_u64(seed) };
    load.go(amounts).await?;
    if !machine.stop().await {
        shared.ledger.violation("the runner did not exit successfully when it was stopped".to_owned());
    }
    Ok(shared)
}

/// Raises the limit of open files of this process and the runner.
fn raise_handles(wanted: u64) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(format!("{wanted} open files are needed, and the system allows {maximum:?}: raise ulimit -n"));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).map_err(|error| error.to_string())
}

impl Load {
    async fn go(mut self, amounts: Amounts) -> Result<(), String> {
        let wanted = |kind| amounts.only.is_empty() || amounts.only.contains(&kind);
        if wanted(Kind::Hot) {
            self.hot_channel(amounts.senders, amounts.messages).await?;
        }
        if wanted(Kind::Huge) {
            self.huge_frames().await?;
        }
        if wanted(Kind::Slow) {
            self.slow_consumers().await?;
        }
        if wanted(Kind::Storm) {
            self.storm(amounts.sockets).await?;
        }
        if wanted(Kind::Soak) {
            let soak = Duration::try_from_secs_f64(amounts.soak_minutes * 60.0).map_err(|error| error.to_string())?;
            self.soak(soak).await?;
        }
        Ok(())
    }

    fn user(&self, name: impl Into<String>) -> User {
        User::new(name, SignedDuration::ZERO, &self.shared)
    }

    async fn channel(&mut self, name: &str) -> Result<(), String> {
        let owner = self.user("owner");
        let body = json!({
            "channel_id": name, "name": name, "visibility": "public", "agent": { "mode": "off" }
        });
        let answer = owner.request_until_answered(Method::POST, "/channels", Some(&body), None, &mut self.chance).await;
        if answer.is_success() { Ok(()) } else { Err(format!("{name} cannot be created: {}", answer.status)) }
    }

    fn subscribers(&mut self, channel: &str, count: usize, buffer: Buffer) -> Vec<Handle> {
        (0..count)
            .map(|index| subscribe(self.user(format!("listener-{index}")), &[channel], buffer, self.chance.random()))
            .collect()
    }

    /// Waits until `count` more sockets are open than `before`.
    async fn opened(&self, before: u64, count: usize) -> Result<Duration, String> {
        let (began, wanted) = (Instant::now(), before + u64::try_from(count).unwrap_or(u64::MAX));
        let all = async {
            while self.count("sockets opened") < wanted {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, all).await.map_err(|_| format!("{count} sockets are not open in time"))?;
        Ok(began.elapsed())
    }

    fn count(&self, what: &str) -> u64 {
        self.shared.ledger.counts().get(what).copied().unwrap_or_default()
    }

    /// Waits until all show `count` messages. Returns the duration.
    async fn all_show(&self, of: &[Handle], channel: &str, count: usize) -> Duration {
        let began = Instant::now();
        let all = async {
            while of.iter().any(|one| one.count(channel) < count) {
                sleep(LOOK_AGAIN).await;
            }
        };
        if timeout(PATIENCE, all).await.is_err() {
            let late = of.iter().filter(|one| one.count(channel) < count).count();
            self.shared.ledger.violation(format!("{late} of {} clients lack messages of {channel}", of.len()));
        }
        began.elapsed()
    }

    /// Waits until all know the change `newest`.
    async fn all_know(&self, of: &[Handle], channel: &str, newest: u64) {
        let lack = |one: &&Handle| one.known(channel) < Some(newest);
        let all = async {
            while of.iter().any(|one| lack(&one)) {
                sleep(LOOK_AGAIN).await;
            }
        };
        if timeout(PATIENCE, all).await.is_err() {
            let late = of.iter().filter(lack).count();
            self.shared.ledger.violation(format!("{late} of {} clients lack changes of {channel}", of.len()));
        }
    }

    /// Checks that the history contains the accepted messages and changes, and that all clients show it.
    async fn check(&self, channel: &str, of: &[Handle]) -> Result<(), String> {
        let tables = poison::tables(&self.machine.dynamodb()).await;
        let stored = oracle::stored(&tables, channel).await?;
        self.all_show(of, channel, stored.len()).await;
        let ledger = &self.shared.ledger;
        let numbers = changes::numbers(&tables, channel).await?;
        self.all_know(of, channel, numbers.newest).await;
        let accepted = ledger.accepted();
        let sent = changes::as_sent(channel, &stored, &accepted);
        let mut found = oracle::history(channel, &sent, &accepted, &ledger.unconfirmed());
        found.extend(changes::numbered(channel, &stored, &numbers));
        found.extend(changes::applied(channel, &stored, &accepted, &ledger.changed()));
        found.extend(of.iter().filter_map(|one| oracle::shows(one, channel, &stored, numbers.newest)));
        for violation in found {
            self.shared.ledger.violation(violation);
        }
        Ok(())
    }

    async fn hot_channel(&mut self, senders: usize, messages: usize) -> Result<(), String> {
        let channel = "hot";
        self.channel(channel).await?;
        let opened = self.count("sockets opened");
        let listeners = self.subscribers(channel, 10, Buffer::Ample);
        self.opened(opened, listeners.len()).await?;
        let (refused, began) = (self.count("responses 5xx"), Instant::now());
        let mut all = JoinSet::new();
        for index in 0..senders {
            let mut sender = Sender::new(self.user(format!("hot-{index}")), channel, self.chance.random());
            all.spawn(async move {
                let mut took = Vec::new();
                for _ in 0..messages {
                    let began = Instant::now();
                    sender.send(100).await;
                    took.push(began.elapsed());
                }
                took
            });
        }
        let mut took: Vec<Duration> = all.join_all().await.concat();
        let (elapsed, count) = (began.elapsed(), took.len());
        let (median, p99) = median_and_p99(&mut took);
        self.check(channel, &listeners).await?;
        println!(
            "hot channel     {senders} senders at once, {count} messages: {:.0} a second; a POST takes {} ms, p99 {} ms; \
             {} answers 503; numbers and 10 sockets in order",
            per_second(count, elapsed),
            median.as_millis(),
            p99.as_millis(),
            self.count("responses 5xx") - refused
        );
        Ok(())
    }

    async fn huge_frames(&mut self) -> Result<(), String> {
        let channel = "huge";
        self.channel(channel).await?;
        let opened = self.count("sockets opened");
        let listeners = self.subscribers(channel, 10, Buffer::Ample);
        self.opened(opened, listeners.len()).await?;
        let mut sender = Sender::new(self.user("huge"), channel, self.chance.random());
        // JSON escapes each quote as two bytes.
        sender.filling = "\"";
        let (began, messages) = (Instant::now(), 30);
        for _ in 0..messages {
            sender.send(LARGEST).await;
        }
        self.all_show(&listeners, channel, messages).await;
        let elapsed = began.elapsed();
        self.check(channel, &listeners).await?;
        println!(
            "huge frames     {messages} messages of {LARGEST} bytes, 64 KiB as JSON, to 10 sockets: {:.1} s, {:.1} MB a \
             second; none lost",
            elapsed.as_secs_f64(),
            per_second(messages * LARGEST * 2 * listeners.len(), elapsed) / 1e6
        );
        Ok(())
    }

    /// Measures from the response to a message to the moment at which all of `of` show it.
    async fn latencies(&self, sender: &mut Sender, of: &[Handle], count: usize) -> (Duration, Duration) {
        let channel = sender.channel.clone();
        let mut took = Vec::new();
        for _ in 0..count {
            sender.send(LARGEST).await;
            let seq = self.shared.ledger.accepted().last().map_or(0, |accepted| accepted.seq);
            took.push(self.all_show(of, &channel, usize::try_from(seq).unwrap_or(usize::MAX)).await);
        }
        median_and_p99(&mut took)
    }

    async fn slow_consumers(&mut self) -> Result<(), String> {
        let (channel, readers, deaf, messages) = ("slow", 20, 5, 20);
        self.channel(channel).await?;
        let opened = self.count("sockets opened");
        let mut listeners = self.subscribers(channel, readers, Buffer::Ample);
        let slow = self.subscribers(channel, deaf, Buffer::Small);
        self.opened(opened, readers + deaf).await?;
        let mut sender = Sender::new(self.user("slow"), channel, self.chance.random());
        sender.filling = "\"";
        let before = self.latencies(&mut sender, &listeners, messages).await;
        for one in &slow {
            let _ = one.orders.send(Order::StopReading(PATIENCE));
        }
        // Fills the buffers of the system and the gateway: only then do pushes to a client that does not read block.
        let mut fill = JoinSet::new();
        for index in 0..8 {
            let mut sender = Sender::new(self.user(format!("fill-{index}")), channel, self.chance.random());
            sender.filling = "\"";
            fill.spawn(async move {
                for _ in 0..25 {
                    sender.send(LARGEST).await;
                }
            });
        }
        fill.join_all().await;
        self.all_show(&listeners, channel, messages + 200).await;
        let full = self.latencies(&mut sender, &listeners, messages).await;
        for one in &slow {
            let _ = one.orders.send(Order::Wake);
        }
        let began = Instant::now();
        listeners.extend(slow);
        // A client whose push was dropped detects the gap at the next push.
        sender.send(10).await;
        self.check(channel, &listeners).await?;
        println!(
            "slow consumers  from the answer to a message of 64 KiB to the last of {readers} sockets: median {} ms, the \
             slowest of {messages} {} ms; with {deaf} more that do not read {} and {} ms; these have all {:.1} s after they \
             read again",
            before.0.as_millis(),
            before.1.as_millis(),
            full.0.as_millis(),
            full.1.as_millis(),
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }

    async fn storm(&mut self, sockets: usize) -> Result<(), String> {
        let channel = "storm";
        self.channel(channel).await?;
        let (opened, began) = (self.count("sockets opened"), Instant::now());
        let mut listeners = Vec::new();
        for _ in 0..sockets.div_ceil(50) {
            listeners.extend(self.subscribers(channel, 50.min(sockets - listeners.len()), Buffer::Ample));
            let so_far = listeners.len();
            self.opened(opened, so_far).await?;
        }
        let first = began.elapsed();
        let (failed, opened) = (self.count("failed handshakes"), self.count("sockets opened"));
        for one in &listeners {
            let _ = one.orders.send(Order::Cut);
        }
        let half = self.opened(opened, sockets / 2).await?;
        let all = half + self.opened(opened, sockets).await?;
        let failed = self.count("failed handshakes") - failed;
        // The message is sent after the clients have read the history.
        let mut sender = Sender::new(self.user("storm"), channel, self.chance.random());
        sender.send(100).await;
        let reached = self.all_show(&listeners, channel, 1).await;
        self.check(channel, &listeners).await?;
        println!(
            "reconnect storm {sockets} sockets, opened in {:.1} s, cut at once: half are back after {:.1} s, all after \
             {:.1} s, {failed} handshakes failed; a message then reaches all within {:.1} s",
            first.as_secs_f64(),
            half.as_secs_f64(),
            all.as_secs_f64(),
            reached.as_secs_f64()
        );
        Ok(())
    }

    async fn soak(&mut self, duration: Duration) -> Result<(), String> {
        let channels = ["soak-0", "soak-1", "soak-2", "soak-3"];
        let mut listeners = Vec::new();
        for channel in channels {
            self.channel(channel).await?;
            let opened = self.count("sockets opened");
            let new = self.subscribers(channel, 10, Buffer::Ample);
            self.opened(opened, new.len()).await?;
            listeners.push(new);
        }
        let accepted = self.shared.ledger.accepted().len();
        let (stop, stopped) = watch::channel(false);
        let (mut senders, mut changers) = (JoinSet::new(), JoinSet::new());
        for (index, channel) in channels.iter().enumerate().cycle().take(8) {
            let name = format!("soak-{index}-{}", senders.len());
            let sender = Sender::new(self.user(name), *channel, self.chance.random());
            let profile = SendProfile { pause: Duration::from_millis(20), large: 0.01 };
            if index == senders.len() {
                // The first sender of each channel also changes its messages.
                let changer = Changer::new(sender.user.clone(), *channel, true, self.chance.random());
                changers.spawn(changer.run(Duration::from_millis(100), stopped.clone()));
            }
            senders.spawn(sender.run(profile, stopped.clone()));
        }
        let (began, mut samples) = (Instant::now(), Samples::default());
        while began.elapsed() < duration {
            sleep(Duration::from_secs(1)).await;
            let messages = self.shared.ledger.accepted().len() - accepted;
            samples.take(&self.machine, messages).await;
            // Sockets are cut and reconnect.
            let of = &listeners[self.chance.random_range(0..listeners.len())];
            let _ = of[self.chance.random_range(0..of.len())].orders.send(Order::Cut);
        }
        stop.send_replace(true);
        senders.join_all().await;
        changers.join_all().await;
        for channel in channels {
            // A client whose push was dropped detects the gap at the next push.
            if let Some(newest) = self.shared.ledger.accepted().iter().rfind(|one| one.channel == channel) {
                let mut last = Changer::new(self.user("last"), channel, false, self.chance.random());
                last.react(newest, true).await;
            }
        }
        let messages = self.shared.ledger.accepted().len() - accepted;
        for (channel, listeners) in channels.iter().zip(&listeners) {
            // A client with a cut socket may be waiting; it reads the history after it reconnects.
            self.check(channel, listeners).await?;
        }
        println!(
            "soak            {messages} messages and {} changes in {} s, {:.0} messages a second ({:.1} hours of one a \
             second), to 40 sockets, one of which is cut each second",
            self.shared.ledger.changed().len(),
            duration.as_secs(),
            per_second(messages, duration),
            per_second(messages, Duration::from_hours(1)),
        );
        for (name, series) in samples.series() {
            let Some(Series { first, last, slope, unit, allowed }) = series else { continue };
            println!(
                "                {name}: {first:.0} {unit} at the beginning, {last:.0} {unit} at the end, \
                 {slope:+.1} {unit} per 1,000 messages"
            );
            if last > allowed {
                self.shared.ledger.violation(format!("{name} grew from {first:.0} to {last:.0} {unit}"));
            }
        }
        Ok(())
    }
}

fn per_second(count: usize, elapsed: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / elapsed.as_secs_f64()
}
