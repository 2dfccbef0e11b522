//! What a node is told when it starts, and why it may refuse.

use std::path::PathBuf;
use std::time::Duration;

use types::NodeId;

use crate::Cluster;

/// How to run one node. [`Config::new`] fills in the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member's name in `cluster`.
    pub name: String,
    /// The initial cluster: those who found it, or, if this member joins, some of those who are there.
    pub cluster: Cluster,
    /// With an empty data directory this member founds no cluster, but asks the others who it is: it has been added to
    /// theirs.
    pub joins: bool,
    /// Where log and state are kept.
    pub storage: Storage,
    /// `host:port` addresses on which peers are awaited.
    pub listen_peers: Vec<String>,
    /// What this member tells the others about where its clients reach it.
    pub client_urls: Vec<String>,
    /// How often a leader shows that it lives (etcd's `--heartbeat-interval`).
    pub heartbeat_interval: Duration,
    /// The least time without a leader before an election (etcd's `--election-timeout`).
    pub election_timeout: Duration,
    /// A leader makes room for a member with a higher priority that could take over; whoever has 0 never leads.
    pub leader_priority: u64,
    /// A cluster that had nothing to do for this long sends no heartbeats until something happens; `None`: it goes on.
    /// The same at every member.
    pub quiesce_after: Option<Duration>,
    /// A checkpoint is due after this many applied log entries (etcd's `--snapshot-count`).
    pub checkpoint_entries: u64,
    /// Entries kept below a checkpoint for peers that are behind (etcd's `--snapshot-catchup-entries`).
    pub retained_entries: u64,
    /// Size of one segment file of the log, in bytes.
    pub log_segment_bytes: u64,
    /// How fast the log is read again in the background to find damage, in bytes a second; 0: not at all.
    pub scrub_bytes_per_second: u64,
    /// After every so many slots the states of the members are compared, at the scrub's pace.
    pub audit_entries: u64,
}

/// Where a node keeps its log and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In `<directory>/member/log` and `<directory>/member/state`.
    Directory(PathBuf),
    /// In memory: gone when the process ends. A member that comes back without its memory could vote twice,
    /// so this is for trying things out.
    Ephemeral,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The member was removed from its cluster.
    #[error("{MEMBER_REMOVED}; its data in {path} is of no more use")]
    Removed {
        /// The data directory.
        path: String,
    },
    /// It could not be learned who this member is.
    #[error(transparent)]
    Join(#[from] crate::JoinError),
    /// The file that says who the data belongs to cannot be used.
    #[error(
        "cannot use {path}: {reason}; if it is damaged, move it away: the log says whose it is, and other members who"
    )]
    Identity {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The cluster's description is wrong.
    #[error(transparent)]
    Cluster(#[from] crate::ClusterError),
    /// An address or URL cannot be used.
    #[error("{url:?} cannot be used as a peer URL: {reason}")]
    PeerUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Times that contradict each other.
    #[error(
        "--election-timeout is {election_timeout_ms} ms; it must be at least 5 times --heartbeat-interval, \
         which is {heartbeat_interval_ms} ms"
    )]
    Times {
        /// As given.
        election_timeout_ms: u128,
        /// As given.
        heartbeat_interval_ms: u128,
    },
    /// Nobody can listen there.
    #[error("cannot listen for peers on {address}; is another process using it?")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] crate::OpenDiskError),
    /// The log cannot be opened.
    #[error("cannot open the log in {path}")]
    Log {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: storage::OpenLogError,
    },
    /// The state cannot be opened.
    #[error("cannot open the state in {path}")]
    State {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: kv::OpenKvError,
    },
    /// The state does not say who takes part.
    #[error("cannot read who takes part from the state in {path}")]
    Members {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: kv::ReadError,
    },
    /// A record of the log is whole but not one of ours.
    #[error("the log in {path} holds a record that this program cannot read: {source}")]
    Record {
        /// The directory.
        path: String,
        /// What is wrong with it.
        #[source]
        source: types::WireError,
    },
    /// The system refused a thread or a descriptor.
    #[error("the system refuses {what}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

/// What a removed member says, in etcd's words.
const MEMBER_REMOVED: &str = "the member has been permanently removed from the cluster";

