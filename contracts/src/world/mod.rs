//! The state of one interaction: its own tenant in the running stack, and the data that its provider states have
//! created. It also holds the frame that the last of them has received from a socket.

mod agent;
mod changes;
mod frames;
mod requests;
mod store;

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use switchboard_client::Method;
use tokio::sync::mpsc;

use self::requests::reaction;
use crate::{
    model::{Line, Model},
    socket::{Lost, Socket},
    stack::Addresses,
    states::{Parameters, State, find},
    tokens::{Bearer, INVITING_SCOPES, Kind},
};

/// The user of requests' tokens and of listening sockets, unless a state names another.
const CALLER: &str = "alice";

/// Maximum number of different reactions of a message.
const REACTIONS_OF_A_MESSAGE: usize = 20;

/// Maximum number of invitations of a user that wait for an answer.
const INVITATIONS_OF_A_USER: usize = 100;

/// Maximum number of times that an interaction's states are repeated because a frame was lost.
const REPETITIONS: usize = 8;

/// Values that a state provides to generators.
pub type Values = HashMap<String, Value>;

/// The state of one interaction.
#[derive(Debug)]
pub struct ProviderState {
    addresses: Addresses,
    model: Model,
    http: reqwest::Client,
    bearer: Bearer,
    owners: HashMap<String, String>,
    listeners: HashMap<String, Socket>,
    sockets: Vec<Socket>,
    /// Scripts of replies that do not end before the state does.
    replies: Vec<mpsc::UnboundedSender<Line>>,
    frame: Option<Value>,
    /// States that were set up, in their order.
    earlier: Vec<(&'static State, Parameters)>,
    /// Number of times that they were repeated.
    repetitions: usize,
}

impl ProviderState {
    /// Returns an empty state; no other state may use the tenant.
    #[must_use]
    pub fn new(addresses: Addresses, model: Model, http: reqwest::Client, tenant: &str) -> Self {
        Self {
            addresses,
            model,
            http,
            bearer: Bearer::all(CALLER, tenant),
            owners: HashMap::new(),
            listeners: HashMap::new(),
            sockets: Vec::new(),
            replies: Vec::new(),
            frame: None,
            earlier: Vec::new(),
            repetitions: 0,
        }
    }

    /// Returns the token of requests.
    #[must_use]
    pub fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    /// Returns the frame that the last state has received from a socket.
    #[must_use]
    pub fn frame(&self) -> Option<&Value> {
        self.frame.as_ref()
    }

    /// Sets up a provider state. If its frame is lost, the interaction begins again in another tenant.
    ///
    /// # Errors
    /// Fails if the state or a parameter does not exist, or if a request fails.
    pub async fn set_up(&mut self, name: &str, parameters: Map<String, Value>) -> Result<Values> {
        if name.is_empty() {
            return Ok(Values::new());
        }
        let state = find(name).with_context(|| {
            format!("there is no provider state \"{name}\"; `cargo contracts states` lists all states")
        })?;
        let with = Parameters::of(state, parameters)?;
        self.earlier.push((state, with.clone()));
        let mut outcome = self.enter(state, &with).await;
        while outcome.as_ref().is_err_and(anyhow::Error::is::<Lost>) && self.repetitions < REPETITIONS {
            outcome = self.repeat().await;
        }
        outcome.with_context(|| format!("the state \"{}\" cannot be set up", state.name))
    }

    /// Sets up all states once more, in a tenant of their own. Returns the values of the last one.
    async fn repeat(&mut self) -> Result<Values> {
        let (earlier, repetitions) = (std::mem::take(&mut self.earlier), self.repetitions + 1);
        let tenant = format!("again{repetitions}-{}", self.bearer.tenant);
        let begun = Self::new(self.addresses.clone(), self.model.clone(), self.http.clone(), &tenant);
        *self = Self { earlier: earlier.clone(), repetitions, ..begun };
        let mut values = Values::new();
        for (state, with) in earlier {
            values = self.enter(state, &with).await?;
        }
        Ok(values)
    }

    /// Sets up a state, and keeps the frame that it makes.
    async fn enter(&mut self, state: &State, with: &Parameters) -> Result<Values> {
        if !state.makes_a_frame {
            return self.apply(state.name, with).await;
        }
        self.frame = Some(self.make_frame(state.name, with).await?);
        Ok(Values::new())
    }

