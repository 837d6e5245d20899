//! The fault run: a fleet of clients, an injector, and the oracle at the end.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::Client;
use jiff::SignedDuration;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use replay::Clients;
use serde_json::{Value, json};
use switchboard_client::{Method, Page};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    changer::Changer,
    changes,
    client::{Shared, User},
    disk::Disk,
    held::{Shown, shorten},
    injector::Injector,
    machine::Machine,
    oracle, poison,
    sender::{SendProfile, Sender},
    subscriber::{Buffer, Handle, Refused, open, subscribe},
};

/// Maximum time for the system to converge after the faults.
const REST: Duration = Duration::from_mins(5);

/// Maximum time for a message to be accepted after the faults.
const ACCEPTANCE: Duration = Duration::from_mins(2);

/// Interval between progress lines.
const PROGRESS: Duration = Duration::from_secs(30);

/// On-failure queues, and whether poisoned records end in them.
const QUEUES: [(&str, bool); 3] =
    [("AgentFailuresQueue", true), ("DeliveryFailuresQueue", true), ("PushFailuresQueue", false)];

/// Channels: name, visibility, mode of the agent.
const CHANNELS: [(&str, &str, &str); 4] =
    [("open", "public", "off"), ("heavy", "public", "off"), (ASKED, "public", "always"), (SECRET, "private", "off")];
const ASKED: &str = "asked";
const SECRET: &str = "secret";
const OWNER: &str = "owner";
const MEMBERS: [&str; 2] = ["erin", "frank"];

/// Senders: user, channel, milliseconds between messages, share of large messages.
const SENDERS: [(&str, &str, u64, f64); 7] = [
    ("alice", "open", 300, 0.02),
    ("bob", "open", 300, 0.02),
    ("carol", "open", 500, 0.02),
    ("dave", ASKED, 700, 0.0),
    ("erin", SECRET, 400, 0.02),
    ("heavy-1", "heavy", 300, 0.6),
    ("heavy-2", "heavy", 300, 0.6),
];

/// Changers: user, channel, milliseconds between changes, whether the user deletes messages.
const CHANGERS: [(&str, &str, u64, bool); 7] = [
    ("alice", "open", 400, true),
    ("bob", "open", 400, true),
    ("grace", "open", 600, false),
    ("dave", ASKED, 900, false),
    ("erin", SECRET, 500, true),
    ("frank", SECRET, 900, false),
    ("heavy-1", "heavy", 600, true),
];

/// Subscribers: user, channels.
const SUBSCRIBERS: [(&str, &[&str]); 12] = [
    ("alice", &["open"]),
    ("bob", &["open", "heavy"]),
    ("carol", &["open"]),
    ("dave", &[ASKED]),
    ("grace", &[ASKED, "open"]),
    ("erin", &[SECRET]),
    ("frank", &[SECRET, "open"]),
    ("frank", &[SECRET]),
    ("heavy-1", &["heavy"]),
    ("heidi", &["heavy"]),
    ("ivan", &["heavy"]),
    ("judy", &["open", "heavy", ASKED]),
];

/// Offsets of the clients' clocks, in seconds. The verifier of tokens allows a minute.
const CLOCKS: [i64; 5] = [0, 40, -40, 20, -20];

/// Result of a run.
pub(crate) struct Report {
    pub(crate) shared: Arc<Shared>,
    pub(crate) messages: usize,
    pub(crate) replayed: usize,
    pub(crate) rest: Duration,
}