/// Why a running node ended by itself.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NodeError {
    /// It was removed from its cluster.
    #[error("{MEMBER_REMOVED}")]
    Removed,
    /// The log could not be written or synced, so nothing more may be promised.
    #[error(
        "the log in {path} cannot be written: {reason}; free space there or replace the disk, then restart"
    )]
    Log {
        /// The directory.
        path: String,
        /// What the disk said.
        reason: String,
    },
    /// A record of the log is damaged. It may have been acknowledged, and only recovery can have it repaired.
    #[error(
        "the log in {path} is damaged: {reason}; restart: what is damaged is then repaired from the other members. If \
         it happens again, replace the disk"
    )]
    Damaged {
        /// The directory.
        path: String,
        /// What and where.
        reason: String,
    },
    /// The disk is full.
    #[error(
        "the disk that holds {path} is full: {reason}; free space there, then restart: nothing acknowledged is lost"
    )]
    DiskFull {
        /// The directory.
        path: String,
        /// What the disk said.
        reason: String,
    },
    /// The state is not what a majority of the members have.
    #[error(
        "the state in {path} at slot {slot} is not what a majority of the members have there: this member ends, and must \
         be replaced: remove it, empty its data directory, and add it again"
    )]
    Diverged {
        /// The directory.
        path: String,
        /// The slot that was compared.
        slot: types::Slot,
    },
    /// The state could not be written.
    #[error(
        "the state in {path} cannot be written: {reason}; free space there or replace the disk, then restart"
    )]
    State {
        /// The directory.
        path: String,
        /// What the engine said.
        reason: String,
    },
    /// A thread of the node ended by a bug.
    #[error("the {thread} thread panicked; this is a bug, please report it with the lines above")]
    Panic {
        /// Which thread.
        thread: &'static str,
    },
}

/// Some minutes of a busy cluster, some hours of an idle one.
const AUDIT_ENTRIES: u64 = 1 << 16;

/// Little beside what any disk can do, and a full segment in well under a minute.
const SCRUB_BYTES_PER_SECOND: u64 = 4 << 20;

/// The least ratio of election time-out and heartbeat interval, as etcd demands.
const ELECTION_PER_HEARTBEAT_MIN: u32 = 5;

impl Config {
    /// A node with etcd's times, listening where its peer URLs say.
    pub fn new(name: impl Into<String>, cluster: Cluster, storage: Storage) -> Config {
        let name = name.into();
        let own = cluster.members.iter().find(|member| member.name == name);
        let urls = own.map(|member| member.peer_urls.clone()).unwrap_or_default();
        let listen_peers = urls.iter().filter_map(|url| authority(url).ok()).collect();
        Config {
            name,
            cluster,
            joins: false,
            storage,
            listen_peers,
            client_urls: Vec::new(),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            leader_priority: 1,
            quiesce_after: None,
            checkpoint_entries: 10_000,
            retained_entries: 5_000,
            log_segment_bytes: storage::LogOptions::default().segment_bytes,
            scrub_bytes_per_second: SCRUB_BYTES_PER_SECOND,
            audit_entries: AUDIT_ENTRIES,
        }
    }

    /// Checks what can be checked without starting anything, and returns this member's id.
    ///
    /// # Errors
    /// [`StartError`] naming the setting.
    pub fn check(&self) -> Result<NodeId, StartError> {
        let id = self.cluster.member(&self.name)?.id;
        for member in &self.cluster.members {
            check_peer_urls(&member.peer_urls)?;
        }
        if self.election_timeout < self.heartbeat_interval * ELECTION_PER_HEARTBEAT_MIN {
            return Err(StartError::Times {
                election_timeout_ms: self.election_timeout.as_millis(),
                heartbeat_interval_ms: self.heartbeat_interval.as_millis(),
            });
        }
        Ok(id)
    }

    /// Where the others reach this member, as far as its flags say.
    pub(crate) fn peer_urls(&self) -> Vec<String> {
        let own = self.cluster.members.iter().find(|member| member.name == self.name);
        own.map(|member| member.peer_urls.clone()).unwrap_or_default()
    }
}

/// Checks peer URLs.
///
/// # Errors
/// [`StartError::PeerUrl`] for the first that cannot be used.
pub fn check_peer_urls(urls: &[String]) -> Result<(), StartError> {
    urls.iter().try_for_each(|url| authority(url).map(drop))
}

/// Returns the `host:port` of `http://host:port`.
pub(crate) fn authority(url: &str) -> Result<String, StartError> {
    let refused = |reason| StartError::PeerUrl { url: url.to_owned(), reason };
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        refused(if url.starts_with("https://") {
            "TLS between peers is not offered yet; use http:// on a network that you trust"
        } else {
            "it must begin with http://"
        })
    })?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('/') {
        return Err(refused("it must not have a path"));
    }
    match authority.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>().is_ok())) {
        Some((false, true)) => Ok(authority.to_owned()),
        _ => Err(refused("it must name a host and a port, as in http://10.0.0.1:2380")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_checked_before_anything_starts() {
        assert_eq!(authority("http://[::1]:2380/").unwrap(), "[::1]:2380");
        for bad in ["https://h:1", "h:1", "http://h", "http://:1", "http://h:99999", "http://h:1/path"] {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_election_needs_several_missed_heartbeats() {
        let cluster = Cluster::parse("a=http://h:1", "t").unwrap();
        let mut config = Config::new("a", cluster, Storage::Ephemeral);
        assert!(config.check().is_ok());
        config.election_timeout = config.heartbeat_interval * 2;
        assert!(matches!(config.check(), Err(StartError::Times { .. })));
    }
}
