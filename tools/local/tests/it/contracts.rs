//! The contract documents agree with the code: routes, limits, frame types, responses of the gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use chat::{
    model::{
        agent_data::ReplyStatus,
        channel::{AgentMode, Channel, Member, MemberRole, Visibility},
        connection::{Connection, ConnectionKey},
        draft::{Delta, DraftStatus},
        event::EphemeralEvent,
        frame::{Answer, ClosingReason, closing_frame, ephemeral_frame, hello_frame, left_out_frame},
        id::{MessageId, UserId},
        limits,
        message::{ContentType, Role},
        seq::Seq,
        text::{content, name},
    },
    ports::{
        clock::{Clock, SystemClock},
        socket_gateway::{CONNECTION_DURATION, FRAME_BYTES},
    },
};
use emulator::template::{self, Deployment};
use http_api::{body::BODY_BYTES, cursor::CURSOR_CHARS, problem_code::ProblemCode, routes::ROUTES};
use serde::Serialize;
use serde_json::{Value, json};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

pub(crate) fn document(name: &str) -> Value {
    let mut document: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read(&format!("contracts/{name}"))).unwrap();
    document.apply_merge().unwrap();
    serde_json::to_value(document).unwrap()
}

#[track_caller]
pub(crate) fn at<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document.pointer(pointer).unwrap_or_else(|| panic!("the document has no {pointer}"))
}

#[test]
fn openapi_has_every_route_and_no_other() {
    let openapi = document("openapi.yaml");
    let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let documented: BTreeMap<&str, BTreeSet<String>> = at(&openapi, "/paths")
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| {
            let of_item = item.as_object().unwrap().keys().filter(|key| methods.contains(&key.as_str()));
            (path.as_str(), of_item.map(|method| method.to_uppercase()).collect())
        })
        .collect();
    let routes: BTreeMap<&str, BTreeSet<String>> = ROUTES
        .iter()
        .map(|(path, methods)| (*path, methods.iter().map(|(method, _)| method.to_string()).collect()))
        .collect();
    assert_eq!(documented, routes);
    // `template/apis.rs` compares the template's routes with the code; this test compares them with the document.
    let template = template::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/backend.yaml")).unwrap();
    let stack = template
        .resolve(&Deployment {
            stack_name: "switchboard".into(),
            region: "eu-west-1".into(),
            account_id: "000000000000".into(),
            parameters: BTreeMap::new(),
            rest_url: "http://127.0.0.1:3000".into(),
            websocket_url: "ws://127.0.0.1:3001".into(),
            management_url: "http://127.0.0.1:3002".into(),
        })
        .unwrap();
    let deployed: BTreeSet<&str> = stack.rest_api.methods.iter().map(|method| method.path.as_str()).collect();
    assert_eq!(documented.keys().copied().collect::<BTreeSet<_>>(), deployed);
    for (path, methods) in &documented {
        for method in methods {
            let has = |wanted: &str| stack.rest_api.methods.iter().any(|m| m.path == *path && m.http_method == wanted);
            assert!(has(method) || has("ANY"), "{method} {path} is not deployed");
        }
    }
}

#[test]
fn every_operation_says_what_may_go_wrong() {
    let openapi = document("openapi.yaml");
    for (path, item) in at(&openapi, "/paths").as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let responses = operation["responses"].as_object().unwrap();
            let name = format!("{method} {path}");
            let mut expected = vec!["503", "5XX"];
            if operation.get("security") != Some(&json!([])) {
                expected.extend(["400", "401"]);
            }
            // Without a scope, no valid token is refused.
            let text = operation["description"].as_str().unwrap_or_default().replace('\n', " ");
            assert_eq!(text.contains("Needs the scope `chat:"), responses.contains_key("403"), "{name}");
            if path.contains("{channel_id}") {
                expected.push("404");
            }
            if operation.get("requestBody").is_some() {
                expected.extend(["413", "415"]);
            }
            for status in expected {
                assert!(responses.contains_key(status), "{name} does not tell of {status}");
            }
        }
    }
}

