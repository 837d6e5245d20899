//! Members of a channel, as the users who may see the channel see them: with their read marks, if the channel has read
//! receipts.

use crate::{
    app::access::{authorize_read, still_readable},
    model::{
        channel::{Channel, Member, MemberView},
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
    },
    ports::channel_store::{ChannelStore, ReadMarks},
};

/// Page of a channel's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberList {
    /// The members, in the order of their ids.
    pub members: Vec<MemberView>,
    /// Member after which the next page begins, if there is more.
    pub next_after: Option<UserId>,
}

/// Returns up to `limit` members of a channel that `caller` may see, after the id `after`.
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::Store`].
pub async fn list_members(
    channels: &impl ChannelStore,
    channel: &ChannelId,
    caller: &UserId,
    after: Option<&UserId>,
    limit: u16,
) -> Result<MemberList> {
    let found = authorize_read(channels, channel, caller).await?.channel;
    let page = channels.members(&found.key(), after, limit).await?;
    let members = seen(channels, &found, caller, page.members).await?;
    Ok(MemberList { members, next_after: page.next_after })
}

/// Returns one member of a channel that `caller` may see.
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::MemberNotFound`], [`ChatError::Store`].
pub async fn get_member(
    channels: &impl ChannelStore,
    channel: &ChannelId,
    caller: &UserId,
    user: &UserId,
) -> Result<MemberView> {
    let access = authorize_read(channels, channel, caller).await?;
    let member = match access.member {
        Some(own) if caller == user => Some(own),
        _ => channels.member(&access.channel.key(), user).await?,
    };
    let seen = seen(channels, &access.channel, caller, member.into_iter().collect()).await?;
    seen.into_iter().next().ok_or(ChatError::MemberNotFound)
}

/// Returns members as the caller sees them. The permission and the setting are read again, after the members.
async fn seen(
    channels: &impl ChannelStore,
    found: &Channel,
    caller: &UserId,
    members: Vec<Member>,
) -> Result<Vec<MemberView>> {
    let key = found.key();
    let mut marks = ReadMarks::new();
    if found.read_receipts && !members.is_empty() {
        let of: Vec<(ChannelKey, UserId)> =
            members.iter().map(|member| (key.clone(), member.user_id.clone())).collect();
        marks = channels.read_marks(&of).await?;
    }
    if !still_readable(channels, &key, caller).await?.read_receipts {
        marks.clear();
    }
    let views = members.into_iter().map(|member| {
        let read_seq = marks.remove(&(key.clone(), member.user_id.clone()));
        MemberView { member, read_seq }
    });
    Ok(views.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::{Call, State},
        model::{
            channel::{MemberRole, Visibility},
            seq::Seq,
        },
        testing::{Before, TestStore, key},
    };

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    /// Returns a store with a private channel of alice, its owner, and bob, who has read up to 7.
    fn store(read_receipts: bool) -> TestStore {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Private);
        let store = store.with_role("c", "alice", MemberRole::Owner).with_member("c", "bob");
        let mut state = store.state();
        state.channels.values_mut().for_each(|channel| channel.read_receipts = read_receipts);
        state.listed.get_mut(&id::<UserId>("bob")).unwrap().insert(key("c"), Seq::new(7));
        drop(state);
        store
    }

    #[tokio::test]
    async fn read_marks_of_others_are_shown_if_the_channel_says_so() {
        let (channel, alice, bob): (ChannelId, UserId, UserId) = (id("c"), id("alice"), id("bob"));
        for read_receipts in [false, true] {
            let store = store(read_receipts);
            let marks = [Seq::ZERO, Seq::new(7)].map(|mark| read_receipts.then_some(mark));
            let listed = list_members(&store, &channel, &bob, None, 9).await.unwrap();
            let found: Vec<_> = listed.members.into_iter().map(|one| (one.member.user_id, one.read_seq)).collect();
            assert_eq!(found, [(alice.clone(), marks[0]), (bob.clone(), marks[1])]);
            for caller in [&alice, &bob] {
                let found = get_member(&store, &channel, caller, &bob).await.unwrap();
                assert_eq!((found.member.role, found.read_seq), (MemberRole::Member, marks[1]), "{caller}");
            }
        }
    }

    #[tokio::test]
    async fn a_user_is_no_member_or_the_channel_is_hidden() {
        let (store, channel) = (store(true), id("c"));
        let (alice, bob, carol): (UserId, UserId, UserId) = (id("alice"), id("bob"), id("carol"));
        let refused = get_member(&store, &channel, &bob, &carol).await;
        assert!(matches!(refused, Err(ChatError::MemberNotFound)), "{refused:?}");
        for user in [&alice, &carol] {
            let refused = get_member(&store, &channel, &carol, user).await;
            assert!(matches!(refused, Err(ChatError::ChannelNotFound)), "{user}: {refused:?}");
        }
        let refused = list_members(&store, &channel, &carol, None, 9).await;
        assert!(matches!(refused, Err(ChatError::ChannelNotFound)), "{refused:?}");
    }

    type End = fn(&mut State);

    #[tokio::test]
    async fn marks_that_are_read_after_the_setting_or_the_membership_has_ended_are_not_shown() {
        let (channel, alice, bob) = (id("c"), id("alice"), id("bob"));
        let ends: [(End, bool); 2] = [
            (|state| state.channels.values_mut().for_each(|channel| channel.read_receipts = false), false),
            (|state| state.members.clear(), true),
        ];
        for (end, is_removed) in ends {
            let store = store(true);
            let hooked = store.through(Before::new(Call::ReadMarks, || end(&mut store.state())));
            let found = get_member(&hooked, &channel, &bob, &alice).await;
            assert!(hooked.hook().is_done());
            match found {
                Ok(found) => assert_eq!((found.read_seq, is_removed), (None, false)),
                Err(refused) => assert!(is_removed && matches!(refused, ChatError::ChannelNotFound), "{refused:?}"),
            }
        }
    }
}
