//! The events of API Gateway as requests with every line of every header.

use std::task::{Context, Poll};

use lambda_http::{IntoResponse, LambdaEvent, Request, Service, request::LambdaRequest};

/// Adapts a service of requests to a function behind API Gateway.
///
/// An event has each header twice: with its last line in `headers`, with all lines in `multiValueHeaders`. The library's
/// adapter lets `headers` replace the lines. This one lets `headers` add only what `multiValueHeaders` lacks.
pub struct Adapter<'a, R, S>(lambda_http::Adapter<'a, R, S>);

impl<'a, R, S, E> From<S> for Adapter<'a, R, S>
where
    S: Service<Request, Response = R, Error = E>,
    S::Future: Send + 'a,
    R: IntoResponse,
{
    fn from(service: S) -> Self {
        Self(lambda_http::Adapter::from(service))
    }
}

impl<'a, R, S, E> Service<LambdaEvent<LambdaRequest>> for Adapter<'a, R, S>
where
    S: Service<Request, Response = R, Error = E>,
    S::Future: Send + 'a,
    R: IntoResponse,
{
    type Response = <lambda_http::Adapter<'a, R, S> as Service<LambdaEvent<LambdaRequest>>>::Response;
    type Error = E;
    type Future = <lambda_http::Adapter<'a, R, S> as Service<LambdaEvent<LambdaRequest>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut event: LambdaEvent<LambdaRequest>) -> Self::Future {
        keep_lines(&mut event.payload);
        self.0.call(event)
    }
}

/// Removes from `headers` what `multiValueHeaders` has.
fn keep_lines(event: &mut LambdaRequest) {
    if let LambdaRequest::ApiGatewayV1(event) = event {
        for name in event.multi_value_headers.keys() {
            event.headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_has_every_line() {
        let event = json!({
            "httpMethod": "GET",
            "path": "/channels",
            "headers": {"If-Match": "\"2\"", "X-Only-Single": "a"},
            "multiValueHeaders": {"If-Match": ["\"1\"", "\"2\""]},
            "requestContext": {"stage": "dev", "httpMethod": "GET", "identity": {}, "domainName": "localhost"},
        });
        let mut event: LambdaRequest = serde_json::from_str(&event.to_string()).unwrap();
        keep_lines(&mut event);
        let request: Request = event.into();
        assert_eq!(request.headers().get_all("if-match").iter().collect::<Vec<_>>(), ["\"1\"", "\"2\""]);
        assert_eq!(request.headers()["x-only-single"], "a");
    }
}
