//! The HTTP client of a function: one pool of connections and one TLS setup for all SDK clients.
//!
//! By default, every SDK client reads and parses the system's root certificates twice: when it is created, and before
//! its first call. That would be most of a function's start-up time.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    connector_metadata::ConnectorMetadata,
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// Maximum size of a response, in bytes. The SDK reads a response to its end. The largest are DynamoDB's of 16 MB of
/// items (`BatchGetItem` in its API reference), which are longer as JSON, and a model's reply of 32 MiB.
const RESPONSE_BYTES: usize = 40 * 1024 * 1024;

/// Connection and read time-out. They distinguish connectors.
type TimeOuts = (Option<Duration>, Option<Duration>);

/// Connectors by their time-outs. Nearly all clients share one.
type Connectors = Vec<(TimeOuts, Arc<ByScheme>)>;

/// An HTTP client that SDK clients share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Http(Arc<RwLock<Connectors>>);

impl Http {
    /// Sets up TLS for clients with these settings. Lambda gives a full processor during the init of a function.
    /// Afterwards the processor share depends on the function's memory.
    pub(crate) fn prepare_tls(&self, settings: &HttpConnectorSettings) {
        self.connector(settings).tls();
    }

    /// Returns the connector with these settings, and creates it when it is first needed.
    pub(crate) fn shared(&self, settings: &HttpConnectorSettings) -> SharedHttpConnector {
        SharedHttpConnector::new(Shared(self.connector(settings)))
    }

    fn connector(&self, settings: &HttpConnectorSettings) -> Arc<ByScheme> {
        let time_outs = (settings.connect_timeout(), settings.read_timeout());
        let find = |known: &[(TimeOuts, Arc<ByScheme>)]| {
            known.iter().find(|(of, _)| *of == time_outs).map(|(_, connector)| Arc::clone(connector))
        };
        if let Some(connector) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return connector;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        find(&known).unwrap_or_else(|| {
            let connector = Arc::new(ByScheme { settings: settings.clone(), ..ByScheme::default() });
            known.push((time_outs, Arc::clone(&connector)));
            connector
        })
    }
}

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.shared(settings)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some(Cow::Borrowed("1.x"))))
    }
}

#[derive(Debug)]
struct Shared(Arc<ByScheme>);

impl HttpConnector for Shared {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = if request.uri().starts_with("http:") { self.0.plain() } else { self.0.tls() };
        let call = connector.call(request);
        HttpConnectorFuture::new(async move { Ok(call.await?.map(bounded)) })
    }
}

/// Returns a body that fails after [`RESPONSE_BYTES`].
fn bounded(body: SdkBody) -> SdkBody {
    SdkBody::from_body_1_x(Limited::new(body, RESPONSE_BYTES))
}

/// The connectors for HTTP and HTTPS, each created when it is first needed.
#[derive(Debug, Default)]
struct ByScheme {
    settings: HttpConnectorSettings,
    plain: OnceLock<Connector>,
    tls: OnceLock<Connector>,
}

impl ByScheme {
    fn plain(&self) -> &Connector {
        self.plain.get_or_init(|| {
            let mut builder = Connector::builder().connector_settings(self.settings.clone());
            builder.set_proxy_config(Some(ProxyConfig::from_env()));
            builder.build_http()
        })
    }

    fn tls(&self) -> &Connector {
        self.tls.get_or_init(|| {
            let builder = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
            let mut builder = builder.connector_settings(self.settings.clone());
            builder.set_proxy_config(Some(ProxyConfig::from_env()));
            builder.build()
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_response_of_any_service_has_a_limit() {
        let longest = bounded(SdkBody::from(vec![0; RESPONSE_BYTES])).collect().await.unwrap();
        assert_eq!(longest.to_bytes().len(), RESPONSE_BYTES);
        assert!(bounded(SdkBody::from(vec![0; RESPONSE_BYTES + 1])).collect().await.is_err());
    }

    #[test]
    fn clients_share_a_connector_unless_their_time_outs_differ() {
        let http = Http::default();
        let settings = |seconds| HttpConnectorSettings::builder().connect_timeout(Duration::from_secs(seconds)).build();
        let first = http.connector(&settings(1));
        assert!(Arc::ptr_eq(&first, &http.clone().connector(&settings(1))));
        assert!(!Arc::ptr_eq(&first, &http.connector(&settings(2))));
    }

    #[test]
    fn tls_is_there_once_prepared_and_no_sooner() {
        let http = Http::default();
        let settings = HttpConnectorSettings::builder().connect_timeout(Duration::from_secs(1)).build();
        let connector = http.connector(&settings);
        connector.plain();
        assert!(connector.tls.get().is_none());
        http.prepare_tls(&settings);
        assert!(connector.tls.get().is_some());
    }
}
