//! Laws of the connections and their subscriptions.

use std::{collections::BTreeSet, time::Duration};

use super::{
    ChannelPorts, ConnectionPorts, Ports,
    bench::{Bench, LONG, Outcome, id},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, MemberRole, Visibility},
        connection::{Connection, ConnectionKey, Subscription, UserConnection},
        id::UserId,
        incarnation::{ChannelKey, Incarnation},
        limits::CHANNELS_PER_CONNECTION,
        parts::{AudienceCursor, Parts},
        pending_end::{EndCause, PendingEnd},
    },
    ports::{clock::Clock, deleted_channels::DeletedChannels, message_store::MessageStore},
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn connections(&self) -> Outcome {
        let connections = self.ports.connections;
        let (channel, _) = self.channel("connections", Visibility::Public).await?;
        let (key, user): (ChannelKey, UserId) = (channel.key(), id("connie")?);
        let mut opened = self.open("conn1=", "connie", &[&channel]).await?;
        let this = opened.key.clone();
        require_eq!(connections.connection(&this.id).await?, Some(opened.clone()), "the connection");
        let of_user = UserConnection::from(&opened);
        require_eq!(
            connections.connections_of(&user, self.now).await?,
            vec![of_user.clone()],
            "the user's connections"
        );
        let after = self.later(LONG + Duration::from_secs(1));
        require_eq!(connections.connections_of(&user, after).await?, vec![], "connections after their time");
        require_eq!(self.listeners(&key, self.now).await?, vec![of_user.subscription(&user)], "the subscriptions");
        require_eq!(self.listeners(&key, after).await?, vec![], "subscriptions after their time");
        require!(connections.is_subscribed(&key, &this).await?, "it is not subscribed");
        // Another connection has the same id.
        let another = ConnectionKey { connected_at: self.later(Duration::from_secs(1)), ..this.clone() };
        require!(!connections.is_subscribed(&key, &another).await?, "another one is subscribed");
        require!(!connections.unsubscribe(&key, &another).await?, "another one was unsubscribed");
        require!(!connections.close(&another).await?, "another one was closed");
        connections.remove_pending(&user, &UserConnection { key: another.clone(), ..of_user.clone() }).await?;
        require_eq!(
            connections.connections_of(&user, self.now).await?.len(),
            1,
            "the user's connections after all that"
        );
        let subscription = Subscription { connection: another, ..of_user.subscription(&user) };
        require!(!connections.confirm_member(&key, &subscription).await?, "another one was confirmed");
        require!(connections.unsubscribe(&key, &this).await?, "it was not unsubscribed");
        require!(!connections.unsubscribe(&key, &this).await?, "it was unsubscribed twice");
        opened.channels.clear();
        require_eq!(connections.connection(&this.id).await?, Some(opened), "the connection without its channel");
        require!(connections.subscribe(&key, &user, &of_user, true).await?, "it was not subscribed");
        require!(connections.close(&this).await?, "it was not closed");
        require!(!connections.close(&this).await?, "it was closed twice");
        require_eq!(connections.connection(&this.id).await?, None, "the connection after its end");
        require_eq!(connections.connections_of(&user, self.now).await?, vec![], "the user's connections after its end");
        require_eq!(self.listeners(&key, self.now).await?, vec![], "the subscriptions after its end");
        require!(!connections.subscribe(&key, &user, &of_user, true).await?, "what is closed was subscribed");
        require_eq!(self.listeners(&key, self.now).await?, vec![], "the subscriptions of what is closed");
        Ok(())
    }

    pub(super) async fn pending_connections(&self) -> Outcome {
        let connections = self.ports.connections;
        let (named, _) = self.channel("pending-named", Visibility::Public).await?;
        let (joined, _) = self.channel("pending-joined", Visibility::Public).await?;
        let mut pending = self.connection("pend1=", "petra", &[&named])?;
        let (this, user, of_user) = (pending.key.clone(), pending.user_id.clone(), UserConnection::from(&pending));
        require_eq!(connections.activate(&pending, &BTreeSet::new()).await?, None, "what was not registered");
        require_eq!(self.listeners(&named.key(), self.now).await?, vec![], "subscriptions of what was not registered");
        connections.register_pending(&pending).await?;
        require_eq!(connections.connections_of(&user, self.now).await?, vec![of_user.clone()], "what is pending");
        require_eq!(self.listeners(&named.key(), self.now).await?, vec![], "subscriptions of what is pending");
        require!(connections.subscribe(&joined.key(), &user, &of_user, true).await?, "it was not subscribed");
        // Another connection has the same id.
        let another = ConnectionKey { connected_at: self.later(Duration::from_secs(1)), ..this.clone() };
        connections.remove_pending(&user, &UserConnection { key: another.clone(), ..of_user.clone() }).await?;
        let other = Connection { key: another, ..pending.clone() };
        require_eq!(connections.activate(&other, &BTreeSet::new()).await?, None, "another connection");
        pending.left_out = 3;
        let opened = connections.activate(&pending, &BTreeSet::new()).await?;
        let channels: BTreeSet<ChannelKey> = opened.into_iter().flatten().collect();
        require_eq!(channels, BTreeSet::from([named.key(), joined.key()]), "its own channels and those of others");
        let found = connections.connection(&this.id).await?.map(|found| (found.channels.len(), found.left_out));
        require_eq!(found, Some((2, 3)), "the opened connection");
        let as_reader = Subscription { member: false, ..of_user.subscription(&user) };
        require_eq!(self.listeners(&named.key(), self.now).await?, vec![as_reader], "a subscription by name");
        connections.remove_pending(&user, &of_user).await?;
        require_eq!(connections.connection(&this.id).await?, None, "what was withdrawn");
        require_eq!(connections.connections_of(&user, self.now).await?, vec![], "the user's after that");
        require!(!connections.expired_in_minute(pending.expires_at).await?.contains(&this.id), "its entry");
        for channel in [named.key(), joined.key()] {
            require_eq!(self.listeners(&channel, self.now).await?, vec![], "subscriptions of what was withdrawn");
        }
        Ok(())
    }

    pub(super) async fn renewals(&self) -> Outcome {
        let connections = self.ports.connections;
        let (inside, _) = self.channel("renewal-in", Visibility::Public).await?;
        let (outside, _) = self.channel("renewal-out", Visibility::Public).await?;
        let opened = self.open("renew1=", "rene", &[&inside]).await?;
        let before = UserConnection::from(&opened);
        let ends_at = self.later(LONG * 2);
        let limit = Some(BTreeSet::from([inside.channel_id.clone()]));
        let renewed = Connection {
            token_expires_at: ends_at,
            expires_at: ends_at,
            allowed_channels: limit.clone(),
            ..opened.clone()
        };
        require_eq!(connections.renew(&renewed).await?, Some(vec![inside.key()]), "its channels");
        require_eq!(connections.connection(&opened.key.id).await?, Some(renewed.clone()), "the connection");
        let late = self.later(LONG + Duration::from_secs(1));
        let of_user = connections.connections_of(&opened.user_id, late).await?;
        require_eq!(of_user, vec![UserConnection::from(&renewed)], "the user's connections");
        let listeners = self.listeners(&inside.key(), late).await?;
        require_eq!(listeners.first().map(|one| one.expires_at), Some(ends_at), "the end of the subscription");
        // The copies can be written again, without the connection.
        let copied_end = self.later(LONG * 3);
        connections.spread_renewal(&Connection { expires_at: copied_end, ..renewed.clone() }).await?;
        let listeners = self.listeners(&inside.key(), late).await?;
        require_eq!(listeners.first().map(|one| one.expires_at), Some(copied_end), "the copy of the subscription");
        require_eq!(connections.connection(&opened.key.id).await?, Some(renewed.clone()), "the connection of copies");
        connections.spread_renewal(&renewed).await?;
        let of_user = connections.connections_of(&opened.user_id, late).await?;
        require_eq!(of_user, vec![UserConnection::from(&renewed)], "the user's copy");
        // A function that read the connection before the renewal.
        let subscribed = connections.subscribe(&outside.key(), &opened.user_id, &before, true).await?;
        require!(!subscribed, "a channel beyond the limit was subscribed");
        require_eq!(self.listeners(&outside.key(), self.now).await?, vec![], "subscriptions beyond the limit");
        require!(connections.subscribe(&inside.key(), &opened.user_id, &before, true).await?, "a channel within");
        let listeners = self.listeners(&inside.key(), late).await?;
        require_eq!(listeners.first().map(|one| one.expires_at), Some(ends_at), "the end of what was subscribed again");
        let key = ConnectionKey { connected_at: self.later(Duration::from_secs(1)), ..opened.key.clone() };
        let other = Connection { key, ..renewed };
        require_eq!(connections.renew(&other).await?, None, "another connection");
        Ok(())
    }

    pub(super) async fn subscriptions(&self) -> Outcome {
        let connections = self.ports.connections;
        let (channel, _) = self.channel("subscriptions", Visibility::Public).await?;
        let opened = self.open("subs1=", "susi", &[]).await?;
        let (of_user, user) = (UserConnection::from(&opened), opened.user_id.clone());
        let key = channel.key();
        require!(connections.subscribe(&key, &user, &of_user, false).await?, "it was not subscribed");
        let as_reader = Subscription { member: false, ..of_user.subscription(&user) };
        require_eq!(self.listeners(&key, self.now).await?, vec![as_reader.clone()], "a reader's subscription");
        require!(connections.confirm_member(&key, &as_reader).await?, "it was not confirmed");
        let as_member = of_user.subscription(&user);
        require_eq!(self.listeners(&key, self.now).await?, vec![as_member], "a member's subscription");
        require!(connections.subscribe(&key, &user, &of_user, false).await?, "it was not subscribed again");
        require_eq!(self.listeners(&key, self.now).await?, vec![as_reader.clone()], "what it was replaced by");
        let mut channels: Vec<ChannelKey> = Vec::new();
        for number in 1..CHANNELS_PER_CONNECTION {
            let incarnation = Incarnation::generate(self.seed());
            channels.push(ChannelKey { channel_id: id(&format!("subs{number}"))?, incarnation });
        }
        for channel in &channels {
            require!(connections.subscribe(channel, &user, &of_user, true).await?, "there is room for {channel}");
        }
        let (more, _) = self.channel("subscriptions2", Visibility::Public).await?;
        require!(!connections.subscribe(&more.key(), &user, &of_user, true).await?, "one channel too many");
        require!(connections.subscribe(&key, &user, &of_user, true).await?, "one that it has");
        require!(connections.unsubscribe(&key, &of_user.key).await?, "room is made");
        require!(connections.subscribe(&more.key(), &user, &of_user, true).await?, "there is room again");
        require!(!connections.confirm_member(&key, &as_reader).await?, "what is not there was confirmed");
        require_eq!(self.listeners(&key, self.now).await?, vec![], "what was not confirmed");
        require!(connections.close(&of_user.key).await?, "it was not closed");
        for channel in channels.iter().chain([&more.key()]) {
            require_eq!(self.listeners(channel, self.now).await?, vec![], "subscriptions after the connection's end");
        }
        Ok(())
    }

    pub(super) async fn audiences(&self) -> Outcome {
        let Ports { channels: store, connections, .. } = *self.ports;
        let (channel, olga) = self.channel("audience", Visibility::Public).await?;
        let key = channel.key();
        let by = Authority { channel: &channel, member: Some(&olga) };
        let rita = self.member(&by, "rita", MemberRole::Member).await?;
        let mut names = Vec::new();
        for (number, user) in (0..7).zip(["rita", "carol"].into_iter().cycle()) {
            let mut connection = self.connection(&format!("aud{number}="), user, &[&channel])?;
            if number == 3 {
                connection.expires_at = self.later(Duration::from_mins(1));
            }
            let by_membership = if user == "rita" { BTreeSet::from([key.clone()]) } else { BTreeSet::new() };
            connections.register_pending(&connection).await?;
            connections.activate(&connection, &by_membership).await?;
            names.push(connection.key.id.to_string());
        }
        self.remove(&by, &rita).await?;
        let private = Channel { visibility: Visibility::Private, version: 2, ..channel.clone() };
        let pending = PendingEnd::new(key.clone(), EndCause::MadePrivate, self.seed());
        require!(store.update(&by, &private, Some(&pending), self.now).await?, "it is not made private");
        let audience = connections.audience(&key, self.now).await?;
        require_eq!(audience.subscriptions.len(), 7, "all subscriptions, refused ones too");
        require!(
            audience.gate.private && audience.gate.blocked.contains(&rita.user_id),
            "the gate: {:?}",
            audience.gate
        );
        require_eq!(audience.gate, connections.gate(&key, self.now).await?, "the gate by itself");
        require_eq!(audience.admitted(), vec![], "the admitted subscriptions");
        for (now, left) in [(self.now, 7), (self.later(Duration::from_secs(61)), 6)] {
            for limit in [1, 2, 3, 10] {
                let (mut found, mut after): (Vec<String>, Option<AudienceCursor>) = (Vec::new(), None);
                for _ in 0..20 {
                    let page = connections.subscriptions_page(&key, after.as_ref(), limit, now).await?;
                    found.extend(page.subscriptions.iter().map(|one| one.connection.id.to_string()));
                    after = page.next_after;
                    if after.is_none() {
                        break;
                    }
                }
                require!(after.is_none(), "the pages do not end");
                let wanted: Vec<String> = names.iter().filter(|name| left == 7 || *name != "aud3=").cloned().collect();
                require_eq!(found, wanted, "subscriptions, {limit} at a time");
            }
        }
        Ok(())
    }

    pub(super) async fn parts(&self) -> Outcome {
        let connections = self.ports.connections;
        let (channel, _) = self.channel("parts", Visibility::Public).await?;
        let key = channel.key();
        let mut open = Vec::new();
        for number in 0..4 {
            open.push(self.open(&format!("early{number}="), "paul", &[&channel]).await?);
        }
        require_eq!(
            connections.audience_page(&key, None, self.now).await?.parts,
            Parts::ONE,
            "the parts of a new channel"
        );
        connections.divide(&key, Parts::ONE, 1).await?;
        require_eq!(self.paged(&key).await?, (Parts::ONE, names(&open)), "the parts of a few");
        connections.divide(&key, Parts::ONE, usize::MAX).await?;
        // Another reader has found fewer.
        connections.divide(&key, Parts::ONE, 20_000).await?;
        for number in 0..4 {
            open.push(self.open(&format!("late{number}="), "paul", &[&channel]).await?);
        }
        let joined = self.open("joined=", "paul", &[]).await?;
        let of_user = UserConnection::from(&joined);
        require!(connections.subscribe(&key, &joined.user_id, &of_user, false).await?, "it is not subscribed");
        // One that is there already stays where it is.
        for one in &open {
            let again = connections.subscribe(&key, &one.user_id, &UserConnection::from(one), false).await?;
            require!(again, "it is not subscribed again");
        }
        open.push(joined);
        require_eq!(self.paged(&key).await?, (Parts::MOST, names(&open)), "all subscriptions, page by page");
        let all = self.listeners(&key, self.now).await?;
        require_eq!(all.len(), open.len(), "all subscriptions at once");
        require!(all.iter().all(|one| !one.member), "one is still that of a member");
        let few = connections.audience_up_to(&key, 3, self.now).await?.subscriptions.len();
        require!(few >= 3, "at least three, and not {few}");
        for one in &all {
            require!(connections.is_subscribed(&key, &one.connection).await?, "one is not found");
            require!(connections.confirm_member(&key, one).await?, "one is not confirmed");
        }
        require!(self.listeners(&key, self.now).await?.iter().all(|one| one.member), "one is not that of a member");
        for (number, one) in open.iter().enumerate() {
            let renewed = Connection { expires_at: self.later(LONG * 2), ..one.clone() };
            connections.renew(&renewed).await?;
            let listener = self.listeners(&key, self.later(LONG)).await?;
            let is_kept = listener.iter().any(|listener| listener.connection == one.key);
            require!(is_kept, "a renewal does not reach the subscription");
            if number % 2 == 0 {
                require!(connections.unsubscribe(&key, &one.key).await?, "one is not ended");
                require!(!connections.unsubscribe(&key, &one.key).await?, "one is ended twice");
            } else {
                require!(connections.close(&one.key).await?, "one is not closed");
            }
            require_eq!(self.listeners(&key, self.now).await?.len(), open.len() - number - 1, "those that are left");
        }
        Ok(())
    }

    /// Returns the number of parts of a channel, and the connections that are found page by page, in their order. Both
    /// kinds of pages must have the same.
    async fn paged(&self, key: &ChannelKey) -> Outcome<(Parts, Vec<String>)> {
        let connections = self.ports.connections;
        let first = connections.audience_page(key, None, self.now).await?;
        let (parts, mut found, mut next) = (first.parts, first.subscriptions, first.next);
        while let Some(at) = next {
            let page = connections.audience_page(key, Some(&at), self.now).await?;
            require_eq!(page.parts, parts, "the parts of a later page");
            found.extend(page.subscriptions);
            next = page.next;
        }
        let (mut others, mut after): (Vec<Subscription>, Option<AudienceCursor>) = (Vec::new(), None);
        loop {
            let page = connections.subscriptions_page(key, after.as_ref(), 3, self.now).await?;
            others.extend(page.subscriptions);
            after = page.next_after;
            if after.is_none() {
                break;
            }
        }
        require_eq!(others, found, "the pages of the ends");
        let mut names: Vec<String> = found.iter().map(|one| one.connection.id.to_string()).collect();
        names.sort_unstable();
        Ok((parts, names))
    }
}

/// Returns the ids of connections, in their order.
fn names(connections: &[Connection]) -> Vec<String> {
    let mut names: Vec<String> = connections.iter().map(|one| one.key.id.to_string()).collect();
    names.sort_unstable();
    names
}
