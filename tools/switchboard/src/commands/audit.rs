//! `switchboard audit`: reads the audit log. Other commands write their own entries to it.

use anyhow::{Context, Result, anyhow};
use chat::{
    model::{
        audit::{Actor, AuditAction, AuditEntry},
        channel::MemberRole,
        id::{ChannelId, MessageId, UserId},
        time::Timestamp,
    },
    ports::clock::{Clock, SystemClock},
};
use chat_aws::AuditLog;
use clap::Args;
use jiff::SignedDuration;
use local::token::parse_ttl;
use serde::Serialize;
use serde_json::Value;
use telemetry::audit::AuditLine;

use crate::{
    output::{Output, Row, TABLE_ROWS},
    refusal::Refusal,
    target::Target,
};

/// Stack of a local run, whose name begins the names of its log groups.
const LOCAL_STACK: &str = "switchboard";

/// Cell without a value.
const NONE: &str = "-";

/// Options of `audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Age of the oldest entry, such as 12h or 30d
    #[arg(long, default_value = "7d", value_parser = parse_ttl, value_name = "DURATION")]
    since: SignedDuration,
    /// Only entries that name this user, as the actor or otherwise
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// Only entries of this channel
    #[arg(long, value_name = "ID")]
    channel: Option<ChannelId>,
    /// Only entries with this action, such as `member_removed`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
}

/// Entry as it is stored, with the fields that the function added.
#[derive(Debug)]
struct Stored {
    entry: AuditEntry,
    all: Value,
}

impl Serialize for Stored {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.all.serialize(serializer)
    }
}

impl Row for Stored {
    const COLUMNS: &'static [&'static str] = &["TIME", "ACTOR", "ACTION", "CHANNEL", "USER", "DETAILS"];

    fn cells(&self) -> Vec<String> {
        let AuditEntry { at, actor, channel_id, action } = &self.entry;
        let actor = match actor {
            Actor::User(user) => user.to_string(),
            Actor::Operator(name) => format!("operator {name}"),
        };
        vec![
            at.to_string(),
            actor,
            self.all["action"].as_str().unwrap_or_default().to_owned(),
            channel_id.as_ref().map_or_else(|| NONE.to_owned(), ToString::to_string),
            self.entry.subject().map_or_else(|| NONE.to_owned(), ToString::to_string),
            details(action),
        ]
    }
}

/// Returns the part of a change that no other column has.
fn details(action: &AuditAction) -> String {
    // Roles in JSON are texts in quotes.
    let role = |role: &MemberRole| serde_json::to_string(role).unwrap_or_default().trim_matches('"').to_owned();
    match action {
        AuditAction::ChannelCreated { settings } | AuditAction::ChannelChanged { settings } => settings.join(" "),
        AuditAction::MemberAdded { role: of, .. }
        | AuditAction::MemberInvited { role: of, .. }
        | AuditAction::MemberRemoved { role: of, .. } => role(of),
        AuditAction::RoleChanged { from, to, .. } => format!("{} to {}", role(from), role(to)),
        AuditAction::MessageEdited { seq, .. } | AuditAction::MessageDeleted { seq, .. } => format!("message {seq}"),
        AuditAction::ConnectionClosed { connection_id, .. } => connection_id.to_string(),
        AuditAction::ChannelDeleted | AuditAction::InvitationEnded { .. } | AuditAction::UserErased { .. } => {
            String::new()
        }
    }
}

impl Audit {
    /// Prints the entries that the options select, oldest first, in parts.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn run(self, target: &Target, output: &Output) -> Result<()> {
        let log = log_of(target)?;
        let since = i64::try_from(self.since.as_millis()).unwrap_or(i64::MAX);
        let from = SystemClock.now().as_millis().saturating_sub(since);
        let (mut token, mut rows, mut is_printed) = (None, Vec::new(), false);
        loop {
            let page = log.page(from, None, token.as_deref()).await.map_err(|error| anyhow!(error))?;
            rows.extend(page.lines.iter().filter_map(stored).filter(|stored| self.selects(stored, target)));
            token = page.next;
            if rows.len() >= TABLE_ROWS || (token.is_none() && !(rows.is_empty() && is_printed)) {
                output.rows(&rows)?;
                is_printed = true;
                rows.clear();
            }
            if token.is_none() {
                return Ok(());
            }
        }
    }

    fn selects(&self, stored: &Stored, target: &Target) -> bool {
        let Stored { entry, all } = stored;
        let tenant = target.tenant.as_ref().map(ToString::to_string);
        all["tenant"].as_str() == tenant.as_deref()
            && self.user.as_ref().is_none_or(|user| entry.names(user))
            && self.channel.as_ref().is_none_or(|channel| entry.channel_id.as_ref() == Some(channel))
            && self.action.as_ref().is_none_or(|action| all["action"] == action.as_str())
    }
}

