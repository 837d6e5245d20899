//! The provider states that a pact may name, with their parameters.

use serde_json::{Map, Value, json};

/// A provider state.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// Name in a pact.
    pub name: &'static str,
    /// Description of the state.
    pub about: &'static str,
    /// Parameters with their defaults; an empty default means that the parameter is omitted.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Whether the state produces the frame that a message interaction is compared with.
    pub makes_a_frame: bool,
}

const fn given(name: &'static str, about: &'static str, parameters: &'static [(&'static str, &'static str)]) -> State {
    State { name, about, parameters, makes_a_frame: false }
}

const fn frame(name: &'static str, about: &'static str, parameters: &'static [(&'static str, &'static str)]) -> State {
    State { name, about, parameters, makes_a_frame: true }
}

const CHANNEL: (&str, &str) = ("channel_id", "general");

/// All provider states.
pub const STATES: &[State] = &[
    given("nothing exists", "The state at the beginning of every interaction: no channel, no message.", &[]),
    given(
        "a channel exists",
        "A channel, created and owned by another user.",
        &[
            CHANNEL,
            ("name", "General"),
            ("visibility", "public"),
            ("owner", "olga"),
            ("agent", "off"),
            ("retention_days", ""),
            ("read_receipts", "false"),
        ],
    ),
    given(
        "a user is a member",
        "The user is a member of a channel, which is created if it does not exist.",
        &[CHANNEL, ("user_id", "alice"), ("role", "member")],
    ),
    given(
        "a user is invited",
        "By the owner of a channel, which is created if it does not exist.",
        &[CHANNEL, ("user_id", "alice"), ("role", "member")],
    ),
    given(
        "the channel has messages",
        "Messages 1, 2, 3 … of one user, in a channel that is created if it does not exist.",
        &[CHANNEL, ("count", "3"), ("sender_id", "alice"), ("content", "message"), ("content_type", "text/plain")],
    ),
    given(
        "the message has replies",
        "Replies in the thread of a message, after the existing messages.",
        &[CHANNEL, ("seq", "1"), ("count", "2"), ("sender_id", "bob")],
    ),
    given("the message was edited", "By its author.", &[CHANNEL, ("seq", "1"), ("content", "edited")]),
    given("the message was deleted", "By its author.", &[CHANNEL, ("seq", "1")]),
    given(
        "a user reacted to the message",
        "With one emoji.",
        &[CHANNEL, ("seq", "1"), ("emoji", "👍"), ("user_id", "bob")],
    ),
    given(
        "records of changes have expired",
        "A message was sent and edited, and the record of each change of the channel has expired in the table. The channel \
         is created if it does not exist.",
        &[CHANNEL],
    ),
    given(
        "the message has all reactions that it may have",
        "Each with another emoji, of which none is 👍.",
        &[CHANNEL, ("seq", "1"), ("user_id", "bob")],
    ),
    given(
        "the agent is replying",
        "A message of the user, to which the agent is writing a reply. The channel is created if it does not exist.",
        &[CHANNEL, ("sender_id", "alice")],
    ),
    given(
        "the agent is writing",
        "As \"the agent is replying\", and these words are stored.",
        &[CHANNEL, ("sender_id", "alice"), ("text", "Some words")],
    ),
    given(
        "the agent has answered",
        "A message of bob, and the agent's reply to it. The channel is created if it does not exist.",
        &[CHANNEL],
    ),
    given("the channel is archived", "By its owner.", &[CHANNEL]),
    given("the channel was changed", "By its owner: its version is one more.", &[CHANNEL]),
    given(
        "the request was sent before",
        "By the caller: `POST` to `path` with `body` under the `Idempotency-Key` `key`; the response is ignored.",
        &[("path", "/channels/general/messages"), ("key", ""), ("body", r#"{"content":"hi"}"#)],
    ),
    given(
        "a user is connected",
        "A socket of the user is open. Provides `connection_id` to generators.",
        &[CHANNEL, ("user_id", "alice")],
    ),
    given("the caller is", "The user of the request's token; the default is alice.", &[("user_id", "alice")]),
    given("the token has expired", "Three hours ago.", &[]),
    given("the token is not valid yet", "It is valid in an hour.", &[]),
    given("the token is not signed by its issuer", "Its signature is wrong.", &[]),
    given("the token has the scopes", "And no other scopes.", &[("scopes", "chat:read")]),
    given("the token is limited to channels", "Separated by commas.", &[("channels", "general")]),
    given("the keys of the token's issuer cannot be had", "The token can be neither accepted nor refused.", &[]),
    given(
        "the caller does this too often",
        "There is nothing left of the caller's allowance, for an hour, to `send`, to `connect`, to `type`, to `create` a \
         channel, to `add-member`, to `change` a channel or end a membership, to look at `presence`, to `list-channels`, to \
         `renew` a token, to mark as `read`, or to `wait` for messages and changes.",
        &[("action", "send"), CHANNEL],
    ),
    given("the caller has created all channels that it may create", "By the count in the table.", &[]),
    given(
        "a user has all invitations that it may have",
        "By the owner of as many channels, which are created.",
        &[("user_id", "bob")],
    ),
    given(
        "the channel is busy",
        "Each attempt at sending loses to another writer: the table has a message with the next number. The channel is \
         created if it does not exist.",
        &[CHANNEL],
    ),
    given("a stored message cannot be read", "It is broken in the table.", &[CHANNEL, ("seq", "1")]),
    frame(
        "a message is sent",
        "The frame about it.",
        &[
            CHANNEL,
            ("sender_id", "bob"),
            ("content", "hi"),
            ("content_type", "text/plain"),
            ("metadata", ""),
            ("reply_to", ""),
            ("thread_seq", ""),
        ],
    ),
    frame(
        "a message is edited",
        "The frame about it; the message is sent first if the channel has none.",
        &[CHANNEL, ("sender_id", "bob"), ("seq", "1"), ("content", "edited")],
    ),
    frame(
        "a message is edited several times at once",
        "The frame about several of the edits; the message is sent first if the channel has none.",
        &[CHANNEL, ("sender_id", "bob"), ("seq", "1"), ("content", "edited")],
    ),
    frame(
        "a message is deleted",
        "The frame about it; the message is sent first if the channel has none.",
        &[CHANNEL, ("sender_id", "bob"), ("seq", "1")],
    ),
    frame(
        "a message gets a reaction",
        "The frame about it; the message is sent first if the channel has none.",
        &[CHANNEL, ("sender_id", "bob"), ("seq", "1"), ("emoji", "👍")],
    ),
    frame(
        "a message loses a reaction",
        "The frame about it; the user has reacted before, and the message is sent first if the channel has none.",
        &[CHANNEL, ("sender_id", "bob"), ("seq", "1"), ("emoji", "👍")],
    ),
    frame("the agent answers", "The frame with the reply, once it is stored.", &[CHANNEL]),
    frame("the agent gives up", "The frame with the failure notice.", &[CHANNEL]),
    frame(
        "the agent writes a reply",
        "A `message.delta` with this `status`: thinking, writing, done, cancelled or failed.",
        &[CHANNEL, ("status", "writing")],
    ),
    frame("a user comes", "The `presence.joined`.", &[CHANNEL, ("user_id", "bob")]),
    frame("a user goes", "The `presence.left`.", &[CHANNEL, ("user_id", "bob")]),
    frame(
        "a socket has no room for all channels",
        "The `channels.left_out`: an owner adds the caller to one more channel than the 100 of its open socket.",
        &[],
    ),
    frame("a socket opens", "The `hello` of the caller's socket.", &[CHANNEL]),
    frame(
        "the server closes a socket",
        "The `closing` of the caller's socket with this `reason`: token_expired, removed or too_many_frames.",
        &[CHANNEL, ("reason", "removed")],
    ),
    frame(
        "a channel is created",
        "The `channel.created`; by the caller, with another socket.",
        &[CHANNEL, ("name", "General")],
    ),
    frame("a channel is changed", "The `channel.updated`; by its owner.", &[CHANNEL, ("name", "Changed")]),
    frame("a channel is deleted", "The `channel.deleted`; by its owner.", &[CHANNEL]),
    frame("a user joins", "The `member.joined`.", &[CHANNEL, ("user_id", "bob")]),
    frame(
        "a member gets a role",
        "The `member.updated`; by the owner of the channel.",
        &[CHANNEL, ("user_id", "bob"), ("role", "moderator")],
    ),
    frame("a member is removed", "The `member.removed`; by the owner of the channel.", &[CHANNEL, ("user_id", "bob")]),
    frame(
        "a member reads",
        "The `read.updated`. The channel has read receipts, and a message.",
        &[CHANNEL, ("user_id", "bob")],
    ),
    frame("a user types", "The `typing`.", &[CHANNEL, ("user_id", "bob")]),
    frame("the client pings", "The `pong`.", &[CHANNEL]),
    frame("the client sends a frame", "The `error`: the socket only receives.", &[CHANNEL, ("text", "hello")]),
];

/// Returns the state with a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static State> {
    STATES.iter().find(|state| state.name.eq_ignore_ascii_case(name.trim()))
}

/// The parameters of a state in one interaction.
#[derive(Debug, Clone)]
pub struct Parameters {
    state: &'static State,
    given: Map<String, Value>,
}

impl Parameters {
    /// Checks the parameters that a pact gives to a state.
    ///
    /// # Errors
    /// Fails if the state does not have a parameter.
    pub fn of(state: &'static State, given: Map<String, Value>) -> anyhow::Result<Self> {
        if let Some(unknown) = given.keys().find(|name| !state.parameters.iter().any(|(known, _)| known == name)) {
            let known: Vec<_> = state.parameters.iter().map(|(name, _)| *name).collect();
            anyhow::bail!("the state \"{}\" has no parameter {unknown}; it has {known:?}", state.name);
        }
        Ok(Self { state, given })
    }

    /// Returns a parameter as text: the pact's value, or the default.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        match self.given.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) => {
                let items = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                items.collect::<Vec<_>>().join(",")
            }
            Some(value) => value.to_string(),
            None => {
                let default = self.state.parameters.iter().find(|(known, _)| *known == name);
                default.map(|(_, default)| (*default).to_owned()).unwrap_or_default()
            }
        }
    }

    /// Returns a parameter as a number.
    ///
    /// # Errors
    /// Fails if it is not a number.
    pub fn number(&self, name: &str) -> anyhow::Result<u64> {
        let text = self.text(name);
        text.parse().map_err(|_| anyhow::anyhow!("the parameter {name} of \"{}\" must be a number", self.state.name))
    }

    /// Returns a parameter as JSON; text that is not JSON is a string. Returns `None` if it is omitted.
    #[must_use]
    pub fn json(&self, name: &str) -> Option<Value> {
        let text = match self.given.get(name) {
            Some(value) if !value.is_string() => return Some(value.clone()),
            _ => self.text(name),
        };
        (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap_or_else(|_| json!(text)))
    }
}

