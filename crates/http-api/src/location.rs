//! Addresses of resources, for `Location`.

use http::HeaderValue;
use lambda_http::{Request, RequestExt, request::RequestContext};

use crate::headers::only;

/// Returns the address of `segment` below the address of a request.
///
/// It is an absolute URL, so that a client may resolve it against any base, also against one that ends with the stage.
/// It begins as the client's does: with the host that the client has addressed, and with the stage or the base path of
/// a custom domain. API Gateway accepts only hosts of the API, and states the protocol. The local run has `http`.
pub(crate) fn below(request: &Request, segment: &str) -> Option<HeaderValue> {
    let Some(RequestContext::ApiGatewayV1(context)) = request.request_context_ref() else { return None };
    let host = only(request.headers(), "host").or(context.domain_name.as_deref())?;
    let path = context.path.as_deref()?.trim_matches('/');
    let scheme = if only(request.headers(), "x-forwarded-proto") == Some("http") { "http" } else { "https" };
    HeaderValue::try_from(format!("{scheme}://{host}/{path}/{segment}")).ok()
}

#[cfg(test)]
mod tests {
    use lambda_http::request::LambdaRequest;
    use serde_json::{Value, json};

    use super::*;

    const HOST: &str = "api123.execute-api.eu-west-1.amazonaws.com";

    /// Returns a request whose client sent `path`, with these headers.
    fn sent(path: &str, headers: &Value) -> Request {
        let event = json!({
            "resource": "/channels",
            "path": "/channels",
            "httpMethod": "POST",
            "headers": {},
            "multiValueHeaders": headers,
            "requestContext": {
                "stage": "stage",
                "path": path,
                "resourcePath": "/channels",
                "httpMethod": "POST",
                "identity": {},
                "domainName": HOST,
            },
        });
        serde_json::from_str::<LambdaRequest>(&event.to_string()).unwrap().into()
    }

    #[test]
    fn a_location_begins_as_the_client_s_address_does() {
        for (path, location) in [
            ("/stage/channels", "/stage/channels/general"),
            ("/stage/channels/", "/stage/channels/general"),
            // Custom domains, with and without a base path.
            ("/base/channels", "/base/channels/general"),
            ("/channels", "/channels/general"),
            ("//evil.example/channels", "/evil.example/channels/general"),
        ] {
            for headers in [json!({}), json!({"Host": [HOST], "X-Forwarded-Proto": ["https"]})] {
                let found = below(&sent(path, &headers), "general").unwrap();
                assert_eq!(found, format!("https://{HOST}{location}"), "{path} {headers}");
            }
        }
        let local = json!({"Host": ["127.0.0.1:3000"], "X-Forwarded-Proto": ["http"]});
        assert_eq!(below(&sent("/channels", &local), "a:1").unwrap(), "http://127.0.0.1:3000/channels/a:1");
        assert_eq!(below(&Request::default(), "general"), None);
    }
}
