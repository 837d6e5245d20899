//! Requests that succeed.

use super::*;

const KEY: &str = "5c1f7a9e-6d0b-4a6e-9a53-5d2b0a9e7f11";

fn messages(count: u64) -> (&'static str, Value) {
    ("the channel has messages", json!({ "count": count }))
}

#[tokio::test]
async fn health() {
    let mock = pact()
        .interaction("health, without a token", "", |mut i| {
            i.request.get().path("/health");
            answers(&mut i, 200, json_pattern!({ "status": "ok" }));
            i
        })
        .start_mock_server(None, None);
    assert!(Api::new(mock.url().as_str(), "").unwrap().is_healthy().await.unwrap());
}

#[tokio::test]
async fn own_channels() {
    let states = [("a user is a member", none()), messages(3)];
    let own = json_pattern!({
        "channels": each_like!(with(channel("General", 3), vec![("unread_count", json_pattern!(like!(3)))])),
        "has_more": false,
    });
    let describe = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels");
        answers(i, 200, own);
    };
    exchange("the user's channels", &states, describe, async |api| {
        let found = api.channels().await.unwrap();
        assert_eq!((found.channels[0].last_seq, found.channels[0].unread_count), (3, Some(3)));
    })
    .await;
}

#[tokio::test]
async fn public_channels() {
    let describe = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels").query_param("visibility", "public").query_param("name_prefix", "gen");
        answers(i, 200, json_pattern!({ "channels": each_like!(channel("General", 0)), "has_more": false }));
    };
    exchange(
        "public channels by the beginning of their names",
        &[("a channel exists", none())],
        describe,
        async |api| {
            assert_eq!(api.public_channels("gen").await.unwrap().channels[0].name, "General");
        },
    )
    .await;
}

fn creation(i: &mut InteractionBuilder, status: u16) {
    i.request.post().path("/channels").header("idempotency-key", KEY).content_type("application/json");
    i.request.json_body(json_pattern!({ "channel_id": "general", "name": "General", "visibility": "public" }));
    i.response.header("etag", term!("^\"[0-9]+\"$", "\"1\"")).header("location", "/channels/general");
    answers(i, status, channel("General", 0));
}

#[tokio::test]
async fn a_channel_is_created_once() {
    let create = async |api: Api| {
        let made = api.create_channel("general", "General", "public", KEY).await.unwrap();
        assert_eq!(made.channel_id, "general");
    };
    exchange("a channel is created", &[("nothing exists", none())], |i| creation(i, 201), create).await;
    let before = json!({
        "path": "/channels", "key": KEY,
        "body": { "channel_id": "general", "name": "General", "visibility": "public" },
    });
    let again = |i: &mut InteractionBuilder| {
        creation(i, 200);
        i.response.header("idempotency-replayed", "true");
    };
    exchange("a channel is created again", &[("the request was sent before", before)], again, create).await;
}

#[tokio::test]
async fn a_channel_is_renamed_as_it_was_read() {
    let states = [("a channel exists", json!({ "owner": "alice" }))];
    let read = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general");
        i.response.header("etag", "\"1\"");
        answers(i, 200, channel("General", 0));
    };
    exchange("a channel", &states, read, async |api| {
        let (channel, tag) = api.channel("general").await.unwrap();
        assert_eq!((channel.visibility.as_str(), tag.as_str()), ("public", "\"1\""));
    })
    .await;
    let rename = |i: &mut InteractionBuilder| {
        i.request.method("PATCH").path("/channels/general").header("if-match", "\"1\"");
        i.request.json_body(json_pattern!({ "name": "Everybody" }));
        answers(i, 200, channel("Everybody", 0));
    };
    exchange("a channel is renamed", &states, rename, async |api| {
        assert_eq!(api.rename_channel("general", "\"1\"", "Everybody").await.unwrap().name, "Everybody");
    })
    .await;
    let delete = |i: &mut InteractionBuilder| {
        i.request.delete().path("/channels/general");
        i.response.no_content();
    };
    exchange("a channel is deleted", &states, delete, async |api| api.delete_channel("general").await.unwrap()).await;
}

fn member(user: &str, role: &str) -> JsonPattern {
    json_pattern!({
        "channel_id": "general", "user_id": (user), "role": (role),
        "joined_at": term!(TIME, "2026-05-01T12:00:00.000Z"),
    })
}

