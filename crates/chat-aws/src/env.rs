//! Configuration from environment variables.

/// A variable that is not set, or not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} {problem}; the CloudFormation template sets it")]
pub struct VariableError {
    name: &'static str,
    problem: &'static str,
}

/// The value of a variable that must be set.
pub fn variable(name: &'static str) -> Result<String, VariableError> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(VariableError { name, problem: "is not set" }),
    }
}

/// The token bucket in two variables that must be set: `<name>_RATE`, tokens a second, and `<name>_BURST`.
pub fn bucket(rate: &'static str, burst: &'static str) -> Result<chat::model::token_bucket::Bucket, VariableError> {
    let count = |name| number(name).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Ok(chat::model::token_bucket::Bucket::per_second(count(rate)?, count(burst)?))
}

/// The token bucket in a variable that must be set: tokens a minute, which are also its burst.
pub fn per_minute(name: &'static str) -> Result<chat::model::token_bucket::Bucket, VariableError> {
    Ok(chat::model::token_bucket::Bucket::per_minute(u32::try_from(number(name)?).unwrap_or(u32::MAX)))
}

/// The choice in a variable that must be set.
pub fn choice<T: std::str::FromStr<Err = &'static str>>(name: &'static str) -> Result<T, VariableError> {
    variable(name)?.parse().map_err(|problem| VariableError { name, problem })
}

/// The number in a variable that must be set.
pub fn number(name: &'static str) -> Result<usize, VariableError> {
    variable(name)?.parse().map_err(|_| VariableError { name, problem: "must be a whole number" })
}
