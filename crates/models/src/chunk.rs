//! Chunks of a reply in OpenAI's protocol ("The chat completion chunk object" in the OpenAI API reference), as servers
//! send them.

use chat::ports::language_model::{ModelError, Usage};
use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    limits::TOKENS,
    refusal,
    reply::{Finish, Reply},
};

/// Adds a chunk, or a whole completion, to the reply. `event` is the name of its event.
pub(crate) fn read(chunk: &Value, event: &str, reply: &mut Reply) -> Result<(), ModelError> {
    if is_error(chunk, event) {
        return Err(refusal::told(StatusCode::INTERNAL_SERVER_ERROR, chunk));
    }
    let choice = first_choice(chunk);
    // A whole completion has a message. Some servers send both, and repeat all text in the message.
    let is_message = !choice["delta"].is_object() && choice["message"].is_object();
    let said = if is_message { &choice["message"] } else { &choice["delta"] };
    let mut has_text = false;
    each_text(&said["content"], &mut |text| {
        has_text |= !text.is_empty();
        reply.text(text);
    });
    // The words of a model that refuses to answer ("Refusals" in the OpenAI guide to structured outputs).
    if let Some(refusal) = said["refusal"].as_str().filter(|_| !has_text) {
        reply.text(refusal);
    }
    let finish = Finish::of(choice["finish_reason"].as_str().unwrap_or_default());
    match finish {
        Ok(Some(finish)) => reply.finish(finish),
        Ok(None) if is_message => reply.finish(Finish::Complete),
        Ok(None) | Err(_) => {}
    }
    // Besides the chunk: in the choice (Kimi), or in a field of the server's own (Groq).
    for usage in [&chunk["usage"], &choice["usage"], &chunk["x_groq"]["usage"]] {
        if usage.is_object() {
            reply.usage(read_usage(usage));
        }
    }
    finish.map(drop)
}

/// Whether a chunk reports an error. Older versions of vLLM send its fields without `error` around them
/// (`create_streaming_error_response` in `vllm/entrypoints/openai/serving_engine.py` of vllm-project/vllm).
fn is_error(chunk: &Value, event: &str) -> bool {
    if refusal::is_told(&chunk["error"]) || event == "error" {
        return true;
    }
    let is_text = |name: &str| chunk[name].is_string();
    chunk["choices"].is_null()
        && (chunk["object"] == "error" || chunk["detail"].is_array() || is_text("detail") || is_text("message"))
        || chunk.get(0).is_some_and(|first| refusal::is_told(&first["error"]))
}

/// Returns the choice with the lowest number. A request asks for one; a server that sends more numbers them.
fn first_choice(chunk: &Value) -> &Value {
    let choices = chunk["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
    choices.iter().find(|choice| choice["index"].as_u64().unwrap_or_default() == 0).unwrap_or(&Value::Null)
}

/// Calls a function with each text of a content: a string, or parts with a type. A part of another type is reasoning or
/// a reference ("Reasoning" in the Mistral docs).
fn each_text(content: &Value, read: &mut impl FnMut(&str)) {
    match content {
        Value::String(text) => read(text),
        Value::Array(parts) => parts.iter().for_each(|part| each_text(part, read)),
        Value::Object(part) => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
            if let (true, Some(text)) =
                (matches!(kind, "text" | "output_text"), part.get("text").and_then(Value::as_str))
            {
                read(text);
            }
        }
        _ => {}
    }
}

/// Returns the usage of a report. The total also has the reasoning where the tokens of the completion do not (`usage` in
/// "Chat completions" of the xAI API reference).
fn read_usage(usage: &Value) -> Usage {
    let count = |names: [&str; 2]| names.iter().map(|name| tokens(&usage[*name])).max().unwrap_or_default();
    let input_tokens = count(["prompt_tokens", "input_tokens"]);
    let output_tokens = count(["completion_tokens", "output_tokens"]);
    let rest = if input_tokens > 0 { tokens(&usage["total_tokens"]).saturating_sub(input_tokens) } else { 0 };
    Usage { input_tokens, output_tokens: output_tokens.max(rest) }
}

/// Returns a number of tokens from outside: a number of any form, also as a string.
fn tokens(value: &Value) -> u64 {
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    let float = || value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|float| *float > 0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number; the cast saturates"
    )]
    number.or_else(|| float().map(|float| float as u64)).unwrap_or_default().min(TOKENS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_of_tokens_has_any_form() {
        for (value, expected) in [
            (json!(7), 7),
            (json!(7.9), 7),
            (json!("7"), 7),
            (json!(" 7.0 "), 7),
            (json!(-7), 0),
            (json!(-1e300), 0),
            (json!(1e300), TOKENS),
            (json!(u64::MAX), TOKENS),
            (json!("99999999999999999999999"), TOKENS),
            (json!("inf"), TOKENS),
            (json!("NaN"), 0),
            (json!("many"), 0),
            (json!(null), 0),
            (json!([7]), 0),
        ] {
            assert_eq!(tokens(&value), expected, "{value}");
        }
    }

    #[test]
    fn a_report_of_the_usage_has_its_names_and_may_leave_some_out() {
        for (usage, input_tokens, output_tokens) in [
            (json!({ "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12 }), 9, 3),
            (json!({ "input_tokens": 9, "output_tokens": 3 }), 9, 3),
            (json!({ "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 112 }), 9, 103),
            (json!({ "prompt_tokens": 9 }), 9, 0),
            (json!({ "total_tokens": 12 }), 0, 0),
            (json!({}), 0, 0),
        ] {
            assert_eq!(read_usage(&usage), Usage { input_tokens, output_tokens }, "{usage}");
        }
    }
}
