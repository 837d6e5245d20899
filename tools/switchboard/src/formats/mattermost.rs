//! Bulk exports of Mattermost: the file of JSON lines in the ZIP file.
//!
//! "Bulk loading data: Data format" in Mattermost's documentation describes the lines.
//!
//! The posts of all channels follow one another, and replies are within their posts. So the file is read once, and the
//! time and the place of each post are kept: 32 bytes each. The posts of a channel are then read in the order of their
//! times.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use chat::model::{
    channel::{MemberRole, Visibility},
    id::ChannelId,
    limits::CHANNEL_NAME_CHARS,
    message::ContentType,
    text::name::normalized,
    time::Timestamp,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    ForeignChannel, Post, UserOptions, Workspace,
    users::{Attributes, Users},
};

#[derive(Debug, Deserialize)]
struct Line {
    channel: Option<Listed>,
    user: Option<User>,
    post: Option<Posted>,
    direct_channel: Option<Direct>,
    direct_post: Option<Posted>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    team: String,
    name: String,
    display_name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    deleted_at: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
    email: Option<String>,
    teams: Option<Vec<Team>>,
}

#[derive(Debug, Deserialize)]
struct Team {
    name: String,
    channels: Option<Vec<Membership>>,
}

#[derive(Debug, Deserialize)]
struct Membership {
    name: String,
    roles: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Direct {
    members: Option<Vec<String>>,
}

/// Post, direct post or reply.
#[derive(Debug, Deserialize)]
struct Posted {
    team: Option<String>,
    channel: Option<String>,
    channel_members: Option<Vec<String>>,
    user: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    message: String,
    create_at: i64,
    edit_at: Option<i64>,
    replies: Option<Vec<Posted>>,
    reactions: Option<Vec<Reaction>>,
    attachments: Option<Vec<Attachment>>,
}

#[derive(Debug, Deserialize)]
struct Reaction {
    user: String,
    emoji_name: String,
}

#[derive(Debug, Deserialize)]
struct Attachment {
    path: Option<String>,
}

/// Place of a post: its line, and its index among the replies of the post on that line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    create_at: i64,
    line: u64,
    reply: Option<u32>,
}

/// Name of a channel in the export.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Named { team: String, name: String },
    Direct(Vec<String>),
}

impl Key {
    fn direct(members: Option<&Vec<String>>) -> Option<Self> {
        let mut members = members?.clone();
        members.sort_unstable();
        members.dedup();
        Some(Self::Direct(members))
    }

    /// Returns the id of the channel.
    fn id(&self) -> Result<ChannelId> {
        let text = match self {
            Self::Named { team, name } => format!("{team}.{name}"),
            Self::Direct(members) => {
                let digest = Sha256::digest(members.join("\n"));
                let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
                format!("direct.{number:016x}")
            }
        };
        text.parse().with_context(|| format!("the channel {text:?} has no usable id"))
    }
}

/// A bulk export.
#[derive(Debug)]
pub struct Mattermost {
    file: PathBuf,
    users: Users,
    channels: Vec<ForeignChannel>,
    places: Vec<Vec<Place>>,
}

/// Parts of the file that are kept while it is read.
#[derive(Debug, Default)]
struct Index {
    keys: HashMap<Key, usize>,
    listed: Vec<(Key, Option<Listed>)>,
    /// Members of named channels, with the information whether they are owners.
    members: Vec<(Key, String, bool)>,
    users: BTreeMap<String, Attributes>,
    places: Vec<Vec<Place>>,
}

impl Index {
    fn channel(&mut self, key: Key, listed: Option<Listed>) -> usize {
        if let Some(index) = self.keys.get(&key) {
            return *index;
        }
        let index = self.listed.len();
        self.keys.insert(key.clone(), index);
        self.listed.push((key, listed));
        self.places.push(Vec::new());
        index
    }

    fn add(&mut self, line: Line, at: u64) {
        if let Some(listed) = line.channel {
            let key = Key::Named { team: listed.team.clone(), name: listed.name.clone() };
            self.channel(key, Some(listed));
        }
        if let Some(user) = line.user {
            for team in user.teams.into_iter().flatten() {
                for membership in team.channels.into_iter().flatten() {
                    let is_owner =
                        membership.roles.is_some_and(|roles| roles.split(' ').any(|one| one == "channel_admin"));
                    let key = Key::Named { team: team.name.clone(), name: membership.name };
                    self.members.push((key, user.username.clone(), is_owner));
                }
            }
            self.users.insert(user.username.clone(), Attributes { name: Some(user.username), email: user.email });
        }
        if let Some(key) = line.direct_channel.and_then(|direct| Key::direct(direct.members.as_ref())) {
            self.channel(key, None);
        }
        for post in [line.post, line.direct_post].into_iter().flatten() {
            self.add_post(&post, at);
        }
    }

    fn add_post(&mut self, post: &Posted, line: u64) {
        let named = post.team.clone().zip(post.channel.clone()).map(|(team, name)| Key::Named { team, name });
        let Some(key) = named.or_else(|| Key::direct(post.channel_members.as_ref())) else { return };
        let channel = self.channel(key, None);
        let Some(places) = self.places.get_mut(channel) else { return };
        places.push(Place { create_at: post.create_at, line, reply: None });
        for (index, reply) in post.replies.iter().flatten().enumerate() {
            let reply_index = u32::try_from(index).unwrap_or(u32::MAX);
            // A reply follows its post, also if clocks differ.
            let create_at = reply.create_at.max(post.create_at);
            places.push(Place { create_at, line, reply: Some(reply_index) });
        }
    }
}