    async fn apply(&mut self, state: &str, with: &Parameters) -> Result<Values> {
        let channel = with.text("channel_id");
        match state {
            "nothing exists" => {}
            "a channel exists" => self.create_channel(&channel, with).await?,
            "a user is a member" => {
                self.require_member(&channel, &with.text("user_id"), &with.text("role")).await?;
            }
            "a user is invited" => self.invite(&channel, &with.text("user_id"), &with.text("role")).await?,
            "a user has all invitations that it may have" => {
                for number in 0..INVITATIONS_OF_A_USER {
                    self.invite(&format!("channel-{number}"), &with.text("user_id"), "member").await?;
                }
            }
            "the channel has messages" => self.write_messages(&channel, with).await?,
            "the message has replies" => {
                for number in 1..=with.number("count")? {
                    let body = json!({ "content": format!("reply {number}"), "thread_seq": with.number("seq")? });
                    self.send(&with.text("sender_id"), &channel, &body).await?;
                }
            }
            "the message was edited" => {
                let (author, path) = self.message(&channel, with.number("seq")?).await?;
                self.ask(&author, Method::PATCH, &path, &json!({ "content": with.text("content") })).await?;
            }
            "the message was deleted" => {
                let (author, path) = self.message(&channel, with.number("seq")?).await?;
                self.ask(&author, Method::DELETE, &path, &Value::Null).await?;
            }
            "a user reacted to the message" => {
                let path = reaction(&channel, with.number("seq")?, &with.text("emoji"));
                self.ask(&with.text("user_id"), Method::PUT, &path, &Value::Null).await?;
            }
            "the message has all reactions that it may have" => {
                let (user, seq) = (with.text("user_id"), with.number("seq")?);
                for emoji in ('\u{1f600}'..).take(REACTIONS_OF_A_MESSAGE) {
                    self.ask(&user, Method::PUT, &reaction(&channel, seq, &emoji.to_string()), &Value::Null).await?;
                }
            }
            "records of changes have expired" => self.have_changes_expired(&channel).await?,
            "the agent is replying" => self.begin_reply(&channel, &with.text("sender_id")).await?,
            "the agent is writing" => {
                self.begin_writing(&channel, &with.text("sender_id"), &with.text("text")).await?;
            }
            "the agent has answered" => {
                self.have_answered(&channel, "the agent answers", with).await?;
            }
            "the channel is archived" => self.change(&channel, &json!({ "archived": true })).await?,
            "the channel was changed" => self.change(&channel, &json!({ "name": "Changed" })).await?,
            "the request was sent before" => self.send_before(with).await?,
            "a user is connected" => {
                self.require_channel(&channel, "off").await?;
                let mut socket = self.open(&with.text("user_id"), &channel).await?;
                let connection_id = socket.connection_id().await?;
                self.sockets.push(socket);
                return Ok(Values::from([("connection_id".to_owned(), json!(connection_id))]));
            }
            "the caller is" => self.bearer.user = with.text("user_id"),
            "the token has expired" => self.bearer.kind = Kind::Expired,
            "the token is not valid yet" => self.bearer.kind = Kind::Early,
            "the token is not signed by its issuer" => self.bearer.kind = Kind::Forged,
            "the token has the scopes" => self.bearer.scopes = with.text("scopes"),
            "the token is limited to channels" => {
                let channels = with.text("channels");
                self.bearer.channels = Some(channels.split(',').map(|name| name.trim().to_owned()).collect());
            }
            "the keys of the token's issuer cannot be had" => self.bearer.kind = Kind::Unverifiable,
            "the caller does this too often" => self.empty_bucket(&with.text("action"), &channel).await?,
            "the caller has created all channels that it may create" => self.use_up_channels().await?,
            "the channel is busy" => {
                self.require_channel(&channel, "off").await?;
                let sent = self.send(&self.owner(&channel), &channel, &json!({ "content": "hi" })).await?;
                self.step_back(&channel, &sent["seq"]).await?;
            }
            "a stored message cannot be read" => self.break_message(&channel, with.number("seq")?).await?,
            other => bail!("there is no code to set up \"{other}\""),
        }
        Ok(Values::new())
    }

    async fn invite(&mut self, channel: &str, user: &str, role: &str) -> Result<()> {
        self.require_channel(channel, "off").await?;
        let path = format!("/channels/{channel}/members/{user}");
        let scopes = INVITING_SCOPES.to_owned();
        let inviter = Bearer { scopes, ..Bearer::all(&self.owner(channel), &self.bearer.tenant) };
        self.ask_by(&inviter, Method::PUT, &path, &json!({ "role": role })).await?;
        Ok(())
    }

    async fn write_messages(&mut self, channel: &str, with: &Parameters) -> Result<()> {
        self.require_channel(channel, "off").await?;
        for number in 1..=with.number("count")? {
            let content = format!("{} {number}", with.text("content"));
            let body = json!({ "content": content, "content_type": with.text("content_type") });
            self.send(&with.text("sender_id"), channel, &body).await?;
        }
        Ok(())
    }

    /// Changes a message of a channel, and lets the record of each change expire.
    async fn have_changes_expired(&mut self, channel: &str) -> Result<()> {
        self.require_channel(channel, "off").await?;
        let owner = self.owner(channel);
        let sent = self.send(&owner, channel, &json!({ "content": "hi" })).await?;
        let path = format!("/channels/{channel}/messages/{}", sent["seq"]);
        self.ask(&owner, Method::PATCH, &path, &json!({ "content": "edited" })).await?;
        self.expire_changes(channel).await
    }

    /// Sends the request of the interaction under its idempotency key. Ignores the response.
    async fn send_before(&self, with: &Parameters) -> Result<()> {
        let (path, key) = (with.text("path"), with.text("key"));
        let body = with.json("body").unwrap_or(Value::Null).to_string();
        self.api(&self.bearer)?.ask(Method::POST, &path, &[("idempotency-key", &key)], Some(&body)).await?;
        Ok(())
    }
}
