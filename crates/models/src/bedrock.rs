//! Amazon Bedrock: `ConverseStream` (its page in the Amazon Bedrock API reference).

use std::time::Duration;

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_bedrockruntime::{
    Client,
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::converse_stream,
    types::{
        ContentBlock, ContentBlockDelta, ConversationRole, ConverseStreamOutput, Message, SystemContentBlock,
        error::ConverseStreamOutputError,
    },
};
use chat::ports::language_model::{ModelError, Pieces, Prompt, Usage};

use crate::{
    bounded::{BodyError, BoundedAnswers},
    continuation::{Continuation, Prefix},
    conversation,
    refusal::is_of_length,
    reply::{self, Finish, Progress, Reply, Source},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client for all models that Bedrock converses with.
#[derive(Debug)]
pub struct Bedrock {
    client: Client,
}

impl Bedrock {
    /// Creates a client for the configuration's region.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        // No time-out or retry here: the agent limits pauses within a reply, counts calls and decides on retries.
        let config = aws_sdk_bedrockruntime::config::Builder::from(config)
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .retry_config(RetryConfig::disabled())
            .interceptor(BoundedAnswers)
            .build();
        Self { client: Client::from_conf(config) }
    }

    /// Starts a reply, or continues one from its prefix.
    pub async fn reply(&self, model: &str, prompt: Prompt) -> Result<Pieces, ModelError> {
        let system = SystemContentBlock::Text(conversation::instructions(&prompt));
        let prefix = Prefix::of(&prompt, Continuation::Assistant);
        let parts = conversation::parts(&prompt.turns).into_iter().chain(prefix.as_ref().and_then(Prefix::part));
        let messages = parts.map(|part| {
            let role = if part.is_user { ConversationRole::User } else { ConversationRole::Assistant };
            Message::builder().role(role).content(ContentBlock::Text(part.text)).build()
        });
        let messages = messages.collect::<Result<_, _>>().map_err(|error| ModelError::Malformed(error.to_string()))?;
        let call = self.client.converse_stream().model_id(model).system(system).set_messages(Some(messages));
        let reply = call.send().await.map_err(|error| refused(&error))?;
        Ok(reply::pieces(Conversation { output: reply }, prefix.as_ref()))
    }
}

/// The event stream of a reply.
struct Conversation {
    output: converse_stream::ConverseStreamOutput,
}

impl Source for Conversation {
    async fn advance(&mut self, reply: &mut Reply) -> Result<Progress, ModelError> {
        let Some(event) = self.output.stream.recv().await.map_err(|error| interrupted(&error))? else {
            return Ok(Progress::End);
        };
        match event {
            ConverseStreamOutput::ContentBlockDelta(delta) => {
                if let Some(ContentBlockDelta::Text(text)) = delta.delta {
                    reply.text(&text);
                }
            }
            ConverseStreamOutput::MessageStop(stop) => {
                if let Some(finish) = Finish::of(stop.stop_reason.as_str())? {
                    reply.finish(finish);
                }
            }
            ConverseStreamOutput::Metadata(metadata) => {
                if let Some(usage) = metadata.usage {
                    let count = |tokens: i32| u64::try_from(tokens).unwrap_or_default();
                    let (input_tokens, output_tokens) = (count(usage.input_tokens), count(usage.output_tokens));
                    reply.usage(Usage { input_tokens, output_tokens });
                }
            }
            // Tool calls, reasoning, and events of later versions.
            _ => {}
        }
        Ok(if reply.is_whole() { Progress::End } else { Progress::More })
    }
}

/// Returns the error of a refused request. If its body is too long to be read, the status decides.
fn refused<E>(error: &SdkError<E, HttpResponse>) -> ModelError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error.raw_response().map(HttpResponse::status).filter(|status| !status.is_success());
    match (BodyError::cause_of(error), status) {
        (Some(BodyError::Refusal), Some(status)) => {
            let status_and_size = format!("status {}, {}", status.as_u16(), BodyError::Refusal);
            if status.is_server_error() || status.as_u16() == 429 {
                ModelError::Unavailable(status_and_size)
            } else {
                ModelError::Refused(status_and_size)
            }
        }
        _ => failed(error),
    }
}

/// Returns the error of an interrupted reply: an exception of the event stream, or the end of the connection.
fn interrupted<R: std::fmt::Debug + 'static>(error: &SdkError<ConverseStreamOutputError, R>) -> ModelError {
    let SdkError::ServiceError(context) = error else { return failed(error) };
    match context.err() {
        ConverseStreamOutputError::ThrottlingException(_) => ModelError::Busy { retry_after: None },
        ConverseStreamOutputError::ValidationException(error) => invalid(error.message()),
        error => ModelError::Unavailable(error.to_string()),
    }
}

/// Returns an error by its code ("Errors" of `ConverseStream`).
fn failed<E, R>(error: &SdkError<E, R>) -> ModelError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    match BodyError::cause_of(error) {
        Some(BodyError::NoEventStream) => return ModelError::Malformed(BodyError::NoEventStream.to_string()),
        Some(error) => return ModelError::Oversized(error.to_string()),
        None => {}
    }
    let SdkError::ServiceError(context) = error else {
        return ModelError::Unavailable(DisplayErrorContext(error).to_string());
    };
    let code = context.err().code().unwrap_or_default();
    match code {
        "ThrottlingException" | "ServiceQuotaExceededException" => ModelError::Busy { retry_after: None },
        "ValidationException" => invalid(context.err().message()),
        "AccessDeniedException" | "ResourceNotFoundException" => ModelError::Refused(code.to_owned()),
        _ => ModelError::Unavailable(code.to_owned()),
    }
}

/// Returns the error of an invalid request. A request that is too long has no code of its own, and each model has its
/// own text for it.
fn invalid(message: Option<&str>) -> ModelError {
    if is_of_length(message.unwrap_or_default()) {
        ModelError::TooLong
    } else {
        ModelError::Refused("ValidationException".to_owned())
    }
}
