//! Plain HTTP, and bytes that are neither HTTP nor gRPC, on the client port (`etcd-api.md` §4.11).

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{TestServer, exchange, http_get, within};
use etcd::ServerConfig;
use etcd::proto::health::HealthCheckRequest;
use etcd::proto::health::health_check_response::ServingStatus;
use etcd::proto::health::health_client::HealthClient;

#[tokio::test]
async fn health_and_version_answer_as_etcd_does() {
    let server = TestServer::start().await;
    for path in ["/health", "/health?serializable=true"] {
        let answer = http_get(server.address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with(r#"{"health":"true","reason":""}"#), "{answer}");
    }
    let answer = http_get(server.address, "/version").await;
    assert!(answer.ends_with(r#"{"etcdserver":"3.5.17","etcdcluster":"3.5.0"}"#), "{answer}");
    assert!(http_get(server.address, "/readyz").await.ends_with("\r\n\r\nok\n"));
}

#[tokio::test]
async fn without_a_leader_health_is_503_and_local_health_is_not() {
    let server = TestServer::leaderless(ServerConfig::default()).await;
    let answer = http_get(server.address, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with(r#"{"health":"false","reason":"RAFT NO LEADER"}"#), "{answer}");
    assert!(http_get(server.address, "/livez").await.starts_with("HTTP/1.1 200 "));
    let mut health = HealthClient::new(server.channel.clone());
    let status = health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status;
    assert_eq!(status, i32::from(ServingStatus::NotServing));
}

#[tokio::test]
async fn grpc_health_is_serving_for_the_server_and_unknown_for_others() {
    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel.clone());
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let first = within(watched.message()).await.unwrap().unwrap();
    assert_eq!(first.status, i32::from(ServingStatus::Serving));
    let other = health.check(HealthCheckRequest { service: "other".to_owned() }).await;
    assert_eq!(other.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn an_http1_request_elsewhere_gets_a_404_that_says_what_is_here() {
    let server = TestServer::start().await;
    let answer = http_get(server.address, "/nowhere").await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.contains("/nowhere is not here: gRPC is served here"), "{answer}");
    assert!(http_get(server.address, "/v3/kv/range").await.contains("JSON gateway is not served"));
    let posted = exchange(
        server.address,
        b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
}

#[tokio::test]
async fn garbage_closes_its_own_connection_and_harms_no_other() {
    let mut server = TestServer::start().await;
    let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    for garbage in [
        &noise[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage after the preface",
    ] {
        let answer = exchange(server.address, &[garbage, b"\r\n\r\n"].concat()).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    assert_eq!(server.put("k", "v").await, 2);
}

/// `etcd-metrics.md`: the names that etcd's dashboards and alerts read.
#[tokio::test]
async fn metrics_have_etcds_names_and_count_what_happened() {
    let mut server = TestServer::start().await;
    server.put("k", "v").await;
    server.get("k").await;
    let page = http_get(server.address, "/metrics").await;
    for line in [
        "etcd_server_has_leader 1\n",
        "etcd_server_is_leader 1\n",
        "etcd_debugging_mvcc_current_revision 2\n",
        "grpc_server_started_total{grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\",grpc_type=\"unary\"} 1\n",
        "grpc_server_handled_total{grpc_service=\"etcdserverpb.KV\",grpc_method=\"Range\",grpc_type=\"unary\",grpc_code=\"OK\"} 1\n",
        "# TYPE etcd_disk_wal_fsync_duration_seconds histogram\n",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"}",
        "etcd_disk_backend_commit_duration_seconds_count ",
        "grpc_server_handling_seconds_count{grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\",grpc_type=\"unary\"} 1\n",
    ] {
        assert!(page.contains(line), "{line} is missing in:\n{page}");
    }
    for family in [
        "etcd_server_leader_changes_seen_total",
        "etcd_server_proposals_failed_total",
        "etcd_server_proposals_pending",
        "etcd_server_quota_backend_bytes",
        "etcd_mvcc_db_total_size_in_bytes",
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "etcd_network_client_grpc_sent_bytes_total",
        "etcd_network_client_grpc_received_bytes_total",
        "process_resident_memory_bytes",
    ] {
        assert!(page.contains(&format!("\n{family} ")), "{family} is missing");
    }
}
