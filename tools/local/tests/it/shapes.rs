//! Objects of responses and events have the fields that the documents list: all of them if each optional one is set, and
//! the required ones if none is.

use std::collections::BTreeSet;

use chat::{
    model::{
        agent_data::{AgentData, ReplyStatus},
        channel::{Channel, ChannelView, Member, MemberRole, MemberView, OwnMembership},
        draft::{Delta, DraftStatus},
        event::Present,
        frame::{ClosingReason, event_frames},
        id::UserId,
        invitation::{Invitation, InvitedChannel},
        message::{Change, Message, MessageEvent, StoredMessage},
        message_view::MessageView,
        preview::MessagePreview,
        reaction::{Reaction, ReactionChange, Toggle, summaries},
        rev::Rev,
        seq::Seq,
        thread::ThreadSummary,
        time::Timestamp,
        trace::TraceContext,
        validation::Violation,
    },
    ports::socket_gateway::FRAME_BYTES,
};
use http_api::{NextPage, PageEnd, Problem, ProblemCode, page::After};
use serde::Serialize;
use serde_json::{Value, json};

use crate::contracts::{at, choices, document};

const TIME: &str = "2027-01-15T08:00:00.000Z";
const INCARNATION: &str = "01arz3ndektsv4rrffq69g5fav";

