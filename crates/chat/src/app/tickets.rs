//! Tickets for handshakes that cannot carry a header, so that no bearer token appears in a URL.
//!
//! A ticket is random, valid for [`TICKET_DURATION`], and opens one socket. Only its digest is stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    app::connect::readable,
    model::{
        access::Access,
        error::{ChatError, Result},
        id::ChannelId,
        limits::TICKET_DURATION,
        ticket_digest::TicketDigest,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        ticket_store::{Ticket, TicketStore},
    },
};

/// Length of a ticket in characters: 32 random bytes in base64url.
const TICKET_CHARS: usize = 43;

/// Issues a ticket to a user who may see all of `asked`, and returns its text for the URL. Sets `ticket.channels` and
/// `ticket.expires_at`. A ticket grants no access: permissions are checked when it is redeemed.
///
/// # Errors
/// [`ChatError::Invalid`], [`ChatError::ChannelNotFound`], [`ChatError::Store`].
pub async fn issue(
    channels: &impl ChannelStore,
    tickets: &impl TicketStore,
    clock: &impl Clock,
    asked: Option<Vec<ChannelId>>,
    ticket: &mut Ticket,
) -> Result<String> {
    ticket.channels = match asked {
        Some(asked) => Some(readable(channels, asked, &ticket.user_id).await?.iter().map(Access::key).collect()),
        None => None,
    };
    ticket.expires_at = clock.now().plus(TICKET_DURATION).min(ticket.token_expires_at);
    let random = [clock.random().to_be_bytes(), clock.random().to_be_bytes()].concat();
    let text = URL_SAFE_NO_PAD.encode(random);
    tickets.keep(&TicketDigest::of(&text), ticket).await?;
    Ok(text)
}

/// Redeems a ticket once, if it has not expired.
///
/// # Errors
/// [`ChatError::TicketInvalid`], [`ChatError::Store`].
pub async fn redeem(tickets: &impl TicketStore, clock: &impl Clock, text: &str) -> Result<Ticket> {
    if text.len() != TICKET_CHARS {
        return Err(ChatError::TicketInvalid);
    }
    tickets.redeem(&TicketDigest::of(text), clock.now()).await?.ok_or(ChatError::TicketInvalid)
}
