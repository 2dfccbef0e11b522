//! A server's configuration, typed and free of contradictions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::Settings;
use super::url::Url;
use crate::failure::Failure;

/// An election must not start because one heartbeat came late: etcd's rule.
const HEARTBEATS_PER_ELECTION_MIN: u64 = 5;
/// etcd's upper bound of the election timeout.
const ELECTION_TIMEOUT_MS_MAX: u64 = 50_000;
/// A day.
const QUIESCE_AFTER_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// etcd's default quota of the state's size, bytes.
const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;
/// A request larger than this would not fit a peer's frame, bytes.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// What `serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member's name, a key of `members`.
    pub name: String,
    /// Where the log and the state live.
    pub data_dir: PathBuf,
    /// Where clients are listened for.
    pub listen_client: Vec<Url>,
    /// What clients are told.
    pub advertise_client: Vec<Url>,
    /// Where peers are listened for.
    pub listen_peer: Vec<Url>,
    /// What the other members are told; sorted.
    pub advertise_peer: Vec<Url>,
    /// The founding members, or, for a member that joins, some of those who are there: name to peer URLs.
    pub members: BTreeMap<String, Vec<Url>>,
    /// Whether the cluster is being founded (`--initial-cluster-state new`).
    pub founding: bool,
    /// The cluster's token.
    pub token: String,
    /// Between a leader's heartbeats.
    pub heartbeat: Duration,
    /// Without a leader before an election.
    pub election_timeout: Duration,
    /// How much this member should lead; 0: never.
    pub leader_priority: u64,
    /// Without work until the cluster falls silent; `None`: never.
    pub quiesce_after: Option<Duration>,
    /// Applied entries between checkpoints.
    pub snapshot_count: u64,
    /// Bytes of state above which writes are refused; `None`: no limit.
    pub quota_bytes: Option<u64>,
    /// Bytes in one request.
    pub max_request_bytes: usize,
    /// Operations in one transaction.
    pub max_txn_ops: usize,
}

impl Config {
    /// Reads and checks everything that can be checked without touching a disk or a socket.
    ///
    /// # Errors
    /// A value that cannot be read, or two that contradict each other.
    pub fn from_settings(settings: &Settings) -> Result<Config, Failure> {
        let name = settings.text("name").to_owned();
        let heartbeat_ms = settings.number("heartbeat-interval", 1, ELECTION_TIMEOUT_MS_MAX)?;
        let election_timeout_ms = settings.number("election-timeout", 1, ELECTION_TIMEOUT_MS_MAX)?;
        check_timeouts(settings, heartbeat_ms, election_timeout_ms)?;
        let listen_client = urls(settings, "listen-client-urls")?;
        let listen_peer = urls(settings, "listen-peer-urls")?;
        check_ports(settings, &listen_client, &listen_peer)?;
        let mut advertise_peer = urls_or(settings, "initial-advertise-peer-urls", &listen_peer)?;
        advertise_peer.sort();
        Ok(Config {
            data_dir: settings.text("data-dir").replace("${name}", &name).into(),
            advertise_client: urls_or(settings, "advertise-client-urls", &listen_client)?,
            members: members(settings, &name, &advertise_peer)?,
            advertise_peer,
            founding: founding(settings)?,
            token: settings.text("initial-cluster-token").to_owned(),
            heartbeat: Duration::from_millis(heartbeat_ms),
            election_timeout: Duration::from_millis(election_timeout_ms),
            leader_priority: settings.number("leader-priority", 0, u64::MAX)?,
            quiesce_after: Some(settings.number("quiesce-after", 0, QUIESCE_AFTER_MS_MAX)?)
                .filter(|ms| *ms > 0)
                .map(Duration::from_millis),
            snapshot_count: settings.number("snapshot-count", 1, u64::MAX)?,
            quota_bytes: quota(settings)?,
            max_request_bytes: settings.number("max-request-bytes", 1, REQUEST_BYTES_MAX)?,
            max_txn_ops: settings.number("max-txn-ops", 1, usize::MAX)?,
            name,
            listen_client,
            listen_peer,
        })
    }
}

impl Config {
    /// Checks what matters as long as the data directory is empty: that this member lives where `--initial-cluster` says.
    /// Later it may have moved.
    ///
    /// # Errors
    /// It does not.
    pub fn check_first_start(&self, settings: &Settings) -> Result<(), Failure> {
        let own = &self.members[&self.name];
        if *own == self.advertise_peer {
            return Ok(());
        }
        let shown = |urls: &[Url]| urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",");
        let what = format!(
            "{} says {}={}, but {} is {}",
            settings.cite("initial-cluster"),
            self.name,
            shown(own),
            settings.cite("initial-advertise-peer-urls"),
            shown(&self.advertise_peer),
        );
        Err(Failure::new(what).next(format_args!("--initial-advertise-peer-urls={}", shown(own))))
    }
}

fn check_timeouts(settings: &Settings, heartbeat_ms: u64, election_timeout_ms: u64) -> Result<(), Failure> {
    let needed = heartbeat_ms * HEARTBEATS_PER_ELECTION_MIN;
    if election_timeout_ms >= needed {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "{} is {election_timeout_ms} ms, less than {HEARTBEATS_PER_ELECTION_MIN} times {} of {heartbeat_ms} ms",
        settings.cite("election-timeout"),
        settings.cite("heartbeat-interval"),
    ))
    .next(format_args!("--election-timeout={}", needed.max(heartbeat_ms * 10).min(ELECTION_TIMEOUT_MS_MAX))))
}