/// Returns the list of all states as text.
#[must_use]
pub fn listing() -> String {
    let mut text = String::from(
        "Every interaction begins without data. A token in a request of a pact is replaced \
         by\na valid one of alice's, unless a state says otherwise; a request without one is sent without one.\n",
    );
    for (title, makes_a_frame) in [("Given", false), ("Making the frame of a message interaction", true)] {
        text.push_str(&format!("\n{title}:\n"));
        for state in STATES.iter().filter(|state| state.makes_a_frame == makes_a_frame) {
            text.push_str(&format!("\n  {}\n      {}\n", state.name, state.about));
            for (name, default) in state.parameters {
                let default = if default.is_empty() { "left out".to_owned() } else { (*default).to_owned() };
                text.push_str(&format!("      - {name} [{default}]\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_found_by_its_name_whatever_its_case() {
        assert_eq!(find("A channel exists ").unwrap().name, "a channel exists");
        assert!(find("a channel exist").is_none());
    }

    #[test]
    fn parameters_have_defaults_and_others_are_refused() {
        let state = find("the channel has messages").unwrap();
        let given = json!({ "count": 7, "sender_id": "carol" }).as_object().cloned().unwrap();
        let parameters = Parameters::of(state, given).unwrap();
        assert_eq!(parameters.number("count").unwrap(), 7);
        assert_eq!((parameters.text("sender_id"), parameters.text("channel_id")), ("carol".into(), "general".into()));
        let unknown = json!({ "channel": "x" }).as_object().cloned().unwrap();
        assert!(Parameters::of(state, unknown).unwrap_err().to_string().contains("channel_id"));
    }

    #[test]
    fn the_list_has_every_state_and_parameter() {
        let text = listing();
        for state in STATES {
            assert!(text.contains(state.name) && state.parameters.iter().all(|(name, _)| text.contains(name)));
        }
    }
}
