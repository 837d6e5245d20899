//! What reaches a parser from outside, made up by libFuzzer and given to the real code. One program for all targets:
//! `FUZZ_TARGET` names the one that is run. Use `fuzz/run`.
#![no_main]

mod aws;
mod functions;
mod targets;
mod tokens;

// The functions are programs, and their handlers are private to them: the same source is compiled in here. The modules
// of `channels` name one another from the crate's root.
#[path = "../../services/answer-frame/src/handler.rs"]
mod answer_frame;
#[path = "../../services/send-channel-messages/src/cache.rs"]
mod cache;
#[path = "../../services/channels/src/call.rs"]
mod call;
#[path = "../../services/channels/src/channels.rs"]
mod channels;
#[path = "../../services/chat-delivery-worker/src/handler.rs"]
mod chat_delivery_worker;
#[path = "../../services/channels/src/connections.rs"]
mod connections;
#[path = "../../services/get-channel-messages/src/handler.rs"]
mod get_channel_messages;
#[path = "../../services/health/src/handler.rs"]
mod health;
#[path = "../../services/channels/src/members.rs"]
mod members;
#[path = "../../services/on-connect/src/handler.rs"]
mod on_connect;
#[path = "../../services/on-disconnect/src/handler.rs"]
mod on_disconnect;
#[path = "../../services/channels/src/pages.rs"]
mod pages;
#[path = "../../services/channels/src/presence.rs"]
mod presence;
#[path = "../../services/channels/src/router.rs"]
mod router;
#[path = "../../services/send-channel-messages/src/handler.rs"]
mod send_channel_messages;
#[path = "../../services/send-message/src/handler.rs"]
mod send_message;

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let known = targets::ALL.iter().find(|(known, _)| *known == name);
    known.unwrap_or_else(|| panic!("set FUZZ_TARGET to one of {:?}", targets::ALL.map(|(name, _)| name))).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
