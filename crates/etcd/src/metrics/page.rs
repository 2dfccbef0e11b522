//! The page itself: every family in one list, its name, its help, and where the figure comes from.

use std::sync::atomic::Ordering;
use std::time::Duration;

use node::HistogramSnapshot;

use super::text::Text;
use super::{CODES, HANDLING_BOUNDS, Metrics, code_label, process};
use crate::config::{ETCD_API_VERSION, ETCD_CLUSTER_VERSION};
use crate::front::Front;
use crate::grpc::Method;

pub(crate) use super::text::CONTENT_TYPE;

/// Everything that there is to tell, as Prometheus reads it.
pub(crate) fn page(front: &Front) -> String {
    let mut text = Text::default();
    server(&mut text, front);
    disk(&mut text, front);
    store(&mut text, front);
    network(&mut text, front);
    rpcs(&mut text, &front.metrics);
    process_figures(&mut text);
    text.finish()
}

fn server(text: &mut Text, front: &Front) {
    let node = front.handle.metrics();
    let flag = |flag: &std::sync::atomic::AtomicBool| u8::from(flag.load(Ordering::Relaxed));
    text.gauge(
        "etcd_server_has_leader",
        "Whether a leader is known: 1 is, 0 is not.",
        flag(&node.has_leader),
    );
    text.gauge("etcd_server_is_leader", "Whether this member leads.", flag(&node.is_leader));
    let votes = front.handle.status().replication.membership.votes(front.handle.id());
    text.gauge("etcd_server_is_learner", "Whether this member has no vote, or none yet.", u8::from(!votes));
    text.counter(
        "etcd_server_leader_changes_seen_total",
        "Changes of leader that this member has seen.",
        node.leader_changes.get(),
    );
    text.gauge(
        "etcd_server_proposals_committed_total",
        "The last committed log index.",
        node.proposals_committed.get(),
    );
    text.gauge(
        "etcd_server_proposals_applied_total",
        "The last applied log index.",
        node.proposals_applied.get(),
    );
    text.gauge(
        "etcd_server_proposals_pending",
        "Proposals without an outcome yet.",
        node.proposals_pending.get(),
    );
    text.counter(
        "etcd_server_proposals_failed_total",
        "Proposals that ended without being applied.",
        node.proposals_failed.get(),
    );
    text.counter(
        "etcd_server_read_indexes_failed_total",
        "Linearizable reads that could not be served.",
        node.reads_failed.get(),
    );
    text.counter(
        "etcd_server_health_success",
        "Health checks that succeeded.",
        front.metrics.health_successes.get(),
    );
    text.counter(
        "etcd_server_health_failures",
        "Health checks that failed.",
        front.metrics.health_failures.get(),
    );
    text.gauge(
        "etcd_server_quota_backend_bytes",
        "Quota of the store in bytes; 0 if there is none.",
        front.config.quota_bytes,
    );
    labelled(
        text,
        "etcd_server_version",
        "The etcd version whose API is served.",
        "server_version",
        ETCD_API_VERSION,
    );
    labelled(text, "etcd_cluster_version", "The cluster's version.", "cluster_version", ETCD_CLUSTER_VERSION);
    labelled(text, "etcd_server_id", "This member's id.", "server_id", &front.handle.id().to_string());
}

/// A gauge of 1 whose label is the news.
fn labelled(text: &mut Text, name: &str, help: &str, label: &str, value: &str) {
    text.family(name, "gauge", help);
    text.sample(name, &format!("{label}=\"{value}\""), 1);
}

fn disk(text: &mut Text, front: &Front) {
    let node = front.handle.metrics();
    snapshot(
        text,
        "etcd_disk_wal_fsync_duration_seconds",
        "How long a sync of the log takes.",
        &node.log_sync.snapshot(),
    );
    snapshot(
        text,
        "etcd_disk_backend_commit_duration_seconds",
        "How long the state engine takes to write one group of entries.",
        &node.state_write.snapshot(),
    );
    text.counter("etcd_disk_wal_write_bytes_total", "Bytes written to the log.", node.log_bytes.get());
    text.counter(
        "althing_scrub_bytes_total",
        "Bytes of the log read again to find damage.",
        node.scrub_bytes.get(),
    );
    text.counter(
        "althing_scrub_damage_total",
        "Damaged sectors of the log that were found so.",
        node.scrub_damage.get(),
    );
    text.counter(
        "althing_state_audits_total",
        "States digested to be compared with the other members'.",
        node.state_audits.get(),
    );
    text.counter(
        "althing_state_mismatches_total",
        "Comparisons that found another state at some member: nobody should have any.",
        node.state_mismatches.get(),
    );
}

fn snapshot(text: &mut Text, name: &str, help: &str, histogram: &HistogramSnapshot) {
    text.family(name, "histogram", help);
    text.histogram(name, "", histogram.buckets.iter().copied(), histogram.count, histogram.sum_seconds);
}

