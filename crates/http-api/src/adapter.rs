//! The events of API Gateway as requests with every line of every header.

use std::{
    future::{Future, ready},
    pin::Pin,
    task::{Context, Poll},
};

use lambda_http::{
    Body, IntoResponse, LambdaEvent, Request, Response, Service, aws_lambda_events::apigw::ApiGatewayProxyRequest,
    request::LambdaRequest,
};
use serde::Deserialize;

/// An event of a REST API ("Input format of a Lambda function for proxy integration" in the API Gateway developer
/// guide). The library reads an event twice, since it could be of another service.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct GatewayEvent(ApiGatewayProxyRequest);

/// A response that is complete. The library would find out its encoding, and copy its headers and its body.
#[derive(Debug)]
pub struct Complete(pub Response<Body>);

impl IntoResponse for Complete {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(ready(self.0))
    }
}

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

impl<'a, R, S, E> Service<LambdaEvent<GatewayEvent>> for Adapter<'a, R, S>
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

    fn call(&mut self, event: LambdaEvent<GatewayEvent>) -> Self::Future {
        let LambdaEvent { payload: GatewayEvent(mut payload), context } = event;
        keep_lines(&mut payload);
        self.0.call(LambdaEvent { payload: LambdaRequest::ApiGatewayV1(payload), context })
    }
}

/// Removes from `headers` what `multiValueHeaders` has.
fn keep_lines(event: &mut ApiGatewayProxyRequest) {
    for name in event.multi_value_headers.keys() {
        event.headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

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
        let GatewayEvent(mut event) = serde_json::from_str(&event.to_string()).unwrap();
        keep_lines(&mut event);
        let request: Request = LambdaRequest::ApiGatewayV1(event).into();
        assert_eq!(request.headers().get_all("if-match").iter().collect::<Vec<_>>(), ["\"1\"", "\"2\""]);
        assert_eq!(request.headers()["x-only-single"], "a");
    }

    #[test]
    fn a_complete_response_is_as_it_was() {
        for body in [|| Body::Empty, || Body::Text("{}".to_owned())] {
            let response = Response::builder().status(201).header("etag", "\"1\"").body(body()).unwrap();
            let mut sent = Complete(response).into_response();
            let Poll::Ready(sent) = sent.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
            assert_eq!((sent.status().as_u16(), sent.body()), (201, &body()));
            assert_eq!(sent.headers()["etag"], "\"1\"");
        }
    }
}
