//! Lists of channels: public ones, a user's own, and the user's invitations. Neither a page nor its position names a
//! channel that the caller's token does not reach. A page of public channels leaves out archived ones, so it may have
//! fewer than `limit` channels before the last page.

use std::{cmp::Reverse, collections::BTreeSet};

use futures::{StreamExt, TryStreamExt};

use crate::{
    app::channel_messages::ChannelMessages,
    model::{
        access::Caller,
        channel::{Channel, ChannelView, Visibility},
        error::Result,
        id::ChannelId,
        incarnation::ChannelKey,
        limits::{CHANNELS_LISTED, LIST_CONCURRENCY, PAGE_ITEMS},
        text::search_key::SearchKey,
        time::Timestamp,
    },
    ports::{
        channel_store::{ChannelStore, PublicPage},
        clock::Clock,
        invitation_store::{InvitationPage, InvitationStore},
        message_store::MessageStore,
    },
};

/// Channels that a list shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Beginning of the names, compared by their [`SearchKey`].
    pub name_prefix: String,
    /// Whether archived channels are shown too.
    pub archived: bool,
}

impl Filter {
    fn shows(&self, channel: &Channel, caller: &Caller) -> bool {
        caller.reaches(&channel.channel_id)
            && (self.archived || channel.archived_at.is_none())
            && SearchKey::of(&channel.name).starts_with(&SearchKey::of(&self.name_prefix))
    }
}

/// Position in the list of a user's channels. Positions are ordered as the list is: newest activity first, then
/// smallest id first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activity {
    /// Time of the newest message, or of the channel's creation.
    pub at: Reverse<Timestamp>,
    /// Id of the channel.
    pub channel_id: ChannelId,
}

impl Activity {
    fn of(channel: &Channel) -> Self {
        let at = channel.last_message_at.unwrap_or(channel.created_at);
        Self { at: Reverse(at), channel_id: channel.channel_id.clone() }
    }
}

/// Page of channels, as the caller sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPage<Position> {
    /// The channels.
    pub channels: Vec<ChannelView>,
    /// Position after which the next page begins, if there is more.
    pub next_after: Option<Position>,
}