/// Numbers in the document are limits of the code.
#[test]
fn limits_are_those_of_the_code() {
    let (openapi, asyncapi) = (document("openapi.yaml"), document("asyncapi.yaml"));
    let id = format!("^[A-Za-z0-9_.:-]{{1,{}}}$", limits::ID_CHARS);
    let name = at(&openapi, "/components/schemas/ChannelName/pattern").as_str().unwrap();
    assert!(name.ends_with(&format!("]{{1,{}}}$", limits::CHANNEL_NAME_CHARS)), "{name}");
    let schemas = "/components/schemas";
    let rest = [
        ("Id/pattern", json!(id)),
        ("Id/maxLength", json!(limits::ID_CHARS)),
        ("UserId/maxLength", json!(limits::USER_ID_CHARS)),
        ("ConnectionId/maxLength", json!(limits::ID_CHARS)),
        ("ChannelName/maxLength", json!(limits::CHANNEL_NAME_CHARS)),
        ("Cursor/maxLength", json!(CURSOR_CHARS)),
        ("IdempotencyKey/pattern", json!(format!("^[!-~]{{1,{}}}$", limits::IDEMPOTENCY_KEY_CHARS))),
        ("IdempotencyKey/maxLength", json!(limits::IDEMPOTENCY_KEY_CHARS)),
        ("Seq/maximum", json!(limits::LARGEST_SEQ)),
        ("AnySeq/maximum", json!(limits::LARGEST_SEQ)),
        ("Content/maxLength", json!(limits::CONTENT_BYTES)),
        ("Message/properties/content/maxLength", json!(limits::CONTENT_BYTES)),
        ("MessagePreview/properties/content/maxLength", json!(limits::PREVIEW_CHARS + 1)),
        ("Agent/properties/instructions/maxLength", json!(limits::AGENT_INSTRUCTIONS_BYTES)),
        ("NewAgent/properties/instructions/maxLength", json!(limits::AGENT_INSTRUCTIONS_BYTES)),
        ("NewAgent/properties/model/maxLength", json!(limits::AGENT_MODEL_CHARS)),
        ("AgentPatch/properties/instructions/maxLength", json!(limits::AGENT_INSTRUCTIONS_BYTES)),
        ("AgentPatch/properties/model/maxLength", json!(limits::AGENT_MODEL_CHARS)),
        ("RetentionDays/maximum", json!(limits::RETENTION_DAYS)),
        ("Membership/properties/unread_count/maximum", json!(limits::UNREAD_COUNTED)),
        ("NewTicket/properties/channels/maxItems", json!(limits::CHANNELS_PER_CONNECTION)),
        ("Message/properties/reactions/maxItems", json!(limits::REACTIONS_PER_MESSAGE)),
        ("ReactionSummary/properties/count/maximum", json!(limits::USERS_PER_REACTION)),
        ("ReactionSummary/properties/user_ids/maxItems", json!(limits::USERS_LISTED_PER_REACTION)),
        ("MessageList/properties/replying_to/maxItems", json!(limits::REPLIES_IN_PROGRESS)),
        ("ChannelList/properties/channels/maxItems", json!(limits::PAGE_ITEMS)),
        ("InvitationList/properties/invitations/maxItems", json!(limits::PAGE_ITEMS)),
        ("ThreadList/properties/threads/maxItems", json!(limits::PAGE_ITEMS)),
        ("ReactionList/properties/reactions/maxItems", json!(limits::PAGE_ITEMS)),
        ("PresenceList/properties/users/maxItems", json!(limits::PAGE_ITEMS)),
        ("MemberList/properties/members/maxItems", json!(limits::PAGE_ITEMS)),
        ("MessageList/properties/messages/maxItems", json!(limits::PAGE_ITEMS)),
    ];
    for (pointer, limit) in rest {
        assert_eq!(*at(&openapi, &format!("{schemas}/{pointer}")), limit, "{pointer}");
    }
    let limit = at(&openapi, "/components/parameters/Limit/schema");
    assert_eq!(
        (&limit["maximum"], &limit["default"]),
        (&json!(limits::PAGE_ITEMS), &json!(limits::DEFAULT_PAGE_ITEMS))
    );
    let count = "/components/schemas/ReactionAddedEvent/properties/count/maximum";
    assert_eq!(at(&asyncapi, count), &json!(limits::USERS_PER_REACTION));
}

