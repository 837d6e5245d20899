//! Members, their roles and their read marks.

use super::{Decision, Effect, Rule, State};
use crate::{
    model::{
        access::Authority,
        channel::{Member, MemberAdded, MemberRole, Memberships},
        id::UserId,
        incarnation::ChannelKey,
        limits::GATE_DURATION,
        pending_end::PendingEnd,
        seq::Seq,
        time::Timestamp,
    },
    ports::channel_store::MemberChanged,
};

impl State {
    /// Stores a membership as given.
    pub fn put_member(&mut self, key: &ChannelKey, member: Member, read_seq: Seq) {
        self.listed.entry(member.user_id.clone()).or_default().insert(key.clone(), read_seq);
        self.members.entry(key.clone()).or_default().insert(member.user_id.clone(), member);
    }

    fn owners(&self, key: &ChannelKey) -> usize {
        self.members.get(key).into_iter().flatten().filter(|(_, member)| member.role == MemberRole::Owner).count()
    }

    pub(crate) fn memberships(&self, user: &UserId, limit: usize) -> Memberships {
        let all: Vec<&ChannelKey> = self.listed.get(user).into_iter().flatten().map(|(key, _)| key).collect();
        let left_out = all.len().saturating_sub(limit);
        let mut chosen: Vec<(Timestamp, &ChannelKey)> = Vec::new();
        if left_out > 0 && !self.lacks(Rule::ChosenFirst) {
            let own = all.iter().filter_map(|key| {
                let member = self.member(key, user).filter(|member| member.added_by.is_none())?;
                Some((member.joined_at, *key))
            });
            chosen.extend(own);
            chosen.sort_unstable_by(|one, other| other.cmp(one));
        }
        let mut channels: Vec<ChannelKey> = chosen.into_iter().map(|(_, key)| key.clone()).take(limit).collect();
        for key in all {
            if channels.len() >= limit {
                break;
            }
            if !channels.contains(key) {
                channels.push(key.clone());
            }
        }
        Memberships { channels, left_out }
    }

    pub(crate) fn mark_read(&self, channel: &ChannelKey, user: &UserId, seq: Seq) -> Decision<Option<Seq>> {
        let listed = self.listed.get(user).and_then(|channels| channels.get(channel)).copied();
        let mark = listed.or_else(|| self.lacks(Rule::ReadMarkOfMember).then_some(Seq::ZERO));
        let Some(mark) = mark else { return (None, None) };
        if mark >= seq {
            return (Some(mark), None);
        }
        (Some(seq), Some(Effect::ReadMarked { channel: channel.clone(), user: user.clone(), seq }))
    }

    pub(crate) fn add_member(&self, by: &Authority<'_>, member: &Member, read_seq: Seq) -> Decision<MemberAdded> {
        // A caller whose permission rests on a membership already has one.
        let is_contradicted = by.member.is_some_and(|caller| caller.user_id == member.user_id);
        if is_contradicted || !self.holds(by, Rule::MemberAuthority) {
            return (MemberAdded::Stale, None);
        }
        let channel = by.channel.key();
        if let Some(there) = self.member(&channel, &member.user_id) {
            return (MemberAdded::Already(there.clone()), None);
        }
        (MemberAdded::Added, Some(Effect::MemberAdded { channel, member: member.clone(), read_seq }))
    }

    /// Checks a change or the removal (`role`: `None`) of a member.
    fn may_change(&self, by: &Authority<'_>, member: &Member, role: Option<MemberRole>) -> MemberChanged {
        let key = by.channel.key();
        let is_as_read = match self.member(&key, &member.user_id) {
            Some(_) if self.lacks(Rule::MemberAsRead) => true,
            _ => self.is_member_as_read(&key, member),
        };
        if !is_as_read || !self.holds(by, Rule::MemberAuthority) {
            return MemberChanged::Stale;
        }
        let is_owner = self.member(&key, &member.user_id).is_some_and(|current| current.role == MemberRole::Owner);
        if is_owner && role != Some(MemberRole::Owner) && self.owners(&key) < 2 && !self.lacks(Rule::LastOwner) {
            return MemberChanged::LastOwner;
        }
        MemberChanged::Done
    }

    pub(crate) fn change_role(&self, by: &Authority<'_>, member: &Member, role: MemberRole) -> Decision<MemberChanged> {
        let answer = self.may_change(by, member, Some(role));
        let (channel, member) = (by.channel.key(), member.clone());
        (answer, (answer == MemberChanged::Done).then_some(Effect::RoleChanged { channel, member, role }))
    }

    pub(crate) fn remove_member(
        &self,
        by: &Authority<'_>,
        member: &Member,
        pending: &PendingEnd,
        now: Timestamp,
    ) -> Decision<MemberChanged> {
        let answer = self.may_change(by, member, None);
        let (channel, member, pending) = (by.channel.key(), member.clone(), pending.clone());
        let effect = Effect::MemberRemoved { channel, member, pending, now };
        (answer, (answer == MemberChanged::Done).then_some(effect))
    }

    pub(super) fn member_added(&mut self, channel: &ChannelKey, member: Member, read_seq: Seq) {
        if !self.lacks(Rule::InvitationEnds) {
            self.end_invitation(channel, &member.user_id);
        }
        if let Some(blocked) = self.blocked.get_mut(channel) {
            blocked.remove(&member.user_id);
        }
        self.put_member(channel, member, read_seq);
    }

    pub(super) fn role_changed(&mut self, channel: &ChannelKey, member: &Member, role: MemberRole) {
        let current = self.members.get_mut(channel).and_then(|members| members.get_mut(&member.user_id));
        if let Some(current) = current {
            current.role = role;
        }
    }

    pub(super) fn member_removed(&mut self, channel: ChannelKey, member: &Member, pending: PendingEnd, now: Timestamp) {
        let user = &member.user_id;
        if let Some(members) = self.members.get_mut(&channel) {
            members.remove(user);
        }
        if let Some(listed) = self.listed.get_mut(user) {
            listed.remove(&channel);
        }
        if !self.lacks(Rule::GateWritten) {
            self.blocked.entry(channel).or_default().insert(user.clone(), now.plus(GATE_DURATION));
        }
        self.record_end(Some(pending));
    }
}
