//! The list of channels, members and invitations.

use super::*;

/// Describes the request by which the client learns the state of a channel after a change.
fn one_channel() -> Exchange<'static> {
    exchange("the client reads one channel", &[("a user is a member", none()), stored(2)], |i| {
        i.request.get().path(CHANNEL);
        let membership = json_pattern!({ "role": "member", "read_seq": like!(0), "unread_count": like!(0) });
        let body = json_pattern!({
            "channel_id": "general", "name": "General", "last_seq": like!(2), "version": like!(1),
            "membership": membership,
        });
        answers(i, 200, body);
    })
}

/// Returns the states in which alice owns a channel of which bob is a member.
fn owned() -> [(&'static str, Value); 2] {
    [("a channel exists", json!({ "owner": "alice" })), ("a user is a member", json!({ "user_id": "bob" }))]
}

#[test]
fn the_list_of_channels() {
    let list = exchange("the client's channels", &[("a user is a member", none()), stored(2)], |i| {
        i.request.get().path("/channels").query_param("limit", "100");
        let channel = json_pattern!({
            "channel_id": "general", "name": "General", "visibility": "public",
            "last_seq": like!(2), "version": like!(1), "agent": { "mode": "off" },
            "membership": { "role": "member", "read_seq": like!(0), "unread_count": like!(0) },
            "last_message": { "seq": like!(2), "sender_id": "alice", "content": "message 2" },
        });
        answers(i, 200, json_pattern!({ "channels": each_like!(channel), "has_more": false }));
    });
    let steps = json!([["channels", "load"], ["channels", "loadOne", "general"]]);
    let output = converse(&[list, one_channel()], &steps, None);
    assert_eq!(
        output["channels"],
        json!([{ "channel_id": "general", "name": "General", "role": "member", "unread": 0 }])
    );

    let found = exchange("the client finds public channels", &[("a channel exists", none())], |i| {
        i.request.get().path("/channels").query_param("limit", "100").query_param("visibility", "public");
        i.request.query_param("name_prefix", "gen");
        let channel = json_pattern!({ "channel_id": "general", "name": "General" });
        answers(i, 200, json_pattern!({ "channels": each_like!(channel), "has_more": false }));
    });
    let query = json!({ "visibility": "public", "name_prefix": "gen" });
    let output = converse(&[found], &json!([["channels", "find", query]]), None);
    assert_eq!(output["results"][0]["value"][0]["channel_id"], "general");
}

#[test]
fn the_user_of_the_token() {
    let me = exchange("the client's user", &[], |i| {
        i.request.get().path("/me");
        answers(i, 200, json_pattern!({ "user_id": "alice", "scopes": each_like!("chat:read") }));
    });
    let output = converse(&[me], &json!([["client", "me"]]), None);
    assert_eq!(output["results"][0]["value"]["user_id"], "alice");
}

#[test]
fn the_read_mark_moves() {
    let mark = exchange("the client moves the read mark", &[("a user is a member", none()), stored(2)], |i| {
        i.request.put().path("/channels/general/read").json_body(json_pattern!({ "seq": 2 }));
        answers(i, 200, json_pattern!({ "channel_id": "general", "read_seq": 2 }));
    });
    converse(&[mark], &json!([["channels", "markRead", "general", 2]]), None);
}

#[test]
fn a_channel_is_joined_and_made_when_there_is_none() {
    let path = "/channels/general/members/alice";
    let join = exchange("the client joins", &[("a channel exists", none())], |i| {
        i.request.put().path(path);
        answers(i, 201, json_pattern!({ "channel_id": "general", "user_id": "alice", "role": "member" }));
    });
    let output = converse(&[join, one_channel()], &json!([["channels", "join", "general"]]), None);
    assert_eq!(output["results"][0]["value"]["role"], "member");
    assert_eq!(output["channels"][0]["channel_id"], "general");
    let nothing = [("nothing exists", none())];
    let join = exchange("the client joins what is not there", &nothing, |i| {
        i.request.put().path(path);
        refuses(i, 404, "channel_not_found");
    });
    let create = exchange("the client makes a channel", &nothing, |i| {
        i.request.post().path("/channels").json_body(json_pattern!({
            "channel_id": "general", "name": "general", "visibility": "public", "agent": { "mode": "always" },
        }));
        answers(i, 201, json_pattern!({ "channel_id": "general", "name": "general", "last_seq": 0 }));
    });
    let made =
        json!({ "channel_id": "general", "name": "general", "visibility": "public", "agent": { "mode": "always" } });
    let steps = json!([["channels", "join", "general"], ["channels", "create", made]]);
    let output = converse(&[join, create, one_channel()], &steps, None);
    assert_eq!(output["results"][0]["error"]["name"], "channel_not_found");
    assert_eq!(output["results"][1]["value"]["channel_id"], "general");
}

#[test]
fn a_channel_is_changed_and_deleted() {
    let change = exchange("the client renames a channel", &owned(), |i| {
        i.request.method("PATCH").path(CHANNEL).json_body(json_pattern!({ "name": "Everybody" }));
        answers(i, 200, json_pattern!({ "channel_id": "general", "name": "Everybody", "last_seq": like!(0) }));
    });
    let delete = exchange("the client deletes a channel", &owned(), |i| {
        i.request.delete().path(CHANNEL);
        i.response.status(204);
    });
    let steps = json!([["channels", "update", "general", { "name": "Everybody" }], ["channels", "remove", "general"]]);
    let output = converse(&[change, one_channel(), delete], &steps, None);
    assert_eq!(output["results"][0]["value"]["name"], "Everybody");
    assert_eq!(output["channels"], json!([]));
}

#[test]
fn members_come_go_and_get_roles() {
    let path = "/channels/general/members/bob";
    let list = exchange("the client lists members", &owned(), |i| {
        i.request.get().path("/channels/general/members").query_param("limit", "100");
        let member = json_pattern!({ "user_id": like!("bob"), "role": term!("^(member|moderator|owner)$", "member") });
        answers(i, 200, json_pattern!({ "members": each_like!(member), "has_more": false }));
    });
    let promote = exchange("the client gives a role", &owned(), |i| {
        i.request.put().path(path).json_body(json_pattern!({ "role": "moderator" }));
        answers(i, 200, json_pattern!({ "channel_id": "general", "user_id": "bob", "role": "moderator" }));
    });
    let remove = exchange("the client removes a member", &owned(), |i| {
        i.request.delete().path(path);
        i.response.status(204);
    });
    let steps = json!([
        ["channels", "members", "general"],
        ["channels", "addMember", "general", "bob", { "role": "moderator" }],
        ["channels", "removeMember", "general", "bob"],
    ]);
    let output = converse(&[list, promote, remove], &steps, None);
    assert_eq!(output["results"][0]["value"][0]["user_id"], "bob");
    assert_eq!(output["results"][1]["value"]["role"], "moderator");

    let leave = exchange("the client leaves", &[("a user is a member", none())], |i| {
        i.request.delete().path("/channels/general/members/alice");
        i.response.status(204);
    });
    let output = converse(&[leave], &json!([["channels", "leave", "general"]]), None);
    assert!(output["results"][0].get("error").is_none(), "{output}");
}

#[test]
fn users_are_invited() {
    let scopes = json!({ "scopes": "chat:read chat:write chat:manage" });
    let inviting = [("a channel exists", json!({ "owner": "alice" })), ("the token has the scopes", scopes)];
    let invite = exchange("the client invites", &inviting, |i| {
        i.request.put().path("/channels/general/members/bob");
        answers(i, 202, json_pattern!({ "channel_id": "general", "user_id": "bob", "invited_by": "alice" }));
    });
    let output = converse(&[invite], &json!([["channels", "addMember", "general", "bob"]]), None);
    assert_eq!(output["results"][0]["value"]["invited_by"], "alice");

    let invited = [("a channel exists", json!({ "visibility": "private" })), ("a user is invited", none())];
    let list = exchange("the client's invitations", &invited, |i| {
        i.request.get().path("/invitations").query_param("limit", "100");
        let one = json_pattern!({ "channel_id": "general", "name": "General", "role": "member", "invited_by": "olga" });
        answers(i, 200, json_pattern!({ "invitations": [one], "has_more": false }));
    });
    let output = converse(&[list], &json!([["channels", "invitations"]]), None);
    assert_eq!(output["results"][0]["value"][0]["channel_id"], "general");
}