/// Reads an entry. A line of another form is left out: later versions may have further actions.
fn stored(line: &AuditLine) -> Option<Stored> {
    let all: Value = serde_json::from_str(&line.text).ok()?;
    Some(Stored { entry: serde_json::from_value(all.clone()).ok()?, all })
}

/// Returns the audit log of a target.
fn log_of(target: &Target) -> Result<AuditLog> {
    // One run of a command is one writer.
    let stream = format!("operator/{}", MessageId::generate(SystemClock.seed()));
    if target.is_local {
        let url = target.logs.as_deref().context("the ready file has no address of the logs")?;
        let config = target.sdk.to_builder().endpoint_url(url).build();
        return Ok(AuditLog::new(&config, group(LOCAL_STACK), stream));
    }
    let stack = target.stack.as_deref().ok_or_else(|| {
        Refusal::Usage("name the stack with --stack: its name begins the name of the audit log's group".to_owned())
    })?;
    Ok(AuditLog::new(&target.sdk, group(stack), stream))
}

/// Returns the name of the log group, as infra/backend.yaml builds it.
fn group(stack: &str) -> String {
    format!("/{stack}/audit")
}

/// Name of an operator, for the audit log.
#[derive(Debug, Clone, Args)]
pub struct Operator {
    /// Your name in the audit log
    #[arg(long = "operator", env = "USER", hide_env_values = true, default_value = "operator", value_name = "NAME")]
    name: String,
}

impl Operator {
    /// Writes an entry about a change that this command has made. A failure is a note, because the change is made.
    pub async fn record(&self, target: &Target, output: &Output, action: AuditAction) {
        if let Err(error) = self.try_record(target, action).await {
            output.note(format!("the change is not in the audit log: {error:#}"));
        }
    }

    async fn try_record(&self, target: &Target, action: AuditAction) -> Result<()> {
        let at: Timestamp = SystemClock.now();
        let entry = AuditEntry { at, actor: Actor::Operator(self.name.clone()), channel_id: None, action };
        let mut line = serde_json::to_value(&entry)?;
        if let Some(tenant) = &target.tenant {
            line["tenant"] = tenant.to_string().into();
        }
        let line = AuditLine { at: at.as_millis(), text: line.to_string() };
        log_of(target)?.put(&[line]).await.map_err(|error| anyhow!(error))
    }
}

#[cfg(test)]
mod tests {
    use chat::model::seq::Seq;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_a_row_and_all_of_its_fields_are_json() {
        let entry = AuditEntry {
            at: Timestamp::from_secs(1_800_000_000),
            actor: Actor::User("mod".parse().unwrap()),
            channel_id: Some("c".parse().unwrap()),
            action: AuditAction::RoleChanged {
                user_id: "bob".parse().unwrap(),
                from: MemberRole::Member,
                to: MemberRole::Owner,
            },
        };
        let mut all = serde_json::to_value(&entry).unwrap();
        all["request_id"] = json!("r-1");
        let found = stored(&AuditLine { at: 1, text: all.to_string() }).unwrap();
        let expected = ["2027-01-15T08:00:00.000Z", "mod", "role_changed", "c", "bob", "member to owner"];
        assert_eq!(found.cells(), expected);
        assert_eq!(serde_json::to_value(&found).unwrap()["request_id"], "r-1");
        let later = json!({ "at": "2027-01-15T08:00:00.000Z", "actor_kind": "user", "actor": "a", "action": "new" });
        assert!(stored(&AuditLine { at: 1, text: later.to_string() }).is_none());
        assert_eq!(
            details(&AuditAction::MessageDeleted { seq: Seq::new(7), sender_id: "a".parse().unwrap() }),
            "message 7"
        );
    }

    #[test]
    fn the_group_has_the_name_of_the_template() {
        assert_eq!(group("switchboard-production"), "/switchboard-production/audit");
    }
}
