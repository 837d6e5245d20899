//! Claims of a token, read so that two readers cannot read different values.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
};

use chat::model::{
    id::{ChannelId, IdError},
    time::Timestamp,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    LEEWAY,
    refusal::{ClaimProblem, Refusal},
};

/// Bound of the times of a token, in seconds before and after 1970. Issuers that write milliseconds stay within it.
const TIME_SECS: f64 = 1e15;

/// A JSON object, header or payload of a token, in which each name is unique at any depth. Readers differ in which of
/// two equal names they use. One that checks the first and one that uses the last would let such a token pass
/// (RFC 7519, section 4).
#[derive(Debug)]
pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    /// Reads one part of a token. Returns `None` if it is not a JSON object, or has a duplicate name.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Unambiguous>(json).ok()?;
        serde_json::from_slice(json).map(Self).ok()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Returns a required text.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Refusal> {
        let value = self.0.get(name).ok_or_else(|| Refusal::claim(name, ClaimProblem::Missing))?;
        value.as_str().ok_or_else(|| Refusal::claim(name, ClaimProblem::NotAString))
    }

    /// Returns a required id, parsed by `read`.
    pub(crate) fn id<T>(&self, name: &str, read: impl FnOnce(&str) -> Result<T, IdError>) -> Result<T, Refusal> {
        read(self.required(name)?).map_err(|error| Refusal::claim(name, error))
    }

    /// Requires that `aud` contains `audience`. It is one string, or an array of strings (RFC 7519, section 4.1.3).
    pub(crate) fn check_audience(&self, audience: &str) -> Result<(), Refusal> {
        let is_named = match self.0.get("aud") {
            None => return Err(Refusal::claim("aud", ClaimProblem::Missing)),
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
            Some(_) => false,
        };
        if is_named { Ok(()) } else { Err(Refusal::claim("aud", ClaimProblem::OtherAudience)) }
    }

    /// Returns a list of words: one text separated by spaces (RFC 8693, section 4.2), or an array. Returns `None` if
    /// the claim is absent.
    pub(crate) fn words(&self, name: &str) -> Result<Option<BTreeSet<String>>, Refusal> {
        let not_a_list = || Refusal::claim(name, ClaimProblem::NotAList);
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.split_whitespace().map(str::to_owned).collect())),
            Some(Value::Array(values)) => {
                let words = values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(not_a_list));
                words.collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(not_a_list()),
        }
    }

    /// Returns the channels that a token is limited to.
    pub(crate) fn channels(&self, name: &str) -> Result<Option<BTreeSet<ChannelId>>, Refusal> {
        let Some(words) = self.words(name)? else { return Ok(None) };
        let ids = words.into_iter().map(|word| word.parse().map_err(|error: IdError| Refusal::claim(name, error)));
        ids.collect::<Result<_, _>>().map(Some)
    }

    /// Returns a time in whole seconds since the Unix epoch (`NumericDate` of RFC 7519).
    fn time(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| seconds.abs() < TIME_SECS);
        let seconds = seconds.ok_or_else(|| Refusal::claim(name, ClaimProblem::NotATime))?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
        Ok(Some(seconds.floor() as i64))
    }

    /// Checks `exp`, `nbf` and `iat` with [`LEEWAY`]; returns `exp`.
    pub(crate) fn check_times(&self, now: Timestamp) -> Result<Timestamp, Refusal> {
        let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or_default();
        let now_secs = now.as_secs();
        let expires_at = self.time("exp")?.ok_or_else(|| Refusal::claim("exp", ClaimProblem::Missing))?;
        if now_secs >= expires_at.saturating_add(leeway) {
            return Err(Refusal::Expired);
        }
        for name in ["nbf", "iat"] {
            if self.time(name)?.is_some_and(|from| now_secs.saturating_add(leeway) < from) {
                return Err(Refusal::NotYetValid { claim: name });
            }
        }
        Ok(Timestamp::from_secs(expires_at))
    }
}

/// JSON whose objects have unique names, at any depth.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

/// Values other than objects and arrays contain no names.
macro_rules! nothing_to_see {
    ($($visit:ident: $kind:ty),* $(,)?) => {
        $(fn $visit<E: Error>(self, _: $kind) -> Result<Self, E> {
            Ok(self)
        })*
    };
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    nothing_to_see!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        while values.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            if !names.insert(name) {
                entries.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom("a name is there twice"));
            }
            entries.next_value::<Self>()?;
        }
        Ok(self)
    }
}
