//! The code takes what the contract documents allow: texts of their patterns are generated and read.

use chat::model::{
    id::{ChannelId, ConnectionId, IdempotencyKey, ReservedNames, UserId},
    text::{content, emoji::Emoji},
};
use proptest::{
    prelude::*,
    string::string_regex,
    test_runner::{Config, TestRunner},
};
use regex::Regex;
use serde_json::Value;

use crate::contracts::{at, document};

fn pattern<'a>(document: &'a Value, pointer: &str) -> &'a str {
    at(document, &format!("{pointer}/pattern")).as_str().unwrap()
}

type IsTaken = fn(&str) -> bool;

fn runner() -> TestRunner {
    TestRunner::new(Config { failure_persistence: None, ..Config::default() })
}

/// Returns whether a text is a dot segment, which schemas exclude beside their pattern.
fn is_dots(text: &str) -> bool {
    [".", ".."].contains(&text)
}

#[test]
fn texts_of_a_pattern_are_taken() {
    let (openapi, asyncapi) = (document("openapi.yaml"), document("asyncapi.yaml"));
    let cases: [(&Value, &str, IsTaken); 6] = [
        (&openapi, "/components/schemas/Id", |text| is_dots(text) || text.parse::<ChannelId>().is_ok()),
        (&openapi, "/components/schemas/UserId", |text| is_dots(text) || text.parse::<UserId>().is_ok()),
        (&openapi, "/components/schemas/ConnectionId", |text| is_dots(text) || text.parse::<ConnectionId>().is_ok()),
        (&openapi, "/components/schemas/IdempotencyKey", |text| text.parse::<IdempotencyKey>().is_ok()),
        (&openapi, "/components/schemas/NewEmoji", |text| text.parse::<Emoji>().is_ok()),
        (&asyncapi, "/channels/socket/bindings/ws/query/properties/channels", |text| {
            text.split(',').all(|id| is_dots(id) || id.parse::<ChannelId>().is_ok())
        }),
    ];
    for (document, pointer, is_taken) in cases {
        let pattern = pattern(document, pointer);
        let bare = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')).unwrap();
        let checked = runner().run(&string_regex(bare).unwrap(), |text| {
            prop_assert!(is_taken(&text), "{text:?}");
            Ok(())
        });
        assert!(checked.is_ok(), "{pointer}: {checked:?}");
    }
}

#[test]
fn every_emoji_is_in_the_pattern() {
    let openapi = document("openapi.yaml");
    let allowed = Regex::new(pattern(&openapi, "/components/schemas/NewEmoji")).unwrap();
    let longest = at(&openapi, "/components/schemas/NewEmoji/maxLength").as_u64().unwrap();
    for one in emojis::iter().flat_map(|one| one.skin_tones().map_or_else(|| vec![one], Iterator::collect)) {
        let full = one.as_str();
        for text in [full.to_owned(), full.replace('\u{fe0f}', "")] {
            assert!(allowed.is_match(&text), "{text:?}");
            assert!(u64::try_from(text.chars().count()).unwrap() <= longest, "{text:?}");
        }
    }
    for none in ["", "0", "0000", "👍👍", "❤\u{fe0e}", "🇪", "é", "👍 "] {
        assert!(!allowed.is_match(none) && none.parse::<Emoji>().is_err(), "{none:?}");
    }
}

#[test]
fn every_subject_has_an_id_of_the_pattern() {
    let openapi = document("openapi.yaml");
    let allowed = Regex::new(pattern(&openapi, "/components/schemas/UserId")).unwrap();
    let checked = runner().run(&"\\PC{1,60}", |subject| {
        let Ok(id) = UserId::of_subject(None, &subject) else { return Ok(()) };
        prop_assert!(allowed.is_match(id.as_str()), "{subject:?}: {id}");
        Ok(())
    });
    assert!(checked.is_ok(), "{checked:?}");
}

#[test]
fn names_of_the_system_are_no_new_members() {
    let openapi = document("openapi.yaml");
    let schema = at(&openapi, "/components/schemas/NewMemberId/not");
    let refused = Regex::new(schema["pattern"].as_str().unwrap()).unwrap();
    for text in ["agent", "Agent", "SYSTEM", "partner==system", "alice", "agents", "my-agent", "a==b"] {
        let is_refused = ReservedNames::default().user(text).is_err();
        assert_eq!(refused.is_match(text), is_refused, "{text}");
    }
}

/// Contents and names exclude texts of characters that are not visible. Combining marks are left to the format.
#[test]
fn texts_that_are_excluded_as_blank_are_blank() {
    let openapi = document("openapi.yaml");
    let excluded = ["Content", "ChannelName"].map(|name| at(&openapi, &format!("/components/schemas/{name}/not")));
    assert_eq!(excluded[0], excluded[1]);
    let blank = Regex::new(excluded[0]["pattern"].as_str().unwrap()).unwrap();
    for c in '\0'..='\u{ffff}' {
        let text = c.to_string();
        let is_blank = blank.is_match(&text);
        assert!(!is_blank || content::is_blank(&text), "U+{:04X}", u32::from(c));
        assert!(is_blank || !c.is_whitespace() || content::is_refused(c), "U+{:04X} is a space", u32::from(c));
    }
}

/// Schemas of single parameters cannot exclude a combination, so the texts do.
#[test]
fn query_parameters_that_exclude_each_other_say_so() {
    let openapi = document("openapi.yaml");
    let names = ["before", "after", "around"];
    for (parameter, name) in [("Before", "before"), ("After", "after"), ("Around", "around")] {
        let parameter = at(&openapi, &format!("/components/parameters/{parameter}"));
        assert_eq!(parameter["name"], name);
        let text = parameter["description"].as_str().unwrap();
        for other in names.iter().filter(|other| **other != name) {
            assert!(text.contains(&format!("`{other}`")) && text.contains("Excludes"), "{name}: {text}");
        }
    }
}