impl<Channels: ChannelStore, Messages: MessageStore, Time: Clock> ChannelMessages<'_, Channels, Messages, Time> {
    /// Returns a page of the public channels, by the [`SearchKey`] of their names. `after` is the
    /// [`ChannelPage::next_after`] of the previous page.
    ///
    /// # Errors
    /// [`ChatError::Store`](crate::model::error::ChatError::Store).
    pub async fn public_channels(
        &self,
        caller: &Caller,
        filter: &Filter,
        after: Option<&str>,
        limit: u16,
    ) -> Result<ChannelPage<String>> {
        let mut page = match &caller.allowed_channels {
            Some(allowed) => self.public_among(allowed, after, limit).await?,
            None => self.channels.public_channels(&filter.name_prefix, after, limit).await?,
        };
        page.channels.retain(|channel| filter.shows(channel, caller));
        let channels = self.views(page.channels, &caller.user_id).await?;
        Ok(ChannelPage { channels, next_after: page.next_after })
    }

    /// Returns a page of the public ones among the channels that a token is limited to. Each is looked up, since the
    /// position in the list of all would name a channel that the token does not reach.
    async fn public_among(&self, allowed: &BTreeSet<ChannelId>, after: Option<&str>, limit: u16) -> Result<PublicPage> {
        let found: Vec<Option<Channel>> = futures::stream::iter(allowed.iter().cloned())
            .map(async |id: ChannelId| self.channels.channel(&id).await)
            .buffer_unordered(LIST_CONCURRENCY)
            .try_collect()
            .await?;
        let public = found.into_iter().flatten().filter(|channel| channel.visibility == Visibility::Public);
        let mut listed: Vec<(String, Channel)> = public
            .map(|channel| (format!("{}#{}", SearchKey::of(&channel.name).as_str(), channel.channel_id), channel))
            .filter(|(position, _)| after.is_none_or(|after| position.as_str() > after))
            .collect();
        listed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let more = listed.len() > usize::from(limit);
        listed.truncate(usize::from(limit));
        let next_after = listed.last().filter(|_| more).map(|(position, _)| position.clone());
        Ok(PublicPage { channels: listed.into_iter().map(|(_, channel)| channel).collect(), next_after })
    }

    /// Returns a page of the caller's channels, newest activity first. Reads up to [`CHANNELS_LISTED`] channels for
    /// each page. If the caller is a member of more, those that the caller chose come first.
    ///
    /// A channel that gets a message between two pages moves to the front. It is then on no later page, and on no page
    /// twice.
    ///
    /// # Errors
    /// [`ChatError::Store`](crate::model::error::ChatError::Store).
    pub async fn own_channels(
        &self,
        caller: &Caller,
        filter: &Filter,
        after: Option<&Activity>,
        limit: u16,
    ) -> Result<ChannelPage<Activity>> {
        let mut keys = self.channels.memberships(&caller.user_id, CHANNELS_LISTED).await?.channels;
        keys.retain(|key| caller.reaches(&key.channel_id));
        let mut found: Vec<(Activity, Channel)> = Vec::new();
        for channel in self.all_among(keys).await? {
            let activity = Activity::of(&channel);
            if filter.shows(&channel, caller) && after.is_none_or(|after| activity > *after) {
                found.push((activity, channel));
            }
        }
        found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let more = found.len() > usize::from(limit);
        found.truncate(usize::from(limit));
        let next_after = found.last().filter(|_| more).map(|(activity, _)| activity.clone());
        let found = found.into_iter().map(|(_, channel)| channel).collect();
        let mut channels = self.views(found, &caller.user_id).await?;
        // The membership may have ended since the list was read.
        channels.retain(|view| view.membership.is_some());
        Ok(ChannelPage { channels, next_after })
    }

    /// Returns the channels of any number of keys.
    async fn all_among(&self, keys: Vec<ChannelKey>) -> Result<Vec<Channel>> {
        let batches: Vec<Vec<ChannelKey>> = keys.chunks(usize::from(PAGE_ITEMS)).map(<[_]>::to_vec).collect();
        let found: Vec<Vec<Channel>> = futures::stream::iter(batches)
            .map(async |batch| self.channels.channels_among(&batch).await)
            .buffer_unordered(LIST_CONCURRENCY)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// Returns a page of the caller's invitations, after the channel id `after`.
///
/// # Errors
/// [`crate::model::error::ChatError::Store`].
pub async fn invitations(
    channels: &impl InvitationStore,
    clock: &impl Clock,
    caller: &Caller,
    after: Option<&ChannelId>,
    limit: u16,
) -> Result<InvitationPage> {
    let (user, now) = (&caller.user_id, clock.now());
    if caller.allowed_channels.is_none() {
        return Ok(channels.invitations_of(user, after, limit, now).await?);
    }
    // A user has few invitations. They are read until the last one of the page is one that the token reaches.
    let (mut reached, mut after) = (Vec::new(), after.cloned());
    loop {
        let page = channels.invitations_of(user, after.as_ref(), PAGE_ITEMS, now).await?;
        reached.extend(page.channels.into_iter().filter(|one| caller.reaches(&one.invitation.channel_id)));
        after = page.next_after;
        if after.is_none() || reached.len() > usize::from(limit) {
            break;
        }
    }
    let more = reached.len() > usize::from(limit);
    reached.truncate(usize::from(limit));
    let next_after = reached.last().filter(|_| more).map(|last| last.invitation.channel_id.clone());
    Ok(InvitationPage { channels: reached, next_after })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        memory::Call,
        model::{channel::MemberRole, invitation::Invitation, seq::Seq},
        testing::{Before, TestClock, TestStore, channel_messages, incarnation, key},
    };

    /// Ids of bob's channels in the order of their activity, with the seconds at which it was.
    const ACTIVE: [(&str, i64); 5] = [("new", 9), ("a", 5), ("b", 5), ("archived", 3), ("old", 0)];

    /// Returns a store with these channels, and others.
    fn channels() -> TestStore {
        let mut store = TestStore::seeded(1, 0).with_channel("of-others", Visibility::Private);
        for (id, _) in ACTIVE {
            store = store.with_channel(id, Visibility::Private).with_member(id, "bob");
        }
        for (id, secs) in ACTIVE {
            active(&store, id, secs);
        }
        store.archive("archived");
        store
    }

    fn active(store: &TestStore, id: &str, secs: i64) {
        let mut state = store.state();
        let channel = state.channels.get_mut(&id.parse::<ChannelId>().unwrap()).unwrap();
        // A channel without messages was active when it was created, at 0.
        channel.last_message_at = (secs > 0).then_some(Timestamp::from_secs(secs));
    }

    fn bob() -> Caller {
        Caller { user_id: "bob".parse().unwrap(), tenant: None, allowed_channels: None }
    }

    async fn page(
        store: &TestStore,
        filter: &Filter,
        after: Option<&Activity>,
        limit: u16,
    ) -> (Vec<String>, Option<Activity>) {
        let clock = TestClock::new(1);
        let lists = channel_messages(store, &clock);
        let page = lists.own_channels(&bob(), filter, after, limit).await.unwrap();
        (page.channels.into_iter().map(|view| view.channel.channel_id.to_string()).collect(), page.next_after)
    }

    #[tokio::test]
    async fn own_channels_are_listed_by_their_activity_in_pages() {
        let store = channels();
        for archived in [false, true] {
            let filter = Filter { archived, ..Filter::default() };
            let shown = ACTIVE.iter().map(|(id, _)| (*id).to_owned()).filter(|id| archived || id != "archived");
            let expected: Vec<String> = shown.collect();
            for limit in 1..=6 {
                let (mut found, mut after) = (Vec::new(), None);
                loop {
                    let (ids, next) = page(&store, &filter, after.as_ref(), limit).await;
                    assert!(ids.len() <= usize::from(limit));
                    found.extend(ids);
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(found, expected, "{limit} at a time");
            }
        }
    }

    #[tokio::test]
    async fn a_channel_that_becomes_active_between_two_pages_is_listed_at_most_once() {
        let store = channels();
        let (first, after) = page(&store, &Filter::default(), None, 2).await;
        assert_eq!(first, ["new", "a"]);
        active(&store, "a", 20);
        active(&store, "b", 21);
        assert_eq!(page(&store, &Filter::default(), after.as_ref(), 9).await.0, ["old"]);
        assert_eq!(page(&store, &Filter::default(), None, 9).await.0, ["b", "a", "new", "old"]);
    }

    #[tokio::test]
    async fn a_list_has_the_channels_that_the_token_and_the_prefix_name() {
        let store = channels();
        let clock = TestClock::new(1);
        let lists = channel_messages(&store, &clock);
        let limited = Caller { allowed_channels: Some(["old".parse().unwrap()].into()), ..bob() };
        let own = lists.own_channels(&limited, &Filter::default(), None, 9).await.unwrap();
        assert_eq!(own.channels.iter().map(|view| view.channel.channel_id.as_str()).collect::<Vec<_>>(), ["old"]);
        let prefix = Filter { name_prefix: "A".to_owned(), archived: true };
        assert_eq!(page(&store, &prefix, None, 9).await.0, ["a", "archived"]);
    }

    /// Returns a caller whose token names two of the channels `a`, `b`, `c` and `d`, and `x`.
    fn limited() -> Caller {
        Caller { allowed_channels: Some(["b", "d", "x"].map(|id| id.parse::<ChannelId>().unwrap()).into()), ..bob() }
    }

    #[tokio::test]
    async fn the_position_in_the_list_of_public_channels_is_of_one_that_the_token_reaches() {
        let mut store = TestStore::seeded(1, 0).with_channel("x", Visibility::Private);
        for id in ["a", "b", "c", "d"] {
            store = store.with_channel(id, Visibility::Public);
        }
        let clock = TestClock::new(1);
        let lists = channel_messages(&store, &clock);
        for (caller, ids, positions) in
            [(bob(), vec!["a", "b", "c", "d"], vec!["a#a", "b#b", "c#c"]), (limited(), vec!["b", "d"], vec!["b#b"])]
        {
            let (mut found, mut after) = (Vec::new(), Vec::<String>::new());
            loop {
                let last = after.last().map(String::as_str);
                let page = lists.public_channels(&caller, &Filter::default(), last, 1).await.unwrap();
                found.extend(page.channels.into_iter().map(|view| view.channel.channel_id));
                let Some(next) = page.next_after else { break };
                after.push(next);
            }
            let found: Vec<&str> = found.iter().map(ChannelId::as_str).collect();
            let after: Vec<&str> = after.iter().map(String::as_str).collect();
            assert_eq!((found, after), (ids, positions));
        }
    }

    #[tokio::test]
    async fn the_position_in_the_list_of_invitations_is_of_one_that_the_token_reaches() {
        let (mut store, clock) = (TestStore::seeded(1, 0), TestClock::new(1));
        for id in ["a", "b", "c", "d"] {
            store = store.with_channel(id, Visibility::Private);
            let invitation = Invitation {
                channel_id: id.parse().unwrap(),
                channel_incarnation: incarnation(),
                user_id: bob().user_id,
                incarnation: incarnation(),
                role: MemberRole::Member,
                invited_by: "alice".parse().unwrap(),
                invited_at: clock.now(),
                expires_at: clock.now().plus(Duration::from_hours(1)),
            };
            store.state().invitations.entry(key(id)).or_default().insert(bob().user_id, invitation);
        }
        for (caller, ids, positions) in
            [(bob(), vec!["a", "b", "c", "d"], vec!["a", "b", "c"]), (limited(), vec!["b", "d"], vec!["b"])]
        {
            let (mut found, mut after) = (Vec::new(), Vec::<ChannelId>::new());
            loop {
                let page = invitations(&store, &clock, &caller, after.last(), 1).await.unwrap();
                found.extend(page.channels.into_iter().map(|one| one.invitation.channel_id));
                let Some(next) = page.next_after else { break };
                after.push(next);
            }
            let [found, after] = [&found, &after].map(|all| all.iter().map(ChannelId::as_str).collect::<Vec<_>>());
            assert_eq!((found, after), (ids, positions));
        }
    }

    #[tokio::test]
    async fn a_membership_that_ends_meanwhile_is_not_listed() {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public).with_member("c", "bob");
        let hooked = store.through(Before::new(Call::ReadMarks, || store.state().members.clear()));
        let clock = TestClock::new(1);
        let lists = channel_messages(&hooked, &clock);
        let own = lists.own_channels(&bob(), &Filter::default(), None, 9).await.unwrap();
        assert_eq!((own.channels, hooked.hook().is_done()), (Vec::new(), true));
    }

    #[tokio::test]
    async fn public_channels_are_listed_with_the_membership_and_without_archived_ones() {
        let store = TestStore::seeded(1, 0)
            .with_channel("a", Visibility::Public)
            .with_channel("b", Visibility::Public)
            .with_channel("c", Visibility::Public)
            .with_channel("private", Visibility::Private)
            .with_member("b", "bob");
        store.archive("c");
        let clock = TestClock::new(1);
        let lists = channel_messages(&store, &clock);
        for (archived, expected) in [(false, vec!["a", "b"]), (true, vec!["a", "b", "c"])] {
            let filter = Filter { archived, ..Filter::default() };
            let page = lists.public_channels(&bob(), &filter, None, 9).await.unwrap();
            let ids: Vec<&str> = page.channels.iter().map(|view| view.channel.channel_id.as_str()).collect();
            assert_eq!((ids, page.next_after), (expected, None));
            let own: Vec<Seq> =
                page.channels.iter().filter_map(|view| Some(view.membership.as_ref()?.read_seq)).collect();
            assert_eq!(own, [Seq::ZERO]);
        }
    }
}
