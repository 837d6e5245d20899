//! Names, contents, emoji and search keys as Unicode says they are.

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{Stack, answered};

const MESSAGES: &str = "/channels/room/messages";

/// Returns the fields and codes of a problem.
fn errors(problem: &Value) -> Vec<(&str, &str)> {
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors.map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap())).collect()
}

/// Returns a text in the form of a path segment or of a query parameter.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_stored_as_the_answer_has_it() {
    let stack = Stack::in_memory();
    let named = |name: &str| json!({ "name": name, "visibility": "public" });
    for (sent, stored) in [
        ("  General ", "General"),
        ("Cafe\u{301}", "Café"),
        ("\u{3000}部屋\u{a0}", "部屋"),
        ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ("Team 👩\u{200d}💻 ❤\u{fe0f}", "Team 👩\u{200d}💻 ❤\u{fe0f}"),
    ] {
        let (status, channel) = stack.ask("alice", Method::POST, "/channels", named(sent)).await;
        assert_eq!((status, &channel["name"]), (201, &json!(stored)), "{sent:?}");
        let path = format!("/channels/{}", channel["channel_id"].as_str().unwrap());
        assert_eq!(stack.ask("alice", Method::GET, &path, Value::Null).await.1["name"], stored);
        let (status, changed) = stack.ask("alice", Method::PATCH, &path, json!({ "name": format!("{sent}!") })).await;
        assert_eq!(status, 200, "{changed}");
        assert_eq!(stack.ask("alice", Method::GET, &path, Value::Null).await.1["name"], changed["name"]);
    }
    stack.create_channel("alice", "room", "public", "off").await;
    for refused in [
        " ",
        "\u{3000}",
        "\u{200b}",
        "\u{2800}",
        "\u{3164}",
        "\u{feff}",
        "a\u{202e}b",
        "a\u{2066}b",
        "a\u{200f}b",
        "a\u{200b}b",
        "a\u{7f}b",
        "a\u{9b}b",
        "a\nb",
        "a\u{2028}b",
        "a\u{e000}b",
        "a\u{ffff}b",
        "\u{301}a",
    ] {
        for (method, path) in [(Method::POST, "/channels"), (Method::PATCH, "/channels/room")] {
            let body = if method == Method::POST { named(refused) } else { json!({ "name": refused }) };
            let (status, problem) = stack.ask("alice", method, path, body).await;
            assert_eq!((status, errors(&problem)), (400, vec![("name", "malformed")]), "{refused:?}");
        }
    }
    let (_, room) = stack.ask("alice", Method::GET, "/channels/room", Value::Null).await;
    assert_eq!(room["name"], "room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_is_stored_unchanged_and_somebody_sees_it() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    let kept =
        ["  x\r\n\ty ", "e\u{301}", "שלום\u{200f} \u{2067}abc\u{2069}", "\u{202e}abc", "a\u{2028}b", "👍\u{fe0f}"];
    for text in kept {
        let sent = stack.send("alice", "room", text).await;
        assert_eq!(sent["content"], text);
    }
    for (text, code) in [
        (" \n\t", "invisible"),
        ("\u{200b}", "invisible"),
        ("\u{2800}", "invisible"),
        ("\u{301}", "invisible"),
        ("\u{202e}\u{feff}", "invisible"),
        ("a\u{7f}", "control_character"),
        ("a\u{85}b", "control_character"),
        ("\u{9b}31m", "control_character"),
        ("a\u{0}", "control_character"),
    ] {
        for (method, path) in [(Method::POST, MESSAGES.to_owned()), (Method::PATCH, format!("{MESSAGES}/1"))] {
            let (status, problem) = stack.ask("alice", method, &path, json!({ "content": text })).await;
            assert_eq!(status, 400, "{text:?}");
            assert!(errors(&problem).contains(&("content", code)), "{text:?}: {problem}");
        }
    }
    let (_, problem) = stack.ask("alice", Method::POST, MESSAGES, json!({ "content": "a\u{7f}" })).await;
    assert!(problem["errors"][0]["message"].as_str().unwrap().contains("U+007F"), "{problem}");
    let history: Vec<Value> = stack.history("alice", "room").await;
    assert_eq!(history.iter().map(|message| message["content"].as_str().unwrap()).collect::<Vec<_>>(), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_emoji_is_one_reaction() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    stack.send("alice", "room", "x").await;
    let react = async |user: &str, method: Method, emoji: &str| {
        let path = format!("{MESSAGES}/1/reactions/{}", encoded(emoji));
        stack.ask(user, method, &path, Value::Null).await.0
    };
    for (user, emoji) in [("alice", "❤"), ("bob", "❤\u{fe0f}"), ("alice", "👍\u{fe0f}"), ("bob", "👍")] {
        assert_eq!(react(user, Method::PUT, emoji).await, 204, "{emoji:?}");
    }
    // Two persons with different skin tones, without U+FE0F.
    assert_eq!(react("bob", Method::PUT, "👩🏼\u{200d}❤\u{200d}👨🏿").await, 204);
    let by = |emoji: &str, users: &[&str]| json!({ "emoji": emoji, "count": users.len(), "user_ids": users, "reacted": users.contains(&"alice") });
    let (_, message) = stack.ask("alice", Method::GET, &format!("{MESSAGES}/1"), Value::Null).await;
    let expected = json!([
        by("❤\u{fe0f}", &["alice", "bob"]),
        by("👍", &["alice", "bob"]),
        by("👩🏼\u{200d}❤\u{fe0f}\u{200d}👨🏿", &["bob"]),
    ]);
    assert_eq!(message["reactions"], expected);
    for emoji in
        ["1\u{20e3}", "#\u{fe0f}\u{20e3}", "🇪🇺", "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}", "👍🏽"]
    {
        assert_eq!(react("carol", Method::PUT, emoji).await, 204, "{emoji:?}");
    }
    let zeros = "0".repeat(34);
    for refused in
        ["1", "#", "*", "8\u{fe0f}", "\u{20e3}", "🇪", "🇽🇽", "❤\u{fe0e}", "👍👍", "👍\u{200d}", "\u{fe0f}", "♩", &zeros]
    {
        assert_eq!(react("carol", Method::PUT, refused).await, 400, "{refused:?}");
        assert_eq!(react("carol", Method::DELETE, refused).await, 400, "{refused:?}");
    }
    assert_eq!(react("alice", Method::DELETE, "❤").await, 204);
    let (_, message) = stack.ask("alice", Method::GET, &format!("{MESSAGES}/1"), Value::Null).await;
    let heart = |one: &&Value| one["emoji"] == "❤\u{fe0f}";
    let hearts: Vec<&Value> = message["reactions"].as_array().unwrap().iter().filter(heart).collect();
    assert_eq!(hearts, [&by("❤\u{fe0f}", &["bob"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_folds_as_unicode_says() {
    let stack = Stack::in_memory();
    let long = "\u{fdfa}".repeat(100);
    for (id, name) in [("street", "Straße"), ("cafe", "Cafe\u{301} ﬁn"), ("road", "ΟΔΟΣ"), ("long", long.as_str())]
    {
        let body = json!({ "channel_id": id, "name": name, "visibility": "public" });
        assert_eq!(stack.ask("alice", Method::POST, "/channels", body).await.0, 201, "{name:?}");
    }
    for (prefix, found) in [
        ("STRASS", Some("street")),
        ("straẞ", Some("street")),
        ("CAFÉ FIN", Some("cafe")),
        ("ｃａｆｅ\u{301}", Some("cafe")),
        ("οδος", Some("road")),
        ("\u{fdfa}", Some("long")),
        ("strab", None),
    ] {
        for list in ["visibility=public&", ""] {
            let path = format!("/channels?{list}name_prefix={}", encoded(prefix));
            let (status, page) = stack.ask("alice", Method::GET, &path, Value::Null).await;
            let channels = page["channels"].as_array().unwrap().iter();
            let ids: Vec<&str> = channels.map(|channel| channel["channel_id"].as_str().unwrap()).collect();
            assert_eq!((status, ids), (200, found.into_iter().collect()), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_surrogate_is_named_with_its_field() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    let ask =
        async |path: &str, body: &'static str| answered(stack.request("alice", Method::POST, path).body(body)).await;
    for (path, body, field) in [
        (MESSAGES, r#"{"content":"\ud800"}"#, "content"),
        (MESSAGES, r#"{"content":"a\udc00\ud83d\ude00"}"#, "content"),
        (MESSAGES, r#"{"content":"x","metadata":{"list":[{"y":"\udfff"}]}}"#, "metadata.list[0].y"),
        (MESSAGES, r#"{"content":"x","metadata":{"a\ud800":1}}"#, "metadata.a\u{fffd}"),
        ("/channels", r#"{"name":"\uDBFF","visibility":"public"}"#, "name"),
    ] {
        let (status, problem) = ask(path, body).await;
        assert_eq!((status, errors(&problem)), (400, vec![(field, "lone_surrogate")]), "{body}");
    }
    let (status, message) = ask(MESSAGES, r#"{"content":"\ud83d\ude00 \\ud800"}"#).await;
    assert_eq!((status, &message["content"]), (201, &json!("😀 \\ud800")));
    let (status, problem) = ask(MESSAGES, r#"{"content":"\ud80"}"#).await;
    assert_eq!((status, errors(&problem)), (400, vec![]));
}
