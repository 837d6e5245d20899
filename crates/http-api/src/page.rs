//! Shape of the links between pages of lists.

use chat::model::seq::Seq;
use serde::Serialize;

/// Query parameter that requests a neighbouring page: `next` or `previous` of a page. Exactly one field is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NextPage {
    /// `cursor` of a list that is not ordered by `seq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// `before` of a list of messages: older messages, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Seq>,
    /// `after` of a list of messages: newer messages, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Seq>,
}

impl NextPage {
    /// Returns the page at a cursor.
    #[must_use]
    pub fn cursor(cursor: impl Into<String>) -> Self {
        Self { cursor: Some(cursor.into()), ..Self::default() }
    }

    /// Returns the page of the messages before `seq`.
    #[must_use]
    pub fn before(seq: Seq) -> Self {
        Self { before: Some(seq), ..Self::default() }
    }

    /// Returns the page of the messages after `seq`.
    #[must_use]
    pub fn after(seq: Seq) -> Self {
        Self { after: Some(seq), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_link_has_only_the_parameter_of_its_list() {
        for (page, expected) in [
            (NextPage::cursor("abc"), json!({"cursor": "abc"})),
            (NextPage::before(Seq::new(7)), json!({"before": 7})),
            (NextPage::after(Seq::new(7)), json!({"after": 7})),
        ] {
            assert_eq!(serde_json::to_value(page).unwrap(), expected);
        }
    }
}
