//! Which nodes a development cluster has: names, ports, directories; checked before anything is started.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DevArgs;
use crate::failure::Failure;

/// Between the second and every further node's ports, as in etcd's Procfile: 2379, 22379, 32379.
const PORT_STEP: u32 = 10_000;
/// Says in the data directory what cluster it holds.
const SHAPE_FILE: &str = "cluster.json";

/// A development cluster as it will be started.
#[derive(Debug)]
pub struct Plan {
    /// Where everything is kept.
    pub dir: PathBuf,
    /// The nodes, in order.
    pub nodes: Vec<NodePlan>,
}

/// One node of it.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// `n1`, `n2`, …
    pub name: String,
    /// Where clients reach it.
    pub client_port: u16,
    /// Where the other nodes reach it.
    pub peer_port: u16,
    /// Its data.
    pub data_dir: PathBuf,
    /// What it prints.
    pub log: PathBuf,
}

/// What must not change between two runs on the same data, because the members know each other by it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    nodes: u16,
    base_port: u16,
}

impl Plan {
    /// `3 nodes`.
    pub fn count(&self) -> String {
        match self.nodes.len() {
            1 => "1 node".to_owned(),
            count => format!("{count} nodes"),
        }
    }

    /// Lays the cluster out in `dir`.
    ///
    /// # Errors
    /// Ports beyond 65535, or more nodes than fit.
    pub fn new(args: &DevArgs, dir: PathBuf) -> Result<Plan, Failure> {
        let nodes =
            (0..args.nodes).map(|index| node(args.base_port, index, &dir)).collect::<Option<Vec<_>>>();
        let Some(nodes) = nodes else {
            let what = format!(
                "{} nodes from port {} need ports up to {}, beyond 65535",
                args.nodes,
                args.base_port,
                client_port(args.base_port, args.nodes - 1) + 1,
            );
            return Err(Failure::new(what).next("althing dev --nodes 3 --base-port 2379"));
        };
        Ok(Plan { dir, nodes })
    }

    /// Makes the directory, and refuses one that holds a cluster of another shape.
    ///
    /// # Errors
    /// It cannot be made, or holds another cluster.
    pub fn claim_dir(&self, args: &DevArgs) -> Result<(), Failure> {
        let fail = |error: io::Error| {
            Failure::new(format_args!("cannot use {}: {error}", self.dir.display()))
                .next("althing dev --data-dir a directory that you can write")
        };
        fs::create_dir_all(&self.dir).map_err(fail)?;
        let file = self.dir.join(SHAPE_FILE);
        let wanted = Shape { nodes: args.nodes, base_port: args.base_port };
        match fs::read(&file) {
            Ok(bytes) => self.check_shape(&wanted, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::write(&file, serde_json::json!(wanted).to_string()).map_err(fail)
            }
            Err(error) => Err(fail(error)),
        }
    }

    fn check_shape(&self, wanted: &Shape, found: &[u8]) -> Result<(), Failure> {
        let dir = self.dir.display();
        let found: Shape = serde_json::from_slice(found).map_err(|error| {
            Failure::new(format_args!("{dir}/{SHAPE_FILE} is damaged: {error}"))
                .next(format_args!("rm -r {dir}   (this forgets the cluster's data)"))
        })?;
        if found == *wanted {
            return Ok(());
        }
        let Shape { nodes, base_port } = found;
        Err(Failure::new(format_args!(
            "{dir} holds a cluster of {nodes} nodes from port {base_port}, not {} from port {}",
            wanted.nodes, wanted.base_port
        ))
        .next(format_args!("althing dev --nodes {nodes} --base-port {base_port}, or another --data-dir")))
    }

