//! Tenants: each is a world of its own, because the name of its tenant stands before every channel and every user in
//! the tables' keys: `<tenant>~<id>`. Without a tenant, an id stands alone. No id holds a `~`.

use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use chat::id::{IdError, TenantId};

use crate::item::Item;

const SEPARATOR: char = '~';

/// How the ids of one tenant stand in the tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn of(tenant: Option<&TenantId>) -> Self {
        Self { prefix: tenant.map(|tenant| format!("{tenant}{SEPARATOR}")).unwrap_or_default() }
    }

    /// An id as it stands in a key.
    pub(crate) fn key(&self, id: impl Display) -> String {
        format!("{}{id}", self.prefix)
    }

    /// What stands before every id.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// An item whose `channel_id` is the id alone.
    pub(crate) fn plain(&self, mut item: Item) -> Item {
        if let Some(AttributeValue::S(id)) = item.get_mut("channel_id")
            && let Some(plain) = id.strip_prefix(&self.prefix)
        {
            *id = plain.to_owned();
        }
        item
    }
}

/// The tenant and the id in a key.
pub(crate) fn split(key: &str) -> Result<(Option<TenantId>, &str), IdError> {
    match key.split_once(SEPARATOR) {
        Some((tenant, id)) => Ok((Some(tenant.parse()?), id)),
        None => Ok((None, key)),
    }
}
