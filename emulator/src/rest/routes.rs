//! The method that serves a path.

use std::collections::BTreeMap;

use crate::stack::Method;

use super::wire::decode;

/// Specificity of a path segment. API Gateway prefers a literal resource to a variable one, and a variable one to a
/// greedy one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Greedy,
    Variable,
    Literal,
}

/// Method of a request, with its path parameters. The values stay percent-encoded, because AWS does not decode them
/// (recorded at AWS: `"proxy": "test%2Balias"`).
#[derive(Debug)]
pub(super) struct Matched<'a> {
    pub(super) method: &'a Method,
    pub(super) parameters: BTreeMap<String, String>,
}

/// Finds the method for `path` (as sent) and `http_method`. The most specific resource has priority; on that resource,
/// the exact method precedes `ANY`.
pub(super) fn find<'a>(methods: &'a [Method], path: &str, http_method: &str) -> Option<Matched<'a>> {
    let segments = segments(path);
    let (resource, _, parameters) = methods
        .iter()
        .filter_map(|method| {
            let (specificity, parameters) = match_resource(&method.path, &segments)?;
            Some((&method.path, specificity, parameters))
        })
        .max_by(|(_, left, _), (_, right, _)| left.cmp(right))?;
    let answering = |name: &str| methods.iter().find(|m| m.path == *resource && m.http_method == name);
    let method = answering(http_method).or_else(|| answering("ANY"))?;
    Some(Matched { method, parameters })
}

/// Returns the part of `path` after a leading `/{stage}`, without slashes before its first segment (recorded at AWS:
/// `/stage//proxy-value` has the path `/proxy-value`).
pub(super) fn without_stage<'a>(path: &'a str, stage: &str) -> Option<&'a str> {
    let rest = path.strip_prefix('/')?.strip_prefix(stage)?;
    match rest {
        "" => Some("/"),
        _ => rest.starts_with('/').then(|| one_slash(rest)),
    }
}

/// Returns `path` with one of the slashes at its beginning (recorded at AWS: `//stage/proxy-value` is
/// `/stage/proxy-value`).
pub(super) fn one_slash(path: &str) -> &str {
    let after = path.trim_start_matches('/');
    let slashes = path.len() - after.len();
    &path[slashes.saturating_sub(1)..]
}

fn segments(path: &str) -> Vec<&str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    // A trailing slash does not change the resource.
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

fn match_resource(resource: &str, segments: &[&str]) -> Option<(Vec<Specificity>, BTreeMap<String, String>)> {
    let mut specificity = Vec::new();
    let mut parameters = BTreeMap::new();
    let parts = self::segments(resource);
    for (index, part) in parts.iter().enumerate() {
        let segment = segments.get(index)?;
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        match name {
            Some(name) if name.ends_with('+') => {
                let rest = segments.get(index..)?.join("/");
                parameters.insert(name.trim_end_matches('+').to_owned(), rest);
                specificity.push(Specificity::Greedy);
                return Some((specificity, parameters));
            }
            Some(_) if segment.is_empty() => return None,
            Some(name) => {
                parameters.insert(name.to_owned(), (*segment).to_owned());
                specificity.push(Specificity::Variable);
            }
            None if decode(segment) == *part => specificity.push(Specificity::Literal),
            None => return None,
        }
    }
    (parts.len() == segments.len()).then_some((specificity, parameters))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stack::Integration;

    fn methods(of: &[(&str, &str)]) -> Vec<Method> {
        of.iter()
            .map(|(http_method, path)| Method {
                resource_id: String::new(),
                path: (*path).to_owned(),
                http_method: (*http_method).to_owned(),
                integration: Integration::LambdaProxy { function: String::new(), timeout: Duration::from_secs(29) },
            })
            .collect()
    }

    #[test]
    fn the_most_specific_resource_answers() {
        let methods = methods(&[
            ("ANY", "/{proxy+}"),
            ("GET", "/channels/{id}"),
            ("ANY", "/channels/mine"),
            ("GET", "/channels/mine"),
            ("GET", "/channels/{id}/messages"),
            ("GET", "/"),
        ]);
        let cases = [
            ("GET", "/", Some("/")),
            ("GET", "/channels/mine", Some("/channels/mine")),
            ("GET", "/channels/m%69ne", Some("/channels/mine")),
            ("GET", "/channels/other", Some("/channels/{id}")),
            ("GET", "/channels/other/", Some("/channels/{id}")),
            ("POST", "/channels/other", None),
            ("GET", "/channels/a/messages", Some("/channels/{id}/messages")),
            ("POST", "/channels/a/b/c", Some("/{proxy+}")),
            ("GET", "/channels//messages", Some("/{proxy+}")),
        ];
        for (http_method, path, expected) in cases {
            let found = find(&methods, path, http_method).map(|found| found.method.path.as_str());
            assert_eq!(found, expected, "{http_method} {path}");
        }
        assert_eq!(find(&methods, "/channels/mine", "GET").unwrap().method.http_method, "GET");
        assert_eq!(find(&methods, "/channels/mine", "PUT").unwrap().method.http_method, "ANY");
        assert_eq!(find(&methods, "/channels/a%2Fb", "GET").unwrap().parameters["id"], "a%2Fb");
        assert_eq!(find(&methods, "/x/y%20z", "GET").unwrap().parameters["proxy"], "x/y%20z");
    }

    #[test]
    fn only_a_whole_segment_is_the_stage() {
        assert_eq!(without_stage("/dev/channels", "dev"), Some("/channels"));
        assert_eq!(without_stage("/dev", "dev"), Some("/"));
        assert_eq!(without_stage("/developer", "dev"), None);
        assert_eq!(without_stage("*", "dev"), None);
        assert_eq!(without_stage("/dev//channels//x", "dev"), Some("/channels//x"));
        assert_eq!((one_slash("//dev//x"), one_slash("/dev"), one_slash("*")), ("/dev//x", "/dev", "*"));
        assert_eq!((one_slash("////"), one_slash("/")), ("/", "/"));
    }
}
