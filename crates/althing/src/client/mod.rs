//! The client commands: each speaks etcd's API to any endpoint, ours or etcd's.

mod connect;
pub mod del;
pub mod elect;
pub mod get;
pub mod lease;
pub mod lock;
pub mod members;
pub mod move_leader;
mod proto;
pub mod put;
mod range;
mod session;
pub mod show;
pub mod status;
pub mod txn;
pub mod txn_syntax;
pub mod watch;

use clap::Args;
pub use connect::Client;
pub use status::ServerStatus;

use crate::failure::{Failure, Outcome};

/// Where etcd and `althing dev` listen.
const ENDPOINT: &str = "127.0.0.1:2379";

/// Where and how the client commands speak.
#[derive(Clone, Debug, Args)]
pub struct ClientArgs {
    /// Members to speak to, HOST:PORT[,…]; the next is tried when one does not answer
    /// [env: ALTHING_ENDPOINTS, ETCDCTL_ENDPOINTS] [default: 127.0.0.1:2379]
    #[arg(long, global = true, value_name = "ENDPOINTS", value_delimiter = ',')]
    pub endpoints: Vec<String>,
    /// Print JSON for machines: one object a line
    #[arg(long, global = true)]
    pub json: bool,
}

impl ClientArgs {
    /// Runs one client command.
    ///
    /// # Errors
    /// Whatever the command's.
    pub fn run(&self, command: impl AsyncFnOnce(&Client) -> Outcome) -> Outcome {
        let endpoints = self.resolved_endpoints()?;
        let client = Client::new(&endpoints, self.json);
        tokio::task::LocalSet::new().block_on(&runtime()?, command(&client))
    }

    /// `HOST:PORT` of every endpoint, from the flag, the environment or the default.
    ///
    /// # Errors
    /// An endpoint that cannot be one.
    pub fn resolved_endpoints(&self) -> Result<Vec<String>, Failure> {
        let variables = ["ALTHING_ENDPOINTS", "ETCDCTL_ENDPOINTS"];
        let given = if self.endpoints.is_empty() {
            let text = variables.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
            text.unwrap_or_else(|| ENDPOINT.to_owned()).split(',').map(str::to_owned).collect()
        } else {
            self.endpoints.clone()
        };
        given.iter().map(|endpoint| authority(endpoint.trim())).collect()
    }
}

/// A runtime for a client: one thread, since it waits more than it works.
///
/// # Errors
/// The operating system refuses.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format_args!("cannot start the runtime: {error}")))
}

pub(crate) fn authority(endpoint: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Failure::new(format_args!("endpoint {endpoint:?} {why}")).next("--endpoints 127.0.0.1:2379")
    };
    if endpoint.starts_with("https://") {
        return Err(wrong("needs TLS, which is not offered yet"));
    }
    let rest = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
    if rest.contains('/') {
        return Err(wrong("has a path"));
    }
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(rest.to_owned()),
        _ => Err(wrong("is not HOST:PORT")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_be_written_as_etcdctl_takes_it() {
        assert_eq!(authority("http://a:1/").unwrap(), "a:1");
        assert_eq!(authority("[::1]:2379").unwrap(), "[::1]:2379");
        assert!(authority("a").unwrap_err().to_string().contains("is not HOST:PORT"));
        assert!(authority("http://http://a:1").unwrap_err().to_string().contains("has a path"));
        assert!(authority("https://a:1").unwrap_err().to_string().contains("TLS"));
    }
}
