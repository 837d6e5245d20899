//! Exports of Slack workspaces: the folder in the ZIP file.
//!
//! "How to read Slack data exports" in Slack's help center lists the files: `users.json`, `channels.json`, `groups.json`,
//! `dms.json`, `mpims.json`, and a folder of days for each channel. The page of the event `message` in Slack's API
//! reference describes a message.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use chat::model::{
    channel::{MemberRole, Visibility},
    id::ChannelId,
    message::ContentType,
    text::name::normalized,
    time::Timestamp,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    ForeignChannel, Post, UserOptions, Workspace,
    users::{Attributes, Users},
};

/// Kinds of messages that have a content of a user. Others report events, such as joins.
const WITH_CONTENT: [&str; 5] = ["bot_message", "me_message", "thread_broadcast", "file_share", TOMBSTONE];

/// Kind of a deleted message that has replies.
const TOMBSTONE: &str = "tombstone";

#[derive(Debug, Deserialize)]
struct User {
    id: String,
    name: Option<String>,
    #[serde(default)]
    profile: Profile,
}

#[derive(Debug, Default, Deserialize)]
struct Profile {
    email: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    name: Option<String>,
    created: Option<i64>,
    creator: Option<String>,
    #[serde(default)]
    is_archived: bool,
    #[serde(default)]
    members: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    subtype: Option<String>,
    user: Option<String>,
    bot_id: Option<String>,
    username: Option<String>,
    text: Option<String>,
    ts: String,
    thread_ts: Option<String>,
    edited: Option<Edited>,
    #[serde(default)]
    reactions: Vec<Reaction>,
    #[serde(default)]
    files: Vec<Attached>,
}

#[derive(Debug, Deserialize)]
struct Edited {
    ts: String,
}

#[derive(Debug, Deserialize)]
struct Reaction {
    name: String,
    #[serde(default)]
    users: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Attached {
    name: Option<String>,
}

/// Kind of a channel in Slack, with the file that lists those of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    Direct,
    Group,
}

impl Kind {
    const ALL: [(Self, &str); 4] = [
        (Self::Public, "channels.json"),
        (Self::Private, "groups.json"),
        (Self::Direct, "dms.json"),
        (Self::Group, "mpims.json"),
    ];
}

/// Export of a workspace.
#[derive(Debug)]
pub struct Slack {
    users: Users,
    /// Names by the ids of channels, for links to them.
    names: BTreeMap<String, String>,
    channels: Vec<ForeignChannel>,
    folders: Vec<PathBuf>,
}

impl Slack {
    /// Reads the lists of users and channels in `folder`.
    ///
    /// # Errors
    /// Fails if a list cannot be read.
    pub fn open(folder: &Path, options: &UserOptions) -> Result<Self> {
        let users: Vec<User> = match read_list(&folder.join("users.json"))? {
            Some(users) => users,
            None => read_list(&folder.join("org_users.json"))?
                .with_context(|| format!("{} has no users.json: name the unpacked folder", folder.display()))?,
        };
        let known = users.into_iter().map(|user| (user.id, Attributes { name: user.name, email: user.profile.email }));
        let mut slack = Self {
            users: Users::new(options.clone(), known.collect()),
            names: BTreeMap::new(),
            channels: Vec::new(),
            folders: Vec::new(),
        };
        for (kind, file) in Kind::ALL {
            let listed: Vec<Listed> = read_list(&folder.join(file))?.unwrap_or_default();
            for one in listed {
                slack.add(kind, &one, folder)?;
            }
        }
        Ok(slack)
    }

