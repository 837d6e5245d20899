//! Which method of which resource a request is for.

use std::collections::BTreeMap;

use crate::stack::{Method, RestApi};

/// The resources of an API, by their segments.
pub(super) struct Routes {
    stage: String,
    resources: Vec<Resource>,
}

struct Resource {
    segments: Vec<Segment>,
    /// Indices into the API's methods.
    methods: Vec<usize>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    // The order is the precedence: API Gateway prefers the most exact resource.
    Static(String),
    Parameter(String),
    Greedy(String),
}

/// A method that takes a request.
pub(super) struct Matched<'a> {
    pub(super) method: &'a Method,
    pub(super) path_parameters: BTreeMap<String, String>,
    /// The path without the stage.
    pub(super) path: String,
}

impl Routes {
    pub(super) fn new(api: &RestApi) -> Self {
        let mut by_path: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, method) in api.methods.iter().enumerate() {
            by_path.entry(&method.path).or_default().push(index);
        }
        let mut resources: Vec<Resource> =
            by_path.into_iter().map(|(path, methods)| Resource { segments: segments(path), methods }).collect();
        resources.sort_by(|a, b| a.segments.cmp(&b.segments));
        Self { stage: api.stage.clone(), resources }
    }

    /// The method for a request: the exact one before `ANY`. A path may start with the stage.
    pub(super) fn find<'a>(&self, api: &'a RestApi, http_method: &str, path: &str) -> Option<Matched<'a>> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let unstaged = parts.strip_prefix(&[self.stage.as_str()]);
        let candidates = [Some(parts.as_slice()), unstaged];
        for parts in candidates.into_iter().flatten() {
            for resource in &self.resources {
                let Some(path_parameters) = matches(&resource.segments, parts) else { continue };
                let methods = || resource.methods.iter().filter_map(|index| api.methods.get(*index));
                let exact = methods().find(|method| method.http_method == http_method);
                if let Some(method) = exact.or_else(|| methods().find(|method| method.http_method == "ANY")) {
                    let path = if parts.len() == path.split('/').filter(|part| !part.is_empty()).count() {
                        path.to_owned()
                    } else {
                        format!("/{}", parts.join("/"))
                    };
                    return Some(Matched { method, path_parameters, path });
                }
            }
        }
        None
    }
}

fn segments(path: &str) -> Vec<Segment> {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts
        .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => match name.strip_suffix('+') {
                Some(name) => Segment::Greedy(name.to_owned()),
                None => Segment::Parameter(name.to_owned()),
            },
            None => Segment::Static(part.to_owned()),
        })
        .collect()
}

fn matches(segments: &[Segment], parts: &[&str]) -> Option<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    let mut rest = parts;
    for segment in segments {
        match segment {
            Segment::Greedy(name) => {
                if rest.is_empty() {
                    return None;
                }
                parameters.insert(name.clone(), rest.join("/"));
                rest = &[];
            }
            Segment::Static(text) => {
                let (part, others) = rest.split_first()?;
                if part != text {
                    return None;
                }
                rest = others;
            }
            Segment::Parameter(name) => {
                let (part, others) = rest.split_first()?;
                let decoded = percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
                parameters.insert(name.clone(), decoded);
                rest = others;
            }
        }
    }
    rest.is_empty().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stack::Integration;

    fn api(methods: &[(&str, &str)]) -> RestApi {
        let methods = methods.iter().map(|(http_method, path)| Method {
            resource_id: "r".into(),
            path: (*path).into(),
            http_method: (*http_method).into(),
            integration: Integration::LambdaProxy { function: "f".into(), timeout: Duration::from_secs(29) },
        });
        RestApi { id: "a".into(), stage: "prod".into(), methods: methods.collect(), gateway_responses: vec![] }
    }

    fn found(http_method: &str, path: &str) -> Option<String> {
        let api = api(&[
            ("GET", "/channels"),
            ("ANY", "/channels"),
            ("GET", "/channels/{channel_id}"),
            ("GET", "/channels/mine"),
            ("POST", "/channels/{channel_id}/messages"),
            ("GET", "/files/{path+}"),
        ]);
        let matched = Routes::new(&api).find(&api, http_method, path)?;
        Some(format!("{} {} {:?}", matched.method.http_method, matched.method.path, matched.path_parameters))
    }

    #[test]
    fn the_most_exact_resource_and_method_win() {
        assert_eq!(found("GET", "/channels").unwrap(), "GET /channels {}");
        assert_eq!(found("PATCH", "/channels").unwrap(), "ANY /channels {}");
        assert_eq!(found("GET", "/channels/mine").unwrap(), "GET /channels/mine {}");
        assert_eq!(found("GET", "/channels/a%20b").unwrap(), r#"GET /channels/{channel_id} {"channel_id": "a b"}"#);
        assert_eq!(found("GET", "/files/a/b").unwrap(), r#"GET /files/{path+} {"path": "a/b"}"#);
        assert_eq!(found("GET", "/prod/channels/").unwrap(), "GET /channels {}");
        assert_eq!(found("GET", "/nowhere"), None);
        assert_eq!(found("DELETE", "/channels/x"), None);
        assert_eq!(found("GET", "/files"), None);
    }
}
