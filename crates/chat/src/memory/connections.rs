//! Connections, presence and tickets in memory.

use std::collections::BTreeSet;

use futures::future::{join, try_join, try_join3};

use super::{Call, Hook, MemoryStore, PresenceRecord, Reading, Rule, State};
use crate::{
    model::{
        connection::{Audience, Connection, ConnectionKey, Gate, Subscription, UserConnection},
        error::StoreError,
        id::{ConnectionId, UserId},
        incarnation::{ChannelKey, Incarnation},
        limits::{CHANNELS_PER_CONNECTION, GATE_DURATION},
        parts::{AudienceCursor, Parts},
        ticket_digest::TicketDigest,
        time::Timestamp,
    },
    ports::{
        connection_store::{AudiencePage, ConnectionStore, SubscriptionPage},
        expiry_store::ExpiryStore,
        presence_store::{Announced, PresenceStore},
        ticket_store::{Ticket, TicketStore},
    },
};

/// Maximum number of subscriptions on a page of an audience, few so that small audiences have several pages.
const AUDIENCE_PAGE: usize = 4;

/// Number of subscriptions in a part from which a channel gets more, few so that small audiences have several parts.
const PART_SUBSCRIPTIONS: usize = 2;

impl State {
    /// Returns the connection with this key.
    fn connection_of(&mut self, key: &ConnectionKey) -> Option<&mut Connection> {
        self.connections.get_mut(&key.id).filter(|connection| connection.key == *key)
    }

    fn list_of_user(&mut self, connection: &Connection) {
        let own = self.user_connections.entry(connection.user_id.clone()).or_default();
        own.insert(connection.key.id.clone(), UserConnection::from(connection));
    }

    /// Opens a pending connection with its channels. Returns all of its channels.
    fn open(&mut self, connection: &Connection) -> Option<Vec<ChannelKey>> {
        if self.lacks(Rule::PendingListed) {
            self.list_of_user(connection);
        }
        if self.lacks(Rule::PendingSubscribed) {
            let pending = Connection { channels: Vec::new(), ..connection.clone() };
            self.connections.insert(pending.key.id.clone(), pending);
        }
        let open = self.connection_of(&connection.key)?;
        open.left_out = connection.left_out;
        for channel in &connection.channels {
            if !open.channels.contains(channel) {
                open.channels.push(channel.clone());
            }
        }
        Some(open.channels.clone())
    }

    fn forget_of_user(&mut self, user: &UserId, key: &ConnectionKey) {
        if let Some(own) = self.user_connections.get_mut(user)
            && own.get(&key.id).is_some_and(|one| one.key == *key)
        {
            own.remove(&key.id);
        }
    }

    fn subscribe(&mut self, channel: &ChannelKey, connection: &UserConnection, member: bool) -> bool {
        let Some(open) = self.connection_of(&connection.key) else { return false };
        let is_beyond = open.allowed_channels.as_ref().is_some_and(|limit| !limit.contains(&channel.channel_id));
        let is_new = !open.channels.contains(channel);
        if is_beyond || (is_new && open.channels.len() >= CHANNELS_PER_CONNECTION) {
            return false;
        }
        if is_new {
            open.channels.push(channel.clone());
        }
        let subscription = Subscription { member, ..UserConnection::from(&*open).subscription(&open.user_id) };
        self.put_subscription(channel, subscription);
        true
    }

    fn unsubscribe(&mut self, channel: &ChannelKey, connection: &ConnectionKey) -> bool {
        let was_there = self.remove_subscription(channel, connection);
        if let Some(open) = self.connection_of(connection).filter(|_| was_there) {
            open.channels.retain(|one| one != channel);
        }
        was_there
    }
}

impl<H: Hook> ConnectionStore for MemoryStore<H> {
    async fn register_pending(&self, connection: &Connection) -> Result<(), StoreError> {
        let pending = Connection { channels: Vec::new(), left_out: 0, ..connection.clone() };
        // One request, whose writes take effect one by one.
        let of_user = self.call(Call::Announce, |state| {
            if !state.lacks(Rule::PendingListed) {
                state.list_of_user(&pending);
            }
        });
        let itself = self.call(Call::Announce, |state| {
            if !state.lacks(Rule::PendingSubscribed) {
                state.connections.insert(pending.key.id.clone(), pending.clone());
            }
        });
        try_join3(of_user, itself, self.list_end(&pending)).await?;
        Ok(())
    }

