//! Lines that the client under test writes. docs/guides/conformance.md describes both directions.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One line of the client: something that it wants from its platform, or shows to its user.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// Sends an HTTP request.
    Fetch(Request),
    /// Opens a socket.
    Socket(Handshake),
    /// Sends a text frame.
    Send {
        /// Number of the socket.
        socket: u64,
        /// The text.
        text: String,
    },
    /// Closes a socket.
    Close {
        /// Number of the socket.
        socket: u64,
    },
    /// Starts a timer.
    Timer {
        /// Number of the timer.
        id: u64,
        /// Duration in milliseconds. A fraction counts as a whole millisecond.
        #[serde(deserialize_with = "whole")]
        ms: u64,
    },
    /// Stops a timer.
    Cancel {
        /// Number of the timer.
        id: u64,
    },
    /// Asks the application for a token.
    Token {
        /// Number of the request.
        id: u64,
    },
    /// Shows the state of a channel.
    Show(Show),
    /// Ends the lines of the client until the next line of the kit.
    Idle,
}

/// A request of the client.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Request {
    /// Number of the request.
    pub id: u64,
    /// Method, such as `GET`.
    pub method: String,
    /// Path, with or without a query.
    pub path: String,
    /// Query, as a text or as an object.
    #[serde(default)]
    pub query: Value,
    /// Headers. Their names are in lower or upper case.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Body, as a text with JSON or as JSON.
    #[serde(default)]
    pub body: Value,
}

/// A socket to open.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Handshake {
    /// Number of the socket, which the client chooses.
    pub id: u64,
    /// URL with its query.
    pub url: String,
    /// Subprotocols.
    #[serde(default)]
    pub protocols: Vec<String>,
    /// Headers, if the client's platform can send them.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// The state of a channel as the client's user sees it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Show {
    /// The channel.
    pub channel: String,
    /// Stored messages, oldest first.
    #[serde(default)]
    pub messages: Vec<ShownMessage>,
    /// Replies that are being written.
    #[serde(default)]
    pub drafts: Vec<ShownDraft>,
    /// Messages that are not stored yet.
    #[serde(default)]
    pub outbox: Vec<ShownSend>,
    /// Number up to which the client has all changes.
    #[serde(default)]
    pub rev: Option<u64>,
}

/// A stored message, as far as the kit compares it. The client may pass the message of the contract.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ShownMessage {
    /// Number of the message.
    pub seq: u64,
    /// Its version.
    pub version: u64,
    /// Its text.
    pub content: String,
    /// Its reactions.
    #[serde(default)]
    pub reactions: Vec<ShownReaction>,
}

/// A reaction with its number of users.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ShownReaction {
    /// The emoji.
    pub emoji: String,
    /// Number of users.
    pub count: u64,
}

/// A reply while it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ShownDraft {
    /// Number of the question.
    pub reply_to: u64,
    /// The draft; absent before its first frame.
    #[serde(default)]
    pub draft_id: Option<String>,
    /// Text so far.
    #[serde(default)]
    pub text: String,
}

/// A message of the user that is not stored yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ShownSend {
    /// Its idempotency key.
    pub key: String,
    /// Its text.
    #[serde(default)]
    pub content: String,
    /// `failed` if the client sends it only after an act of the user; all other states are alike.
    #[serde(default)]
    pub state: String,
}

impl Order {
    /// Reads a line of the client.
    pub fn parse(line: &str) -> Result<Self, String> {
        // Most bytes of a run are those of `show`. A tagged enum would copy each of these lines before it is read.
        let order = if line.contains(r#""do":"show""#) {
            serde_json::from_str(line).map(Self::Show)
        } else {
            serde_json::from_str(line)
        };
        order.map_err(|error| format!("unreadable line of the client ({error}): {line}"))
    }
}

