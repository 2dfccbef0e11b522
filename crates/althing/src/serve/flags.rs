//! Every flag that an etcd server takes, and what this server does with it.
//!
//! ```text
//!   Offered      works as in etcd
//!   Harmless     accepted with a warning: it tunes something that we do not have
//!   DefaultOnly  accepted at etcd's own default; any other value is refused with what to do instead
//! ```
//!
//! One table feeds the command line, the `ETCD_*` environment and the configuration file, so that none of them
//! can know a flag that the others do not.

/// One flag of `etcd`'s command line.
pub struct Flag {
    /// Its name without dashes, which is also its key in a configuration file.
    pub name: &'static str,
    /// Whether it stands alone: `--pre-vote` is `--pre-vote=true`.
    pub switch: bool,
    /// What we do with it.
    pub support: Support,
}

/// What this server does with a flag.
pub enum Support {
    /// It works: its default (may hold `${name}`) and its help text.
    Offered { default: &'static str, help: &'static str },
    /// It is accepted and has no effect, because of this.
    Harmless(&'static str),
    /// Only these values (separated by `|`) are accepted; the text says what to do instead of another.
    DefaultOnly { accepted: &'static str, instead: &'static str },
}

/// The flag called `name`.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// The environment variable that stands for the flag: `--data-dir` is `ETCD_DATA_DIR`.
pub fn variable(name: &str) -> String {
    format!("ETCD_{}", name.to_uppercase().replace('-', "_"))
}

const fn offered(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag { name, switch: false, support: Support::Offered { default, help } }
}

const fn harmless(name: &'static str, why: &'static str) -> Flag {
    Flag { name, switch: false, support: Support::Harmless(why) }
}

const fn harmless_switch(name: &'static str, why: &'static str) -> Flag {
    Flag { name, switch: true, support: Support::Harmless(why) }
}

const fn only(name: &'static str, accepted: &'static str, instead: &'static str) -> Flag {
    Flag { name, switch: false, support: Support::DefaultOnly { accepted, instead } }
}

const fn only_switch(name: &'static str, accepted: &'static str, instead: &'static str) -> Flag {
    Flag { name, switch: true, support: Support::DefaultOnly { accepted, instead } }
}

const NO_TLS: &str = "TLS is not offered yet; use http:// URLs on a network you trust";
const NO_AUTH: &str = "users and roles are not offered yet; leave the flag out";
const NO_DISCOVERY: &str = "list every member in --initial-cluster instead";
const NO_V2: &str = "the v2 API is not served; leave the flag out";
const NO_TRACING: &str = "distributed tracing is not offered yet; leave the flag out";
const NO_BBOLT: &str = "there is no bbolt file to tune";
const NO_SNAPSHOT_FILES: &str = "old checkpoints and log segments are removed on their own";
const NO_PROXY: &str = "run a member, or point clients at the members with --endpoints";
const NO_COMPACTOR: &str = "compact from outside, for example: etcdctl compact REVISION";

/// All of them, in the order of `etcd --help`.
pub const FLAGS: &[Flag] = &[
    offered("name", "default", "This member's name: one of those in --initial-cluster"),
    offered("data-dir", "${name}.althing", "Where this member keeps its log and its state"),
    only("wal-dir", "", "the log lives in --data-dir; mount a disk there"),
    offered("snapshot-count", "10000", "Applied entries between checkpoints, after which the log is cut"),
    offered("heartbeat-interval", "100", "Milliseconds between a leader's heartbeats"),
    offered("election-timeout", "1000", "Milliseconds without a leader before an election starts"),
    offered(
        "leader-priority",
        "1",
        "Ours: a member with a higher one is made leader when it lacks nothing; 0: never leads",
    ),
    offered(
        "quiesce-after",
        "0",
        "Ours: milliseconds without work until an idle cluster sends no heartbeats; 0: never",
    ),
    harmless_switch("initial-election-tick-advance", "elections have deadlines, not ticks"),
    offered("listen-peer-urls", "http://localhost:2380", "Where to listen for the other members"),
    offered("listen-client-urls", "http://localhost:2379", "Where to listen for clients"),
    harmless("max-snapshots", NO_SNAPSHOT_FILES),
    harmless("max-wals", NO_SNAPSHOT_FILES),
    offered(
        "quota-backend-bytes",
        "0",
        "Bytes of state above which writes are refused; 0: 2 GiB, negative: none",
    ),
    harmless("backend-bbolt-freelist-type", NO_BBOLT),
    harmless("backend-batch-interval", NO_BBOLT),
    harmless("backend-batch-limit", NO_BBOLT),
    offered("max-txn-ops", "128", "Operations allowed in one transaction"),
    offered("max-request-bytes", "1572864", "Bytes allowed in one request"),
    harmless("grpc-keepalive-min-time", "clients may ping as often as they like"),
    harmless("grpc-keepalive-interval", "the server does not ping its clients"),
    harmless("grpc-keepalive-timeout", "the server does not ping its clients"),
    only_switch("socket-reuse-port", "false", "give each member a port of its own"),
    harmless_switch("socket-reuse-address", "a restarted server may always bind its address again"),
    offered(
        "initial-advertise-peer-urls",
        "",
        "Where the other members reach this one; default: --listen-peer-urls",
    ),
    offered(
        "initial-cluster",
        "",
        "Every member as NAME=PEER-URL, comma-separated; default: this member alone",
    ),
    offered("initial-cluster-state", "new", "`new` to found the cluster, `existing` to join it once added"),
    offered("initial-cluster-token", "etcd-cluster", "Tells this cluster from others with the same members"),
    offered("advertise-client-urls", "", "Where clients reach this member; default: --listen-client-urls"),
    only("discovery", "", NO_DISCOVERY),
    harmless("discovery-fallback", "there is no discovery service"),
    only("discovery-proxy", "", NO_DISCOVERY),
    only("discovery-srv", "", NO_DISCOVERY),
    only("discovery-srv-name", "", NO_DISCOVERY),
    harmless_switch(
        "strict-reconfig-check",
        "a reconfiguration that would lose the quorum is never accepted",
    ),
    only_switch("pre-vote", "true", "the pre-vote phase is always on; leave the flag out"),
    only("auto-compaction-retention", "0|0s", NO_COMPACTOR),
    harmless("auto-compaction-mode", "it matters only with --auto-compaction-retention"),
    only_switch("enable-v2", "false", NO_V2),
    harmless("v2-deprecation", "there is no v2 store"),
    only("cert-file", "", NO_TLS),
    only("key-file", "", NO_TLS),
    only_switch("client-cert-auth", "false", NO_TLS),
    only("client-crl-file", "", NO_TLS),
    only("client-cert-allowed-hostname", "", NO_TLS),
    only("trusted-ca-file", "", NO_TLS),
    only_switch("auto-tls", "false", NO_TLS),
    only("peer-cert-file", "", NO_TLS),
    only("peer-key-file", "", NO_TLS),
    only_switch("peer-client-cert-auth", "false", NO_TLS),
    only("peer-trusted-ca-file", "", NO_TLS),
    only("peer-cert-allowed-cn", "", NO_TLS),
    only("peer-cert-allowed-hostname", "", NO_TLS),
    only_switch("peer-auto-tls", "false", NO_TLS),
    harmless("self-signed-cert-validity", "there are no certificates"),
    only("peer-crl-file", "", NO_TLS),
    only("cipher-suites", "", NO_TLS),
    only("cors", "*|", "cross-origin rules are not offered yet; put a proxy in front"),
    only("host-whitelist", "*|", "host rules are not offered yet; put a proxy in front"),
    only("auth-token", "simple", NO_AUTH),
    harmless("bcrypt-cost", "there are no users yet"),
    harmless("auth-token-ttl", "there are no users yet"),
    only_switch("enable-pprof", "false", "profile the process with `perf` instead"),
    harmless("metrics", "all metrics are always served, on /metrics of the client port"),
    only("listen-metrics-urls", "", "scrape /metrics on the client port"),
    harmless("logger", "there is one logger, and it writes zap's JSON"),
    only("log-outputs", "default|stderr", "logs go to standard error; redirect it"),
    offered("log-level", "info", "debug, info, warn, error, panic or fatal"),
    offered("log-format", "json", "json (as etcd prints it) or console"),
    only_switch("enable-log-rotation", "false", "logs go to standard error; rotate them there"),
    harmless("log-rotation-config-json", "logs go to standard error"),
    only_switch("experimental-enable-distributed-tracing", "false", NO_TRACING),
    harmless("experimental-distributed-tracing-address", NO_TRACING),
    harmless("experimental-distributed-tracing-service-name", NO_TRACING),
    harmless("experimental-distributed-tracing-instance-id", NO_TRACING),
    only("proxy", "off", NO_PROXY),
    harmless("proxy-failure-wait", "there is no proxy mode"),
    harmless("proxy-refresh-interval", "there is no proxy mode"),
    harmless("proxy-dial-timeout", "there is no proxy mode"),
    harmless("proxy-write-timeout", "there is no proxy mode"),
    harmless("proxy-read-timeout", "there is no proxy mode"),
    harmless_switch("experimental-initial-corrupt-check", "every record is checked when it is read"),
    harmless("experimental-corrupt-check-time", "every record is checked when it is read"),
    only("experimental-enable-v2v3", "", NO_V2),
    harmless_switch("experimental-enable-lease-checkpoint", "leases are kept by the leader"),
    harmless("experimental-compaction-batch-limit", "compaction runs beside requests"),
    harmless_switch("experimental-peer-skip-client-san-verification", "there are no certificates"),
    harmless("experimental-watch-progress-notify-interval", "progress is notified every ten minutes"),
    harmless("watch-progress-notify-interval", "progress is notified every ten minutes"),
    harmless("experimental-warning-apply-duration", "slow requests are in /metrics"),
    harmless("warning-apply-duration", "slow requests are in /metrics"),
    harmless_switch("experimental-txn-mode-write-with-shared-buffer", NO_BBOLT),
    harmless("experimental-bootstrap-defrag-threshold-megabytes", NO_BBOLT),
    only_switch(
        "force-new-cluster",
        "false",
        "see `althing repair-quorum`, which says first what may be lost",
    ),
    only_switch("unsafe-no-fsync", "false", "`althing dev --ephemeral` keeps its data in memory"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_is_listed_twice() {
        let mut names: Vec<_> = FLAGS.iter().map(|flag| flag.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_variable_is_named_as_etcd_names_it() {
        assert_eq!(variable("initial-cluster-state"), "ETCD_INITIAL_CLUSTER_STATE");
    }
}
