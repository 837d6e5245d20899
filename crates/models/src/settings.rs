//! The model of a deployment.

use crate::continuation::Continuation;

/// The built-in responder, which needs no model.
pub(crate) const BUILT_IN: &str = "built-in";
/// A server of OpenAI's protocol.
pub(crate) const OPENAI: &str = "openai";
/// Amazon Bedrock.
pub(crate) const BEDROCK: &str = "bedrock";

/// The settings of a deployment's model.
#[derive(Clone)]
pub struct Settings {
    /// `built-in`, `openai` or `bedrock`.
    pub provider: String,
    /// The provider's name of the model.
    pub model: String,
    /// Other models that a channel may choose.
    pub allowed: Vec<String>,
    /// The beginning of the paths of `openai`, such as `https://api.openai.com/v1`.
    pub url: Option<String>,
    /// The key of `openai`.
    pub api_key: Option<String>,
    /// The ARN of the Secrets Manager secret or SSM parameter with the key.
    pub api_key_ref: Option<String>,
    /// The way in which the provider is asked to continue a reply.
    pub continuation: Continuation,
}

impl std::fmt::Debug for Settings {
    /// Formats without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { provider, model, allowed, continuation, .. } = self;
        f.debug_struct("Settings")
            .field("provider", provider)
            .field("model", model)
            .field("allowed", allowed)
            .field("continuation", continuation)
            .finish_non_exhaustive()
    }
}

/// The reason why the settings cannot be used. Contains no key.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The provider is unknown.
    #[error("MODEL_PROVIDER must be built-in, openai or bedrock")]
    Provider,
    /// A variable that the provider requires is missing.
    #[error("set {0} for this MODEL_PROVIDER")]
    Missing(&'static str),
    /// The text is not a URL.
    #[error("MODEL_URL must be http or https, such as https://api.openai.com/v1")]
    Url,
    /// The way to continue a reply is unknown.
    #[error("MODEL_CONTINUATION must be none, assistant, prefix or continue_final_message")]
    Continuation,
    /// The way to continue a reply is none of Bedrock's.
    #[error("MODEL_CONTINUATION must be none or assistant for bedrock")]
    BedrockContinuation,
    /// The HTTP client could not be created.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The key could not be read.
    #[error("MODEL_API_KEY_REF: {0}")]
    Key(#[from] secrets::SecretError),
}

impl Settings {
    /// Reads `MODEL_PROVIDER` (default `built-in`), `MODEL`, `MODELS_ALLOWED` (separated by commas), `MODEL_URL`,
    /// `MODEL_API_KEY` or `MODEL_API_KEY_REF`, and `MODEL_CONTINUATION` (default `none`).
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let provider = variable("MODEL_PROVIDER").unwrap_or_else(|| BUILT_IN.to_owned());
        if ![BUILT_IN, OPENAI, BEDROCK].contains(&provider.as_str()) {
            return Err(SettingsError::Provider);
        }
        let needs = |name: &'static str| variable(name).ok_or(SettingsError::Missing(name));
        let model = if provider == BUILT_IN { String::new() } else { needs("MODEL")? };
        let url = if provider == OPENAI { Some(needs("MODEL_URL")?) } else { None };
        let allowed = variable("MODELS_ALLOWED").unwrap_or_default();
        let allowed = allowed.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let (api_key, api_key_ref) = (variable("MODEL_API_KEY"), variable("MODEL_API_KEY_REF"));
        let continuation = variable("MODEL_CONTINUATION")
            .map_or(Ok(Continuation::None), |name| Continuation::named(&name).ok_or(SettingsError::Continuation))?;
        if provider == BEDROCK && !matches!(continuation, Continuation::None | Continuation::Assistant) {
            return Err(SettingsError::BedrockContinuation);
        }
        Ok(Self { provider, model, allowed, url, api_key, api_key_ref, continuation })
    }

    /// Returns the channel's choice if it is allowed, otherwise the deployment's model.
    #[must_use]
    pub fn model(&self, choice: Option<&str>) -> &str {
        self.allowed.iter().find(|allowed| choice == Some(allowed.as_str())).unwrap_or(&self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        Settings::read(|name| value(name).map(str::to_owned))
    }

    #[test]
    fn a_channel_chooses_among_the_allowed() {
        let settings = [
            ("MODEL_PROVIDER", "openai"),
            ("MODEL_URL", "http://localhost/v1"),
            ("MODEL", "small"),
            ("MODELS_ALLOWED", "large, huge"),
            ("MODEL_API_KEY", "hush"),
        ];
        let settings = read(&settings).unwrap();
        for (choice, model) in [(None, "small"), (Some("large"), "large"), (Some("huge"), "huge"), (Some("x"), "small")]
        {
            assert_eq!(settings.model(choice), model);
        }
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn what_a_provider_needs_must_be_there() {
        assert_eq!(read(&[]).unwrap().provider, "built-in");
        assert!(matches!(read(&[("MODEL_PROVIDER", "magic")]), Err(SettingsError::Provider)));
        assert!(matches!(read(&[("MODEL_PROVIDER", "bedrock")]), Err(SettingsError::Missing("MODEL"))));
        let no_url = read(&[("MODEL_PROVIDER", "openai"), ("MODEL", "m")]);
        assert!(matches!(no_url, Err(SettingsError::Missing("MODEL_URL"))));
    }

    #[test]
    fn the_way_to_continue_a_reply_is_one_of_the_provider() {
        let with = |provider: &str, continuation: &str| {
            let variables = [
                ("MODEL_PROVIDER", provider),
                ("MODEL_URL", "http://localhost/v1"),
                ("MODEL", "m"),
                ("MODEL_CONTINUATION", continuation),
            ];
            read(&variables).map(|settings| settings.continuation)
        };
        let names = ["none", "assistant", "prefix", "continue_final_message"];
        let [none, assistant, prefix, continue_final_message] = names.map(|name| with("openai", name).unwrap());
        assert_eq!((none, assistant), (Continuation::None, Continuation::Assistant));
        assert_eq!((prefix, continue_final_message), (Continuation::Prefix, Continuation::ContinueFinalMessage));
        assert_eq!(with("bedrock", "assistant").unwrap(), Continuation::Assistant);
        assert_eq!(read(&[]).unwrap().continuation, Continuation::None);
        for name in ["prefix", "continue_final_message"] {
            assert!(matches!(with("bedrock", name), Err(SettingsError::BedrockContinuation)), "{name}");
        }
        for name in ["Assistant", "yes", " none"] {
            assert!(matches!(with("openai", name), Err(SettingsError::Continuation)), "{name}");
        }
    }
}
