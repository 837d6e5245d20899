//! The SDK's client of the management API, as lean as it can be configured.

use aws_config::SdkConfig;
use aws_runtime::{
    invocation_id::InvocationIdInterceptor, request_info::RequestInfoInterceptor,
    service_clock_skew::ServiceClockSkewInterceptor, user_agent::UserAgentInterceptor,
};
use aws_sdk_apigatewaymanagement::{
    Client,
    config::{
        Builder, ConfigBag, Intercept, StalledStreamProtectionConfig,
        endpoint::{Endpoint, EndpointFuture, Params, ResolveEndpoint},
        interceptors::BeforeSerializationInterceptorContextRef,
        retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::BoxError,
};
use aws_smithy_runtime_api::client::{
    http::{SharedHttpConnector, http_client_fn},
    interceptors::disable_interceptor,
};

use super::identity::OneIdentity;

/// Creates a client for the sockets behind `url`, with the region, the credentials and the clock of `config`.
///
/// It neither retries nor measures time: the caller knows its deadline. Its endpoint is fixed, it keeps one identity,
/// and its requests have no header that describes the client.
#[must_use]
pub fn client(connector: SharedHttpConnector, config: &SdkConfig, url: &str) -> Client {
    with_identity(OneIdentity::default(), connector, config, url)
}

/// Creates a client that shares its identity.
pub(super) fn with_identity(
    identity: OneIdentity,
    connector: SharedHttpConnector,
    config: &SdkConfig,
    url: &str,
) -> Client {
    let endpoint = Endpoint::builder().url(url.trim_end_matches('/').to_owned()).build();
    let config = Builder::from(config)
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .endpoint_resolver(Fixed(endpoint))
        .identity_cache(identity)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .interceptor(Lean)
        .build();
    Client::from_conf(config)
}

/// The one endpoint of a stage. The default resolver evaluates the rules for all regions and partitions.
#[derive(Debug)]
struct Fixed(Endpoint);

impl ResolveEndpoint for Fixed {
    fn resolve_endpoint<'a>(&'a self, _: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::ready(Ok(self.0.clone()))
    }
}

/// Disables the interceptors of the SDK that only describe a request: user agent, attempt, id of the invocation, and
/// the correction of the clock for the next attempt.
#[derive(Debug)]
struct Lean;

impl Intercept for Lean {
    fn name(&self) -> &'static str {
        "Lean"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        const CAUSE: &str = "a push is one small request";
        let state = config.interceptor_state();
        state.store_put(disable_interceptor::<InvocationIdInterceptor>(CAUSE));
        state.store_put(disable_interceptor::<RequestInfoInterceptor>(CAUSE));
        state.store_put(disable_interceptor::<ServiceClockSkewInterceptor>(CAUSE));
        state.store_put(disable_interceptor::<UserAgentInterceptor>(CAUSE));
        Ok(())
    }
}