#[tokio::test]
async fn members() {
    let states = [("a channel exists", none())];
    let list = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/members");
        answers(i, 200, json_pattern!({ "members": each_like!(member("olga", "owner")), "has_more": false }));
    };
    exchange("the members of a channel", &states, list, async |api| {
        assert_eq!(api.members("general").await.unwrap(), ["olga"]);
    })
    .await;
    let join = |i: &mut InteractionBuilder| {
        i.request.put().path("/channels/general/members/alice");
        answers(i, 201, member("alice", "member"));
    };
    exchange("the user joins", &states, join, async |api| {
        assert_eq!(api.put_member("general", "alice", None).await.unwrap(), "member");
    })
    .await;
    let promote = |i: &mut InteractionBuilder| {
        i.request.put().path("/channels/general/members/bob").json_body(json_pattern!({ "role": "moderator" }));
        answers(i, 200, member("bob", "moderator"));
    };
    let of_alice =
        [("a channel exists", json!({ "owner": "alice" })), ("a user is a member", json!({ "user_id": "bob" }))];
    exchange("a member becomes moderator", &of_alice, promote, async |api| {
        assert_eq!(api.put_member("general", "bob", Some("moderator")).await.unwrap(), "moderator");
    })
    .await;
    let leave = |i: &mut InteractionBuilder| {
        i.request.delete().path("/channels/general/members/alice");
        i.response.no_content();
    };
    exchange("the user leaves", &[("a user is a member", none())], leave, async |api| {
        api.remove_member("general", "alice").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn invitations() {
    let invitation = |user: &str, by: &str| {
        json_pattern!({
            "channel_id": "general", "user_id": (user), "role": "member", "invited_by": (by),
            "invited_at": term!(TIME, "2026-05-01T12:00:00.000Z"), "expires_at": term!(TIME, "2026-05-31T12:00:00.000Z"),
        })
    };
    let invite = |i: &mut InteractionBuilder| {
        i.request.put().path("/channels/general/members/bob");
        answers(i, 202, invitation("bob", "alice"));
    };
    let inviting = [
        ("a channel exists", json!({ "owner": "alice" })),
        ("the token has the scopes", json!({ "scopes": "chat:read chat:write chat:manage" })),
    ];
    exchange("a user is asked to join", &inviting, invite, async |api| {
        assert_eq!(api.put_member("general", "bob", None).await.unwrap(), "member");
    })
    .await;
    let private = json!({ "visibility": "private" });
    let states = [("a channel exists", private), ("a user is invited", none())];
    let list = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels").query_param("membership", "invited");
        let one =
            json_pattern!({ "channel_id": "general", "name": "General", "invitation": (invitation("alice", "olga")) });
        answers(i, 200, json_pattern!({ "channels": [], "invitations": each_like!(one), "has_more": false }));
    };
    exchange("the channels that the user is invited to", &states, list, async |api| {
        assert_eq!(api.invitations().await.unwrap(), ["general"]);
    })
    .await;
    let accept = |i: &mut InteractionBuilder| {
        i.request.put().path("/channels/general/members/alice");
        answers(i, 201, member("alice", "member"));
    };
    exchange("the user accepts an invitation", &states, accept, async |api| {
        assert_eq!(api.put_member("general", "alice", None).await.unwrap(), "member");
    })
    .await;
    let decline = |i: &mut InteractionBuilder| {
        i.request.delete().path("/channels/general/members/alice");
        i.response.no_content();
    };
    exchange("the user declines an invitation", &states, decline, async |api| {
        api.remove_member("general", "alice").await.unwrap();
    })
    .await;
}

fn sending(i: &mut InteractionBuilder, status: u16) {
    i.request.post().path("/channels/general/messages").header("idempotency-key", KEY);
    i.request.json_body(json_pattern!({ "content": "hi" }));
    i.response.header("location", "/channels/general/messages/1");
    answers(i, status, message(1, "alice", "hi"));
}

#[tokio::test]
async fn a_message_is_sent_once() {
    let send = async |api: Api| {
        let sent = api.send("general", &"hi".into(), KEY).await.unwrap();
        assert_eq!((sent.seq, sent.content.as_str()), (1, "hi"));
    };
    exchange("a message is sent", &[("a channel exists", none())], |i| sending(i, 201), send).await;
    let again = |i: &mut InteractionBuilder| {
        sending(i, 200);
        i.response.header("idempotency-replayed", "true");
    };
    let before = ("the request was sent before", json!({ "key": KEY }));
    exchange("a message is sent again", &[("a channel exists", none()), before], again, send).await;
}

#[tokio::test]
async fn history() {
    let after = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("after", "1");
        let found = vec![message(2, "alice", "message 2"), message(3, "alice", "message 3")];
        answers(i, 200, json_pattern!({ "messages": (JsonPattern::Array(found)), "has_more": false }));
    };
    exchange("what was missed, oldest first", &[messages(3)], after, async |api| {
        let page = api.messages_after("general", 1).await.unwrap();
        assert_eq!(page.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [2, 3]);
    })
    .await;
    let newest = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages").query_param("limit", "1");
        let found = vec![message(3, "alice", "message 3")];
        let body =
            json_pattern!({ "messages": (JsonPattern::Array(found)), "has_more": true, "next": { "before": 3 } });
        answers(i, 200, body);
    };
    exchange("the newest message", &[messages(3)], newest, async |api| {
        let page = api.newest("general", 1).await.unwrap();
        assert!(page.has_more && page.messages[0].seq == 3);
    })
    .await;
    let thread = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/messages/1/replies");
        let reply = with(message(2, "bob", "reply 1"), vec![("reply_to", json_pattern!(1))]);
        answers(i, 200, json_pattern!({ "messages": (JsonPattern::Array(vec![reply])), "has_more": false }));
    };
    let states = [messages(1), ("the message has replies", json!({ "count": 1 }))];
    exchange("a thread", &states, thread, async |api| {
        assert_eq!(api.replies("general", 1).await.unwrap().messages[0].reply_to, Some(1));
    })
    .await;
}

