//! Configuration from environment variables.

use std::time::Duration;

/// A variable that is not set or has an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} {problem}; the CloudFormation template sets it")]
pub struct VariableError {
    name: &'static str,
    problem: &'static str,
}

/// Returns the value of a required variable.
pub fn variable(name: &'static str) -> Result<String, VariableError> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(VariableError { name, problem: "is not set" }),
    }
}

/// Returns the token bucket of two required variables: `<name>_RATE` in tokens per second, and `<name>_BURST`.
pub fn bucket(rate: &'static str, burst: &'static str) -> Result<chat::model::token_bucket::Bucket, VariableError> {
    let count = |name| number(name).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Ok(chat::model::token_bucket::Bucket::per_second(count(rate)?, count(burst)?))
}

/// Returns the token bucket of a required variable in tokens per minute. The burst is the same number.
pub fn per_minute(name: &'static str) -> Result<chat::model::token_bucket::Bucket, VariableError> {
    Ok(chat::model::token_bucket::Bucket::per_minute(u32::try_from(number(name)?).unwrap_or(u32::MAX)))
}

/// Returns the choice in a required variable.
pub fn choice<T: std::str::FromStr<Err = &'static str>>(name: &'static str) -> Result<T, VariableError> {
    variable(name)?.parse().map_err(|problem| VariableError { name, problem })
}

/// Returns whether a required variable is `true`. Its other value is `false`.
pub fn flag(name: &'static str) -> Result<bool, VariableError> {
    variable(name)?.parse().map_err(|_| VariableError { name, problem: "must be true or false" })
}

/// Returns the number in a required variable.
pub fn number(name: &'static str) -> Result<usize, VariableError> {
    variable(name)?.parse().map_err(|_| VariableError { name, problem: "must be a whole number" })
}

/// Returns the time in a required variable, in seconds.
pub fn seconds(name: &'static str) -> Result<Duration, VariableError> {
    Ok(Duration::from_secs(u64::try_from(number(name)?).unwrap_or(u64::MAX)))
}

/// Returns the time in a required variable, in days.
pub fn days(name: &'static str) -> Result<Duration, VariableError> {
    let days = u32::try_from(number(name)?).unwrap_or(u32::MAX);
    Ok(Duration::from_hours(24 * u64::from(days)))
}
