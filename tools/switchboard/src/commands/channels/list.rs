//! `channels list`.

use anyhow::Result;
use chat::{app::transfer::ChannelRecord, ports::channel_transfer::ChannelTransfer};
use chat_aws::Pace;
use clap::Args;
use serde::Serialize;

use super::all_channels;
use crate::{
    output::{Output, Row, TABLE_ROWS},
    target::Target,
};

/// Options of the list.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Maximum read capacity units per second
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    read_units: Option<u32>,
}

/// Channel in the list.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Listed(ChannelRecord);

impl Row for Listed {
    const COLUMNS: &'static [&'static str] =
        &["TENANT", "CHANNEL", "NAME", "VISIBILITY", "MESSAGES", "LAST MESSAGE", "CREATED BY", "ARCHIVED"];

    fn cells(&self) -> Vec<String> {
        let Self(channel) = self;
        let time = |time: Option<chat::model::time::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        vec![
            channel.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            channel.channel_id.to_string(),
            channel.name.clone(),
            match channel.visibility {
                chat::model::channel::Visibility::Public => "public".to_owned(),
                chat::model::channel::Visibility::Private => "private".to_owned(),
            },
            channel.last_seq.to_string(),
            time(channel.last_message_at),
            channel.created_by.to_string(),
            time(channel.archived_at),
        ]
    }
}

impl List {
    pub(super) async fn run(self, target: &Target, output: &Output) -> Result<()> {
        let transfer = target.transfer(Pace::new(self.read_units, None));
        let progress = output.progress("Reading channels", None);
        let mut rows = Vec::new();
        let (all, mut is_printed) = (all_channels(&transfer, target.tenant.as_ref()).await?, false);
        for (tenant, id) in all {
            // A channel may be deleted while the list is read.
            let found = transfer.for_tenant(tenant.as_ref()).channel_to_export(&id).await?;
            rows.extend(found.map(|(channel, rev)| Listed(ChannelRecord::new(tenant.as_ref(), &channel, rev))));
            progress.add(1);
            if rows.len() >= TABLE_ROWS {
                output.rows(&rows)?;
                rows.clear();
                is_printed = true;
            }
        }
        drop(progress);
        if rows.is_empty() && is_printed { Ok(()) } else { output.rows(&rows) }
    }
}
