//! The protocol of OpenAI, from valid and from faulty servers.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use chat::ports::language_model::{ModelError, Piece, Prompt, Turn, Usage};
use futures::{
    StreamExt,
    future::ready,
    stream::{iter, pending},
};
use models::OpenAi;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    time::Instant,
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, header, method, path},
};

const USAGE: Usage = Usage { input_tokens: 9, output_tokens: 3 };

fn prompt() -> Prompt {
    let turn = |speaker: Option<&str>, text: &str| Turn { speaker: speaker.map(str::to_owned), text: text.to_owned() };
    Prompt {
        instructions: Some("Be brief.".to_owned()),
        turns: vec![turn(Some("alice"), "hi"), turn(None, "hello"), turn(Some("bob"), "and now?")],
        model: None,
        prefix: None,
    }
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn word(text: &str) -> String {
    event(&json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] }))
}

fn finish(reason: &str) -> String {
    event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }))
}

fn usage() -> String {
    event(&json!({ "choices": [], "usage": { "prompt_tokens": 9, "completion_tokens": 3 } }))
}

/// Returns the text of a reply, its usage, and its error.
async fn read(server: &OpenAi) -> (String, Option<Usage>, Option<ModelError>) {
    let mut pieces = match server.reply("small", prompt()).await {
        Ok(pieces) => pieces,
        Err(error) => return (String::new(), None, Some(error)),
    };
    let (mut text, mut usage) = (String::new(), None);
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(Piece::Text(piece)) => text.push_str(&piece),
            Ok(Piece::Usage(used)) => usage = Some(used),
            Ok(_) => {}
            Err(error) => return (text, usage, Some(error)),
        }
    }
    (text, usage, None)
}

async fn answering(response: ResponseTemplate) -> (MockServer, OpenAi) {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(response).mount(&server).await;
    let openai = OpenAi::new(&server.uri(), None).unwrap();
    (server, openai)
}

fn events(parts: &[String]) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(parts.concat(), "text/event-stream")
}

