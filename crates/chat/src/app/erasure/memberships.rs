//! Ending memberships, and replacing an only owner.
//!
//! A channel keeps an owner. If the erased user is the only one, another member takes over: the highest role comes first,
//! then the member who joined first. A private channel without another member is deleted, since no user could ever read
//! it again. A public one gets the heir that the operator names.

use std::cmp::Reverse;

use super::{Erasure, ErasureRequest, progress::Tally};
use crate::{
    app::access::authorize_member,
    model::{
        channel::{Member, MemberRole, Visibility},
        error::{ChatError, Result},
        id::UserId,
        incarnation::ChannelKey,
        limits::{CHANGE_ATTEMPTS, PAGE_ITEMS},
        user_item::ItemPlace,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{CHANGE_BACKOFF, Clock},
        connection_store::ConnectionStore,
        fan_out::FanOut,
        invitation_store::InvitationStore,
        message_store::MessageStore,
        pending_ends::PendingEnds,
        socket_gateway::SocketGateway,
        user_items::UserItems,
    },
};

impl<Channels, Messages, Connections, Sockets, Fan, Items, Time>
    Erasure<'_, Channels, Messages, Connections, Sockets, Fan, Items, Time>
where
    Channels: ChannelStore + InvitationStore + PendingEnds,
    Messages: MessageStore,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Items: UserItems,
    Time: Clock,
{
    /// Ends the membership or the invitation of the user in a channel. Deletes an item that belongs to neither any
    /// longer. Returns `false` if the user stays, as the only owner.
    pub(super) async fn end_membership(
        &self,
        request: &ErasureRequest,
        key: &ChannelKey,
        place: &ItemPlace,
        tally: &mut Tally,
    ) -> Result<bool> {
        let (user, clock) = (&request.user_id, self.membership.clock);
        for attempt in 0..CHANGE_ATTEMPTS {
            match self.membership.remove(&key.channel_id, user, user).await {
                Ok(()) => {
                    tally.erased.memberships += 1;
                    return Ok(true);
                }
                Err(ChatError::MemberNotFound | ChatError::ChannelNotFound) => {
                    self.items.delete_item(place).await?;
                    return Ok(true);
                }
                Err(ChatError::LastOwner) => {
                    if !self.replace_owner(request, key).await? {
                        tally.ownerless.insert(key.channel_id.clone());
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
            CHANGE_BACKOFF.pause(clock, attempt).await;
        }
        Err(ChatError::contended())
    }

    /// Gives the channel another owner, or deletes it. Returns `false` if neither is possible. If the channel has changed
    /// since it was read, nothing is done, and the next attempt reads it again.
    async fn replace_owner(&self, request: &ErasureRequest, key: &ChannelKey) -> Result<bool> {
        let (user, channels) = (&request.user_id, self.membership.channels);
        let access = authorize_member(channels, &key.channel_id, user).await?;
        if let Some(successor) = self.successor(&access.key(), user).await? {
            self.membership.give_role(&access, user, successor, MemberRole::Owner).await?;
            return Ok(true);
        }
        match (access.channel.visibility, &request.heir) {
            (Visibility::Private, _) => {
                self.membership.delete_channel(&key.channel_id, user, None).await?;
            }
            (Visibility::Public, Some(heir)) => {
                self.membership.join(&access, user, heir, MemberRole::Owner).await?;
            }
            (Visibility::Public, None) => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the member who takes over from `user`, if there is another member.
    async fn successor(&self, channel: &ChannelKey, user: &UserId) -> Result<Option<Member>> {
        let (mut best, mut after) = (None, None);
        loop {
            let page = self.membership.channels.members(channel, after.as_ref(), PAGE_ITEMS).await?;
            best = first_in_line(best.into_iter().chain(page.members), user);
            after = page.next_after;
            if after.is_none() {
                return Ok(best);
            }
        }
    }
}

/// Returns the member who takes over from `user`: of the highest role the one who joined first.
fn first_in_line(members: impl Iterator<Item = Member>, user: &UserId) -> Option<Member> {
    let others = members.filter(|member| member.user_id != *user);
    others.max_by_key(|member| (member.role, Reverse((member.joined_at, member.user_id.clone()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::time::Timestamp, testing::incarnation};

    fn member(user: &str, role: MemberRole, joined: i64) -> Member {
        Member {
            channel_id: "c".parse().unwrap(),
            user_id: user.parse().unwrap(),
            incarnation: incarnation(),
            role,
            joined_at: Timestamp::from_secs(joined),
            added_by: None,
        }
    }

    #[test]
    fn the_highest_role_takes_over_and_then_the_first_who_joined() {
        let alice = "alice".parse().unwrap();
        let first = |members: &[Member]| {
            first_in_line(members.iter().cloned(), &alice).map(|member| member.user_id.as_str().to_owned())
        };
        let owner = member("alice", MemberRole::Owner, 0);
        assert_eq!(first(std::slice::from_ref(&owner)), None);
        let early = member("early", MemberRole::Member, 1);
        let late = member("late", MemberRole::Moderator, 9);
        let later = member("later", MemberRole::Moderator, 10);
        let twin = member("later2", MemberRole::Moderator, 10);
        assert_eq!(first(&[owner.clone(), early.clone()]).as_deref(), Some("early"));
        assert_eq!(first(&[early.clone(), later.clone(), late.clone(), owner.clone()]).as_deref(), Some("late"));
        assert_eq!(first(&[twin, owner, later, early]).as_deref(), Some("later"), "one of two by the id");
    }

    /// The pages of a scan must not lose the best member of an earlier page.
    #[test]
    fn the_best_of_all_pages_takes_over() {
        let alice = "alice".parse().unwrap();
        let pages = [vec![member("mod", MemberRole::Moderator, 5)], vec![member("one", MemberRole::Member, 1)]];
        let best = pages
            .into_iter()
            .fold(None, |best: Option<Member>, page| first_in_line(best.into_iter().chain(page), &alice));
        assert_eq!(best.unwrap().user_id.as_str(), "mod");
    }
}
