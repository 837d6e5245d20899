//! Requests that succeed, other than those about messages.

use super::*;

const TAG: &str = "^\"[0-9]+\"$";

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
async fn the_user_of_the_token() {
    let describe = |i: &mut InteractionBuilder| {
        i.request.get().path("/me");
        let body = json_pattern!({
            "user_id": "alice", "scopes": each_like!("chat:read"),
            "expires_at": term!(TIME, "2026-05-01T14:00:00.000Z"), "server_time": term!(TIME, "2026-05-01T12:00:00.000Z"),
        });
        answers(i, 200, body);
    };
    exchange("the user of the token", &[], describe, async |api| {
        let me = api.me().await.unwrap();
        assert_eq!((me.user_id.as_str(), me.scopes.unwrap().as_slice()), ("alice", &["chat:read".to_owned()][..]));
    })
    .await;
}

/// Returns the fields of a channel that only its lists and its own response have.
fn of_the_caller() -> Vec<(&'static str, JsonPattern)> {
    let membership = json_pattern!({
        "role": "member", "joined_at": term!(TIME, "2026-05-01T12:00:00.000Z"), "read_seq": like!(0),
        "unread_count": like!(3),
    });
    let last = json_pattern!({
        "seq": 3, "sender_id": "bob", "role": "user", "content": "message 3", "content_type": "text/plain",
        "created_at": term!(TIME, "2026-05-01T12:00:00.000Z"),
    });
    vec![("membership", membership), ("last_message", last)]
}