    /// Checks that nobody else listens on the cluster's ports.
    ///
    /// # Errors
    /// Somebody does.
    pub fn check_ports(&self) -> Result<(), Failure> {
        for node in &self.nodes {
            for (port, whom) in [(node.client_port, "clients"), (node.peer_port, "peers")] {
                if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
                    let why = match error.kind() {
                        io::ErrorKind::AddrInUse => "is in use by another program".to_owned(),
                        _ => format!("cannot be used: {error}"),
                    };
                    let name = &node.name;
                    let what = format!("port {port}, where {name} listens for its {whom}, {why}");
                    return Err(Failure::new(what).next(
                        "stop that program (an etcd, or another `althing dev`?), or: \
                         althing dev --base-port 12379 --data-dir althing-dev-2",
                    ));
                }
            }
        }
        Ok(())
    }

    /// `n1=http://127.0.0.1:2380,…`, for `--initial-cluster`.
    pub fn initial_cluster(&self) -> String {
        let member = |node: &NodePlan| format!("{}={}", node.name, node.peer_url());
        self.nodes.iter().map(member).collect::<Vec<_>>().join(",")
    }

    /// `127.0.0.1:2379,…`, for `--endpoints`.
    pub fn endpoints(&self) -> String {
        self.nodes.iter().map(NodePlan::endpoint).collect::<Vec<_>>().join(",")
    }
}

impl NodePlan {
    /// Where clients reach it.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// The arguments of its `serve`.
    pub fn arguments(&self, initial_cluster: &str) -> Vec<String> {
        let client_url = format!("http://{}", self.endpoint());
        let pairs = [
            ("--name", self.name.clone()),
            ("--data-dir", self.data_dir.display().to_string()),
            ("--listen-client-urls", client_url.clone()),
            ("--advertise-client-urls", client_url),
            ("--listen-peer-urls", self.peer_url()),
            ("--initial-advertise-peer-urls", self.peer_url()),
            ("--initial-cluster", initial_cluster.to_owned()),
            ("--initial-cluster-token", "althing-dev".to_owned()),
        ];
        let flags = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        ["serve".to_owned(), "--stop-with-stdin".to_owned()].into_iter().chain(flags).collect()
    }
}

fn node(base_port: u16, index: u16, dir: &Path) -> Option<NodePlan> {
    let client_port = client_port(base_port, index);
    let name = format!("n{}", index + 1);
    Some(NodePlan {
        client_port: u16::try_from(client_port).ok()?,
        peer_port: u16::try_from(client_port + 1).ok()?,
        data_dir: dir.join(&name),
        log: dir.join(format!("{name}.log")),
        name,
    })
}

fn client_port(base_port: u16, index: u16) -> u32 {
    let steps = if index == 0 { 0 } else { u32::from(index) + 1 };
    u32::from(base_port) + steps * PORT_STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(nodes: u16, base_port: u16) -> DevArgs {
        DevArgs { nodes, base_port, data_dir: None, ephemeral: false, no_restart: false }
    }

    #[test]
    fn three_nodes_listen_where_etcds_procfile_puts_them() {
        let plan = Plan::new(&args(3, 2379), "d".into()).unwrap();
        assert_eq!(plan.endpoints(), "127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379");
        let members = "n1=http://127.0.0.1:2380,n2=http://127.0.0.1:22380,n3=http://127.0.0.1:32380";
        assert_eq!(plan.initial_cluster(), members);
    }

    #[test]
    fn ports_beyond_the_last_are_refused() {
        let why = Plan::new(&args(3, 40_000), "d".into()).unwrap_err().to_string();
        assert!(why.contains("need ports up to 70001"), "{why}");
    }

    #[test]
    fn a_directory_keeps_its_clusters_shape() {
        let dir = tempfile::tempdir().unwrap();
        let claim = |nodes, port| {
            let args = args(nodes, port);
            Plan::new(&args, dir.path().to_owned()).unwrap().claim_dir(&args)
        };
        claim(3, 2379).unwrap();
        claim(3, 2379).unwrap();
        let why = claim(5, 2379).unwrap_err().to_string();
        assert!(why.contains("holds a cluster of 3 nodes from port 2379"), "{why}");
    }

    #[test]
    fn a_port_in_use_is_named_with_what_it_is_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Plan::new(&args(1, port), "d".into()).unwrap();
        let why = plan.check_ports().unwrap_err().to_string();
        assert!(why.contains(&format!("port {port}, where n1 listens for its clients, is in use")), "{why}");
    }
}