/// Runs for `duration`. Violations are in the ledger of the result.
pub(crate) async fn run(machine: &Arc<Machine>, disk: &Disk, seed: u64, duration: Duration) -> Result<Report, String> {
    let mut chance = StdRng::seed_from_u64(seed);
    machine.start().await?;
    let shared = Shared::new(machine)?;
    let tables = poison::tables(&machine.dynamodb()).await;
    let owner = User::new(OWNER, SignedDuration::ZERO, &shared);
    make_channels(&owner, &mut chance).await?;

    let user =
        |name: &str, index: usize| User::new(name, SignedDuration::from_secs(CLOCKS[index % CLOCKS.len()]), &shared);
    let subscribers: Vec<Handle> = SUBSCRIBERS
        .iter()
        .enumerate()
        .map(|(index, (name, channels))| {
            let buffer = if index % 3 == 0 { Buffer::Small } else { Buffer::Ample };
            subscribe(user(name, index), channels, buffer, chance.random())
        })
        .collect();
    let (stop, stopped) = watch::channel(false);
    let mut senders = JoinSet::new();
    for (index, (name, channel, pause, large)) in SENDERS.into_iter().enumerate() {
        let manner = SendProfile { pause: Duration::from_millis(pause), large };
        let sender = Sender::new(user(name, index), channel, chance.random());
        senders.spawn(sender.run(manner, stopped.clone()));
    }
    for (index, (name, channel, pause, deletes)) in CHANGERS.into_iter().enumerate() {
        let changer = Changer::new(user(name, index), channel, deletes, chance.random());
        senders.spawn(changer.run(Duration::from_millis(pause), stopped.clone()));
    }
    let stranger =
        tokio::spawn(probe_private_channel(User::new("mallory", SignedDuration::ZERO, &shared), stopped.clone()));
    let progress = tokio::spawn(progress(Arc::clone(&shared)));

    let injector = Injector::new(machine, disk, &tables, &shared, &subscribers, chance.random());
    let poisoned = injector.run(Instant::now() + duration).await?;
    progress.abort();
    eprintln!("The faults ended; waiting for the system to converge");

    let began = Instant::now();
    stop.send_replace(true);
    let accepted = timeout(ACCEPTANCE, async { while senders.join_next().await.is_some() {} }).await;
    if accepted.is_err() {
        shared.ledger.violation(format!(
            "{} senders and changers wait for a response after the end of the faults",
            senders.len()
        ));
    }
    let _ = stranger.await;
    // A client whose push was dropped detects the gap at the next push.
    for (channel, ..) in CHANNELS {
        let mut last = Sender::new(User::new(format!("last-{channel}"), SignedDuration::ZERO, &shared), channel, seed);
        if channel == SECRET {
            last.user = owner.clone();
        }
        let user = last.user.clone();
        if timeout(ACCEPTANCE, last.send(0)).await.is_err() {
            shared.ledger.violation(format!("no message can be sent to {channel} after the end of the faults"));
        }
        // The same holds for a change.
        let newest = shared.ledger.accepted().into_iter().rfind(|one| one.channel == channel);
        let mut last = Changer::new(user, channel, false, seed);
        if let Some(newest) = newest
            && timeout(ACCEPTANCE, last.react(&newest, true)).await.is_err()
        {
            shared.ledger.violation(format!("no message of {channel} can be changed after the end of the faults"));
        }
    }
    let replayed = wait_until_converged(machine, &tables, &shared, &subscribers, poisoned).await?;
    let rest = began.elapsed();
    compare_with_rest(&owner, &tables, &mut chance).await?;
    drop(subscribers);
    if !machine.stop().await {
        shared.ledger.violation("the runner did not exit successfully when it was stopped".to_owned());
    }
    Ok(Report { messages: shared.ledger.accepted().len(), replayed, rest, shared })
}

async fn make_channels(owner: &User, chance: &mut StdRng) -> Result<(), String> {
    for (channel, visibility, agent) in CHANNELS {
        let body =
            json!({ "channel_id": channel, "name": channel, "visibility": visibility, "agent": { "mode": agent } });
        let answer = owner.request_until_answered(Method::POST, "/channels", Some(&body), None, chance).await;
        if !answer.is_success() {
            return Err(format!("{channel} cannot be created: {} {}", answer.status, answer.body));
        }
    }
    for member in MEMBERS {
        let path = format!("/channels/{SECRET}/members/{member}");
        let answer = owner.request_until_answered(Method::PUT, &path, Some(&json!({})), None, chance).await;
        if !answer.is_success() {
            return Err(format!("{member} cannot be added: {} {}", answer.status, answer.body));
        }
    }
    Ok(())
}