/// Returns a number with commas between groups of three digits.
fn group(number: usize) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let tail = digits.as_bytes()[head..].chunks(3).map(|three| std::str::from_utf8(three).unwrap());
    std::iter::once(&digits[..head]).filter(|head| !head.is_empty()).chain(tail).collect::<Vec<_>>().join(",")
}

/// Limits that a schema cannot express are in descriptions.
#[test]
fn limits_in_descriptions_are_those_of_the_code() {
    let openapi = document("openapi.yaml");
    let schemas = "/components/schemas";
    let words = |pointer: &str| at(&openapi, pointer).as_str().unwrap().replace('\n', " ");
    let content = words(&format!("{schemas}/Content/description"));
    assert!(content.contains(&format!("{} bytes", group(limits::CONTENT_BYTES))), "{content}");
    let metadata = words(&format!("{schemas}/Metadata/description"));
    assert!(metadata.contains(&format!("{} bytes", group(limits::METADATA_BYTES))), "{metadata}");
    assert!(metadata.contains(&format!("{} levels", limits::METADATA_DEPTH)), "{metadata}");
    let body = words("/components/responses/ContentTooLarge/description");
    assert!(body.contains(&format!("{} bytes", group(BODY_BYTES))), "{body}");
    let typing = words("/paths/~1channels~1{channel_id}~1typing/post/description");
    let bucket = limits::TYPING_BUCKET;
    assert_eq!(bucket.burst, 3, "{typing}");
    assert!(
        typing.contains(&format!("Once every {} seconds, three times at once", bucket.every.as_secs())),
        "{typing}"
    );
    let key = words("/components/parameters/IdempotencyKey/description");
    assert!(key.contains(&format!("{} hours", limits::IDEMPOTENCY_DURATION.as_secs() / 3600)), "{key}");
    assert!(words("/paths/~1connections~1tickets/post/description").contains("within a minute"));
    assert_eq!(limits::TICKET_DURATION.as_secs(), 60);
    let listed = words("/paths/~1channels/get/description");
    assert!(listed.contains(&format!("at most {} channels", group(limits::CHANNELS_LISTED))), "{listed}");
    let reactions = words("/paths/~1channels~1{channel_id}~1messages~1{seq}~1reactions~1{emoji}/put/description");
    for limit in [limits::REACTIONS_PER_MESSAGE, limits::USERS_PER_REACTION] {
        assert!(reactions.contains(&format!("at most {limit} ")), "{reactions}");
    }
}

#[test]
fn limits_of_the_socket_are_those_of_the_code() {
    let asyncapi = document("asyncapi.yaml");
    let idle = emulator::websocket::WebSocketOptions::default().idle_timeout;
    let socket = json!({
        "frame_bytes": FRAME_BYTES,
        "channels": limits::CHANNELS_PER_CONNECTION,
        "connection_seconds": CONNECTION_DURATION.as_secs(),
        "idle_seconds": idle.as_secs(),
    });
    assert_eq!(*at(&asyncapi, "/x-limits"), socket);
    let words = at(&asyncapi, "/info/description").as_str().unwrap().replace('\n', " ");
    for said in [
        format!("at most {} bytes", group(FRAME_BYTES)),
        format!("at most {};", limits::CHANNELS_PER_CONNECTION),
        format!("lasts {} hours", CONNECTION_DURATION.as_secs() / 3600),
        format!("for {} minutes is closed", idle.as_secs() / 60),
    ] {
        assert!(words.contains(&said), "{said}");
    }
}

