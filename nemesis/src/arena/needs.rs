//! The programs that a run calls, and how to get them.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use e2e::tools::run;

/// A file, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 3] =
    [("/usr/sbin/ip", "iproute2"), ("/usr/sbin/nft", "nftables"), ("/usr/bin/strace", "strace")];

/// Installs what is missing.
///
/// # Errors
/// The package manager is not Debian's, or fails.
pub(super) fn install() -> anyhow::Result<()> {
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(path, _)| !Path::new(path).exists()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", missing.join(", "));
    let advice = || format!("install these first, as Debian calls them: {}", missing.join(" "));
    run(Command::new("apt-get").args(["update", "--quiet"])).with_context(advice)?;
    run(Command::new("apt-get").args(["install", "--yes", "--quiet"]).args(&missing)).with_context(advice)?;
    Ok(())
}
