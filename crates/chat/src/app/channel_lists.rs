//! Lists of channels: public ones, a user's own, and those that the user is invited to. A page leaves out channels that
//! the caller's token does not allow, so it may have fewer than `limit` channels before the last page.

use crate::{
    model::{access::Caller, error::Result, id::ChannelId, text::search_key::SearchKey},
    ports::{
        channel_store::{ChannelPage, ChannelStore, PublicPage},
        clock::Clock,
        invitation_store::{InvitationPage, InvitationStore},
    },
};

/// Returns a page of the public channels whose names begin with `name_prefix`, by their [`SearchKey`]. `after` is the
/// [`PublicPage::next_after`] of the previous page.
///
/// # Errors
/// [`crate::model::error::ChatError::Store`].
pub async fn public_channels(
    channels: &impl ChannelStore,
    caller: &Caller,
    name_prefix: &str,
    after: Option<&str>,
    limit: u16,
) -> Result<PublicPage> {
    let mut page = channels.public_channels(name_prefix, after, limit).await?;
    page.channels.retain(|channel| caller.reaches(&channel.channel_id));
    Ok(page)
}

/// Returns a page of the caller's channels after the id `after`, as far as their names begin with `name_prefix`, by
/// their [`SearchKey`].
///
/// # Errors
/// [`crate::model::error::ChatError::Store`].
pub async fn own_channels(
    channels: &impl ChannelStore,
    caller: &Caller,
    name_prefix: &str,
    after: Option<&ChannelId>,
    limit: u16,
) -> Result<ChannelPage> {
    let mut page = channels.channels_of(&caller.user_id, after, limit).await?;
    let prefix = SearchKey::of(name_prefix);
    page.channels
        .retain(|one| caller.reaches(&one.channel.channel_id) && SearchKey::of(&one.channel.name).starts_with(&prefix));
    Ok(page)
}

/// Returns a page of the channels that the caller is invited to, like [`own_channels`].
///
/// # Errors
/// [`crate::model::error::ChatError::Store`].
pub async fn invitations(
    channels: &impl InvitationStore,
    clock: &impl Clock,
    caller: &Caller,
    name_prefix: &str,
    after: Option<&ChannelId>,
    limit: u16,
) -> Result<InvitationPage> {
    let mut page = channels.invitations_of(&caller.user_id, after, limit, clock.now()).await?;
    let prefix = SearchKey::of(name_prefix);
    page.channels.retain(|one| caller.reaches(&one.channel_id) && SearchKey::of(&one.name).starts_with(&prefix));
    Ok(page)
}
