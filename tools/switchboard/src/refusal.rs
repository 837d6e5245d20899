//! Reasons that end a command with an exit code of their own.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | success |
//! | 1 | the command failed |
//! | 2 | the command line is wrong |
//! | 3 | the channel, user, message or connection does not exist |
//! | 4 | a question was not answered with yes |

use std::io;

/// Reason with an exit code of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The command line is wrong in a way that its parser does not see.
    #[error("{0}")]
    Usage(String),
    /// The object of the command does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The question of a destructive command was not answered with yes.
    #[error("nothing was changed: answer with yes, or pass --yes")]
    NotConfirmed,
}

/// Returns the exit code of an error. A reader that closed the pipe has read enough, which is no failure.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let is_closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_closed) {
        return 0;
    }
    match error.downcast_ref::<Refusal>() {
        Some(Refusal::Usage(_)) => 2,
        Some(Refusal::NotFound(_)) => 3,
        Some(Refusal::NotConfirmed) => 4,
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn each_reason_has_its_code() {
        let code = |refusal: Refusal| exit_code(&anyhow::Error::new(refusal));
        assert_eq!(code(Refusal::Usage(String::new())), 2);
        assert_eq!(code(Refusal::NotFound(String::new())), 3);
        assert_eq!(code(Refusal::NotConfirmed), 4);
        assert_eq!(exit_code(&anyhow::anyhow!("another")), 1);
    }

    #[test]
    fn a_reader_that_has_read_enough_is_no_failure() {
        let closed = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("writing").unwrap_err();
        assert_eq!(exit_code(&closed), 0);
        let full = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)).context("writing").unwrap_err();
        assert_eq!(exit_code(&full), 1);
    }
}
