//! The model of a deployment.

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
}

impl std::fmt::Debug for Settings {
    /// Formats without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { provider, model, allowed, .. } = self;
        f.debug_struct("Settings")
            .field("provider", provider)
            .field("model", model)
            .field("allowed", allowed)
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
    /// The HTTP client could not be created.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The key could not be read.
    #[error("MODEL_API_KEY_REF: {0}")]
    Key(#[from] secrets::SecretError),
}

impl Settings {
    /// Reads `MODEL_PROVIDER` (default `built-in`), `MODEL`, `MODELS_ALLOWED` (separated by commas), `MODEL_URL`, and
    /// `MODEL_API_KEY` or `MODEL_API_KEY_REF`.
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
        Ok(Self { provider, model, allowed, url, api_key, api_key_ref })
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
}
