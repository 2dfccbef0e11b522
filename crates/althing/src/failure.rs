//! How a command ends when it cannot do what it was asked: one fact, and the command that helps.
//!
//! ```text
//!   error: cannot reach 127.0.0.1:2379: connection refused
//!     help: althing dev            (starts a three-node cluster here)
//! ```

use std::fmt;
use std::process::ExitCode;

/// What every command returns: the process's exit code, or why it failed.
pub type Outcome = Result<ExitCode, Failure>;

/// One clear line about what is wrong, and what to do next.
#[derive(Debug)]
pub struct Failure {
    what: String,
    next: Option<String>,
    code: u8,
}

/// What the process ends with when nothing more particular is to be said.
const CODE: u8 = 1;

impl Failure {
    /// A failure with nothing more to advise.
    pub fn new(what: impl fmt::Display) -> Failure {
        Failure { what: what.to_string(), next: None, code: CODE }
    }

    /// Names the command, or the change, that helps.
    #[must_use]
    pub fn next(mut self, next: impl fmt::Display) -> Failure {
        self.next = Some(next.to_string());
        self
    }

    /// Tells a supervisor what happened.
    #[must_use]
    pub fn exit_code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }

    /// Prints it on standard error, and returns what the process ends with.
    pub fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.what);
        if let Some(next) = &self.next {
            eprintln!("  help: {next}");
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.next {
            Some(next) => write!(f, "{}; help: {next}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// The error and its causes on one line, outermost first, without repeating a cause that is already quoted.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text.push_str(": ");
            text.push_str(&inner);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_a_fact_and_an_advice() {
        let failure = Failure::new("port 2379 is in use").next("althing dev --base-port 3379");
        assert_eq!(failure.to_string(), "port 2379 is in use; help: althing dev --base-port 3379");
    }

    #[test]
    fn a_cause_already_quoted_is_not_repeated() {
        let inner = std::io::Error::other("disk gone");
        let outer = std::io::Error::other(inner);
        assert_eq!(chain(&outer), "disk gone");
    }
}
