//! A bot with an account of its own. It answers each question once, also over restarts.

mod convert;

use std::{error::Error, time::Duration};

use clap::Parser;
use futures::future::try_join_all;
use switchboard_client::{Api, ChannelLog, Client, Message, NewMessage, Options};
use tokio::{process::Command, time::sleep};

/// Result of a request.
type Answer<T> = Result<T, switchboard_client::Error>;

/// Wait before a request that failed is repeated, unless the server names another.
const WAIT: Duration = Duration::from_secs(1);

/// Answers messages such as `@convert 5 mi`.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address of the REST API
    #[arg(long, env = "SWITCHBOARD_REST", default_value = "http://127.0.0.1:3000")]
    rest: String,
    /// Address of the WebSocket API
    #[arg(long, env = "SWITCHBOARD_WEBSOCKET", default_value = "ws://127.0.0.1:3001")]
    websocket: String,
    /// Command of the shell that prints a token of the bot; it runs before each token ends
    #[arg(long, env = "TOKEN_COMMAND", default_value = "cargo local -- token --user convert")]
    token_command: String,
    /// Channels in which the bot answers
    #[arg(default_value = "lobby")]
    channels: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { rest, websocket, token_command, channels } = Arguments::parse();
    let client = Client::start(Options::new(&rest, &websocket, move || token(token_command.clone())))?;
    let me = repeated(&client, |api| async move { api.me().await }).await?.user_id;
    try_join_all(channels.iter().map(|channel| serve(&client, channel, &me))).await?;
    Ok(())
}

/// Returns the last line that the command prints. Without one, the client asks again later.
async fn token(command: String) -> Option<String> {
    let output = Command::new("sh").args(["-c", &command]).output().await.ok()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let token = printed.lines().next_back().map(str::trim).filter(|line| !line.is_empty() && output.status.success());
    if token.is_none() {
        eprintln!("The command printed no token: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    token.map(str::to_owned)
}

/// Answers the questions of one channel, from the bot's read mark on.
///
/// The read mark is the bot's memory: the server keeps it. A bot that ended between an answer and the mark sends the answer
/// again, under the same key, and the server returns the stored one.
async fn serve(client: &Client, channel: &str, me: &str) -> Answer<()> {
    // Joins a public channel, or accepts an invitation. A member stays one.
    repeated(client, |api| async move { api.add_member(channel, me, None).await }).await?;
    let (found, _) = repeated(client, |api| async move { api.channel(channel).await }).await?;
    let mut read = found.membership.map_or(found.last_seq, |membership| membership.read_seq);
    // Number of the newest message of which the socket or the history has told.
    let mut told = read;
    client.open(channel);
    println!("{me} answers in {channel}, from message {} on.", read + 1);
    loop {
        let page = repeated(client, |api| async move { api.messages_after(channel, read).await }).await?;
        for message in &page.messages {
            reply(client, message, me).await?;
            read = message.seq;
        }
        if !page.messages.is_empty() {
            repeated(client, |api| async move { api.mark_read(channel, read).await }).await?;
        }
        if !page.has_more {
            // A message that the history omits has expired.
            read = read.max(told);
            // The client reads missed messages by itself after a gap or a reconnect.
            let newer =
                client.until(|core| core.log(channel).map(ChannelLog::settled).filter(|settled| *settled > read));
            told = newer.await?;
        }
    }
}

/// Answers a message, if it is a question to the bot.
async fn reply(client: &Client, message: &Message, me: &str) -> Answer<()> {
    // Other programs are users too. The agent is not, and the bot does not talk to itself.
    if message.role != "user" || message.sender_id == me {
        return Ok(());
    }
    let Some(content) = convert::answer(&message.content, me) else { return Ok(()) };
    let answer = NewMessage { content, reply_to: Some(message.seq), thread_seq: message.thread_seq, metadata: None };
    let key = format!("answer-{}", message.message_id);
    let (answer, key) = (&answer, key.as_str());
    repeated(client, |api| async move { api.send(&message.channel_id, answer, key).await }).await?;
    Ok(())
}

/// Sends a request, and repeats it while it may succeed later.
async fn repeated<T, F>(client: &Client, request: impl Fn(Api) -> F) -> Answer<T>
where
    F: Future<Output = Answer<T>>,
{
    loop {
        match client.request(&request).await {
            Err(error) if error.is_transient() => {
                eprintln!("A request is repeated: {error}");
                sleep(wait_after(&error)).await;
            }
            answer => return answer,
        }
    }
}

/// Returns the wait that the server asks for.
fn wait_after(error: &switchboard_client::Error) -> Duration {
    match error {
        switchboard_client::Error::Refused(problem) => problem.retry_after.unwrap_or(WAIT),
        _ => WAIT,
    }
}
