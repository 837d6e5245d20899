//! Secrets by reference. They are read from the operator's store, so that no template, parameter or environment variable
//! contains them.

use aws_config::SdkConfig;

mod ssm;

/// Maximum size of a secret, in bytes ("AWS Secrets Manager quotas"). A parameter of SSM has less.
pub const SECRET_BYTES: usize = 65_536;

/// The reason why a secret could not be read. Does not contain the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The reference has neither of the two kinds of ARN.
    #[error("a reference must be the ARN of a Secrets Manager secret or of an SSM parameter")]
    Reference,
    /// The service did not return it.
    #[error("the secret could not be read: {0}")]
    Unreadable(String),
    /// The secret has no text.
    #[error("the secret holds no text")]
    Empty,
    /// The secret is longer than the service allows.
    #[error("the secret is longer than {SECRET_BYTES} bytes")]
    TooLong,
}

/// Returns the text of a Secrets Manager secret or of an SSM parameter, by its ARN.
pub async fn read(config: &SdkConfig, reference: &str) -> Result<String, SecretError> {
    // arn:partition:service:region:account:resource
    let text = match reference.split(':').nth(2) {
        Some("secretsmanager") => {
            let call = aws_sdk_secretsmanager::Client::new(config).get_secret_value().secret_id(reference);
            call.send().await.map_err(|error| unreadable(&error))?.secret_string
        }
        Some("ssm") => ssm::value(config, reference).await.map_err(|error| unreadable(&error))?,
        _ => return Err(SecretError::Reference),
    };
    checked(text.unwrap_or_default())
}

fn checked(text: String) -> Result<String, SecretError> {
    match text.len() {
        0 => Err(SecretError::Empty),
        1..=SECRET_BYTES => Ok(text),
        _ => Err(SecretError::TooLong),
    }
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> SecretError {
    // The SDK's `DisplayErrorContext` adds the response, and so the secret, if the response has another form.
    let causes = std::iter::successors(Some(error), |error| error.source());
    SecretError::Unreadable(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_a_length() {
        assert!(matches!(checked(String::new()), Err(SecretError::Empty)));
        assert_eq!(checked("x".repeat(SECRET_BYTES)).unwrap().len(), SECRET_BYTES);
        assert!(matches!(checked("x".repeat(SECRET_BYTES + 1)), Err(SecretError::TooLong)));
    }
}