    fn add(&mut self, kind: Kind, listed: &Listed, folder: &Path) -> Result<()> {
        // The folder of a direct conversation has its id, those of others their name.
        let own_name = listed.name.clone().filter(|_| kind != Kind::Direct);
        self.folders.push(folder.join(own_name.as_ref().unwrap_or(&listed.id)));
        let mut members = BTreeMap::new();
        for member in listed.members.iter().chain(&listed.creator) {
            let is_owner = matches!(kind, Kind::Direct | Kind::Group) || listed.creator.as_ref() == Some(member);
            let role = if is_owner { MemberRole::Owner } else { MemberRole::Member };
            members.insert(self.users.id(member)?, role);
        }
        if let Some(name) = &own_name {
            self.names.insert(listed.id.clone(), name.clone());
        }
        let by_name = own_name.as_ref().filter(|_| kind != Kind::Group).and_then(|name| name.parse::<ChannelId>().ok());
        let channel_id = match by_name {
            Some(id) => id,
            None => listed.id.parse().with_context(|| format!("the channel {:?} has no usable id", listed.id))?,
        };
        let name = match &own_name {
            Some(name) if kind != Kind::Group => name.clone(),
            _ => members.keys().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        self.channels.push(ForeignChannel {
            name: normalized(&name).unwrap_or_else(|_| listed.id.clone()),
            channel_id,
            visibility: if kind == Kind::Public { Visibility::Public } else { Visibility::Private },
            created_at: listed.created.map(Timestamp::from_secs),
            is_archived: listed.is_archived,
            members,
        });
        Ok(())
    }

    /// Returns the messages of one day, in the order of their times.
    fn day(&self, file: &Path) -> Result<Vec<Post>> {
        let messages: Vec<Message> = read_list(file)?.unwrap_or_default();
        let mut posts = Vec::new();
        for message in messages {
            let time =
                time_of(&message.ts).with_context(|| format!("{}: the time {:?}", file.display(), message.ts))?;
            if message.subtype.as_deref().is_none_or(|kind| WITH_CONTENT.contains(&kind)) {
                posts.push((time, self.post(message, time)?));
            }
        }
        posts.sort_by_key(|(time, _)| *time);
        Ok(posts.into_iter().map(|(_, post)| post).collect())
    }

    fn post(&self, message: Message, time: (i64, i64)) -> Result<Post> {
        let is_deleted = message.subtype.as_deref() == Some(TOMBSTONE);
        // A message of a bot may have no user.
        let sender = message.user.or(message.bot_id).or(message.username).unwrap_or_else(|| "unknown".to_owned());
        let mut content = self.plain(message.text.as_deref().unwrap_or_default())?;
        for file in &message.files {
            let name = file.name.as_deref().unwrap_or("without a name");
            content = if content.is_empty() { format!("[file: {name}]") } else { format!("{content}\n[file: {name}]") };
        }
        let mut reactions = Vec::new();
        for reaction in message.reactions {
            for user in reaction.users {
                reactions.push((reaction.name.clone(), self.users.id(&user)?));
            }
        }
        Ok(Post {
            sender_id: self.users.id(&sender)?,
            content,
            content_type: ContentType::Plain,
            created_at: timestamp(time),
            edited_at: message.edited.and_then(|edited| time_of(&edited.ts)).map(timestamp),
            is_deleted,
            reactions,
            is_root: message.thread_ts.as_ref() == Some(&message.ts),
            root: message.thread_ts.filter(|root| *root != message.ts),
            id: message.ts,
        })
    }

    /// Returns Slack's text as people read it: with names of users and channels, and with addresses of links.
    ///
    /// "Formatting text for app surfaces" in Slack's API reference describes `<@user>`, `<#channel|name>`, `<!here>` and
    /// `<address|label>`, and the three escaped characters.
    fn plain(&self, text: &str) -> Result<String> {
        let (mut plain, mut rest) = (String::new(), text);
        while let Some((before, linked)) = rest.split_once('<') {
            let Some((link, after)) = linked.split_once('>') else { break };
            plain.push_str(before);
            plain.push_str(&self.linked(link)?);
            rest = after;
        }
        plain.push_str(rest);
        Ok(plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    }

    fn linked(&self, link: &str) -> Result<String> {
        let (link, label) = link.split_once('|').map_or((link, None), |(link, label)| (link, Some(label)));
        if let Some(user) = link.strip_prefix('@') {
            return Ok(format!("@{}", self.users.id(user)?));
        }
        if let Some(channel) = link.strip_prefix('#') {
            let name = label.filter(|label| !label.is_empty()).or(self.names.get(channel).map(String::as_str));
            return Ok(format!("#{}", name.unwrap_or(channel)));
        }
        if let Some(special) = link.strip_prefix('!') {
            return Ok(label.map_or_else(|| format!("@{special}"), str::to_owned));
        }
        Ok(match label {
            Some(label) if label != link => format!("{label} ({link})"),
            _ => link.to_owned(),
        })
    }
}

impl Workspace for Slack {
    fn channels(&self) -> &[ForeignChannel] {
        &self.channels
    }

    fn posts(&self, channel: usize) -> Result<Box<dyn Iterator<Item = Result<Post>> + '_>> {
        let Some(folder) = self.folders.get(channel) else { return Ok(Box::new(std::iter::empty())) };
        let days = days_in(folder)?;
        // One day is held in memory at a time.
        let posts = days.into_iter().flat_map(|file| match self.day(&file) {
            Ok(posts) => posts.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        });
        Ok(Box::new(posts))
    }
}

/// Returns the files of days in their order. A channel without messages may have no folder.
fn days_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut days = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            days.push(path);
        }
    }
    days.sort_unstable();
    Ok(days)
}