#[tokio::test]
async fn own_channels() {
    let states = [("a user is a member", none()), ("the channel has messages", json!({ "sender_id": "bob" }))];
    let describe = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels");
        let own = with(channel("General", 3), of_the_caller());
        answers(i, 200, json_pattern!({ "channels": [own], "has_more": false }));
    };
    exchange("the user's channels", &states, describe, async |api| {
        let found = api.channels().await.unwrap();
        let membership = found.channels[0].membership.as_ref().unwrap();
        assert_eq!((found.channels[0].last_seq, membership.unread_count), (3, 3));
        assert_eq!(found.channels[0].last_message.as_ref().unwrap().content, "message 3");
    })
    .await;
    let describe = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels").query_param("limit", "1");
        let next = json_pattern!({ "cursor": like!("djE6Y2hhbm5lbHM6Z2VuZXJhbA") });
        let page = json_pattern!({ "channels": each_like!(channel("General", 3)), "has_more": true, "next": next });
        answers(i, 200, page);
    };
    let two = [
        ("a user is a member", none()),
        ("the channel has messages", none()),
        ("a user is a member", json!({ "channel_id": "another" })),
    ];
    exchange("a page of the user's channels", &two, describe, async |api| {
        let found = api.call(reqwest::Method::GET, "/channels?limit=1", &[], None).await.unwrap();
        let found: switchboard_client::Channels = serde_json::from_value(found).unwrap();
        assert!(found.has_more && found.next.unwrap().cursor.is_some());
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
    i.response.header("etag", term!(TAG, "\"1\""));
    i.response.header("location", term!("^https?://.+/channels/general$", "https://example.com/prod/channels/general"));
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
    let same = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general").header("if-none-match", "\"1\"");
        i.response.status(304).header("etag", "\"1\"");
    };
    exchange("a channel that has not changed", &states, same, async |api| {
        assert_eq!(api.changed_channel("general", "\"1\"").await.unwrap(), None);
    })
    .await;
    let rename = |i: &mut InteractionBuilder| {
        i.request.method("PATCH").path("/channels/general").header("if-match", "\"1\"").content_type(MERGE_PATCH);
        i.request.json_body(json_pattern!({ "name": "Everybody" }));
        i.response.header("etag", "\"2\"");
        answers(i, 200, channel("Everybody", 0));
    };
    exchange("a channel is renamed", &states, rename, async |api| {
        assert_eq!(api.rename_channel("general", "\"1\"", "Everybody").await.unwrap().name, "Everybody");
    })
    .await;
    // A change of one setting of the agent keeps the others.
    for (description, instructions) in [("the agent gets a task", Some("Be brief.")), ("the agent's task ends", None)] {
        let instruct = |i: &mut InteractionBuilder| {
            i.request.method("PATCH").path("/channels/general").content_type(MERGE_PATCH);
            i.request.json_body(JsonPattern::from(json!({ "agent": { "instructions": instructions } })));
            let agent = match instructions {
                Some(text) => json_pattern!({ "mode": "off", "instructions": (text) }),
                None => json_pattern!({ "mode": "off" }),
            };
            answers(i, 200, with(channel("General", 0), vec![("agent", agent)]));
        };
        exchange(description, &states, instruct, async |api| {
            let agent = api.instruct_agent("general", instructions).await.unwrap().agent;
            assert_eq!((agent.mode.as_str(), agent.instructions.as_deref()), ("off", instructions));
        })
        .await;
    }
    let delete = |i: &mut InteractionBuilder| {
        i.request.delete().path("/channels/general");
        i.response.no_content();
    };
    exchange("a channel is deleted", &states, delete, async |api| api.delete_channel("general").await.unwrap()).await;
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
    let receipts =
        [("a channel exists", json!({ "read_receipts": true })), ("a user is a member", json!({ "user_id": "bob" }))];
    let one = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/members/bob");
        answers(i, 200, with(member("bob", "member"), vec![("read_seq", json_pattern!(0))]));
    };
    exchange("a member and how far it has read", &receipts, one, async |api| {
        assert_eq!(api.member("general", "bob").await.unwrap().read_seq, Some(0));
    })
    .await;
    let join = |i: &mut InteractionBuilder| {
        i.request.put().path("/channels/general/members/alice");
        answers(i, 201, member("alice", "member"));
    };
    exchange("the user joins", &states, join, async |api| {
        assert_eq!(api.add_member("general", "alice", None).await.unwrap(), "member");
    })
    .await;
    let promote = |i: &mut InteractionBuilder| {
        i.request.put().path("/channels/general/members/bob").json_body(json_pattern!({ "role": "moderator" }));
        answers(i, 200, member("bob", "moderator"));
    };
    let of_alice =
        [("a channel exists", json!({ "owner": "alice" })), ("a user is a member", json!({ "user_id": "bob" }))];
    exchange("a member becomes moderator", &of_alice, promote, async |api| {
        assert_eq!(api.add_member("general", "bob", Some("moderator")).await.unwrap(), "moderator");
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
        assert_eq!(api.add_member("general", "bob", None).await.unwrap(), "member");
    })
    .await;
    let private = json!({ "visibility": "private" });
    let states = [("a channel exists", private), ("a user is invited", none())];
    let list = |i: &mut InteractionBuilder| {
        i.request.get().path("/invitations");
        let one = with(invitation("alice", "olga"), vec![("name", json_pattern!("General"))]);
        answers(i, 200, json_pattern!({ "invitations": [one], "has_more": false }));
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
        assert_eq!(api.add_member("general", "alice", None).await.unwrap(), "member");
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

#[tokio::test]
async fn what_passes() {
    let accepted = |method: &'static str, path: &'static str| {
        move |i: &mut InteractionBuilder| {
            i.request.method(method).path(path);
            i.response.status(202);
        }
    };
    let stop = accepted("POST", "/channels/general/messages/1/reply/cancel");
    let replying = [("the agent is replying", none())];
    exchange("the agent is stopped", &replying, stop, async |api| api.cancel_reply("general", 1).await.unwrap()).await;
    let typing = accepted("POST", "/channels/general/typing");
    let states = [("a channel exists", none())];
    exchange("the user is typing", &states, typing, async |api| api.typing("general").await.unwrap()).await;
    let present = |i: &mut InteractionBuilder| {
        i.request.get().path("/channels/general/presence");
        let user = json_pattern!({ "user_id": "bob", "since": term!(TIME, "2026-05-01T12:00:00.000Z") });
        answers(i, 200, json_pattern!({ "users": (JsonPattern::Array(vec![user])), "has_more": false }));
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
