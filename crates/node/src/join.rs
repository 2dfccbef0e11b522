//! How a member that was added to a running cluster learns who it is: it asks the others, and finds its own peer URLs.
//!
//! ```text
//!   joiner ──hello: who are the members?──▶ any member        answer: cluster, membership, who has ever started
//!   own --initial-advertise-peer-urls ──────────────────────▶ its id
//! ```
//!
//! etcd does the same over HTTP (`/members` on the peer port).

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use types::{NodeId, Wire};

use crate::config::{Config, authority};
use crate::member::peer_urls;
use crate::member_file::MemberIdentity;
use crate::peers::{Acquaintance, Frame, Hello, Purpose, VERDICT_LEN, Verdict, next_frame};

/// Why a member could not join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Nobody else is named.
    #[error("this member is to join a cluster, and --initial-cluster names none of its members")]
    NobodyToAsk,
    /// Nobody answered.
    #[error(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs \
         ({tried}); --initial-cluster must name a member that runs and can be reached"
    )]
    NobodyAnswers {
        /// Whom it asked, and what came of it.
        tried: String,
    },
    /// Nobody has added it.
    #[error(
        "error validating peerURLs: cluster {cluster:x} has no member with the peer URLs {urls}; \
         add it first: althing members add NAME --peer-urls {urls}"
    )]
    NotAdded {
        /// The cluster that answered.
        cluster: u64,
        /// This member's peer URLs.
        urls: String,
    },
    /// It ran before, and its data is gone.
    #[error(
        "member {id} has already been bootstrapped, and its data is not here; \
         remove it and add it again: althing members remove {id}"
    )]
    StartedBefore {
        /// The member.
        id: NodeId,
    },
}

/// How long the others may take altogether.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one of them may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Who this member is.
pub(crate) struct Found {
    pub(crate) identity: MemberIdentity,
    /// Whether it ran before.
    has_run: bool,
}

impl Found {
    /// The identity of a member without data.
    ///
    /// # Errors
    /// [`JoinError::StartedBefore`] if it once had some.
    pub(crate) fn without_data(self) -> Result<MemberIdentity, JoinError> {
        match self.has_run {
            true => Err(JoinError::StartedBefore { id: self.identity.member }),
            false => Ok(self.identity),
        }
    }
}

/// Learns from the members in `config.cluster` who this one is.
///
/// # Errors
/// [`JoinError`], after a few seconds.
pub(crate) fn discover(config: &Config) -> Result<Found, JoinError> {
    let others = config.cluster.members.iter().filter(|member| member.name != config.name);
    let others: Vec<String> = others.flat_map(|member| member.peer_urls.clone()).collect();
    if others.is_empty() {
        return Err(JoinError::NobodyToAsk);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let refusal = match ask_all(config, &others) {
            Ok(found) => return Ok(found),
            Err(refusal) => refusal,
        };
        // A member that has not heard of the addition yet soon will have.
        if Instant::now() + PAUSE >= deadline {
            return Err(refusal);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether another member knows that the member `id`, whose data directory is empty, ran before. Nobody may answer: when a
/// cluster is founded, somebody has to be the first.
pub(crate) fn has_run_before(config: &Config, id: NodeId) -> bool {
    let others = config.cluster.members.iter().filter(|member| member.id != id);
    let mut urls = others.flat_map(|member| &member.peer_urls);
    let is_ours = |answer: &Acquaintance| answer.cluster == config.cluster.id;
    urls.any(|url| ask(url).is_ok_and(|answer| is_ours(&answer) && answer.started.contains(&id)))
}

fn ask_all(config: &Config, others: &[String]) -> Result<Found, JoinError> {
    let mut failures = Vec::new();
    let mut unknown_at = None;
    for url in others {
        match ask(url) {
            Err(error) => failures.push(format!("{url}: {error}")),
            Ok(answer) => match recognise(config, answer) {
                Err(JoinError::NotAdded { cluster, urls }) => unknown_at = Some((cluster, urls)),
                known => return known,
            },
        }
    }
    Err(match unknown_at {
        Some((cluster, urls)) => JoinError::NotAdded { cluster, urls },
        None => JoinError::NobodyAnswers { tried: failures.join("; ") },
    })
}

/// Finds this member in what another one says.
fn recognise(config: &Config, answer: Acquaintance) -> Result<Found, JoinError> {
    let own = config.peer_urls();
    let ids = answer.membership.members.keys();
    let Some(id) = ids.copied().find(|id| peer_urls(&answer.membership, *id) == own) else {
        return Err(JoinError::NotAdded { cluster: answer.cluster, urls: own.join(",") });
    };
    let identity = MemberIdentity {
        cluster: answer.cluster,
        member: id,
        token: config.cluster.token.clone(),
        is_founder: false,
        is_removed: false,
        known: answer.membership,
    };
    Ok(Found { identity, has_run: answer.started.contains(&id) })
}

fn ask(url: &str) -> io::Result<Acquaintance> {
    let address = authority(url).map_err(io::Error::other)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).and_then(converse) {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn converse(mut stream: TcpStream) -> io::Result<Acquaintance> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let nobody = NodeId(0);
    let hello = Hello {
        purpose: Purpose::AskMembers,
        protocol: 0,
        cluster: 0,
        from: nobody,
        to: nobody,
        incarnation: 0,
    };
    stream.write_all(&hello.encode())?;
    let mut verdict = [0; VERDICT_LEN];
    stream.read_exact(&mut verdict)?;
    match Verdict::decode(&verdict).map_err(io::Error::other)? {
        Verdict::Welcome => {}
        refused => return Err(io::Error::other(format!("it answers {refused:?}"))),
    }
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 4096];
    loop {
        match next_frame(&mut buffer).map_err(io::Error::other)? {
            Some(Frame::Answer { body, .. }) => {
                return Acquaintance::from_bytes(body).map_err(io::Error::other);
            }
            Some(_) => return Err(io::Error::other("it sends something else than an answer")),
            None => match stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => buffer.extend_from_slice(&chunk[..count]),
            },
        }
    }
}
