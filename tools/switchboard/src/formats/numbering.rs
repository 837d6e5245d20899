//! Numbers of the messages of a channel, and its threads.

use std::collections::HashMap;

use anyhow::Result;
use chat::{
    app::transfer::MessageRecord,
    model::{
        id::ChannelId,
        message::{Message, Role},
        rev::Rev,
        seq::Seq,
        thread::ThreadSummary,
        time::Timestamp,
    },
};

use super::{Losses, Post};

/// Thread of a root.
#[derive(Debug, Clone, Copy)]
struct Thread {
    root: Seq,
    summary: Option<ThreadSummary>,
}

/// Numbers of a channel's messages. Holds the threads, and none of the messages.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    threads: HashMap<String, Thread>,
    last_seq: Seq,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
}

impl Numbering {
    /// Numbers posts in their order.
    pub(super) fn of(posts: impl Iterator<Item = Result<Post>>) -> Result<Self> {
        let mut numbering = Self::default();
        for post in posts {
            let post = post?;
            let parts = post.contents().len();
            for part in 0..parts {
                numbering.last_seq = numbering.last_seq.next();
                numbering.first_at = numbering.first_at.or(Some(post.created_at));
                numbering.last_at = Some(post.created_at);
                if part == 0 && post.is_root {
                    let thread = Thread { root: numbering.last_seq, summary: None };
                    numbering.threads.entry(post.id.clone()).or_insert(thread);
                }
                let seq = numbering.last_seq;
                if let Some(root) = &post.root
                    && let Some(thread) = numbering.threads.get_mut(root)
                {
                    thread.summary = Some(ThreadSummary::after_reply(thread.summary, seq, post.created_at));
                }
            }
        }
        Ok(numbering)
    }

    /// Returns the number of the last message, or 0.
    pub(super) fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// Returns the time of the first message.
    pub(super) fn first_at(&self) -> Option<Timestamp> {
        self.first_at
    }

    /// Returns the time of the last message.
    pub(super) fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// Returns the messages for a post, of which the first one has the number `seq`.
    pub(super) fn messages(
        &self,
        channel: &ChannelId,
        post: &Post,
        seq: Seq,
        losses: &mut Losses,
    ) -> Vec<MessageRecord> {
        let contents = post.contents();
        if contents.is_empty() {
            losses.add("messages without a visible character");
        }
        // A root that comes after its reply, or is not in the export, has no thread.
        let thread = post.root.as_ref().and_then(|root| self.threads.get(root)).filter(|thread| thread.root < seq);
        if post.root.is_some() && thread.is_none() {
            losses.add("threads of messages whose first message is missing");
        }
        let mut next = seq;
        let mut messages = Vec::new();
        for (part, content) in contents.into_iter().enumerate() {
            let is_first = part == 0;
            let own_thread = self.threads.get(&post.id).filter(|thread| is_first && thread.root == next);
            messages.push(MessageRecord {
                seq: next,
                message_id: post.message_id(channel, part),
                version: Message::FIRST_VERSION,
                rev: Rev::ZERO,
                sender_id: post.sender_id.clone(),
                role: Role::User,
                content,
                content_type: post.content_type,
                created_at: post.created_at,
                metadata: None,
                reply_to: None,
                agent: None,
                thread_seq: thread.map(|thread| thread.root),
                thread: own_thread.and_then(|thread| thread.summary),
                edited_at: post.edited_at,
                deleted_at: post.is_deleted.then_some(post.created_at),
                reactions: if is_first { post.reactions(losses) } else { Vec::new() },
                expires_at: None,
            });
            next = next.next();
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use chat::model::message::ContentType;

    use super::*;

    fn post(id: &str, at: i64, root: Option<&str>, is_root: bool) -> Post {
        Post {
            id: id.to_owned(),
            sender_id: "olga".parse().unwrap(),
            content: format!("post {id}"),
            content_type: ContentType::Plain,
            created_at: Timestamp::from_secs(at),
            edited_at: None,
            is_deleted: false,
            reactions: Vec::new(),
            is_root,
            root: root.map(str::to_owned),
        }
    }

    #[test]
    fn posts_have_numbers_and_threads_have_summaries() {
        let mut blank = post("c", 3, None, false);
        blank.content.clear();
        let posts = [
            post("a", 1, None, true),
            post("b", 2, Some("a"), false),
            blank,
            post("d", 4, Some("missing"), false),
            post("e", 5, Some("a"), false),
        ];
        let numbering = Numbering::of(posts.iter().cloned().map(Ok)).unwrap();
        assert_eq!((numbering.last_seq(), numbering.last_at()), (Seq::new(4), Some(Timestamp::from_secs(5))));
        let (mut losses, mut next, mut found) = (Losses::default(), Seq::FIRST, Vec::new());
        for post in posts {
            for message in numbering.messages(&"c".parse().unwrap(), &post, next, &mut losses) {
                next = message.seq.next();
                found.push(message);
            }
        }
        let threads: Vec<_> =
            found.iter().map(|message| (message.seq.get(), message.thread_seq.map(Seq::get))).collect();
        assert_eq!(threads, [(1, None), (2, Some(1)), (3, None), (4, Some(1))]);
        let summary = found[0].thread.unwrap();
        assert_eq!((summary.reply_count, summary.last_reply_seq), (2, Seq::new(4)));
        assert_eq!(losses.counts().map(|(_, count)| count).sum::<u64>(), 2);
    }
}
