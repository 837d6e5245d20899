//! Header fields of a request: lines of lists, conditions, and the declared format of the body.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_api::{
    ApiRequest,
    conditions::{Conditions, entity_tag},
};
use lambda_http::{Body, Request};

pub fn run(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), line[colon + 1..].trim_ascii());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) else { continue };
        headers.append(name, value);
    }
    lines(&headers);
    conditions(&headers);
    format_of_body(&headers);
}

fn request(headers: &HeaderMap) -> ApiRequest {
    let mut request = Request::new(Body::from("{}"));
    *request.headers_mut() = headers.clone();
    ApiRequest::new(request)
}

fn joined(headers: &HeaderMap, name: &str) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.join(&b", "[..])
}

fn lines(headers: &HeaderMap) {
    let request = request(headers);
    for name in headers.keys() {
        let is_once = headers.get_all(name).iter().count() == 1;
        assert_eq!(request.header(name.as_str()).is_some(), is_once && headers[name].to_str().is_ok(), "{name}");
        let list = String::from_utf8(joined(headers, name.as_str())).ok().filter(|list| list.is_ascii());
        assert_eq!(request.header_list(name.as_str()), list, "{name}");
    }
    let token = request.bearer_token();
    assert_eq!(token, token.trim());
    assert!(token.is_empty() || headers.contains_key(header::AUTHORIZATION));
}

fn conditions(headers: &HeaderMap) {
    let read = Conditions::of(headers);
    let mut one_line = HeaderMap::new();
    for name in ["if-match", "if-none-match"] {
        if headers.contains_key(name) {
            one_line.insert(name, HeaderValue::from_bytes(&joined(headers, name)).expect("a value"));
        }
    }
    assert_eq!(Conditions::of(&one_line), read, "lines of a list are one list");
    let change = read.for_change();
    assert_eq!(change.is_some(), !one_line.is_empty());
    for version in [0, 1, 2, 10, u64::MAX] {
        let is_allowed = change.as_ref().is_none_or(|condition| condition.allows(version));
        let unchanged = read.is_unchanged(version);
        assert_eq!(is_allowed, unchanged == Ok(false), "version {version}: a change is allowed, and a read sends it");
        assert!(unchanged.is_ok() || headers.contains_key("if-match"));
        let own = Conditions::of(&HeaderMap::from_iter([(header::IF_MATCH, entity_tag(version))]));
        let own = own.for_change().expect("a condition");
        assert!(own.allows(version) && !own.allows(version ^ 1));
    }
}

fn format_of_body(headers: &HeaderMap) {
    let status = |headers: &HeaderMap| request(headers).fields().map_err(|problem| problem.status).err();
    let refused = status(headers);
    assert!(matches!(refused, None | Some(415)), "{refused:?}");
    // Neither the case nor blanks around a parameter matter.
    let mut other = headers.clone();
    for (name, value) in &mut other {
        if name == header::CONTENT_TYPE {
            let spaced = value.as_bytes().split(|byte| *byte == b';').collect::<Vec<_>>().join(&b" ; "[..]);
            *value = HeaderValue::from_bytes(&spaced.to_ascii_uppercase()).expect("a value");
        }
    }
    assert_eq!(status(&other), refused, "{headers:?}");
}
