//! Inputs of sockets and of the network.

use super::{Action, Core, Purpose};
use crate::{
    Frame,
    session::{End, Step, TokenFor},
    time,
};

impl Core {
    pub(super) fn opened(&mut self, socket: u64) {
        let Some(number) = self.sockets.get(&socket).map(|opened| opened.session) else { return };
        let Some(session) = self.sessions.get_mut(number) else { return };
        let steps = session.opened(socket, self.now, &mut self.chance);
        for (channel, sync) in &mut self.channels {
            if session.receives(channel) {
                sync.connected();
            }
        }
        self.follow(steps);
    }

    pub(super) fn frame(&mut self, socket: u64, text: &str) {
        let Some(number) = self.sockets.get(&socket).map(|opened| opened.session) else { return };
        let Some(session) = self.sessions.get_mut(number) else { return };
        let Ok(frame) = Frame::parse(text) else { return };
        session.take(socket, &frame, self.now);
        self.learn(&frame);
        if let Some(channel) = frame.channel_id().map(str::to_owned)
            && matches!(frame, Frame::Events { .. } | Frame::Draft { .. })
            && let Some(sync) = self.channels.get_mut(&channel)
        {
            sync.take_frame(frame.clone(), self.now, &mut self.chance);
            self.changed(&channel);
        }
        self.actions.push_back(Action::Frame(Box::new(frame)));
    }

    pub(super) fn closed(&mut self, socket: u64, end: End) {
        let Some(opened) = self.sockets.remove(&socket) else { return };
        let Some(session) = self.sessions.get_mut(opened.session) else { return };
        match session.closed(socket, end, self.now, &mut self.chance) {
            TokenFor::Current => {}
            TokenFor::Fresh => self.tokens.refuse(&opened.token),
            TokenFor::Doubted => self.tokens.doubt(),
        }
        for (channel, sync) in &mut self.channels {
            if session.receives(channel) {
                sync.disconnected();
            }
        }
    }

    pub(super) fn online(&mut self, is_online: bool) {
        if std::mem::replace(&mut self.is_online, is_online) == is_online {
            return;
        }
        let now = self.now;
        let mut steps: Vec<Step> = Vec::new();
        for session in &mut self.sessions {
            steps.extend(session.check(now));
            if is_online {
                session.hurry(now);
            }
        }
        self.follow(steps);
    }

    /// Takes a frame about the user and its memberships.
    fn learn(&mut self, frame: &Frame) {
        match frame {
            Frame::Hello { user_id, server_time, .. } => {
                if let Some(time) = time::of_rfc3339(server_time) {
                    self.clock.learn(time, self.now);
                }
                self.user_id.clone_from(user_id);
                self.channels.values_mut().for_each(|sync| sync.log.set_user(user_id));
            }
            Frame::ChannelDeleted { channel_id } => self.deleted(channel_id),
            Frame::ChannelCreated { channel_id, .. } => self.rejoin(channel_id),
            Frame::MemberRemoved { channel_id, user_id } if *user_id == self.user_id => self.leave(channel_id),
            Frame::MemberJoined { channel_id, member } if member.user_id == self.user_id => self.rejoin(channel_id),
            _ => {}
        }
    }

    /// Leaves a channel out of later sockets: a handshake that names a channel of others fails.
    pub(super) fn leave(&mut self, channel: &str) {
        let steps: Vec<Step> = self.sessions.iter_mut().flat_map(|session| session.remove(channel)).collect();
        self.follow(steps);
    }

    /// Leaves a deleted channel, and forgets its messages and the reads in flight.
    fn deleted(&mut self, channel: &str) {
        self.leave(channel);
        self.requests.retain(|_, one| !matches!(&one.purpose, Purpose::Read { channel: of } if of == channel));
        if let Some(sync) = self.channels.get_mut(channel) {
            sync.deleted();
            self.changed(channel);
        }
    }

    /// Receives an open channel again, and reads what was missed.
    fn rejoin(&mut self, channel: &str) {
        if let Some(sync) = self.channels.get_mut(channel) {
            sync.rejoined();
            self.listen_to(channel);
        }
    }
}
