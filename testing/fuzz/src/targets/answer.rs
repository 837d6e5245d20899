//! Requirements of every response of the REST API.

use serde_json::Value;

/// A response as a client sees it.
pub struct Answer<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub header: &'a dyn Fn(&str) -> Option<String>,
    pub body: &'a str,
}

impl Answer<'_> {
    /// Checks a response to `HEAD`: no error of the server, and no body.
    pub fn check_head(&self) -> Value {
        assert!((200..500).contains(&self.status) && self.body.is_empty(), "{}: {}", self.status, self.body);
        Value::Null
    }

    /// Checks a response: no error of the server, and JSON as in the contract.
    pub fn check(&self) -> Value {
        let Self { status, content_type, header, body } = self;
        assert!((200..500).contains(status), "{status}: {body}");
        if matches!(*status, 204 | 304) || (*status == 202 && body.is_empty()) {
            assert!(body.is_empty(), "{status}: {body}");
            return Value::Null;
        }
        let json: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{status}: {error}: {body}"));
        if *status < 400 {
            assert_eq!(*content_type, Some("application/json"));
            return json;
        }
        assert_eq!(*content_type, Some("application/problem+json"), "{body}");
        assert_eq!(json["type"], "about:blank");
        assert_eq!(json["status"], *status);
        assert!(["title", "code", "detail"].iter().all(|name| json[name].is_string()), "{body}");
        for error in json["errors"].as_array().into_iter().flatten() {
            assert!(["field", "code", "message"].iter().all(|name| error[name].is_string()), "{body}");
        }
        match status {
            401 => assert!(header("x-amzn-remapped-www-authenticate").or(header("www-authenticate")).is_some()),
            405 => assert!(header("allow").is_some()),
            429 => assert!(header("retry-after").is_some()),
            _ => {}
        }
        json
    }
}