/// Requests access to the private channel repeatedly, as a user who is not a member.
async fn probe_private_channel(stranger: User, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match open(&stranger, &stranger.token(), &[SECRET.to_owned()], Buffer::Ample).await {
            Ok(_) | Err(Refused::Status { status: 200..400, .. }) => {
                stranger.shared.ledger.violation("a stranger got a socket for a private channel".to_owned());
            }
            Err(_) => {}
        }
        let read = stranger.ask(Method::GET, &format!("/channels/{SECRET}/messages"), None, None).await;
        if read.is_ok_and(|answer| answer.is_success()) {
            stranger.shared.ledger.violation("a stranger read a private channel".to_owned());
        }
        stranger.shared.ledger.count("attempts of a stranger");
        tokio::select! {
            () = sleep(Duration::from_secs(1)) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

async fn progress(shared: Arc<Shared>) {
    let began = Instant::now();
    let mut ticks = interval(PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let faults: u64 = shared.ledger.faults().values().sum();
        let (messages, violations) = (shared.ledger.accepted().len(), shared.ledger.violations().len());
        let seconds = began.elapsed().as_secs();
        eprintln!("{seconds} s: {messages} messages accepted, {faults} faults, {violations} violations");
    }
}

/// Waits until all invariants hold. Records those that do not hold in the end as violations. Returns the number of
/// queue messages that were replayed.
async fn wait_until_converged(
    machine: &Machine,
    tables: &Client,
    shared: &Shared,
    subscribers: &[Handle],
    poisoned: u64,
) -> Result<usize, String> {
    let addresses = machine.addresses()?;
    let address = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let clients =
        Clients::local(&address(&addresses["sqs"]), &machine.dynamodb(), &address(&addresses["lambda"])).await;
    let (end, mut replayed) = (Instant::now() + REST, 0);
    loop {
        let mut open = Vec::new();
        for (name, takes_records) in QUEUES {
            let queue = oracle::queue(&clients, name, &address(&addresses["queues"][name])).await?;
            replayed += queue.replayed;
            if takes_records {
                open.extend(oracle::poisoned(name, &queue, poisoned));
            }
            open.extend(queue.violations);
        }
        let (accepted, left_open) = (shared.ledger.accepted(), shared.ledger.unconfirmed());
        let changed = shared.ledger.changed();
        for (channel, ..) in CHANNELS {
            let stored = oracle::stored(tables, channel).await?;
            let numbers = changes::numbers(tables, channel).await?;
            let sent = changes::as_sent(channel, &stored, &accepted);
            open.extend(oracle::history(channel, &sent, &accepted, &left_open));
            open.extend(changes::numbered(channel, &stored, &numbers));
            open.extend(changes::applied(channel, &stored, &accepted, &changed));
            if channel == ASKED {
                open.extend(oracle::replies(channel, &stored));
            }
            let listeners = subscribers.iter().filter(|one| one.channels().iter().any(|of| of == channel));
            open.extend(listeners.filter_map(|one| oracle::shows(one, channel, &stored, numbers.newest)));
        }
        if open.is_empty() || Instant::now() > end {
            for violation in open {
                shared.ledger.violation(violation);
            }
            return Ok(replayed);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Checks that the REST API returns the same history as the table, and the number of the newest change.
async fn compare_with_rest(owner: &User, tables: &Client, chance: &mut StdRng) -> Result<(), String> {
    for (channel, ..) in CHANNELS {
        let (stored, numbers) = (oracle::stored(tables, channel).await?, changes::numbers(tables, channel).await?);
        let mut read: Vec<(u64, Shown)> = Vec::new();
        let newest = loop {
            let after = read.last().map_or(0, |(seq, _)| *seq);
            let path = format!("/channels/{channel}/messages?after={after}&limit=100");
            let page = owner.request_until_answered(Method::GET, &path, None, None, chance).await;
            let Ok(mut page) = serde_json::from_value::<Page>(page.body) else {
                owner.shared.ledger.violation(format!("a page of {channel} is not as documented"));
                break None;
            };
            page.messages.iter_mut().for_each(shorten);
            read.extend(page.messages.iter().map(|message| (message.seq, Shown::of(message))));
            if !page.has_more || page.messages.is_empty() {
                break Some(page.rev);
            }
        };
        let is_same = stored.iter().map(|message| (message.seq, message.shown())).eq(read.iter().cloned());
        if !is_same || newest != Some(numbers.newest) {
            let (there, told) = ((stored.len(), numbers.newest), (read.len(), newest));
            owner.shared.ledger.violation(format!("{channel} has {there:?} messages and changes; the API: {told:?}"));
        }
    }
    Ok(())
}
