//! Secrets by reference: read at the cold start from where an operator keeps them, so that no template, no parameter
//! and no environment variable holds them.

use aws_config::SdkConfig;

use crate::settings::{Issuer, Secret, SettingsError};

/// Why a secret could not be read. Names the issuer and never the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Neither of the two kinds of ARN.
    #[error("secret_ref of issuer {0} must be the ARN of a Secrets Manager secret or of an SSM parameter")]
    Reference(String),
    /// The service did not give it.
    #[error("the secret of issuer {issuer} could not be read: {cause}")]
    Unreadable {
        /// The issuer.
        issuer: String,
        /// What the service said.
        cause: String,
    },
    /// There is nothing in it that could be a secret.
    #[error("the secret of issuer {0} holds no text")]
    Empty(String),
}

/// Fills in the secret of an issuer that has it by reference.
pub(crate) async fn resolve(config: &SdkConfig, issuer: &mut Issuer) -> Result<(), SettingsError> {
    let Some(reference) = &issuer.secret_ref else { return Ok(()) };
    let name = || issuer.issuer.clone();
    if issuer.secret.is_some() {
        return Err(SettingsError::TwoSecrets(name()));
    }
    let unreadable = |cause: String| SecretError::Unreadable { issuer: name(), cause };
    // arn:partition:service:region:account:resource
    let text = match reference.split(':').nth(2) {
        Some("secretsmanager") => {
            let call = aws_sdk_secretsmanager::Client::new(config).get_secret_value().secret_id(reference);
            let found = call.send().await.map_err(|error| unreadable(describe(&error)))?;
            found.secret_string
        }
        Some("ssm") => {
            let call = aws_sdk_ssm::Client::new(config).get_parameter().name(reference).with_decryption(true);
            let found = call.send().await.map_err(|error| unreadable(describe(&error)))?;
            found.parameter.and_then(|parameter| parameter.value)
        }
        _ => return Err(SecretError::Reference(name()).into()),
    };
    let text = text.filter(|text| !text.is_empty()).ok_or_else(|| SecretError::Empty(name()))?;
    issuer.secret = Some(Secret::new(text));
    Ok(())
}

fn describe<E: std::error::Error>(error: &E) -> String {
    aws_sdk_ssm::error::DisplayErrorContext(error).to_string()
}
