//! Shape of pages of lists: their ends, and the links between them.

use chat::model::{rev::Rev, seq::Seq};
use serde::Serialize;

use crate::cursor::Cursor;

/// Number after which a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum After {
    /// Number of a message.
    Seq(Seq),
    /// Number of a change.
    Rev(Rev),
}

/// Query parameter that requests a neighbouring page: `next` or `previous` of a page. Exactly one field is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NextPage {
    /// `cursor` of a list that is not ordered by `seq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// `before` of a list of messages: older messages, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Seq>,
    /// `after` of a list of messages or changes: newer ones, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
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
        Self { after: Some(After::Seq(seq)), ..Self::default() }
    }

    /// Returns the page of the changes after `rev`.
    #[must_use]
    pub fn after_rev(rev: Rev) -> Self {
        Self { after: Some(After::Rev(rev)), ..Self::default() }
    }
}

/// End of a page: whether the list goes on, and the link to the next page. Pages have it beside their items.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PageEnd {
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextPage>,
}

impl PageEnd {
    /// Returns the end of a page that the page `next` follows.
    #[must_use]
    pub fn of(next: Option<NextPage>) -> Self {
        Self { has_more: next.is_some(), next }
    }

    /// Returns the end of a page of a list of the kind `kind`, after which the next page begins at the position `next`.
    #[must_use]
    pub fn new(kind: &'static str, next: Option<&[&str]>) -> Self {
        Self::of(next.map(|parts| NextPage::cursor(Cursor::encode(kind, parts))))
    }

    /// Returns the end of a page of a list that is ordered by ids.
    #[must_use]
    pub fn by_id(kind: &'static str, next: Option<&str>) -> Self {
        Self::new(kind, next.as_ref().map(std::slice::from_ref))
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
            (NextPage::after_rev(Rev::new(9)), json!({"after": 9})),
        ] {
            assert_eq!(serde_json::to_value(page).unwrap(), expected);
        }
    }

    #[test]
    fn an_end_has_a_link_if_the_list_goes_on() {
        let cursor = Cursor::encode("members", &["bob"]);
        for (end, expected) in [
            (PageEnd::of(None), json!({"has_more": false})),
            (PageEnd::by_id("members", None), json!({"has_more": false})),
            (PageEnd::by_id("members", Some("bob")), json!({"has_more": true, "next": {"cursor": cursor}})),
            (PageEnd::of(Some(NextPage::after(Seq::new(7)))), json!({"has_more": true, "next": {"after": 7}})),
        ] {
            assert_eq!(serde_json::to_value(end).unwrap(), expected);
        }
    }
}
