//! Requests with their expected status.

use reqwest::Method;
use serde_json::Value;

use crate::Target;

/// Maximum size of a response, in bytes. Those of the steps are far smaller.
const ANSWER_BYTES: usize = 1024 * 1024;

/// The REST API as one user sees it.
pub(crate) struct Rest<'a> {
    client: reqwest::Client,
    base: &'a str,
    token: &'a str,
}

impl<'a> Rest<'a> {
    pub(crate) fn new(target: &'a Target, token: &'a str) -> Self {
        Self { client: reqwest::Client::new(), base: &target.rest, token }
    }

    /// Sends a request and returns the JSON of the response. Fails unless its status is `expected`.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Value, expected: u16) -> Result<Value, String> {
        self.ask_with(method, path, body, &[], expected).await
    }

    pub(crate) async fn ask_with(
        &self,
        method: Method,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
        expected: u16,
    ) -> Result<Value, String> {
        let (status, answer) = self.send(&method, path, &body, headers).await?;
        if status == expected {
            return Ok(serde_json::from_str(&answer).unwrap_or_default());
        }
        Err(format!("{method} {path} answered {status}, not {expected}: {answer}"))
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Result<(u16, String), String> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base)).bearer_auth(self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| format!("{method} {path}: {}", error.without_url()))?;
        let status = response.status().as_u16();
        let answer = read(&mut response).await.map_err(|error| format!("{method} {path}: {error}"))?;
        Ok((status, answer))
    }
}

/// Reads a body of at most [`ANSWER_BYTES`].
async fn read(response: &mut reqwest::Response) -> Result<String, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error.without_url().to_string())? {
        if body.len() + chunk.len() > ANSWER_BYTES {
            return Err(format!("the response is longer than {ANSWER_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        time::Duration,
    };

    use super::*;
    use crate::Tokens;

    #[tokio::test]
    async fn a_response_without_end_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let rest = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            assert!(socket.read(&mut [0; 4_096]).unwrap() > 0);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let block = vec![b'x'; 65_536];
            while socket.write_all(&block).is_ok() {}
        });
        let tokens = Tokens([String::new(), String::new()]);
        let patience = Duration::from_mins(1);
        let target = Target { rest, websocket: String::new(), tokens, patience, stream_patience: patience };
        let answer = Rest::new(&target, "token").ask(Method::GET, "/", Value::Null, 200).await;
        assert!(answer.unwrap_err().contains("longer than"));
    }
}
