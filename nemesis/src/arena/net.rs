//! The network: a bridge, and a namespace with one address for each node.
//!
//! ```text
//!                 bridge 10.77.0.1 (clients)
//!       ┌──────────────┼──────────────┐
//!   10.77.0.11     10.77.0.12     10.77.0.13     one namespace each, with a filter on what comes in
//! ```
//!
//! Nodes know each other by name (`n2.nemesis`); each namespace has a hosts file of its own, which says what
//! a name means there: the node itself, or the relay's face of it (`10.77.0.102`).

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use e2e::tools::run;

const BRIDGE: &str = "nemesis0";
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Packets from one node to another that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Who sends them.
    pub from: usize,
    /// Who never gets them.
    pub to: usize,
    /// How many of a hundred are lost.
    pub percent: u64,
}

/// The namespaces and the bridge between them.
pub(super) struct Net {
    nodes: usize,
}

/// The address of node `node`.
pub fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 11 + node as u8)
}

/// Where the relay stands in for node `node`, to those who dial it and to those whom it dials.
pub fn face(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 101 + node as u8)
}

/// The name by which peers know node `node`.
pub(super) fn host_name(node: usize) -> String {
    format!("n{}.nemesis", node + 1)
}

pub(super) fn namespace(node: usize) -> String {
    format!("nemesis-n{}", node + 1)
}

fn link_name(node: usize) -> String {
    format!("nemesis-v{}", node + 1)
}

impl Net {
    /// Builds the network for `nodes` nodes, who reach each other directly or through the relay.
    pub(super) fn build(nodes: usize, relayed: bool) -> anyhow::Result<Net> {
        ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["link", "set", BRIDGE, "up"])?;
        ip(&["addr", "add", &format!("{HOST}/24"), "dev", BRIDGE])?;
        let net = Net { nodes };
        for node in 0..nodes {
            net.add_node(node, relayed)?;
        }
        Ok(net)
    }

    fn add_node(&self, node: usize, relayed: bool) -> anyhow::Result<()> {
        let (name, link) = (namespace(node), link_name(node));
        ip(&["netns", "add", &name])?;
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
        ip(&["link", "set", &link, "master", BRIDGE, "up"])?;
        ip(&["-n", &name, "addr", "add", &format!("{}/24", address(node)), "dev", "eth0"])?;
        ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        if relayed {
            ip(&["addr", "add", &format!("{}/24", face(node)), "dev", BRIDGE])?;
        }
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        for peer in 0..self.nodes {
            let met_at = if relayed && peer != node { face(peer) } else { address(peer) };
            writeln!(hosts, "{met_at} {}", host_name(peer))?;
        }
        let directory = hosts_directory(node);
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(fs::write(directory.join("hosts"), hosts)?)
    }

    /// Loses these packets from now on, and no others.
    pub(super) fn cut(&self, cuts: &[Cut]) -> anyhow::Result<()> {
        (0..self.nodes).try_for_each(|node| {
            let mut nft = Command::new("ip")
                .args(["netns", "exec", &namespace(node), "nft", "-f", "-"])
                .stdin(Stdio::piped())
                .spawn()
                .context("cannot start nft")?;
            let mut stdin = nft.stdin.take().context("nft has no input")?;
            std::io::Write::write_all(&mut stdin, filter(node, cuts).as_bytes())?;
            drop(stdin);
            let status = nft.wait()?;
            ensure!(status.success(), "nft ended with {status}");
            Ok(())
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        sweep();
    }
}

/// What node `to` takes in, as a ruleset for nft that replaces the one before.
fn filter(to: usize, cuts: &[Cut]) -> String {
    let mut rules = "table ip nemesis\ndelete table ip nemesis\ntable ip nemesis {\n chain input {\n  type filter hook input priority 0\n".to_owned();
    for cut in cuts.iter().filter(|cut| cut.to == to) {
        // What a node sends comes from its own address, or from its face if the relay passes it on.
        let from = format!("ip saddr {{ {}, {} }}", address(cut.from), face(cut.from));
        let rule = match cut.percent {
            100 => format!("  {from} drop\n"),
            percent => format!("  {from} numgen random mod 100 < {percent} drop\n"),
        };
        rules.push_str(&rule);
    }
    rules.push_str(" }\n}\n");
    rules
}

/// Removes every namespace and link of ours, after killing what runs inside: our own, or of a run that crashed.
pub(super) fn sweep() {
    for node in 0..=super::NODES_MAX {
        let name = namespace(node);
        for pid in quiet("ip", &["netns", "pids", &name]).split_whitespace() {
            quiet("kill", &["-9", pid]);
        }
        // A namespace goes away in the background, and its link with it: this one goes at once.
        quiet("ip", &["link", "del", &link_name(node)]);
        quiet("ip", &["netns", "del", &name]);
        // It may never have been there.
        drop(fs::remove_dir_all(hosts_directory(node)));
    }
    quiet("ip", &["link", "del", BRIDGE]);
}

/// Where `ip netns exec` looks for files to put over those in `/etc`.
fn hosts_directory(node: usize) -> PathBuf {
    PathBuf::from("/etc/netns").join(namespace(node))
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments)).map(drop)
}

/// Runs a command whose failure means that there is nothing to do, and returns what it printed.
pub(super) fn quiet(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_drops_what_comes_from_the_other_side_only() {
        let rules = filter(1, &[Cut { from: 0, to: 1, percent: 100 }, Cut { from: 1, to: 2, percent: 30 }]);
        assert!(rules.contains("ip saddr { 10.77.0.11, 10.77.0.101 } drop\n"), "{rules}");
        assert!(!rules.contains("numgen"), "{rules}");
        let rules = filter(2, &[Cut { from: 1, to: 2, percent: 30 }]);
        assert!(rules.contains("10.77.0.102 } numgen random mod 100 < 30 drop\n"), "{rules}");
    }
}