#[tokio::test]
async fn the_conversation_goes_out_and_the_words_come_back() {
    let server = MockServer::start().await;
    let body = json!({ "model": "small", "stream": true });
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .and(header("authorization", "Bearer key"))
        .and(body_partial_json(body))
        .respond_with(events(&[word("Hé"), word("llo"), finish("stop"), usage(), "data: [DONE]\n\n".to_owned()]))
        .mount(&server)
        .await;
    let openai = OpenAi::new(&format!("{}/v1/", server.uri()), Some("key".to_owned())).unwrap();
    assert_eq!(read(&openai).await, ("Héllo".to_owned(), Some(USAGE), None));
    let sent: Value = serde_json::from_slice(&server.received_requests().await.unwrap()[0].body).unwrap();
    let roles: Vec<&str> =
        sent["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert!(sent["messages"][0]["content"].as_str().unwrap().ends_with("Be brief."));
    assert_eq!(sent["messages"][3]["content"], r#"{"from":"bob","text":"and now?"}"#);
    assert!(!format!("{openai:?}").contains("key\""), "{openai:?}");
}

#[tokio::test]
async fn servers_end_a_reply_in_different_ways() {
    let done = "data: [DONE]\n\n".to_owned();
    for parts in [
        vec![word("ok"), finish("stop"), done.clone()],
        vec![word("ok"), finish("length"), usage()],
        vec![word("ok"), finish("stop")],
        vec![": a comment\n\n".to_owned(), word("ok"), done],
    ] {
        let (_server, openai) = answering(events(&parts)).await;
        let (text, _, error) = read(&openai).await;
        assert_eq!((text.as_str(), error), ("ok", None), "{parts:?}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_none_of_the_reply() {
    let body = format!("\u{feff}{}{}{}", word("ok"), finish("stop"), usage());
    for cut in [0, 1, 2, 3, 4, 40, body.len()] {
        let chunks = [&body.as_bytes()[..cut], &body.as_bytes()[cut..]].map(Bytes::copy_from_slice);
        let pieces = OpenAi::pieces(futures::stream::iter(chunks.map(Ok::<_, Infallible>)));
        let pieces: Vec<_> = pieces.map(Result::unwrap).filter(|piece| ready(*piece != Piece::Alive)).collect().await;
        assert_eq!(pieces, [Piece::Text("ok".to_owned()), Piece::Usage(USAGE)], "cut at {cut}");
    }
    // A second byte order mark is part of a field's name, which is then unknown.
    let body = Bytes::from(format!("\u{feff}\u{feff}{}{}", word("no"), finish("stop")));
    let pieces = OpenAi::pieces(futures::stream::iter([Ok::<_, Infallible>(body)]));
    let pieces: Vec<_> = pieces.filter(|piece| ready(*piece != Ok(Piece::Alive))).collect().await;
    assert_eq!(pieces, []);
}

#[tokio::test]
async fn every_refusal_is_told_apart() {
    let error = |code: &str| json!({ "error": { "message": "key sk-hush is wrong", "code": code } });
    let status = |status: u16, code: &str| ResponseTemplate::new(status).set_body_json(error(code));
    let busy = |seconds: Option<u64>| ModelError::Busy { retry_after: seconds.map(Duration::from_secs) };
    let cases = [
        (status(429, "rate_limit_exceeded").insert_header("retry-after", "7"), busy(Some(7))),
        (status(429, "rate_limit_exceeded"), busy(None)),
        (status(503, "overloaded").insert_header("retry-after", "3"), busy(Some(3))),
        (status(500, "server_error"), ModelError::Unavailable("status 500 server_error".into())),
        (ResponseTemplate::new(503).set_body_string("<html>"), ModelError::Unavailable("status 503 ".into())),
        (status(400, "context_length_exceeded"), ModelError::TooLong),
        (status(400, "content_filter"), ModelError::Filtered),
        (status(401, "invalid_api_key"), ModelError::Refused("status 401 invalid_api_key".into())),
        (status(404, "model_not_found"), ModelError::Refused("status 404 model_not_found".into())),
        (ResponseTemplate::new(302).insert_header("location", "/"), ModelError::Refused("status 302 ".into())),
    ];
    for (response, expected) in cases {
        let (_server, openai) = answering(response).await;
        assert_eq!(read(&openai).await, (String::new(), None, Some(expected)));
    }
}

#[tokio::test]
async fn what_goes_wrong_within_a_reply_is_told_too() {
    let failed = event(&json!({ "error": { "message": "out of memory", "code": "server_error" } }));
    let cases = [
        (vec![word("half a wo")], "half a wo", "not available"),
        (vec![word("a"), finish("content_filter")], "a", "filter"),
        (vec![word("a"), "data: {nonsense\n\n".to_owned()], "a", "violates its protocol"),
        (vec![word("a"), failed], "a", "not available"),
        (vec!["<html>hello</html>".to_owned()], "", "not available"),
    ];
    for (parts, expected, why) in cases {
        let (_server, openai) = answering(events(&parts)).await;
        let (text, _, error) = read(&openai).await;
        let error = error.unwrap().to_string();
        assert!(text == expected && error.contains(why), "{parts:?}: {text} {error}");
    }
    let nobody = OpenAi::new("http://127.0.0.1:9", None).unwrap();
    assert!(matches!(read(&nobody).await, (_, _, Some(ModelError::Unavailable(_)))));
    for wrong in ["", "model", "ftp://host"] {
        assert!(OpenAi::new(wrong, None).is_err(), "{wrong}");
    }
}

/// Starts a server that sends each received part immediately, and closes the connection at the end.
async fn step_by_step(mut parts: Receiver<String>) -> OpenAi {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut vec![0; 65_536]).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        while let Some(part) = parts.recv().await {
            socket.write_all(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).await.unwrap();
        }
    });
    OpenAi::new(&url, None).unwrap()
}

#[tokio::test]
async fn words_are_there_as_soon_as_they_are_sent_and_a_dead_connection_is_no_end() {
    let (send, parts) = channel(1);
    let openai = step_by_step(parts).await;
    let pieces = openai.reply("small", prompt()).await.unwrap();
    let mut pieces = pieces.filter(|piece| ready(*piece != Ok(Piece::Alive)));
    // An event may arrive in parts.
    let event = word("größer");
    let (first, second) = event.split_at(event.find("ß").unwrap());
    for part in [word("one"), first.to_owned()] {
        send.send(part).await.unwrap();
    }
    assert_eq!(pieces.next().await.unwrap().unwrap(), Piece::Text("one".to_owned()));
    send.send(second.to_owned()).await.unwrap();
    assert_eq!(pieces.next().await.unwrap().unwrap(), Piece::Text("größer".to_owned()));
    drop(send);
    assert!(matches!(pieces.next().await, Some(Err(ModelError::Unavailable(_)))));
}

#[tokio::test]
async fn whatever_a_server_sends_is_a_sign_of_life() {
    let thought = event(&json!({ "choices": [{ "index": 0, "delta": { "reasoning_content": "hm" } }] }));
    for sign in [": keep-alive\n\n", "\n", ":", "event: ping\ndata: {}\n\n", "data: {\"cho", "{", &thought] {
        let body = iter([Ok::<_, Infallible>(Bytes::copy_from_slice(sign.as_bytes()))]).chain(pending());
        assert_eq!(OpenAi::pieces(body).next().await, Some(Ok(Piece::Alive)), "{sign}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stays_open_after_a_reply_is_not_waited_for() {
    let begun = Instant::now();
    let parts = [word("ok"), finish("stop")].map(|part| Ok::<_, Infallible>(Bytes::from(part)));
    let pieces = OpenAi::pieces(iter(parts).chain(pending())).filter(|piece| ready(*piece != Ok(Piece::Alive)));
    assert_eq!(pieces.collect::<Vec<_>>().await, [Ok(Piece::Text("ok".to_owned()))]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