fn store(text: &mut Text, front: &Front) {
    let status = front.handle.status();
    text.gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes that the state takes.", status.size_bytes);
    text.gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Bytes of the state that are in use.",
        status.size_in_use_bytes,
    );
    // A state that cannot be read has no revision to show.
    if let Ok(revision) = front.reader.revision() {
        text.gauge("etcd_debugging_mvcc_current_revision", "The store's revision.", revision);
    }
    if let Ok(revision) = front.reader.compact_revision() {
        text.gauge("etcd_debugging_mvcc_compact_revision", "The compacted revision.", revision);
    }
    let own = &front.metrics;
    text.gauge("etcd_debugging_mvcc_watch_stream_total", "Open watch streams.", own.watch_streams.get());
    text.gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", own.watchers.get());
    text.gauge(
        "etcd_debugging_mvcc_slow_watcher_total",
        "Watchers that are behind and read history.",
        own.slow_watchers.get(),
    );
    text.counter("etcd_debugging_mvcc_events_total", "Events sent to watchers.", own.events_sent.get());
    text.counter("etcd_debugging_lease_granted_total", "Leases granted here.", own.leases_granted.get());
    text.counter("etcd_debugging_lease_revoked_total", "Leases revoked here.", own.leases_revoked.get());
    text.counter("etcd_debugging_lease_renewed_total", "Leases renewed here.", own.leases_renewed.get());
}

fn network(text: &mut Text, front: &Front) {
    text.counter(
        "etcd_network_client_grpc_sent_bytes_total",
        "Bytes sent to clients.",
        front.metrics.sent_bytes.get(),
    );
    text.counter(
        "etcd_network_client_grpc_received_bytes_total",
        "Bytes received from clients.",
        front.metrics.received_bytes.get(),
    );
    let node = front.handle.metrics();
    let mut family = |name, label, kind, help, figure: fn(&node::PeerMetrics) -> u64| {
        text.family(name, kind, help);
        for (peer, metrics) in &node.peers() {
            text.sample(name, &format!("{label}=\"{peer}\""), figure(metrics));
        }
    };
    family("etcd_network_peer_sent_bytes_total", "To", "counter", "Bytes sent to a peer.", |peer| {
        peer.sent_bytes.get()
    });
    family(
        "etcd_network_peer_received_bytes_total",
        "From",
        "counter",
        "Bytes received from a peer.",
        |peer| peer.received_bytes.get(),
    );
    family(
        "etcd_network_peer_sent_failures_total",
        "To",
        "counter",
        "Messages to a peer that were dropped.",
        |peer| peer.sent_failures.get(),
    );
    family("etcd_network_active_peers", "Remote", "gauge", "Whether a peer is connected.", |peer| {
        u64::from(peer.lanes_connected.get() > 0)
    });
}

fn rpcs(text: &mut Text, metrics: &Metrics) {
    let labels: Vec<String> = Method::ALL
        .iter()
        .map(|method| {
            let (service, name, kind) = method.describe();
            format!("grpc_service=\"{service}\",grpc_method=\"{name}\",grpc_type=\"{}\"", kind.label())
        })
        .collect();
    let name = "grpc_server_started_total";
    text.family(name, "counter", "RPCs begun.");
    for (rpc, labels) in metrics.rpcs.iter().zip(&labels) {
        text.sample(name, labels, rpc.started.get());
    }
    let name = "grpc_server_handled_total";
    text.family(name, "counter", "RPCs ended, by their code.");
    for (rpc, labels) in metrics.rpcs.iter().zip(&labels) {
        for code in (0..CODES).filter(|code| *code == 0 || rpc.handled[*code].get() > 0) {
            let labels = format!("{labels},grpc_code=\"{}\"", code_label(code));
            text.sample(name, &labels, rpc.handled[code].get());
        }
    }
    let name = "grpc_server_handling_seconds";
    text.family(name, "histogram", "How long RPCs took.");
    for (rpc, labels) in metrics.rpcs.iter().zip(&labels).filter(|(rpc, _)| rpc.started.get() > 0) {
        let mut count = 0;
        let mut cumulative = rpc.took.iter().map(|bucket| {
            count += bucket.get();
            count
        });
        let bounds = HANDLING_BOUNDS.iter().map(Duration::as_secs_f64);
        let buckets: Vec<(f64, u64)> = bounds.zip(&mut cumulative).collect();
        let total = cumulative.next().unwrap_or(0);
        let sum = Duration::from_nanos(rpc.took_nanos.get()).as_secs_f64();
        text.histogram(name, labels, buckets, total, sum);
    }
}

fn process_figures(text: &mut Text) {
    let Some(process) = process::read() else { return };
    text.gauge("process_resident_memory_bytes", "Resident memory in bytes.", process.resident_bytes);
    text.gauge("process_virtual_memory_bytes", "Virtual memory in bytes.", process.virtual_bytes);
    text.family("process_cpu_seconds_total", "counter", "Processor time in seconds.");
    text.sample("process_cpu_seconds_total", "", process.cpu_seconds);
    text.gauge("process_open_fds", "Open file descriptors.", process.open_fds);
    text.gauge("process_max_fds", "The most file descriptors allowed.", process.max_fds);
    text.gauge("os_fd_used", "Open file descriptors.", process.open_fds);
    text.gauge("os_fd_limit", "The most file descriptors allowed.", process.max_fds);
}
