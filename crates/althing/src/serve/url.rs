//! The URLs of a member: `http://HOST:PORT`, as etcd's flags take them.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::failure::Failure;

/// One address of a member. The host is kept as it was written: that is what clients are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    host: String,
    /// The port.
    pub port: u16,
}

impl Url {
    /// Parses one URL. `cite` is how messages name where it was set.
    ///
    /// # Errors
    /// Anything but `http://HOST:PORT`.
    pub fn parse(text: &str, cite: &str) -> Result<Url, Failure> {
        let wrong =
            |why: &str, next: &str| Err(Failure::new(format_args!("{cite}: {text:?} {why}")).next(next));
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("has no scheme", &format!("http://{text}"));
        };
        match scheme {
            "http" => {}
            "https" => return wrong("needs TLS, which is not offered yet", &format!("http://{rest}")),
            _ => return wrong("is not an http:// URL", "http://127.0.0.1:2379"),
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('/') {
            return wrong("has a path", "leave everything after the port out");
        }
        let Some((host, port)) = authority.rsplit_once(':') else {
            return wrong("has no port", &format!("http://{authority}:2379"));
        };
        match port.parse() {
            Ok(port) if !host.is_empty() => Ok(Url { host: host.to_owned(), port }),
            Ok(_) => wrong("has no host", &format!("http://0.0.0.0:{port}")),
            Err(_) => wrong("has no port from 0 to 65535", "http://127.0.0.1:2379"),
        }
    }

    /// Parses a comma-separated list, at least one.
    ///
    /// # Errors
    /// As for `parse`, or an empty list.
    pub fn parse_list(text: &str, cite: &str) -> Result<Vec<Url>, Failure> {
        text.split(',').map(|one| Url::parse(one.trim(), cite)).collect()
    }

    /// `HOST:PORT`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Looks the host up.
    ///
    /// # Errors
    /// It has no address.
    pub fn resolve(&self, cite: &str) -> Result<Vec<SocketAddr>, Failure> {
        let unknown = |why: String| Failure::new(format_args!("{cite}: {self} has no address{why}"));
        let found: Vec<_> = (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
            .to_socket_addrs()
            .map_err(|error| unknown(format!(": {error}")))?
            .collect();
        if found.is_empty() { Err(unknown(String::new())) } else { Ok(found) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_written_the_same() {
        for text in ["http://localhost:2379", "http://[::1]:2380", "http://10.0.0.1:0"] {
            assert_eq!(Url::parse(text, "--x").unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        let why = |text: &str| Url::parse(text, "--x").unwrap_err().to_string();
        assert!(why("localhost:2379").contains("has no scheme; help: http://localhost:2379"));
        assert!(why("https://a:1").contains("needs TLS"));
        assert!(why("unix:///tmp/s").contains("is not an http:// URL"));
        assert!(why("http://a").contains("has no port"));
        assert!(why("http://:1").contains("has no host"));
        assert!(why("http://a:99999").contains("from 0 to 65535"));
        assert!(why("http://a:1/b").contains("has a path"));
    }
}
