//! An event of API Gateway as JSON, passed to the function of its route in the template.

use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

use super::answer::Answer;
use crate::{
    functions::{binary_of, block_on, with_world},
    tokens,
};

/// Sets the parts that a client does not choose: `lambda_http` builds a URL of them, and panics if it is invalid. It
/// also panics on a query parameter without values, which no gateway passes on.
fn as_of_the_gateway(event: &mut Value) -> bool {
    for name in ["headers", "multiValueHeaders"] {
        if let Some(headers) = event.get_mut(name).and_then(Value::as_object_mut) {
            headers.retain(|name, _| !["host", "x-forwarded-proto"].contains(&name.to_ascii_lowercase().as_str()));
        }
    }
    if let Some(parameters) = event.get_mut("multiValueQueryStringParameters").and_then(Value::as_object_mut) {
        parameters.retain(|_, values| values.as_array().is_none_or(|values| !values.is_empty()));
    }
    let Some(context) = event.get_mut("requestContext").and_then(Value::as_object_mut) else { return false };
    context.insert("domainName".to_owned(), "api.localhost".into());
    context.insert("stage".to_owned(), "chat".into());
    event["path"].as_str().is_none_or(|path| path.starts_with('/'))
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, _) = tokens::named(text);
    let Ok(mut event) = serde_json::from_str::<Value>(&text) else { return };
    if !as_of_the_gateway(&mut event) {
        return;
    }
    let context = &event["requestContext"];
    let (resource, method) = (context["resourcePath"].as_str().unwrap_or_default(), event["httpMethod"].as_str());
    let Some(binary) = binary_of(resource, method.unwrap_or_default()) else { return };
    let answer = with_world(|world| {
        let event = Bytes::from(event.to_string());
        block_on(Arc::clone(&world.functions).answer_event(binary.to_owned(), event))
    });
    let Some(answer) = answer else { return };
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let header = |name: &str| {
        let values = &answer["multiValueHeaders"][name];
        values[0].as_str().or(answer["headers"][name].as_str()).map(str::to_owned)
    };
    let content_type = header("content-type");
    Answer {
        status: answer["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status"),
        content_type: content_type.as_deref(),
        header: &header,
        body: answer["body"].as_str().unwrap_or_default(),
    }
    .check();
}