impl Mattermost {
    /// Reads the file once.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is not of version 1.
    pub fn open(file: &Path, options: &UserOptions) -> Result<Self> {
        let unreadable = || format!("cannot read {}", file.display());
        let mut lines = BufReader::new(File::open(file).with_context(unreadable)?);
        let (mut index, mut line, mut at) = (Index::default(), String::new(), 0_u64);
        loop {
            line.clear();
            let length = lines.read_line(&mut line).with_context(unreadable)?;
            if length == 0 {
                break;
            }
            if at == 0 {
                check_version(&line).with_context(unreadable)?;
            }
            index.add(serde_json::from_str(&line).with_context(|| format!("{} at byte {at}", file.display()))?, at);
            at += u64::try_from(length)?;
        }
        let Index { listed, members, users, mut places, keys } = index;
        let users = Users::new(options.clone(), users);
        let mut channels: Vec<ForeignChannel> = Vec::new();
        for (key, listed) in listed {
            channels.push(foreign(&key, listed.as_ref(), &users)?);
        }
        for (key, member, is_owner) in members {
            let Some(index) = keys.get(&key) else { continue };
            let Some(channel) = channels.get_mut(*index) else { continue };
            let role = if is_owner { MemberRole::Owner } else { MemberRole::Member };
            channel.members.insert(users.id(&member)?, role);
        }
        for places in &mut places {
            places.sort_unstable();
        }
        Ok(Self { file: file.to_owned(), users, channels, places })
    }

    fn post(&self, posted: &Posted, place: Place) -> Result<Post> {
        let root = place.line.to_string();
        let mut content = posted.message.clone();
        for attachment in posted.attachments.iter().flatten() {
            let path = attachment.path.as_deref().unwrap_or_default();
            let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("without a name");
            content = if content.is_empty() { format!("[file: {name}]") } else { format!("{content}\n[file: {name}]") };
        }
        let reactions = posted.reactions.iter().flatten();
        let reactions = reactions.map(|one| Ok((one.emoji_name.clone(), self.users.id(&one.user)?)));
        let edited_at = posted.edit_at.filter(|at| *at > 0).map(Timestamp::from_millis);
        Ok(Post {
            id: place.reply.map_or_else(|| root.clone(), |reply| format!("{root}:{reply}")),
            sender_id: self.users.id(&posted.user)?,
            content,
            content_type: ContentType::Markdown,
            created_at: Timestamp::from_millis(place.create_at),
            edited_at,
            is_deleted: false,
            reactions: reactions.collect::<Result<_>>()?,
            is_root: place.reply.is_none() && posted.replies.as_ref().is_some_and(|replies| !replies.is_empty()),
            root: place.reply.map(|_| root),
        })
    }
}

/// Reads posts by their places. Keeps the last line, since replies to one post often follow one another.
struct Reader<'a> {
    export: &'a Mattermost,
    file: BufReader<File>,
    last: Option<(u64, Posted)>,
}

impl Reader<'_> {
    /// Returns the post of a place, or `None` if it reports an event, such as a join.
    fn read(&mut self, place: Place) -> Result<Option<Post>> {
        if self.last.as_ref().is_none_or(|(line, _)| *line != place.line) {
            let mut line = String::new();
            self.file.seek(SeekFrom::Start(place.line))?;
            self.file.read_line(&mut line)?;
            let Line { post, direct_post, .. } = serde_json::from_str(&line)?;
            self.last = post.or(direct_post).map(|post| (place.line, post));
        }
        let Some((_, post)) = &self.last else { return Ok(None) };
        let posted = match place.reply {
            None => Some(post),
            Some(index) => post.replies.iter().flatten().nth(usize::try_from(index)?),
        };
        let with_content = posted.filter(|posted| !posted.kind.as_deref().unwrap_or_default().starts_with("system_"));
        with_content.map(|posted| self.export.post(posted, place)).transpose()
    }
}

impl Workspace for Mattermost {
    fn channels(&self) -> &[ForeignChannel] {
        &self.channels
    }

    fn posts(&self, channel: usize) -> Result<Box<dyn Iterator<Item = Result<Post>> + '_>> {
        let Some(places) = self.places.get(channel) else { return Ok(Box::new(std::iter::empty())) };
        let mut reader = Reader { export: self, file: BufReader::new(File::open(&self.file)?), last: None };
        Ok(Box::new(places.iter().filter_map(move |place| reader.read(*place).transpose())))
    }
}

fn check_version(line: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        version: Option<u32>,
    }
    let Version { version } = serde_json::from_str(line)?;
    match version {
        Some(1) => Ok(()),
        Some(other) => anyhow::bail!("the version is {other}, not 1"),
        None => anyhow::bail!("the first line is no version"),
    }
}

/// Returns a channel, with the members that its key names.
fn foreign(key: &Key, listed: Option<&Listed>, users: &Users) -> Result<ForeignChannel> {
    let channel_id = key.id()?;
    let mut members = BTreeMap::new();
    if let Key::Direct(direct) = key {
        for member in direct {
            members.insert(users.id(member)?, MemberRole::Owner);
        }
    }
    let name = match (key, listed) {
        (Key::Direct(direct), _) => direct.join(", "),
        (Key::Named { name, .. }, listed) => {
            listed.and_then(|listed| listed.display_name.clone()).unwrap_or_else(|| name.clone())
        }
    };
    let is_public = listed.is_some_and(|listed| listed.kind.as_deref() == Some("O"));
    Ok(ForeignChannel {
        name: normalized(&name).unwrap_or_else(|_| channel_id.to_string().chars().take(CHANNEL_NAME_CHARS).collect()),
        channel_id,
        visibility: if is_public { Visibility::Public } else { Visibility::Private },
        created_at: None,
        is_archived: listed.is_some_and(|listed| listed.deleted_at.is_some_and(|at| at > 0)),
        members,
    })
}