#[tokio::test]
async fn one_message_and_what_may_become_of_it() {
    let states = [messages(1)];
    let path = "/channels/general/messages/1";
    let edit = |i: &mut InteractionBuilder| {
        i.request.method("PATCH").path(path).json_body(json_pattern!({ "content": "better" }));
        let edited = json_pattern!(term!(TIME, "2026-05-01T12:00:30.000Z"));
        answers(i, 200, with(message(1, "alice", "better"), vec![("edited_at", edited)]));
    };
    exchange("a message is edited", &states, edit, async |api| {
        assert!(api.edit("general", 1, "better").await.unwrap().edited_at.is_some());
    })
    .await;
    let delete = |i: &mut InteractionBuilder| {
        i.request.delete().path(path);
        i.response.no_content();
    };
    exchange("a message is deleted", &states, delete, async |api| api.delete("general", 1).await.unwrap()).await;
    let read = |i: &mut InteractionBuilder| {
        i.request.get().path(path);
        let deleted = json_pattern!(term!(TIME, "2026-05-01T12:01:00.000Z"));
        answers(i, 200, with(message(1, "alice", ""), vec![("deleted_at", deleted)]));
    };
    let deleted = [messages(1), ("the message was deleted", none())];
    exchange("a message that was deleted", &deleted, read, async |api| {
        let message = api.message("general", 1).await.unwrap();
        assert!(message.deleted_at.is_some() && message.content.is_empty());
    })
    .await;
}

#[tokio::test]
async fn reactions() {
    let path = "/channels/general/messages/1/reactions/%F0%9F%91%8D";
    for (description, method, add) in [("a reaction", "PUT", true), ("a reaction is taken back", "DELETE", false)] {
        let describe = |i: &mut InteractionBuilder| {
            i.request.method(method).path(path);
            i.response.no_content();
        };
        exchange(description, &[messages(1)], describe, async |api| {
            api.react("general", 1, "👍", add).await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn what_passes() {
    let accepted = |method: &'static str, path: &'static str| {
        move |i: &mut InteractionBuilder| {
            i.request.method(method).path(path);
            i.response.status(202);
        }
    };
    let stop = accepted("POST", "/channels/general/messages/1/reply/cancel");
    exchange("the agent is stopped", &[messages(1)], stop, async |api| api.stop_reply("general", 1).await.unwrap())
        .await;
    let typing = accepted("POST", "/channels/general/typing");
    let states = [("a channel exists", none())];
    exchange("the user is typing", &states, typing, async |api| api.typing("general").await.unwrap()).await;
    let present = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/presence");
        let user = json_pattern!({ "user_id": "bob", "since": term!(TIME, "2026-05-01T12:00:00.000Z") });
        answers(i, 200, json_pattern!({ "users": (JsonPattern::Array(vec![user])) }));
    };
    let connected = [("a user is connected", json!({ "user_id": "bob" }))];
    exchange("who is there", &connected, present, async |api| {
        assert_eq!(api.present("general").await.unwrap(), ["bob"]);
    })
    .await;
    let mark = |i: &mut InteractionBuilder| {
        i.request.put().path("/channels/general/read").json_body(json_pattern!({ "seq": 2 }));
        answers(i, 200, json_pattern!({ "channel_id": "general", "read_seq": 2 }));
    };
    let states = [("a user is a member", none()), messages(2)];
    exchange("the read mark moves", &states, mark, async |api| {
        assert_eq!(api.mark_read("general", 2).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn connections() {
    let ticket = |i: &mut InteractionBuilder| {
        i.request.post().path("/connections/tickets").json_body(json_pattern!({ "channels": ["general"] }));
        let body = json_pattern!({
            "ticket": term!("^[A-Za-z0-9_-]{43}$", "kP0m0m9rJxk3gqN3f0Hq2rR8vC6zYd1aXbT5wLs7UeI"),
            "expires_at": term!(TIME, "2026-05-01T12:01:00.000Z"),
        });
        answers(i, 201, body);
    };
    exchange("a ticket", &[("a channel exists", none())], ticket, async |api| {
        assert_eq!(api.ticket(&["general"]).await.unwrap().ticket.len(), 43);
    })
    .await;
    let renew = |i: &mut InteractionBuilder| {
        i.request.post().path_from_provider_state("/connections/${connection_id}/token", "/connections/abc%3D/token");
        answers(i, 200, json_pattern!({ "expires_at": term!(TIME, "2026-05-01T14:00:00.000Z") }));
    };
    exchange("an open socket gets another token", &[("a user is connected", none())], renew, async |api| {
        assert!(api.renew("abc=").await.unwrap().ends_with('Z'));
    })
    .await;
}
