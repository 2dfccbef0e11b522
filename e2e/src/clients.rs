//! Client libraries of other languages, unchanged, against a three-node cluster.

use std::path::Path;
use std::process::Command;

use crate::cluster::{Cluster, free_ports};
use crate::tools;

/// Python's etcd3 was generated for protobuf 3, and calls tenacity as releases before 7 had it.
const PYTHON_PACKAGES: &[&str] = &["etcd3==0.12.0", "protobuf<3.21", "setuptools<80", "tenacity==6.3.1"];
const NODE_PACKAGES: &[&str] = &["etcd3@1.1.2"];

/// Runs each client's script and prints its claims.
///
/// # Errors
/// If a claim does not hold, or a client cannot be installed.
pub fn run(althing: &Path) -> anyhow::Result<()> {
    let cluster = Cluster::althing(althing, &free_ports(3)?, &[])?;
    let endpoint = format!("127.0.0.1:{}", cluster.nodes[1].client_port);
    let scripts = tools::scripts_dir().join("clients");

    println!("python etcd3:");
    let python = tools::python_with(PYTHON_PACKAGES)?;
    print!("{}", tools::run(Command::new(python).arg(scripts.join("client.py")).arg(&endpoint))?);

    println!("node etcd3:");
    let modules = tools::node_modules_with(NODE_PACKAGES)?.join("node_modules");
    let mut node = Command::new("node");
    node.env("NODE_PATH", modules).arg(scripts.join("client.js")).arg(&endpoint);
    print!("{}", tools::run(&mut node)?);
    Ok(())
}
