//! Garbage, the wrong protocol and too much on the client port; garbage on the peer port.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use types::Rng;

use super::{claim, output_of};
use crate::cluster::{Cluster, http_get};

/// Runs all cases against a cluster that serves, and checks after each that it still does.
///
/// # Errors
/// If an error is missing or unclear, or the cluster stops serving.
pub fn run(cluster: &mut Cluster, etcdctl: &Path) -> anyhow::Result<()> {
    let endpoint = format!("--endpoints=127.0.0.1:{}", cluster.nodes[0].client_port);
    let mut round = 0;
    let mut still_serves = |cluster: &mut Cluster| -> anyhow::Result<()> {
        round += 1;
        let value = format!("round-{round}");
        let (code, output) = output_of(etcdctl, &[&endpoint, "put", "still", &value])?;
        claim("     … and the cluster serves on", code == 0 && cluster.exit_status(0)?.is_none(), &output)
    };

    for seed in 0..50 {
        send_garbage(cluster.nodes[0].client_port, seed)?;
    }
    claim("50 garbage streams on the client port are closed", true, "")?;
    still_serves(cluster)?;

    for seed in 0..50 {
        send_garbage(cluster.nodes[0].peer_port, seed)?;
    }
    claim("50 garbage streams on the peer port are closed", true, "")?;
    let log = std::fs::read_to_string(&cluster.nodes[0].log)?;
    claim("     … with a log line that says whose", log.contains("127.0.0.1"), &cluster.log_tail(0))?;
    still_serves(cluster)?;

    let answer = http_get(("127.0.0.1", cluster.nodes[0].client_port), "/nothing-here")?;
    claim(
        "an HTTP/1 request gets an HTTP answer that helps",
        answer.contains(" 404 ") && answer.contains("/health"),
        &answer,
    )?;
    still_serves(cluster)?;

    let value = "x".repeat(100 * 1024);
    let operations: String = (0..17).map(|i| format!("put big{i} {value}\n")).collect();
    let file = cluster.dir().join("operations");
    std::fs::write(&file, format!("\n{operations}\n\n\n"))?;
    let script = format!("'{}' {endpoint} txn < '{}'", etcdctl.display(), file.display());
    let output = std::process::Command::new("bash").args(["-c", &script]).output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    claim(
        "an oversized request is refused in etcd's words",
        text.contains("etcdserver: request is too large"),
        &text,
    )?;
    still_serves(cluster)
}

/// Sends random bytes and waits until the other side closes the connection.
fn send_garbage(port: u16, seed: u64) -> anyhow::Result<()> {
    let mut rng = Rng::new(seed);
    let bytes: Vec<u8> = (0..rng.between(1, 4096)).map(|_| rng.below(256) as u8).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // The other side may close before it has read everything.
    if stream.write_all(&bytes).is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
    }
    Ok(())
}