impl Request {
    /// Returns the path without its query.
    pub(crate) fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Returns the parameters of the query, in the path and beside it.
    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        let mut parameters = query_of(&self.path);
        match &self.query {
            Value::String(text) => parameters.extend(pairs(text.trim_start_matches('?'))),
            Value::Object(fields) => parameters.extend(fields.iter().filter_map(|(name, value)| match value {
                Value::Null => None,
                Value::String(text) => Some((name.clone(), text.clone())),
                other => Some((name.clone(), other.to_string())),
            })),
            _ => {}
        }
        parameters
    }

    /// Returns a header; its name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Returns the body as JSON; `null` if there is none.
    pub(crate) fn json(&self) -> Value {
        match &self.body {
            Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            other => other.clone(),
        }
    }

    /// Returns the token of the request.
    pub(crate) fn token(&self) -> Option<&str> {
        bearer(&self.headers)
    }
}

impl Handshake {
    /// Returns the parameters of the URL.
    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        query_of(&self.url)
    }

    /// Returns the token of the subprotocol or of the header.
    pub(crate) fn token(&self) -> Option<&str> {
        let mut protocols = self.protocols.iter();
        let named = protocols.find(|name| *name == "bearer").and_then(|_| protocols.next()).map(String::as_str);
        named.or_else(|| bearer(&self.headers))
    }
}

fn header<'a>(headers: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn bearer(headers: &BTreeMap<String, String>) -> Option<&str> {
    header(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "))
}

fn query_of(url: &str) -> BTreeMap<String, String> {
    url.split_once('?').map(|(_, query)| pairs(query).into_iter().collect()).unwrap_or_default()
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let split = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(&value.replace('+', " ")))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(split).collect()
}

/// Decodes percent-encoding. An invalid escape stays as it is.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a number of milliseconds, which may have a fraction.
fn whole<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    let number = f64::deserialize(input)?.max(0.0).ceil();
    Ok(format!("{number:.0}").parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_guide_are_read() {
        let lines = [
            r#"{"do":"fetch","id":1,"method":"GET","path":"/me","query":{"limit":5},"headers":{},"body":null}"#,
            r#"{"do":"socket","id":1,"url":"wss://kit.test/?channels=a,b","protocols":["bearer","t"]}"#,
            r#"{"do":"send","socket":1,"text":"ping"}"#,
            r#"{"do":"close","socket":1}"#,
            r#"{"do":"timer","id":1,"ms":250.5}"#,
            r#"{"do":"cancel","id":1}"#,
            r#"{"do":"token","id":1}"#,
            r#"{"do":"show","channel":"a","messages":[],"drafts":[],"rev":1,"state":"live"}"#,
            r#"{"do":"idle"}"#,
        ];
        for line in lines {
            assert!(Order::parse(line).is_ok(), "{line}");
        }
        assert_eq!(Order::parse(lines[4]), Ok(Order::Timer { id: 1, ms: 251 }));
        assert!(Order::parse("{}").is_err());
    }

    #[test]
    fn queries_are_read_from_each_place() {
        let in_path = Request { path: "/a?after=1&x=%C3%A4+b".to_owned(), ..Request::default() };
        assert_eq!(in_path.parameters()["x"], "ä b");
        assert_eq!(in_path.bare_path(), "/a");
        let beside = Request { query: serde_json::json!({"after": 1, "limit": null}), ..Request::default() };
        assert_eq!(beside.parameters(), BTreeMap::from([("after".to_owned(), "1".to_owned())]));
        let text = Request { query: Value::String("?after=1".to_owned()), ..Request::default() };
        assert_eq!(text.parameters()["after"], "1");
    }

    #[test]
    fn tokens_are_read_from_each_place() {
        let request =
            Request { headers: [("Authorization".to_owned(), "Bearer t".to_owned())].into(), ..Request::default() };
        assert_eq!(request.token(), Some("t"));
        let line = r#"{"do":"socket","id":1,"url":"wss://kit.test","protocols":["bearer","u"]}"#;
        let Ok(Order::Socket(handshake)) = Order::parse(line) else { panic!("no handshake") };
        assert_eq!(handshake.token(), Some("u"));
    }
}
