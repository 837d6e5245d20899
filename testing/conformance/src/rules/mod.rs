//! Rules that a client keeps, and the judge that checks them.

mod requests;
mod shown;
mod sockets;

use std::collections::BTreeMap;

use crate::{gateway::Gateway, protocol::Show};

use self::{requests::Watch, sockets::Connecting};

pub(crate) use self::requests::{channel_of, is_send};

macro_rules! rules {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal,)*) => {
        /// A rule. docs/guides/conformance.md has the reasons.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Rule {
            /// All rules.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the name of the rule.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

rules! {
    /// After the faults, the user sees all messages from the first loaded one on.
    CompleteMessages "complete-messages",
    /// Each shown message is one state of the server, versions grow, and after the faults all are the newest.
    CompleteChanges "complete-changes",
    /// No message is shown or stored twice.
    NoDuplicates "no-duplicates",
    /// Messages are shown by their numbers.
    Order "order",
    /// The text of a draft is a beginning of the stored text, and all of it after the faults.
    DraftText "draft-text",
    /// At most one request for a token is in flight.
    OneFetchInFlight "one-fetch-in-flight",
    /// A token is requested at most once a minute, unless the server refused the last one.
    TokenRate "token-rate",
    /// A socket does not end by its token or its 2 hours while the network works.
    Renewal "renewal",
    /// Waits between failed handshakes grow, are random, and are at most 30 seconds.
    Backoff "backoff",
    /// A request is not repeated before its `Retry-After`.
    RetryAfter "retry-after",
    /// A refused request, send or connection is not repeated.
    NoRetryAfterRefusal "no-retry-after-refusal",
    /// A gap waits 250 ms before it costs a request, and requests do not repeat without a cause.
    NoStorm "no-storm",
    /// All repetitions of a send have one key, and each send has its own.
    IdempotencyKey "idempotency-key",
    /// Messages of one channel are stored in the order in which the user sent them.
    SendOrder "send-order",
    /// A send is stored, or is shown as failed.
    SendKept "send-kept",
    /// After the faults, open sockets receive all channels.
    Live "live",
    /// The client speaks the protocol of the kit.
    Protocol "protocol",
}

impl Rule {
    /// Returns the rule with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The observation that breaks it.
    pub text: String,
}

/// A send of the user.
#[derive(Debug, Clone, Default)]
struct Sent {
    channel: String,
    content: String,
    key: Option<String>,
    is_stored: bool,
    is_refused: bool,
    has_failed: bool,
}

/// Observes a run.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    findings: Vec<Finding>,
    shows: BTreeMap<String, Show>,
    /// Largest version of a message that was shown.
    versions: BTreeMap<(String, u64), u64>,
    sends: Vec<Sent>,
    watch: Watch,
    connecting: Connecting,
}

impl Judge {
    fn find(&mut self, rule: Rule, text: String) {
        self.findings.push(Finding { rule, text });
    }

    pub(crate) fn protocol(&mut self, text: String) {
        self.find(Rule::Protocol, text);
    }

    /// Returns the first finding of a rule, or of any rule.
    pub(crate) fn finding(&self, rule: Option<Rule>) -> Option<&Finding> {
        // A client that does not speak the protocol keeps no rule.
        let counts =
            |finding: &&Finding| finding.rule == Rule::Protocol || rule.is_none_or(|rule| rule == finding.rule);
        self.findings.iter().find(counts)
    }

    /// Counts a cause of requests: a frame, an opened socket, an act of the user.
    pub(crate) fn cause(&mut self) {
        self.watch.causes += 1;
    }

    /// Adds a send of the user.
    pub(crate) fn act_send(&mut self, channel: &str, content: &str) {
        self.sends.push(Sent { channel: channel.to_owned(), content: content.to_owned(), ..Sent::default() });
    }

    /// Returns the channels and keys of sends that the client shows as failed, without refused ones.
    pub(crate) fn failed_sends(&self) -> Vec<(String, String)> {
        let failed = |show: &Show| {
            let entries = show.outbox.iter().filter(|entry| entry.state == "failed");
            entries.map(|entry| (show.channel.clone(), entry.key.clone())).collect::<Vec<_>>()
        };
        let refused = |key: &str| self.sends.iter().any(|sent| sent.is_refused && sent.key.as_deref() == Some(key));
        self.shows.values().flat_map(failed).filter(|(_, key)| !refused(key)).collect()
    }

    /// Checks the state after the faults have ended and the client had time to recover.
    pub(crate) fn checkpoint(&mut self, gateway: &Gateway, opened: &[String]) {
        for id in opened.iter().filter(|id| gateway.is_readable(id)) {
            self.check_channel(gateway, id);
        }
        self.check_sends(gateway);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_names_of_their_own() {
        for rule in Rule::ALL {
            assert_eq!(Rule::named(rule.name()), Some(*rule));
        }
        assert_eq!(Rule::named("none"), None);
    }

    #[test]
    fn a_rule_selects_its_findings() {
        let mut judge = Judge::default();
        judge.find(Rule::Order, "x".to_owned());
        assert!(judge.finding(None).is_some());
        assert!(judge.finding(Some(Rule::Order)).is_some());
        assert_eq!(judge.finding(Some(Rule::Backoff)), None);
    }
}
