//! A thousand readers of one channel: opens their sockets, sends messages, and measures when each reader has each of them.

mod delays;
mod reader;

use std::{
    error::Error,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use switchboard_client::{Api, Method, NewMessage};
use tokio::{task::JoinSet, time::interval};

use crate::{
    delays::Delays,
    reader::{Sent, open, read},
};

/// Number of handshakes at a time.
const HANDSHAKES: usize = 32;

/// Sends messages to many readers, and prints when they arrived. Fails if one did not.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address of the REST API
    #[arg(long, env = "SWITCHBOARD_REST", default_value = "http://127.0.0.1:3000")]
    rest: String,
    /// Address of the WebSocket API
    #[arg(long, env = "SWITCHBOARD_WEBSOCKET", default_value = "ws://127.0.0.1:3001")]
    websocket: String,
    /// Address of the local run's page, which issues tokens
    #[arg(long, env = "SWITCHBOARD_PAGE", default_value = "http://127.0.0.1:3002")]
    page: String,
    /// Number of readers
    #[arg(long, default_value_t = 1000)]
    readers: usize,
    /// Number of messages
    #[arg(long, default_value_t = 10)]
    messages: usize,
    /// Time between two messages, in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { rest, websocket, page, readers, messages, interval: pause } = Arguments::parse();
    raise_file_limit();
    let issuer = Api::new(&page, "")?;
    let sender = Api::new(&rest, &token(&issuer, "load").await?)?;
    let channel = create_channel(&sender).await?;

    let began = Instant::now();
    let handshakes = stream::iter(0..readers).map(|number| {
        let (issuer, websocket, channel) = (&issuer, &websocket, &channel);
        async move { open(websocket, channel, &token(issuer, &format!("load-{number}")).await?).await }
    });
    let sockets: Vec<_> = handshakes.buffer_unordered(HANDSHAKES).try_collect().await?;
    println!("{readers} readers are connected after {:.1} s.", began.elapsed().as_secs_f64());

    let sent: Sent = (0..messages).map(|_| OnceLock::new()).collect();
    let mut reading = JoinSet::new();
    for socket in sockets {
        reading.spawn(read(socket, Arc::clone(&sent)));
    }
    let mut ticks = interval(Duration::from_millis(pause));
    for (number, time) in sent.iter().enumerate() {
        ticks.tick().await;
        time.get_or_init(Instant::now);
        sender.send(&channel, &NewMessage::from(format!("Message {number}")), &format!("message-{number}")).await?;
    }
    let delays: Delays = reading.join_all().await.into_iter().flatten().collect();
    sender.delete_channel(&channel).await?;

    let expected = readers * messages;
    println!("{} of {expected} messages arrived.", delays.len());
    for (name, percent) in [("half", 50), ("99 %", 99), ("all", 100)] {
        if let Some(delay) = delays.within(percent) {
            println!("{name:>5} within {} ms", delay.as_millis());
        }
    }
    if delays.len() == expected { Ok(()) } else { Err("a reader has not received each message".into()) }
}

/// Creates a public channel without the agent, whose replies would be messages too.
async fn create_channel(api: &Api) -> Result<String, Box<dyn Error>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let id = format!("load-{now}");
    let body = json!({ "channel_id": id, "name": "Load", "visibility": "public", "agent": { "mode": "off" } });
    api.call(Method::POST, "/channels", &[], Some(&body.to_string())).await?;
    Ok(id)
}

/// Asks the local run for a token. In a deployment, an identity provider issues it.
async fn token(issuer: &Api, user: &str) -> Result<String, Box<dyn Error>> {
    let body = json!({ "user": user }).to_string();
    let issued = issuer.call(Method::POST, "/token", &[], Some(&body)).await?;
    Ok(issued["token"].as_str().ok_or("the response has no token")?.to_owned())
}

/// Raises the limit of open files as far as the system allows: each reader has a socket.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without it, the handshake that is too many fails and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
