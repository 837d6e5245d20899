//! The sources of `get-channel-messages`. Its modules name each other from the module above them, since another function
//! has a module `call` too.

#[path = "../../../services/get-channel-messages/src/call.rs"]
mod call;
#[path = "../../../services/get-channel-messages/src/changes.rs"]
mod changes;
#[path = "../../../services/get-channel-messages/src/handler.rs"]
mod handler;
#[path = "../../../services/get-channel-messages/src/messages.rs"]
mod messages;
#[path = "../../../services/get-channel-messages/src/reactions.rs"]
mod reactions;
#[path = "../../../services/get-channel-messages/src/reply.rs"]
mod reply;

pub(crate) use handler::Handler;
