//! Configured issuers, some of which have a secret by reference.
//!
//! A function trusts several issuers. A secret by reference is read when the first token of its issuer needs it. So a
//! lost secret stops no other issuer, and no cold start waits for it. Tokens of the issuer are then refused with
//! [`Refusal::KeysUnavailable`]. Any caller can send such tokens, so a failed read is repeated only after
//! [`RETRY_INTERVAL`].

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_config::SdkConfig;
use chat::model::time::Timestamp;
use tokio::sync::OnceCell;

use crate::{Issuer, Secret, SettingsError, Trusted, jwks, refusal::Refusal};

/// Minimum time between a failed read of a secret and the next one.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// An issuer, with its keys as soon as they are known.
pub(crate) struct Configured {
    pub(crate) settings: Issuer,
    trusted: OnceCell<Trusted>,
    source: Option<Source>,
}

/// The source of a secret by reference.
struct Source {
    config: SdkConfig,
    timing: jwks::Timing,
    failed_at: Mutex<Option<Timestamp>>,
}

impl std::fmt::Debug for Configured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configured").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Configured {
    /// Creates an issuer whose secret, if any, is already read.
    pub(crate) fn new(settings: Issuer, timing: jwks::Timing) -> Result<Self, SettingsError> {
        let trusted = Trusted::new(settings.clone(), timing)?;
        Ok(Self { settings, trusted: OnceCell::new_with(Some(trusted)), source: None })
    }

    /// Creates an issuer with a `secret_ref`, whose secret is read later. All other settings are checked now.
    pub(crate) fn deferred(settings: Issuer, config: &SdkConfig, timing: jwks::Timing) -> Result<Self, SettingsError> {
        if settings.secret.is_some() {
            return Err(SettingsError::TwoSecrets(settings.issuer));
        }
        let placeholder = Some(Secret::new("-".repeat(64)));
        Trusted::new(Issuer { secret: placeholder, ..settings.clone() }, timing)?;
        let source = Source { config: config.clone(), timing, failed_at: Mutex::default() };
        Ok(Self { settings, trusted: OnceCell::new(), source: Some(source) })
    }

    /// Returns whether the issuer has this secret, as far as it is known.
    pub(crate) fn has_secret(&self, bytes: &[u8]) -> bool {
        let known = self.trusted.get().and_then(|trusted| trusted.settings.secret.as_ref());
        known.is_some_and(|secret| secret.bytes() == bytes)
    }

    /// Returns whether the issuer's key set is still the one with this number. Renews an old set, as a request for one of
    /// its keys does.
    pub(crate) async fn is_current(&self, key_set: u64, now: Timestamp) -> bool {
        match self.trusted.get().and_then(|trusted| trusted.jwks.as_ref()) {
            Some(jwks) => jwks.is_current(key_set, now).await,
            None => false,
        }
    }

    /// Returns the issuer with its keys, and reads its secret if necessary. `is_taken` returns whether another issuer
    /// has a secret.
    ///
    /// # Errors
    /// [`Refusal::KeysUnavailable`] if the secret cannot be read or used.
    pub(crate) async fn trusted(&self, now: Timestamp, is_taken: impl Fn(&[u8]) -> bool) -> Result<&Trusted, Refusal> {
        if let Some(trusted) = self.trusted.get() {
            return Ok(trusted);
        }
        let source = self.source.as_ref().ok_or(Refusal::KeysUnavailable)?;
        let failed_at = *source.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if failed_at.is_some_and(|failed_at| failed_at.until(now) < RETRY_INTERVAL) {
            return Err(Refusal::KeysUnavailable);
        }
        let read = self.trusted.get_or_try_init(|| async {
            let mut settings = self.settings.clone();
            settings.resolve_secret(&source.config).await?;
            if settings.secret.as_ref().is_some_and(|secret| is_taken(secret.bytes())) {
                return Err(SettingsError::SharedSecret(settings.issuer));
            }
            Trusted::new(settings, source.timing)
        });
        read.await.map_err(|error| {
            tracing::error!(issuer = self.settings.issuer, %error, "secret of an issuer could not be used");
            *source.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            Refusal::KeysUnavailable
        })
    }
}
