//! Lists of channels: public ones, a user's own, and those that the user is invited to. A page leaves out channels that
//! the caller's token does not allow, so it may have fewer than `limit` channels before the last page.

use crate::{
    model::{access::Caller, error::Result, id::ChannelId},
    ports::{
        channel_store::{ChannelPage, ChannelStore, PublicPage},
        clock::Clock,
        invitation_store::{InvitationPage, InvitationStore},
    },
};

/// Returns a page of the public channels whose names begin with `name_prefix`, in upper or lower case. `after` is the
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

/// Returns a page of the caller's channels after the id `after`, as far as their names begin with `name_prefix`, in
/// upper or lower case.
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
    page.channels.retain(|one| caller.reaches(&one.channel.channel_id) && begins_with(&one.channel.name, name_prefix));
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
    page.channels.retain(|one| caller.reaches(&one.channel_id) && begins_with(&one.name, name_prefix));
    Ok(page)
}

fn begins_with(name: &str, prefix: &str) -> bool {
    name.to_lowercase().starts_with(&prefix.to_lowercase())
}
