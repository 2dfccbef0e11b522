//! What a run needs of the machine, and how to get it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use e2e::tools::run;

use super::DiskKind;
use crate::faults::{Kind, Need};

#[cfg(not(target_arch = "aarch64"))]
pub(super) const LIBFAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
#[cfg(target_arch = "aarch64")]
pub(super) const LIBFAKETIME: &str = "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1";

/// What an arena must be able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Peers reach each other through the relay.
    pub relay: bool,
    /// Clocks can be set.
    pub clocks: bool,
    /// There is a node more, which is no member at first.
    pub spare: bool,
    /// What data directories are on.
    pub disks: DiskKind,
}

/// A file, and the Debian package that brings it.
type Program = (&'static str, &'static str);

const ALWAYS: &[Program] =
    &[("/usr/sbin/ip", "iproute2"), ("/usr/sbin/nft", "nftables"), ("/usr/bin/strace", "strace")];
const CLOCKS: &[Program] = &[(LIBFAKETIME, "libfaketime")];
const FAULTY: &[Program] = &[("/usr/bin/fusermount3", "fuse3")];
const EXT4: &[Program] = &[("/usr/sbin/mkfs.ext4", "e2fsprogs")];

impl Needs {
    /// What these kinds need together.
    ///
    /// # Errors
    /// Two of them need different disks.
    pub fn of<'a>(kinds: impl IntoIterator<Item = &'a Kind>) -> anyhow::Result<Needs> {
        let mut needs = Needs::default();
        for kind in kinds {
            match kind.need {
                Need::Nothing => {}
                Need::Relay => needs.relay = true,
                Need::Clocks => needs.clocks = true,
                Need::Spare => needs.spare = true,
                Need::Disks(disks) => {
                    let free = [DiskKind::Own, disks].contains(&needs.disks);
                    ensure!(
                        free,
                        "{} needs another kind of disk than the other faults: run it apart",
                        kind.name
                    );
                    needs.disks = disks;
                }
            }
        }
        Ok(needs)
    }

    /// Installs the programs that are missing.
    ///
    /// # Errors
    /// The package manager is not Debian's, or fails.
    pub(super) fn install(&self) -> anyhow::Result<()> {
        let clocks = if self.clocks { CLOCKS } else { &[] };
        let disks = match self.disks {
            DiskKind::Own | DiskKind::Tmpfs => &[],
            DiskKind::Faulty => FAULTY,
            DiskKind::Ext4 => EXT4,
        };
        let programs = ALWAYS.iter().chain(clocks).chain(disks);
        let missing: Vec<&str> =
            programs.filter(|(path, _)| !Path::new(path).exists()).map(|(_, package)| *package).collect();
        if missing.is_empty() {
            return Ok(());
        }
        eprintln!("installing {}", missing.join(", "));
        let advice = || format!("install these first, as Debian calls them: {}", missing.join(" "));
        run(Command::new("apt-get").args(["update", "--quiet"])).with_context(advice)?;
        run(Command::new("apt-get").args(["install", "--yes", "--quiet"]).args(&missing))
            .with_context(advice)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults;

    fn needs(names: &str) -> anyhow::Result<Needs> {
        Needs::of(faults::named(names, false).unwrap())
    }

    #[test]
    fn kinds_need_what_they_say_and_no_more() {
        assert_eq!(needs("kill,partition").unwrap(), Needs::default());
        let all = Needs { relay: true, clocks: true, spare: true, disks: DiskKind::Faulty };
        assert_eq!(needs("kill,delay,clock-ahead,power-loss,disk-full,member-grow").unwrap(), all);
    }

    #[test]
    fn a_node_has_one_disk() {
        let error = needs("power-loss,full-ext4").unwrap_err().to_string();
        assert!(error.contains("full-ext4"), "{error}");
    }
}