fn check_ports(settings: &Settings, client: &[Url], peer: &[Url]) -> Result<(), Failure> {
    match client.iter().find(|url| url.port != 0 && peer.contains(url)) {
        None => Ok(()),
        Some(both) => Err(Failure::new(format_args!(
            "{both} is in both {} and {}",
            settings.cite("listen-client-urls"),
            settings.cite("listen-peer-urls"),
        ))
        .next("give clients and peers different ports, as 2379 and 2380")),
    }
}

fn urls(settings: &Settings, name: &'static str) -> Result<Vec<Url>, Failure> {
    Url::parse_list(settings.text(name), &settings.cite(name))
}

fn urls_or(settings: &Settings, name: &'static str, default: &[Url]) -> Result<Vec<Url>, Failure> {
    if settings.text(name).is_empty() { Ok(default.to_vec()) } else { urls(settings, name) }
}

fn founding(settings: &Settings) -> Result<bool, Failure> {
    match settings.text("initial-cluster-state") {
        "new" => Ok(true),
        "existing" => Ok(false),
        other => {
            let cite = settings.cite("initial-cluster-state");
            Err(Failure::new(format_args!("{cite} is {other:?}, neither new nor existing"))
                .next("--initial-cluster-state=new"))
        }
    }
}

fn quota(settings: &Settings) -> Result<Option<u64>, Failure> {
    Ok(match settings.number("quota-backend-bytes", i64::MIN, i64::MAX)? {
        0 => Some(QUOTA_BYTES_DEFAULT),
        bytes => u64::try_from(bytes).ok(),
    })
}

fn members(
    settings: &Settings,
    name: &str,
    advertise_peer: &[Url],
) -> Result<BTreeMap<String, Vec<Url>>, Failure> {
    let text = settings.text("initial-cluster");
    if text.is_empty() {
        return Ok(BTreeMap::from([(name.to_owned(), advertise_peer.to_vec())]));
    }
    let members = parse_members(text, &settings.cite("initial-cluster"))?;
    let cite = settings.cite("initial-cluster");
    if !members.contains_key(name) {
        let names: Vec<_> = members.keys().map(String::as_str).collect();
        let what = format!("this member's {} {name:?} is not in {cite}", settings.cite("name"));
        return Err(Failure::new(what).next(format_args!("--name with one of: {}", names.join(", "))));
    }
    Ok(members)
}

/// `a=http://h:1,b=http://h:2,b=http://h:3`: a name may have several URLs, a URL one name.
fn parse_members(text: &str, cite: &str) -> Result<BTreeMap<String, Vec<Url>>, Failure> {
    let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    for part in text.split(',').map(str::trim) {
        let Some((name, url)) = part.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::new(format_args!("{cite}: {part:?} is not NAME=URL"))
                .next("--initial-cluster=a=http://HOST-A:2380,b=http://HOST-B:2380"));
        };
        let url = Url::parse(url, cite)?;
        if let Some((other, _)) = members.iter().find(|(_, urls)| urls.contains(&url)) {
            return Err(Failure::new(format_args!("{cite}: {url} belongs to both {other} and {name}"))
                .next("give every member its own peer URL"));
        }
        members.entry(name.to_owned()).or_default().push(url);
    }
    members.values_mut().for_each(|urls| urls.sort());
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[(&'static str, &str)]) -> Result<Config, String> {
        let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let settings = Settings::gather(&flags, None, []).unwrap();
        let checked = Config::from_settings(&settings)
            .and_then(|config| config.check_first_start(&settings).map(|()| config));
        checked.map_err(|failure| failure.to_string())
    }

    #[test]
    fn defaults_make_a_cluster_of_one() {
        let config = config(&[("name", "solo")]).unwrap();
        assert_eq!(config.data_dir.to_str(), Some("solo.althing"));
        assert_eq!(config.members["solo"][0].to_string(), "http://localhost:2380");
        assert_eq!(config.advertise_client, config.listen_client);
        assert_eq!(config.quota_bytes, Some(QUOTA_BYTES_DEFAULT));
    }

    #[test]
    fn a_negative_quota_is_no_quota() {
        assert_eq!(config(&[("quota-backend-bytes", "-1")]).unwrap().quota_bytes, None);
    }

    #[test]
    fn contradictions_are_named_with_both_sides() {
        let why = |flags: &[(&'static str, &str)]| config(flags).unwrap_err();
        assert!(
            why(&[("election-timeout", "400")]).contains("400 ms, less than 5 times --heartbeat-interval")
        );
        assert!(why(&[("listen-peer-urls", "http://localhost:2379")]).contains("is in both"));
        assert!(why(&[("initial-cluster", "a=http://h:1")]).contains("--name \"default\" is not in"));
        assert!(
            why(&[("name", "a"), ("initial-cluster", "a=http://h:1,b=http://h:1")]).contains("both a and b")
        );
        assert!(
            why(&[("name", "a"), ("initial-cluster", "a=http://h:1")]).contains("says a=http://h:1, but")
        );
        assert!(why(&[("initial-cluster", "http://h:1")]).contains("is not NAME=URL"));
        assert!(why(&[("initial-cluster-state", "old")]).contains("neither new nor existing"));
    }

    #[test]
    fn a_member_may_have_several_urls_in_any_order() {
        let members = parse_members("a=http://h:2,b=http://h:3,a=http://h:1", "--x").unwrap();
        assert_eq!(members["a"].iter().map(|url| url.port).collect::<Vec<_>>(), [1, 2]);
    }
}