/// Reads a file with a list. Returns `None` if there is no file.
fn read_list<T: DeserializeOwned>(file: &Path) -> Result<Option<Vec<T>>> {
    let content = match fs::read(file) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let list = serde_json::from_slice(&content).with_context(|| format!("{} is no list", file.display()))?;
    Ok(Some(list))
}

/// Reads a time of Slack, such as `1355517523.000005`: seconds and microseconds since the Unix epoch.
fn time_of(ts: &str) -> Option<(i64, i64)> {
    let (seconds, micros) = ts.split_once('.').unwrap_or((ts, "0"));
    let micros = format!("{micros:0<6}");
    Some((seconds.parse().ok()?, micros.get(..6)?.parse().ok()?))
}

fn timestamp((seconds, micros): (i64, i64)) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slack() -> Slack {
        let alice = Attributes { name: Some("alice".to_owned()), email: None };
        Slack {
            users: Users::new(
                UserOptions { subject: super::super::users::Attribute::Name, ..UserOptions::default() },
                BTreeMap::from([("U1".to_owned(), alice)]),
            ),
            names: BTreeMap::from([("C1".to_owned(), "general".to_owned())]),
            channels: Vec::new(),
            folders: Vec::new(),
        }
    }

    #[test]
    fn markup_becomes_text() {
        for (text, expected) in [
            ("hi <@U1>, see <#C1> and <#C2|random>", "hi @alice, see #general and #random"),
            (
                "<!here> <https://example.com|the page> <https://example.com>",
                "@here the page (https://example.com) https://example.com",
            ),
            ("a &lt; b &amp;&amp; c &gt; d", "a < b && c > d"),
            ("&amp;lt;", "&lt;"),
            ("1 < 2", "1 < 2"),
            ("<mailto:a@example.com|a@example.com>", "a@example.com (mailto:a@example.com)"),
        ] {
            assert_eq!(slack().plain(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn times_have_microseconds() {
        assert_eq!(time_of("1355517523.000005"), Some((1_355_517_523, 5)));
        assert_eq!(time_of("1355517523"), Some((1_355_517_523, 0)));
        assert_eq!(time_of("1355517523.5"), Some((1_355_517_523, 500_000)));
        assert_eq!(time_of("soon"), None);
        assert_eq!(timestamp((1, 999_999)), Timestamp::from_millis(1_999));
    }
}
