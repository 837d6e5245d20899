//! Language models on the network, behind [`chat::ports::language_model::LanguageModel`]: Amazon Bedrock, and servers
//! of OpenAI's chat-completions protocol (OpenAI, Ollama, vLLM, llama.cpp, OpenRouter, …).

mod bedrock;
mod bounded;
mod chunk;
mod continuation;
mod conversation;
mod events;
pub mod limits;
mod observed;
mod openai;
mod reasoning;
mod refusal;
mod reply;
mod settings;

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chat::{
    app::agent::built_in::BuiltInResponder,
    ports::language_model::{LanguageModel, ModelError, Pieces, Prompt},
};

pub use crate::{
    bedrock::Bedrock,
    continuation::Continuation,
    openai::OpenAi,
    settings::{Settings, SettingsError},
};

/// The model of a deployment.
#[derive(Debug)]
pub struct Model {
    provider: Provider,
    settings: Settings,
    /// Names of models that refused to continue a reply.
    refusing: Mutex<HashSet<String>>,
}

#[derive(Debug)]
enum Provider {
    BuiltIn,
    OpenAi(OpenAi),
    Bedrock(Bedrock),
}

impl Provider {
    /// Returns the provider's name, by the conventions if they define one.
    fn name(&self) -> &'static str {
        match self {
            Self::BuiltIn => "switchboard.built_in",
            Self::OpenAi(_) => "openai",
            Self::Bedrock(_) => "aws.bedrock",
        }
    }
}

impl Model {
    /// Creates the model that the environment selects ([`Settings::from_env`]).
    pub async fn from_env(config: &aws_config::SdkConfig) -> Result<Self, SettingsError> {
        let settings = Settings::from_env()?;
        let provider = match settings.provider.as_str() {
            settings::BUILT_IN => Provider::BuiltIn,
            settings::OPENAI => {
                let key = match &settings.api_key_ref {
                    Some(reference) => Some(secrets::read(config, reference).await?),
                    None => settings.api_key.clone(),
                };
                let openai = OpenAi::new(settings.url.as_deref().unwrap_or_default(), key)?;
                Provider::OpenAi(openai.continuing(settings.continuation))
            }
            _ => Provider::Bedrock(Bedrock::new(config)),
        };
        Ok(Self { provider, settings, refusing: Mutex::default() })
    }

    fn refusing(&self) -> MutexGuard<'_, HashSet<String>> {
        self.refusing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LanguageModel for Model {
    /// Starts a reply, or continues one from its prefix. A model that refuses a request with a prefix counts as one that
    /// continues no reply, until the process ends. The error is then transient, so that the agent begins another reply.
    async fn reply(&self, prompt: Prompt) -> Result<Pieces, ModelError> {
        let model = self.name(prompt.model.as_deref());
        let is_continuation = prompt.prefix.is_some();
        let call = async {
            match &self.provider {
                Provider::BuiltIn => BuiltInResponder.reply(prompt).await,
                Provider::OpenAi(openai) => openai.reply(&model, prompt).await,
                Provider::Bedrock(bedrock) => bedrock.reply(&model, prompt).await,
            }
        };
        let replied = observed::observe(self.provider.name(), &model, call).await;
        match replied {
            Err(ModelError::Refused(reason)) if is_continuation => {
                tracing::warn!(%model, %reason, "model refused to continue a reply");
                self.refusing().insert(model);
                Err(ModelError::Unavailable(format!("it refused to continue a reply: {reason}")))
            }
            replied => replied,
        }
    }

    fn name(&self, choice: Option<&str>) -> String {
        match &self.provider {
            Provider::BuiltIn => BuiltInResponder.name(choice),
            _ => self.settings.model(choice).to_owned(),
        }
    }

    fn continues(&self, choice: Option<&str>) -> bool {
        match &self.provider {
            Provider::BuiltIn => BuiltInResponder.continues(choice),
            _ => self.settings.continuation != Continuation::None && !self.refusing().contains(&self.name(choice)),
        }
    }
}

#[cfg(test)]
mod tests {
    use chat::ports::language_model::Turn;
    use serde_json::json;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

    use super::*;

    /// Returns the model of a server at this URL.
    fn model(url: &str, continuation: &str) -> Model {
        let variables = [
            ("MODEL_PROVIDER", "openai"),
            ("MODEL_URL", url),
            ("MODEL", "small"),
            ("MODELS_ALLOWED", "large"),
            ("MODEL_CONTINUATION", continuation),
        ];
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let settings = Settings::read(|name| value(name).map(str::to_owned)).unwrap();
        let openai = OpenAi::new(url, None).unwrap().continuing(settings.continuation);
        Model { provider: Provider::OpenAi(openai), settings, refusing: Mutex::default() }
    }

    fn prompt(prefix: Option<&str>) -> Prompt {
        let turns = vec![Turn { speaker: Some("alice".to_owned()), text: "hi".to_owned() }];
        Prompt { instructions: None, turns, model: None, prefix: prefix.map(str::to_owned) }
    }

    #[test]
    fn a_model_continues_replies_if_the_deployment_says_so() {
        for (continuation, continues) in
            [("none", false), ("assistant", true), ("prefix", true), ("continue_final_message", true)]
        {
            let model = model("http://127.0.0.1:9", continuation);
            assert_eq!(
                (model.continues(None), model.continues(Some("large"))),
                (continues, continues),
                "{continuation}"
            );
        }
    }

    #[tokio::test]
    async fn a_model_that_refuses_to_continue_begins_another_reply() {
        let server = MockServer::start().await;
        // The words of Claude on Bedrock (anomalyco/opencode, issue 29760).
        let message = "This model does not support assistant message prefill.";
        let refusal = json!({ "error": { "message": message, "type": "invalid_request_error" } });
        let refusal = ResponseTemplate::new(400).set_body_json(refusal);
        Mock::given(method("POST")).respond_with(refusal).mount(&server).await;
        let model = model(&server.uri(), "assistant");
        let error = model.reply(prompt(Some("I said"))).await.err().unwrap();
        assert!(error.is_transient(), "{error}");
        assert_eq!((model.continues(None), model.continues(Some("large"))), (false, true));
        let error = model.reply(prompt(None)).await.err().unwrap();
        assert_eq!(error, ModelError::Refused("status 400 invalid_request_error".to_owned()));
    }

    #[tokio::test]
    async fn a_busy_model_still_continues_replies() {
        let server = MockServer::start().await;
        for status in [429, 500] {
            server.reset().await;
            Mock::given(method("POST")).respond_with(ResponseTemplate::new(status)).mount(&server).await;
            let model = model(&server.uri(), "prefix");
            assert!(model.reply(prompt(Some("I said"))).await.is_err());
            assert!(model.continues(None), "{status}");
        }
    }
}