/// Returns the ranges of a pattern that begins with `^[^`, as all patterns of text do.
fn excluded(pattern: &str) -> Vec<(u32, u32)> {
    let class = pattern.strip_prefix("^[^").and_then(|rest| rest.split_once(']')).expect("a class").0;
    let ends: Vec<(u32, bool)> = class
        .split("\\u")
        .skip(1)
        .map(|end| (u32::from_str_radix(end.trim_end_matches('-'), 16).unwrap(), end.ends_with('-')))
        .collect();
    let mut ranges = Vec::new();
    let mut begin = None;
    for (end, goes_on) in ends {
        let first = begin.take().unwrap_or(end);
        if goes_on {
            begin = Some(end);
        } else {
            ranges.push((first, end));
        }
    }
    ranges
}

/// A pattern cannot tell the whole rule. It refuses nothing that the code accepts.
#[test]
fn patterns_of_text_refuse_what_the_code_refuses() {
    let openapi = document("openapi.yaml");
    let class = |pointer: &str| excluded(at(&openapi, &format!("/components/schemas/{pointer}")).as_str().unwrap());
    let is_in = |ranges: &[(u32, u32)], c: char| ranges.iter().any(|(a, b)| (*a..=*b).contains(&u32::from(c)));
    let (names, contents) = (class("ChannelName/pattern"), class("Content/pattern"));
    for c in '\0'..=char::MAX {
        if is_in(&names, c) {
            assert!(name::normalized(&format!("a{c}b")).is_err(), "U+{:04X} in a name", u32::from(c));
        }
        assert_eq!(is_in(&contents, c), content::is_refused(c), "U+{:04X} in a content", u32::from(c));
    }
}

fn words(values: impl IntoIterator<Item = impl Serialize>) -> BTreeSet<String> {
    values.into_iter().map(|value| serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()).collect()
}

pub(crate) fn choices(document: &Value, pointer: &str) -> BTreeSet<String> {
    let choices = at(document, pointer).as_array().unwrap();
    choices.iter().filter_map(|choice| choice.as_str().map(str::to_owned)).collect()
}

#[test]
fn choices_are_those_of_the_code() {
    let (openapi, asyncapi) = (document("openapi.yaml"), document("asyncapi.yaml"));
    let modes = words([AgentMode::Always, AgentMode::Mention, AgentMode::Off]);
    let visibilities = words([Visibility::Public, Visibility::Private]);
    let roles = words([MemberRole::Member, MemberRole::Moderator, MemberRole::Owner]);
    let types = words([ContentType::Plain, ContentType::Markdown]);
    let replies = [
        ReplyStatus::Complete,
        ReplyStatus::Truncated,
        ReplyStatus::Cancelled,
        ReplyStatus::OverBudget,
        ReplyStatus::Failed,
    ];
    for (pointer, expected) in [
        ("AgentMode/enum", &modes),
        ("Visibility/enum", &visibilities),
        ("MemberRole/enum", &roles),
        ("ContentType/enum", &types),
        ("MessageRole/enum", &words([Role::User, Role::Agent, Role::System])),
        ("AgentReplyStatus/enum", &words(replies)),
    ] {
        assert_eq!(choices(&openapi, &format!("/components/schemas/{pointer}")), *expected, "{pointer}");
    }
    let statuses =
        [DraftStatus::Thinking, DraftStatus::Writing, DraftStatus::Done, DraftStatus::Cancelled, DraftStatus::Failed];
    assert_eq!(choices(&asyncapi, "/components/schemas/DraftStatus/enum"), words(statuses));
}