    async fn remove_pending(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        let removed = self
            .call(Call::Withdraw, |state| {
                state.connection_of(&connection.key)?;
                state.connections.remove(&connection.key.id)
            })
            .await?;
        if let Some(removed) = removed {
            for channel in removed.channels {
                self.call(Call::Withdraw, |state| state.remove_subscription(&channel, &connection.key)).await?;
            }
            self.remove_expiry_entry(connection.expires_at, &connection.key.id).await?;
        }
        self.call(Call::Withdraw, |state| state.forget_of_user(user, &connection.key)).await
    }

    async fn activate(
        &self,
        connection: &Connection,
        by_membership: &BTreeSet<ChannelKey>,
    ) -> Result<Option<Vec<ChannelKey>>, StoreError> {
        let opened = self.call(Call::Open, |state| state.open(connection));
        let of_user = UserConnection::from(connection);
        let subscribed = async {
            for channel in &connection.channels {
                let member = by_membership.contains(channel);
                let subscription = Subscription { member, ..of_user.subscription(&connection.user_id) };
                self.call(Call::Open, |state| state.put_subscription(channel, subscription.clone())).await?;
            }
            Ok::<_, StoreError>(())
        };
        let (opened, subscribed) = join(opened, subscribed).await;
        if matches!(opened, Ok(Some(_))) && subscribed.is_ok() {
            return opened;
        }
        for channel in &connection.channels {
            self.call(Call::Close, |state| state.remove_subscription(channel, &connection.key)).await?;
        }
        subscribed?;
        opened
    }

    async fn renew(&self, connection: &Connection) -> Result<Option<Vec<ChannelKey>>, StoreError> {
        self.list_end(connection).await?;
        let channels = self
            .call(Call::RenewConnection, |state| {
                let open = state.connection_of(&connection.key)?;
                open.token_expires_at = connection.token_expires_at;
                open.expires_at = connection.expires_at;
                open.allowed_channels.clone_from(&connection.allowed_channels);
                Some(open.channels.clone())
            })
            .await?;
        let Some(channels) = channels else { return Ok(None) };
        self.spread_renewal(&Connection { channels: channels.clone(), ..connection.clone() }).await?;
        Ok(Some(channels))
    }