fn bob() -> UserId {
    "bob".parse().unwrap()
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// Requires that a schema has the fields of `full`, and requires those of `bare`.
#[track_caller]
fn require_fields(document: &Value, schema: &str, full: &impl Serialize, bare: &impl Serialize) {
    let (full, bare) = (serde_json::to_value(full).unwrap(), serde_json::to_value(bare).unwrap());
    let described = at(document, &format!("/components/schemas/{schema}"));
    assert_eq!(names(&described["properties"]), names(&full), "{schema}");
    let required = described["required"].as_array().into_iter().flatten();
    let required: BTreeSet<String> = required.map(|name| name.as_str().unwrap().to_owned()).collect();
    assert_eq!(required, names(&bare), "{schema}");
}

/// Returns a message with each field, and one without the optional ones.
fn messages() -> [Message; 2] {
    let bare = json!({
        "channel_id": "general", "seq": 7, "message_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "version": 2,
        "sender_id": "agent", "role": "agent", "content": "hi", "content_type": "text/plain", "created_at": TIME,
    });
    let more = json!({
        "metadata": { "a": 1 }, "reply_to": 1, "thread_seq": 1, "agent": { "status": "complete" },
        "thread": { "reply_count": 1, "last_reply_seq": 8, "last_reply_at": TIME }, "reactions": { "👍": ["bob"] },
        "edited_at": TIME, "deleted_at": TIME,
    });
    let mut full = bare.clone();
    full.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    [full, bare].map(|message| serde_json::from_value(message).unwrap())
}

#[test]
fn messages_have_the_documented_fields() {
    let openapi = document("openapi.yaml");
    let [full, bare] = messages();
    require_fields(&openapi, "Message", &full, &bare);
    require_fields(&openapi, "Message", &MessageView::of(full.clone(), &bob()), &MessageView::of(bare.clone(), &bob()));
    require_fields(&openapi, "MessagePreview", &MessagePreview::from(&full), &MessagePreview::from(&bare));
    let summary = ThreadSummary::after_reply(None, Seq::FIRST, Timestamp::from_secs(1));
    require_fields(&openapi, "ThreadSummary", &summary, &summary);
    let data: AgentData = serde_json::from_value(json!({
        "status": "complete", "draft_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "model": "m", "input_tokens": 1,
        "output_tokens": 1, "duration_ms": 1,
    }))
    .unwrap();
    require_fields(&openapi, "AgentData", &data, &AgentData::of_status(ReplyStatus::Complete));
    let [of_caller, of_frame] = [Some(&bob()), None].map(|caller| summaries(&full.reactions, caller).remove(0));
    require_fields(&openapi, "ReactionSummary", &of_caller, &of_frame);
    let reaction = Reaction { emoji: "👍".parse().unwrap(), user_id: bob() };
    require_fields(&openapi, "Reaction", &reaction, &reaction);
}

#[test]
fn channels_and_members_have_the_documented_fields() {
    let openapi = document("openapi.yaml");
    let of_member = |more: Value| -> Member {
        let mut member = json!({
            "channel_id": "general", "user_id": "bob", "incarnation": INCARNATION, "role": "member", "joined_at": TIME,
        });
        member.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(member).unwrap()
    };
    let [full, bare] = [json!({ "added_by": "alice" }), json!({})].map(of_member);
    let view = MemberView { member: full.clone(), read_seq: Some(Seq::FIRST) };
    require_fields(&openapi, "Member", &view, &bare);
    let [own, chosen] = [full, bare].map(|member| OwnMembership::new(member, Seq::FIRST, 1));
    require_fields(&openapi, "Membership", &own, &chosen);

    let of_channel = |more: Value| -> Channel {
        let mut channel = json!({
            "channel_id": "general", "incarnation": INCARNATION, "name": "General", "visibility": "public",
            "agent": { "mode": "off" }, "last_seq": 7, "created_by": "bob", "created_at": TIME, "version": 1,
        });
        channel.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(channel).unwrap()
    };
    let agent = json!({ "mode": "off", "instructions": "i", "model": "m" });
    let more = json!({ "agent": agent, "last_message_at": TIME, "archived_at": TIME, "retention_days": 7 });
    let [full, bare] = [more, json!({})].map(of_channel);
    require_fields(&openapi, "Agent", &full.agent, &bare.agent);
    let [message, _] = messages();
    let view = ChannelView {
        channel: full,
        membership: Some(own),
        last_message: Some(MessagePreview::from(&message).shortened()),
    };
    require_fields(&openapi, "Channel", &view, &ChannelView::bare(bare));

    let invitation = Invitation {
        channel_id: "general".parse().unwrap(),
        channel_incarnation: INCARNATION.parse().unwrap(),
        user_id: bob(),
        incarnation: INCARNATION.parse().unwrap(),
        role: MemberRole::Member,
        invited_by: bob(),
        invited_at: Timestamp::from_secs(1),
        expires_at: Timestamp::from_secs(2),
    };
    let invited = InvitedChannel { name: "General".to_owned(), invitation };
    require_fields(&openapi, "Invitation", &invited, &invited);
    let present = Present { user_id: bob(), since: Timestamp::from_secs(1) };
    require_fields(&openapi, "PresentUser", &present, &present);
}

#[test]
fn pages_and_problems_have_the_documented_fields() {
    let openapi = document("openapi.yaml");
    let after = Some(After::Seq(Seq::FIRST));
    let next = NextPage { cursor: Some("c".to_owned()), before: Some(Seq::FIRST), after };
    require_fields(&openapi, "NextPage", &next, &NextPage::default());
    let [more, last] = [Some(next), None].map(|next| serde_json::to_value(PageEnd::of(next)).unwrap());
    for (list, items) in [
        ("ChannelList", "channels"),
        ("InvitationList", "invitations"),
        ("MemberList", "members"),
        ("PresenceList", "users"),
        ("ReactionList", "reactions"),
        ("ThreadList", "threads"),
    ] {
        let page = |end: &Value| {
            let mut page = end.clone();
            page[items] = json!([]);
            page
        };
        require_fields(&openapi, list, &page(&more), &page(&last));
    }
    let mut messages = [&more, &last].map(|end| {
        let mut page = end.clone();
        (page["messages"], page["rev"]) = (json!([]), json!(Rev::ZERO));
        page
    });
    (messages[0]["previous"], messages[0]["replying_to"]) = (json!({ "before": 1 }), json!([1]));
    require_fields(&openapi, "MessageList", &messages[0], &messages[1]);
    let [more, last] = [more, last].map(|mut page| {
        (page["changes"], page["rev"]) = (json!([]), json!(Rev::ZERO));
        page
    });
    require_fields(&openapi, "ChangeList", &more, &last);
    let change = json!({ "rev": Rev::FIRST, "message": {} });
    require_fields(&openapi, "MessageChange", &change, &change);
    let violation = Violation::new("a", "required", "is required");
    require_fields(&openapi, "Violation", &violation, &violation);
    let of_request = |problem: Problem| Problem { instance: "id".to_owned(), ..problem };
    let bare = of_request(Problem::new(ProblemCode::LastOwner, "the last owner stays"));
    require_fields(&openapi, "Problem", &of_request(Problem::invalid(vec![violation])), &bare);
}

#[test]
fn a_sent_message_has_the_number_of_changes_beside_its_fields() {
    let openapi = document("openapi.yaml");
    let parts = at(&openapi, "/components/schemas/SentMessage/allOf").as_array().unwrap();
    let [message, beside] = parts.as_slice() else { panic!("two parts: {parts:?}") };
    assert_eq!(message["$ref"], "#/components/schemas/Message");
    assert!(names(&beside["properties"]).iter().eq(["rev"]), "{beside}");
    assert_eq!(beside["required"], json!(["rev"]));
    let [full, _] = messages();
    assert!(!names(&serde_json::to_value(full).unwrap()).contains("rev"), "a message itself has no number");
}

#[test]
fn replies_have_the_documented_fields_and_statuses() {
    let openapi = document("openapi.yaml");
    let delta = Delta {
        channel_id: "general".parse().unwrap(),
        draft_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned().try_into().unwrap(),
        reply_to: Seq::FIRST,
        status: DraftStatus::Writing,
        position: 0,
        text: String::new(),
        seq: Some(Seq::FIRST),
    };
    // A reply has the fields of a frame of its draft, without those that name the question.
    let mut full = serde_json::to_value(&delta).unwrap();
    full.as_object_mut().unwrap().retain(|name, _| !["type", "channel_id", "reply_to"].contains(&name.as_str()));
    let mut bare = full.clone();
    bare.as_object_mut().unwrap().retain(|name, _| !["draft_id", "seq"].contains(&name.as_str()));
    require_fields(&openapi, "Reply", &full, &bare);
    let statuses =
        [DraftStatus::Thinking, DraftStatus::Writing, DraftStatus::Done, DraftStatus::Cancelled, DraftStatus::Failed];
    let expected: BTreeSet<String> =
        statuses.map(|status| serde_json::to_value(status).unwrap().as_str().unwrap().to_owned()).into();
    assert_eq!(choices(&openapi, "/components/schemas/DraftStatus/enum"), expected);
}

/// Returns the events of a frame.
fn events_of(change: &Change, trace: Option<TraceContext>) -> Vec<Value> {
    let [message, _] = messages();
    let channel = message.channel_id.clone();
    // An event with all fields covers several changes.
    let rev_from = if trace.is_some() { Rev::FIRST } else { Rev::new(2) };
    let (incarnation, rev) = (INCARNATION.parse().unwrap(), Rev::new(2));
    let stored = StoredMessage { message, incarnation, rev, trace, expires_at: None };
    let event = MessageEvent { change: change.clone(), stored, rev_from };
    let frames = event_frames(&channel, &[event], FRAME_BYTES).unwrap();
    let frame: Value = serde_json::from_str(&frames[0]).unwrap();
    assert!(names(&frame).iter().eq(["channel_id", "events", "type"]));
    frame["events"].as_array().unwrap().clone()
}

#[test]
fn events_have_the_documented_fields() {
    let asyncapi = document("asyncapi.yaml");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    let trace = TraceContext { traceparent, tracestate: None };
    let reacted = |toggle: Toggle| ReactionChange { toggle, emoji: "👍".parse().unwrap(), user_id: bob(), count: 1 };
    let changes = [
        (Change::Created, vec!["MessageCreatedEvent"]),
        (Change::Updated, vec!["MessageUpdatedEvent"]),
        (Change::Deleted, vec!["MessageDeletedEvent"]),
        (
            Change::Reacted(vec![reacted(Toggle::Add), reacted(Toggle::Remove)]),
            vec!["ReactionAddedEvent", "ReactionRemovedEvent"],
        ),
    ];
    for (change, schemas) in changes {
        let (traced, plain) = (events_of(&change, Some(trace.clone())), events_of(&change, None));
        assert_eq!((traced.len(), plain.len()), (schemas.len(), schemas.len()));
        for ((schema, traced), plain) in schemas.into_iter().zip(&traced).zip(&plain) {
            require_fields(&asyncapi, schema, traced, plain);
            let kind = at(&asyncapi, &format!("/components/schemas/{schema}/properties/type/const"));
            assert_eq!(*kind, plain["type"], "{schema}");
        }
    }
}

#[test]
fn reasons_of_the_end_of_a_socket_are_those_of_the_code() {
    let asyncapi = document("asyncapi.yaml");
    let reasons = [ClosingReason::TokenExpired, ClosingReason::Removed, ClosingReason::TooManyFrames];
    let expected: BTreeSet<String> = reasons.map(|reason| reason.as_str().to_owned()).into();
    assert_eq!(choices(&asyncapi, "/components/schemas/ClosingReason/enum"), expected);
}
