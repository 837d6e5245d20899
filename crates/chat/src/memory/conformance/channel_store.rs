//! Laws of the channels and their lists.

use std::time::Duration;

use super::{
    ChannelPorts, ConnectionPorts, Ports,
    bench::{Bench, LONG, MANY, Outcome, id, request_key},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, ChannelHead, MemberAdded, MemberRole, Visibility},
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
        seq::Seq,
    },
    ports::{
        channel_store::{ChannelCreated, Creation, ReadMarks},
        deleted_channels::DeletedChannels,
        message_store::{AppendResult, MessageStore, Range, RecordKey},
        reply_leases::{Acquire, LeaseOwner, MessageKey},
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn ids(&self) -> Outcome {
        let store = self.ports.channels;
        let (first, owner) = self.channel("ids", Visibility::Public).await?;
        require_eq!(store.channel(&first.channel_id).await?, Some(first.clone()), "the channel");
        require_eq!(store.member(&first.key(), &owner.user_id).await?, Some(owner.clone()), "its owner");
        let second = self.new_channel("ids", Visibility::Private)?;
        let other = self.new_member(&second, "oscar", MemberRole::Owner)?;
        let creation = Creation { key: id("c")?, fingerprint: "f".to_owned() };
        require_eq!(
            store.create(&second, &other, Some(&creation), MANY).await?,
            ChannelCreated::Taken,
            "an id that is taken"
        );
        require_eq!(store.member(&second.key(), &other.user_id).await?, None, "a member of what was not created");
        require_eq!(store.creation(&second.key(), &other.user_id, &creation.key).await?, None, "what was not created");
        self.delete(&first, &owner).await?;
        require_eq!(store.channel(&first.channel_id).await?, None, "a deleted channel");
        require_eq!(self.ports.messages.head(&first.channel_id).await?, None, "the head of a deleted channel");
        require_eq!(
            store.create(&second, &other, Some(&creation), MANY).await?,
            ChannelCreated::Done,
            "an id that became free"
        );
        require_eq!(store.channel(&first.channel_id).await?, Some(second.clone()), "the second channel");
        let current = store.current_channels(&[second.channel_id.clone(), id("ids-none")?]).await?;
        require_eq!(current, vec![second.clone()], "the channels that some ids lead to");
        let found = store.creation(&second.key(), &other.user_id, &creation.key).await?;
        require_eq!(found, Some(creation), "what it was created with");
        Ok(())
    }

    pub(super) async fn names_taken_anew(&self) -> Outcome {
        let Ports { channels: store, messages, connections, .. } = *self.ports;
        let (old, owner) = self.channel("anew", Visibility::Private).await?;
        let by = Authority { channel: &old, member: Some(&owner) };
        self.member(&by, "anna", MemberRole::Member).await?;
        let creation = Creation { key: id("c")?, fingerprint: "f".to_owned() };
        let head = self.head(&old.channel_id).await?;
        let message = self.message(&head, "anna")?;
        let records = [request_key("anna")?, RecordKey::Reply { seq: Seq::FIRST }];
        let record = self.record(records[0].clone(), &message);
        require_eq!(self.append(&head, &message, Some(&record)).await?, AppendResult::Stored, "a message");
        let question = MessageKey { channel: old.key(), seq: Seq::FIRST };
        require!(
            matches!(
                store.acquire(&question, LeaseOwner::new(1), self.later(LONG), self.now).await?,
                Acquire::Acquired(_)
            ),
            "a claim"
        );
        let (anna, anew): (UserId, ChannelId) = (id("anna")?, id("anew")?);
        connections.mark_online(&old.key(), &anna, old.incarnation, self.now).await?;
        self.open("anew1=", "anna", &[&old]).await?;
        self.delete(&old, &owner).await?;

        let new = self.new_channel("anew", Visibility::Private)?;
        let owner = self.new_member(&new, "olga", MemberRole::Owner)?;
        require_eq!(store.create(&new, &owner, None, MANY).await?, ChannelCreated::Done, "the id is not free");
        let key = new.key();
        require_eq!(store.member(&key, &anna).await?, None, "a member of the channel before");
        require_eq!(messages.is_member(&key, &anna).await?, false, "a member of the channel before");
        require_eq!(store.members(&key, None, 10).await?.members, vec![owner.clone()], "the members");
        require_eq!(store.mark_read(&key, &anna, Seq::ZERO).await?, None, "the read mark of a user who is no member");
        require_eq!(store.creation(&key, &owner.user_id, &creation.key).await?, None, "what it was created with");
        require_eq!(messages.messages(&key, Range::After(Seq::ZERO), 10, self.now).await?, vec![], "the history");
        require_eq!(messages.message(&key, Seq::FIRST, self.now).await?, None, "a message");
        for record in &records {
            require_eq!(messages.idempotency_record(&key, record).await?, None, "a record");
        }
        let question = MessageKey { channel: key.clone(), seq: Seq::FIRST };
        let claimed = store.acquire(&question, LeaseOwner::new(2), self.later(LONG), self.now).await?;
        require!(
            matches!(claimed, Acquire::Acquired(claim) if claim.calls == 0),
            "a claim of the channel before holds"
        );
        let audience = connections.audience(&key, self.now).await?;
        require_eq!(audience.subscriptions, vec![], "the subscriptions");
        require!(!audience.gate.closed, "the gate of the channel before is closed, not this one's");
        require!(connections.gate(&old.key(), self.now).await?.closed, "the gate of a deleted channel is open");
        let is_new = connections.mark_online(&key, &anna, new.incarnation, self.now).await?;
        require!(is_new, "the presence of the channel before is known");
        require_eq!(self.head(&anew).await?, ChannelHead::from(&new), "the head");
        // The same `seq` and the same idempotency key are free in the new channel.
        let head = ChannelHead::from(&new);
        let message = self.message(&head, "anna")?;
        let record = self.record(records[0].clone(), &message);
        require_eq!(
            self.append(&head, &message, Some(&record)).await?,
            AppendResult::Stored,
            "a message under a used key"
        );
        Ok(())
    }

    pub(super) async fn lists(&self) -> Outcome {
        let store = self.ports.channels;
        let lena: UserId = id("lena")?;
        let mut made = Vec::new();
        // Ids whose order differs from that of their lengths. The last id also has a deleted incarnation.
        for name in ["list", "list-a", "list.b", "list2"] {
            let (channel, olga) = self.channel(name, Visibility::Public).await?;
            let by = Authority { channel: &channel, member: Some(&olga) };
            let member = self.new_member(&channel, "lena", MemberRole::Member)?;
            require_eq!(store.add_member(&by, &member, Seq::ZERO).await?, MemberAdded::Added, "adding lena");
            made.push((channel, olga));
        }
        let Some((old, olga)) = made.pop() else { return Ok(()) };
        self.delete(&old, &olga).await?;
        let (new, olga) = self.channel("list2", Visibility::Public).await?;
        let by = Authority { channel: &new, member: Some(&olga) };
        self.send(&new, "olga").await?;
        let member = self.new_member(&new, "lena", MemberRole::Member)?;
        require_eq!(store.add_member(&by, &member, Seq::ZERO).await?, MemberAdded::Added, "adding lena again");
        // Sorted as keys are, by id.
        let mut wanted: Vec<ChannelKey> = made.iter().map(|(channel, _)| channel.key()).collect();
        wanted.push(new.key());
        wanted.sort_unstable();
        let all = store.memberships(&lena, 100).await?.channels;
        let mut found: Vec<ChannelKey> = store.channels_among(&all).await?.iter().map(Channel::key).collect();
        found.sort_unstable();
        require_eq!(found, wanted, "lena's channels that exist");
        require_eq!(store.channels_among(&[]).await?, vec![], "no channels");
        let newest = store.channels_among(&[new.key()]).await?;
        require_eq!(newest, vec![self.current(&new).await?], "a channel is as it is");
        let mut of_lena = store.memberships_among(&lena, &wanted).await?;
        of_lena.sort_unstable_by(|one, other| one.channel_id.cmp(&other.channel_id));
        let ids: Vec<&str> = of_lena.iter().map(|member| member.channel_id.as_str()).collect();
        require_eq!(ids, ["list", "list-a", "list.b", "list2"], "the channels of lena's memberships");
        require_eq!(of_lena.pop(), Some(member), "a membership");
        require_eq!(store.memberships_among(&id("mallory")?, &wanted).await?, vec![], "of a user who is no member");
        let of_old = all.iter().filter(|key| **key == old.key()).count();
        require_eq!(of_old, 1, "the membership in the deleted channel, until it is removed");
        require_eq!(all.iter().filter(|key| wanted.contains(key)).count(), 4, "lena's memberships");
        let sorted = all.is_sorted_by_key(|key| key.channel_id.clone());
        require!(sorted, "memberships are in the order of their ids");
        require_eq!(store.memberships(&lena, 2).await?.channels.len(), 2, "some memberships");
        self.member_pages().await
    }

    async fn member_pages(&self) -> Outcome {
        let store = self.ports.channels;
        let (crowd, olga) = self.channel("crowd", Visibility::Public).await?;
        let by = Authority { channel: &crowd, member: Some(&olga) };
        for number in 0..5 {
            self.member(&by, &format!("crowd{number}"), MemberRole::Member).await?;
        }
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.members(&crowd.key(), after.as_ref(), 2).await?;
            require!(page.members.len() <= 2, "a page is too long");
            found.extend(page.members.into_iter().map(|member| member.user_id.to_string()));
            after = page.next_after;
            if after.is_none() {
                break;
            }
        }
        require_eq!(found, ["crowd0", "crowd1", "crowd2", "crowd3", "crowd4", "olga"], "members, two at a time");
        Ok(())
    }

    pub(super) async fn public_list(&self) -> Outcome {
        let store = self.ports.channels;
        let names = async |prefix: &str| -> Outcome<Vec<String>> {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = store.public_channels(prefix, after.as_deref(), 2).await?;
                found.extend(page.channels.into_iter().map(|channel| channel.name));
                after = page.next_after;
                if after.is_none() {
                    return Ok(found);
                }
            }
        };
        let mut made = Vec::new();
        for name in ["Town", "tower", "town-hall", "hall"] {
            let channel =
                Channel { name: name.to_owned(), ..self.new_channel(&format!("public-{name}"), Visibility::Public)? };
            let olga = self.new_member(&channel, "olga", MemberRole::Owner)?;
            require_eq!(store.create(&channel, &olga, None, MANY).await?, ChannelCreated::Done, "{name} is taken");
            made.push((channel, olga));
        }
        self.channel("town-private", Visibility::Private).await?;
        require_eq!(names("TOW").await?, ["tower", "Town", "town-hall"], "public channels");
        let Some((town, olga)) = made.first() else { return Ok(()) };
        let renamed = self.changed(town, olga, |channel| "towns".clone_into(&mut channel.name)).await?;
        require_eq!(names("tow").await?, ["tower", "town-hall", "towns"], "after a new name");
        let private = self.changed(&renamed, olga, |channel| channel.visibility = Visibility::Private).await?;
        require_eq!(names("tow").await?, ["tower", "town-hall"], "after one was made private");
        let public = self.changed(&private, olga, |channel| channel.visibility = Visibility::Public).await?;
        require_eq!(names("towns").await?, ["towns"], "after it was made public");
        self.delete(&public, olga).await?;
        require_eq!(names("tow").await?, ["tower", "town-hall"], "after it was deleted");
        let anew = Channel { name: "towns".to_owned(), ..self.new_channel("public-Town", Visibility::Public)? };
        let olga = self.new_member(&anew, "olga", MemberRole::Owner)?;
        require_eq!(store.create(&anew, &olga, None, MANY).await?, ChannelCreated::Done, "the id is not free");
        require_eq!(names("towns").await?, ["towns"], "after it was created again");
        Ok(())
    }

    pub(super) async fn read_marks(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("marks", Visibility::Public).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let rita = self.member(&by, "rita", MemberRole::Member).await?;
        let key = channel.key();
        for (seq, wanted) in [(3, 3), (2, 3), (3, 3), (7, 7)] {
            let (seq, wanted) = (Seq::new(seq), Seq::new(wanted));
            require_eq!(store.mark_read(&key, &rita.user_id, seq).await?, Some(wanted), "the mark");
        }
        require_eq!(
            store.mark_read(&key, &id("mallory")?, Seq::FIRST).await?,
            None,
            "the mark of a user who is no member"
        );
        let (elsewhere, _) = self.channel("marks-elsewhere", Visibility::Private).await?;
        let places = [(key.clone(), rita.user_id.clone()), (key.clone(), id("olga")?), (elsewhere.key(), id("olga")?)];
        let unmarked = [(key.clone(), id("mallory")?), (elsewhere.key(), rita.user_id.clone())];
        let found = store.read_marks(&[&places[..], &unmarked].concat()).await?;
        let wanted: ReadMarks = places.iter().cloned().zip([Seq::new(7), Seq::ZERO, Seq::ZERO]).collect();
        require_eq!(found, wanted, "the marks of members");
        require!(store.read_marks(&[]).await?.is_empty(), "the marks of no members");
        self.remove(&by, &rita).await?;
        require!(store.read_marks(&places[..1]).await?.is_empty(), "the mark of a removed user is read");
        require_eq!(store.mark_read(&key, &rita.user_id, Seq::new(9)).await?, None, "the mark of a removed user");
        let rita = self.new_member(&channel, "rita", MemberRole::Member)?;
        store.add_member(&by, &rita, Seq::new(5)).await?;
        require_eq!(
            store.mark_read(&key, &rita.user_id, Seq::ZERO).await?,
            Some(Seq::new(5)),
            "the mark of a rejoined user"
        );
        Ok(())
    }

    pub(super) async fn created_channels(&self) -> Outcome {
        let store = self.ports.channels;
        let mut made = Vec::new();
        for number in 0..4 {
            let mut channel = self.new_channel(&format!("counted{number}"), Visibility::Private)?;
            channel.created_by = id("cora")?;
            let owner = self.new_member(&channel, "cora", MemberRole::Owner)?;
            let wanted = if number < 3 { ChannelCreated::Done } else { ChannelCreated::TooMany };
            require_eq!(store.create(&channel, &owner, None, 3).await?, wanted, "channel {number} of at most 3");
            let again = store.create(&channel, &owner, None, 3).await?;
            let wanted = if number < 3 { ChannelCreated::Taken } else { ChannelCreated::TooMany };
            require_eq!(again, wanted, "channel {number} again");
            require_eq!(store.channel(&channel.channel_id).await?.is_some(), number < 3, "channel {number}");
            made.push((channel, owner));
        }
        self.delete(&made[0].0, &made[0].1).await?;
        let (last, owner) = &made[3];
        require_eq!(store.create(last, owner, None, 3).await?, ChannelCreated::Done, "after a deletion");
        require_eq!(store.member(&last.key(), &owner.user_id).await?.as_ref(), Some(owner), "its owner");
        Ok(())
    }

    pub(super) async fn chosen_channels(&self) -> Outcome {
        let store = self.ports.channels;
        let vera: UserId = id("vera")?;
        // Channels that others chose sort before those that vera chose.
        for number in 0..6 {
            let (channel, olga) = self.channel(&format!("chosen-a{number}"), Visibility::Private).await?;
            let by = Authority { channel: &channel, member: Some(&olga) };
            let mut member = self.new_member(&channel, "vera", MemberRole::Member)?;
            member.added_by = Some(id("olga")?);
            require_eq!(store.add_member(&by, &member, Seq::ZERO).await?, MemberAdded::Added, "adding vera");
            require_eq!(store.member(&channel.key(), &vera).await?, Some(member), "how vera became a member");
        }
        let mut own = Vec::new();
        for number in 0..4_u64 {
            let mut channel = self.new_channel(&format!("chosen-z{number}"), Visibility::Private)?;
            channel.created_by = vera.clone();
            let mut owner = self.new_member(&channel, "vera", MemberRole::Owner)?;
            owner.joined_at = self.later(Duration::from_secs(number));
            require_eq!(store.create(&channel, &owner, None, MANY).await?, ChannelCreated::Done, "a channel of vera's");
            own.push((channel, owner));
        }
        let all = store.memberships(&vera, 10).await?;
        require_eq!((all.channels.len(), all.left_out), (10, 0), "all of vera's channels");
        let some = store.memberships(&vera, 5).await?;
        require_eq!(some.left_out, 5, "the number of channels left out");
        let newest: Vec<ChannelKey> = own.iter().rev().map(|(channel, _)| channel.key()).collect();
        require_eq!(some.channels[..4], newest[..], "the channels that vera chose, newest first");
        let one = store.memberships(&vera, 1).await?;
        require_eq!((one.channels, one.left_out), (newest[..1].to_vec(), 9), "one of vera's channels");
        let (left, owner) = &own[3];
        self.delete(left, owner).await?;
        while !self.ports.removal.remove_some(&left.key()).await? {}
        let some = store.memberships(&vera, 2).await?;
        require_eq!((some.channels, some.left_out), (newest[1..3].to_vec(), 7), "after one of them was deleted");
        Ok(())
    }
}
