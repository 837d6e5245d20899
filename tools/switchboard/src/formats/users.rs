//! Users of other products, as users of ours.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use chat::model::id::UserId;
use clap::ValueEnum;

use super::UserOptions;

/// Attribute of a user that is the subject of the user's tokens. A user without it gets the id of the product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Attribute {
    /// E-mail address
    #[default]
    Email,
    /// Name of the user
    Name,
    /// Id of the user in Slack; the name in Mattermost
    Id,
}

/// Attributes of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
}

/// User ids by the ids of the product.
#[derive(Debug, Clone)]
pub(super) struct Users {
    options: UserOptions,
    known: BTreeMap<String, Attributes>,
}

impl Users {
    pub(super) fn new(options: UserOptions, known: BTreeMap<String, Attributes>) -> Self {
        Self { options, known }
    }

    /// Returns the user with an id of the product, also if the export has no such user.
    pub(super) fn id(&self, source: &str) -> Result<UserId> {
        let attributes = self.known.get(source);
        let chosen = attributes.and_then(|user| match self.options.subject {
            Attribute::Email => user.email.as_deref(),
            Attribute::Name => user.name.as_deref(),
            Attribute::Id => None,
        });
        let subject = chosen.filter(|subject| !subject.is_empty()).unwrap_or(source);
        let id = |subject: &str| {
            UserId::of_subject(self.options.prefix.as_ref(), subject)
                .with_context(|| format!("the user {source:?} cannot have the subject {subject:?}"))
        };
        let user = id(subject)?;
        // No user may have a name of the system.
        if user.is_reserved() { id(&format!("imported:{subject}")) } else { Ok(user) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_is_the_chosen_attribute_or_the_id() {
        let alice = Attributes { name: Some("alice".to_owned()), email: Some("alice@example.com".to_owned()) };
        let known = BTreeMap::from([("U1".to_owned(), alice), ("U2".to_owned(), Attributes::default())]);
        let found = |subject, source: &str| {
            let options = UserOptions { subject, ..UserOptions::default() };
            Users::new(options, known.clone()).id(source).unwrap().to_string()
        };
        assert_eq!(found(Attribute::Email, "U1"), "alice=40example.com");
        assert_eq!(found(Attribute::Name, "U1"), "alice");
        assert_eq!(found(Attribute::Id, "U1"), "U1");
        assert_eq!(found(Attribute::Email, "U2"), "U2");
        assert_eq!(found(Attribute::Email, "U3"), "U3", "a user who left");
        assert_eq!(found(Attribute::Email, "System"), "imported:System");
        let prefix = Some("corp".parse().unwrap());
        let users = Users::new(UserOptions { prefix, ..UserOptions::default() }, known.clone());
        assert_eq!(users.id("U2").unwrap().as_str(), "corp==U2");
    }
}