    async fn spread_renewal(&self, connection: &Connection) -> Result<(), StoreError> {
        let Connection { key, user_id, channels, expires_at, .. } = connection;
        self.call(Call::RenewConnection, |state| {
            let own = state.user_connections.get_mut(user_id).and_then(|own| own.get_mut(&key.id));
            if let Some(own) = own.filter(|own| own.key == *key) {
                own.expires_at = *expires_at;
                own.allowed_channels.clone_from(&connection.allowed_channels);
            }
        })
        .await?;
        for channel in channels {
            self.call(Call::RenewConnection, |state| {
                let found = state.subscription(channel, &key.id).filter(|one| one.connection == *key).cloned();
                if let Some(found) = found {
                    state.put_subscription(channel, Subscription { expires_at: *expires_at, ..found });
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        self.call(Call::Connection, |state| state.connections.get(id).cloned()).await
    }

    async fn connections_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<UserConnection>, StoreError> {
        self.call(Call::ConnectionsOf, |state| {
            let own = state.user_connections.get(user).into_iter().flatten();
            own.filter(|(_, one)| one.expires_at > now).map(|(_, one)| one.clone()).collect()
        })
        .await
    }

    async fn close(&self, connection: &ConnectionKey) -> Result<bool, StoreError> {
        match self.connection(&connection.id).await?.filter(|found| found.key == *connection) {
            Some(found) => self.close_found(&found).await,
            None => Ok(false),
        }
    }

    async fn close_found(&self, found: &Connection) -> Result<bool, StoreError> {
        let connection = &found.key;
        let subscriptions = self.call(Call::Close, |state| {
            for channel in &found.channels {
                state.remove_subscription(channel, connection);
            }
        });
        let of_user = self.call(Call::Close, |state| state.forget_of_user(&found.user_id, connection));
        try_join(subscriptions, of_user).await?;
        let last = self
            .call(Call::Close, |state| {
                state.connection_of(connection)?;
                state.connections.remove(&connection.id)
            })
            .await?;
        let Some(last) = last else { return Ok(false) };
        // Subscriptions may have been added since the connection was read. None can be added from here on.
        let added: Vec<&ChannelKey> = last.channels.iter().filter(|one| !found.channels.contains(one)).collect();
        if !added.is_empty() {
            self.call(Call::Close, |state| {
                for channel in &added {
                    state.remove_subscription(channel, connection);
                }
            })
            .await?;
        }
        Ok(true)
    }

    async fn audience_up_to(&self, channel: &ChannelKey, most: usize, now: Timestamp) -> Result<Audience, StoreError> {
        // A query reads item by item, the gate first. One page is not a snapshot.
        let gate = self
            .call(Call::Gate, |state| {
                if state.lacks(Rule::GateWithAudience) { Gate::default() } else { state.gate(channel, now) }
            })
            .await?;
        let subscriptions = self
            .read(Call::Subscriptions, channel, Reading::Audience, |state| {
                state.subscriptions_of(channel).filter(|one| one.expires_at > now).take(most).cloned().collect()
            })
            .await?;
        Ok(Audience { gate, subscriptions })
    }

    async fn audience_page(
        &self,
        channel: &ChannelKey,
        at: Option<&AudienceCursor>,
        now: Timestamp,
    ) -> Result<AudiencePage, StoreError> {
        let gate = if at.is_some() {
            Gate::default()
        } else {
            self.call(Call::Gate, |state| {
                if state.lacks(Rule::GateWithAudience) { Gate::default() } else { state.gate(channel, now) }
            })
            .await?
        };
        self.read(Call::Subscriptions, channel, Reading::Audience, |state| {
            let parts = at.map_or_else(|| state.parts_of(channel), |at| at.parts);
            let (page, next) = state.subscriptions_page(channel, at, AUDIENCE_PAGE, Rule::AudiencePageEnd);
            let subscriptions = page.into_iter().filter(|one| one.expires_at > now).cloned().collect();
            AudiencePage { gate: gate.clone(), subscriptions, parts, next }
        })
        .await
    }

    async fn divide(&self, channel: &ChannelKey, parts: Parts, subscriptions: usize) -> Result<(), StoreError> {
        let wanted = Parts::for_subscriptions(subscriptions, PART_SUBSCRIPTIONS);
        if wanted <= parts {
            return Ok(());
        }
        self.call(Call::Divide, |state| state.divide(channel, wanted)).await
    }

    async fn gate(&self, channel: &ChannelKey, now: Timestamp) -> Result<Gate, StoreError> {
        self.call(
            Call::Gate,
            |state| if state.lacks(Rule::GateAlone) { Gate::default() } else { state.gate(channel, now) },
        )
        .await
    }

    async fn subscriptions_page(
        &self,
        channel: &ChannelKey,
        after: Option<&AudienceCursor>,
        limit: u16,
        now: Timestamp,
    ) -> Result<SubscriptionPage, StoreError> {
        self.call(Call::Subscriptions, |state| {
            let (page, next_after) = state.subscriptions_page(channel, after, usize::from(limit), Rule::PageEnd);
            let subscriptions = page.into_iter().filter(|one| one.expires_at > now).cloned().collect();
            SubscriptionPage { subscriptions, next_after }
        })
        .await
    }

    async fn subscribe(
        &self,
        channel: &ChannelKey,
        _: &UserId,
        connection: &UserConnection,
        member: bool,
    ) -> Result<bool, StoreError> {
        self.call(Call::Subscribe, |state| state.subscribe(channel, connection, member)).await
    }

    async fn set_left_out(&self, connection: &UserConnection, left_out: usize) -> Result<(), StoreError> {
        self.call(Call::NoteLeftOut, |state| {
            if let Some(open) = state.connection_of(&connection.key) {
                open.left_out = left_out;
            }
        })
        .await
    }

    async fn is_subscribed(&self, channel: &ChannelKey, connection: &ConnectionKey) -> Result<bool, StoreError> {
        self.call(Call::IsSubscribed, |state| {
            state.subscription(channel, &connection.id).is_some_and(|one| one.connection == *connection)
        })
        .await
    }

    async fn confirm_member(&self, channel: &ChannelKey, subscription: &Subscription) -> Result<bool, StoreError> {
        self.call(Call::ConfirmMember, |state| {
            let found = state.subscription(channel, &subscription.connection.id).cloned();
            let found = found.filter(|one| one.connection == subscription.connection);
            let is_there = found.is_some();
            if let Some(found) = found {
                state.put_subscription(channel, Subscription { member: true, ..found });
            }
            is_there
        })
        .await
    }

    async fn unsubscribe(&self, channel: &ChannelKey, connection: &ConnectionKey) -> Result<bool, StoreError> {
        self.call(Call::Unsubscribe, |state| state.unsubscribe(channel, connection)).await
    }
}

impl<H: Hook> PresenceStore for MemoryStore<H> {
    async fn announced(&self, channel: &ChannelKey, users: &BTreeSet<UserId>) -> Result<Announced, StoreError> {
        self.call(Call::Announced, |state| {
            let mark = |user: &UserId| {
                let record = state.present.get(&(channel.clone(), user.clone()))?;
                Some((user.clone(), record.mark))
            };
            let listeners = state.presence_listeners.get(channel);
            Announced {
                marks: users.iter().filter_map(mark).collect(),
                listeners: listeners.map(|(_, listeners)| listeners.clone()).unwrap_or_default(),
                listeners_mark: listeners.map(|(mark, _)| *mark),
            }
        })
        .await
    }

    async fn set_listeners(
        &self,
        channel: &ChannelKey,
        before: Option<Incarnation>,
        listeners: &[Subscription],
        mark: Incarnation,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        self.call(Call::SetListeners, |state| {
            let current = state.presence_listeners.get(channel).map(|(mark, _)| *mark);
            // A repeated call finds its own listeners.
            let is_as_read = current == before || current == Some(mark);
            if is_as_read && !state.lacks(Rule::ListenersKept) {
                state.presence_listeners.insert(channel.clone(), (mark, listeners.to_vec()));
            }
            is_as_read
        })
        .await
    }

    async fn mark_online(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        mark: Incarnation,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let place = (channel.clone(), user.clone());
        self.call(Call::MarkOnline, |state| {
            let record = PresenceRecord { mark, until: now.plus(GATE_DURATION) };
            let before = state.present.insert(place.clone(), record);
            // A repeated call finds its own record.
            before.is_none_or(|before| before.until <= now || before.mark == mark)
        })
        .await
    }

    async fn mark_offline(&self, channel: &ChannelKey, user: &UserId, mark: Incarnation) -> Result<bool, StoreError> {
        let place = (channel.clone(), user.clone());
        self.call(Call::MarkOffline, |state| {
            let is_other = state.present.get(&place).is_some_and(|record| record.mark != mark);
            let is_kept = is_other && !state.lacks(Rule::PresenceAsRead);
            if !is_kept {
                state.present.remove(&place);
            }
            !is_kept
        })
        .await
    }
}

impl<H: Hook> TicketStore for MemoryStore<H> {
    async fn keep(&self, digest: &TicketDigest, ticket: &Ticket) -> Result<(), StoreError> {
        self.call(Call::KeepTicket, |state| {
            state.tickets.insert(digest.clone(), ticket.clone());
        })
        .await
    }

    async fn redeem(&self, digest: &TicketDigest, now: Timestamp) -> Result<Option<Ticket>, StoreError> {
        let found = self.call(Call::RedeemTicket, |state| state.tickets.remove(digest)).await?;
        Ok(found.filter(|ticket| ticket.expires_at > now))
    }
}