/// Returns an ephemeral event of each kind, with all fields that a frame may have.
fn ephemeral_events() -> Vec<EphemeralEvent> {
    let bob: UserId = "bob".parse().unwrap();
    let channel: Channel = serde_json::from_value(json!({
        "channel_id": "general", "incarnation": "01arz3ndektsv4rrffq69g5fav", "name": "General", "visibility": "public",
        "last_seq": 1, "last_message_at": "2027-01-15T08:00:00.000Z", "created_by": "bob",
        "created_at": "2027-01-15T08:00:00.000Z", "archived_at": "2027-01-15T08:00:00.000Z", "retention_days": 7,
        "version": 1,
    }))
    .unwrap();
    let member: Member = serde_json::from_value(json!({
        "channel_id": "general", "user_id": "bob", "incarnation": "01arz3ndektsv4rrffq69g5fav", "role": "member",
        "joined_at": "2027-01-15T08:00:00.000Z", "added_by": "alice",
    }))
    .unwrap();
    vec![
        EphemeralEvent::Joined(bob.clone()),
        EphemeralEvent::Left(bob.clone()),
        EphemeralEvent::Typing(bob.clone()),
        EphemeralEvent::ChannelCreated(channel.clone().into()),
        EphemeralEvent::ChannelUpdated(channel.into()),
        EphemeralEvent::ChannelDeleted,
        EphemeralEvent::MemberJoined(member.clone()),
        EphemeralEvent::MemberUpdated(member),
        EphemeralEvent::MemberRemoved(bob.clone()),
        EphemeralEvent::ReadUpdated { user_id: bob, read_seq: Seq::FIRST },
    ]
}

/// The document's frame type has exactly the fields that the serializer writes.
#[test]
fn frames_have_the_documented_fields() {
    let asyncapi = document("asyncapi.yaml");
    let channel = "general".parse().unwrap();
    let mut frames: Vec<Value> = ephemeral_events()
        .iter()
        .map(|ephemeral| serde_json::from_str(&ephemeral_frame(&channel, ephemeral).unwrap()).unwrap())
        .collect();
    let opened = Connection {
        key: ConnectionKey { id: "abc=".parse().unwrap(), connected_at: SystemClock.now() },
        user_id: "bob".parse().unwrap(),
        channels: Vec::new(),
        auto_subscribe: true,
        allowed_channels: None,
        left_out: 0,
        token_expires_at: SystemClock.now(),
        expires_at: SystemClock.now(),
    };
    for frame in [
        left_out_frame(51),
        hello_frame(&opened, SystemClock.now()).unwrap(),
        closing_frame(ClosingReason::TokenExpired),
    ] {
        frames.push(serde_json::from_str(&frame).unwrap());
    }
    let connection = "abc=".parse().unwrap();
    for said in ["ping", "hello"] {
        frames.push(serde_json::to_value(Answer::to(said, &connection)).unwrap());
    }
    frames.push(
        serde_json::to_value(Delta {
            channel_id: channel.clone(),
            draft_id: MessageId::generate(SystemClock.seed()),
            reply_to: Seq::new(7),
            status: DraftStatus::Done,
            position: 0,
            text: String::new(),
            seq: Some(Seq::new(8)),
        })
        .unwrap(),
    );
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let schemas = at(&asyncapi, "/components/schemas").as_object().unwrap();
    for frame in &frames {
        let documented = schemas.values().find(|schema| schema["properties"]["type"]["const"] == frame["type"]);
        let documented = documented.unwrap_or_else(|| panic!("{} is not documented", frame["type"]));
        assert_eq!(names(&documented["properties"]), names(frame), "{}", frame["type"]);
    }
}

/// Returns the names of the schemas to which the alternatives of a union refer.
fn alternatives(document: &Value, union: &str) -> BTreeSet<String> {
    let all = at(document, &format!("/components/schemas/{union}/oneOf")).as_array().unwrap();
    all.iter().map(|one| one["$ref"].as_str().unwrap().trim_start_matches("#/components/schemas/").to_owned()).collect()
}

