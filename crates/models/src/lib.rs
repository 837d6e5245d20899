//! Language models on the network, behind [`chat::ports::language_model::LanguageModel`]: Amazon Bedrock, and servers
//! of OpenAI's chat-completions protocol (OpenAI, Ollama, vLLM, llama.cpp, OpenRouter, …).

mod bedrock;
mod bounded;
mod chunk;
mod conversation;
mod events;
pub mod limits;
mod observed;
mod openai;
mod reasoning;
mod refusal;
mod reply;
mod settings;

use chat::{
    app::agent::built_in::BuiltInResponder,
    ports::language_model::{LanguageModel, ModelError, Pieces, Prompt},
};

pub use crate::{
    bedrock::Bedrock,
    openai::OpenAi,
    settings::{Settings, SettingsError},
};

/// The model of a deployment.
#[derive(Debug)]
pub struct Model {
    provider: Provider,
    settings: Settings,
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
                Provider::OpenAi(OpenAi::new(settings.url.as_deref().unwrap_or_default(), key)?)
            }
            _ => Provider::Bedrock(Bedrock::new(config)),
        };
        Ok(Self { provider, settings })
    }
}

impl LanguageModel for Model {
    async fn reply(&self, prompt: Prompt) -> Result<Pieces, ModelError> {
        let model = self.name(prompt.model.as_deref());
        let call = async {
            match &self.provider {
                Provider::BuiltIn => BuiltInResponder.reply(prompt).await,
                Provider::OpenAi(openai) => openai.reply(&model, prompt).await,
                Provider::Bedrock(bedrock) => bedrock.reply(&model, prompt).await,
            }
        };
        observed::observe(self.provider.name(), &model, call).await
    }

    fn name(&self, choice: Option<&str>) -> String {
        match &self.provider {
            Provider::BuiltIn => BuiltInResponder.name(choice),
            _ => self.settings.model(choice).to_owned(),
        }
    }
}