/// Each schema with a constant `type` is a frame of the server or an event, and each message has one frame.
#[test]
fn the_unions_have_every_frame_and_event() {
    let asyncapi = document("asyncapi.yaml");
    let schemas = at(&asyncapi, "/components/schemas").as_object().unwrap();
    let typed = |suffix: &str| -> BTreeSet<String> {
        let of = schemas.iter().filter(|(_, schema)| schema["properties"]["type"]["const"].is_string());
        of.map(|(name, _)| name.clone()).filter(|name| name.ends_with(suffix)).collect()
    };
    let (frames, events) = (alternatives(&asyncapi, "ServerFrame"), alternatives(&asyncapi, "MessageEvent"));
    assert_eq!((typed("Frame"), typed("Event")), (frames.clone(), events.clone()));
    assert_eq!(typed(""), &frames | &events);
    let messages = at(&asyncapi, "/components/messages").as_object().unwrap();
    let payloads = messages.values().filter_map(|message| {
        let name = message["payload"]["$ref"].as_str()?.strip_prefix("#/components/schemas/")?.to_owned();
        let of_server = schemas[&name]["properties"]["type"]["const"] == message["name"];
        of_server.then_some(name)
    });
    assert_eq!(payloads.collect::<BTreeSet<_>>(), frames);
}

/// Returns the objects and enumerations within a schema that have no name of their own.
fn unnamed(schema: &Value, place: &str, found: &mut Vec<String>) {
    let fields = schema.as_object().into_iter().flatten().map(|(name, part)| (name.clone(), part));
    let items = schema.as_array().into_iter().flatten().enumerate().map(|(at, part)| (at.to_string(), part));
    for (name, part) in fields.chain(items) {
        let place = format!("{place}/{name}");
        let is_type = ["properties", "enum", "const"].iter().any(|keyword| part.get(keyword).is_some());
        if name != "properties" && is_type && !part["title"].is_string() {
            found.push(place.clone());
        }
        unnamed(part, &place, found);
    }
}

/// Generators name types by titles, and invent names for others.
#[test]
fn every_type_has_a_name() {
    for name in ["openapi.yaml", "asyncapi.yaml"] {
        let document = document(name);
        let schemas = at(&document, "/components/schemas");
        for (key, schema) in schemas.as_object().unwrap() {
            assert!(schema["title"] == key.as_str() || schema["$ref"].is_string(), "{name}: {key}");
        }
        let mut found = Vec::new();
        unnamed(schemas, name, &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}

/// A response lists the codes of its problems. All lists together are the enumeration, and the table of the code.
#[test]
fn codes_of_problems_are_those_of_the_code() {
    let openapi = document("openapi.yaml");
    let codes: BTreeMap<&str, u16> =
        ProblemCode::ALL.iter().map(|code| (code.as_str(), code.status().as_u16())).collect();
    let mut listed = BTreeSet::new();
    for (name, response) in at(&openapi, "/components/responses").as_object().unwrap() {
        let example = &response["content"]["application/problem+json"]["example"];
        let of_response = choices(&openapi, &format!("/components/responses/{name}/x-problem-codes"));
        assert!(of_response.contains(example["code"].as_str().unwrap()), "{name}: {example}");
        for code in &of_response {
            let status = codes.get(code.as_str()).unwrap_or_else(|| panic!("{name}: {code} is no code"));
            assert!(example["status"] == *status || (name == "Failure" && *status >= 500), "{name}: {code}");
        }
        listed.extend(of_response);
    }
    let expected: BTreeSet<String> = codes.keys().map(|code| (*code).to_owned()).collect();
    assert_eq!(listed, expected);
    assert_eq!(choices(&openapi, "/components/schemas/ProblemCode/enum"), expected);
}

#[test]
fn the_gateways_own_answers_are_documented() {
    let openapi = document("openapi.yaml");
    let responses = at(&openapi, "/components/responses").as_object().unwrap();
    let template: Value = {
        let text = read("infra/backend.yaml");
        let template: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
        let resources = template["Resources"].as_mapping().unwrap();
        let own = resources.values().filter(|resource| resource["Type"] == "AWS::ApiGateway::GatewayResponse");
        own.filter_map(|resource| resource["Properties"]["StatusCode"].as_str()).map(Value::from).collect()
    };
    let documented = serde_json::to_string(responses).unwrap();
    for status in template.as_array().unwrap() {
        let status = status.as_str().unwrap();
        // 415 is a response of mock integrations, of which the API has none.
        assert!(status == "415" || documented.contains(status), "the gateway's {status} is not documented");
    }
}
