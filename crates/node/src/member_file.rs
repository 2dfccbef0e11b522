//! `member/identity`: who a data directory belongs to, since the day it was first used.
//!
//! The flags of a later start may say anything: members have come and gone, addresses have changed. What counts is
//! what this file, the log and the state say. Its bytes are specified in `docs/state-format.md`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use consensus::Membership;
use types::{NodeId, Reader, Wire, WireError};

use crate::config::StartError;

/// Who a member is, and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberIdentity {
    /// The cluster's id.
    pub cluster: u64,
    /// The member's id.
    pub member: NodeId,
    /// What `--initial-cluster-token` was.
    pub token: String,
    /// Whether it founded the cluster, rather than being added to it.
    pub is_founder: bool,
    /// It was removed, and must never take part again.
    pub is_removed: bool,
    /// A founder: who takes part at first. Else: whom to tell that it is here, until the log says who takes part.
    pub known: Membership,
}

const NAME: &str = "identity";
const MAGIC: [u8; 8] = *b"ALTHMEMB";
const FORMAT: u8 = 1;

impl MemberIdentity {
    /// Reads the identity in `directory`; `None` if none was ever written.
    ///
    /// # Errors
    /// [`StartError::Identity`] if there is one that cannot be read.
    pub(crate) fn read(directory: &Path) -> Result<Option<MemberIdentity>, StartError> {
        let path = directory.join(NAME);
        let refused = |reason| StartError::Identity { path: path.display().to_string(), reason };
        match fs::read(&path) {
            Ok(bytes) => MemberIdentity::unseal(&bytes).map(Some).map_err(refused),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Writes the identity, durably and atomically.
    ///
    /// # Errors
    /// [`StartError::Identity`] if that cannot be done.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), StartError> {
        let path = directory.join(NAME);
        replace(directory, &path, &self.seal()).map_err(|error| StartError::Identity {
            path: path.display().to_string(),
            reason: error.to_string(),
        })
    }

    fn seal(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        FORMAT.encode(&mut out);
        self.cluster.encode(&mut out);
        self.member.encode(&mut out);
        self.token.encode(&mut out);
        self.is_founder.encode(&mut out);
        self.is_removed.encode(&mut out);
        self.known.encode(&mut out);
        crc32c::crc32c(&out).encode(&mut out);
        out
    }

    fn unseal(bytes: &[u8]) -> Result<MemberIdentity, String> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
        let (found, computed) = (u32::from_le_bytes(*crc), crc32c::crc32c(body));
        if found != computed {
            return Err(format!("its checksum is {found:08x} where {computed:08x} was computed"));
        }
        MemberIdentity::decode(body).map_err(|error| error.to_string())
    }

    fn decode(body: &[u8]) -> Result<MemberIdentity, WireError> {
        let mut input = Reader::new(Bytes::copy_from_slice(body));
        if input.array()? != MAGIC {
            return Err(WireError::Tag { what: "identity", tag: 0 });
        }
        match u8::decode(&mut input)? {
            FORMAT => {}
            tag => return Err(WireError::Tag { what: "format of the identity", tag }),
        }
        let identity = MemberIdentity {
            cluster: u64::decode(&mut input)?,
            member: NodeId::decode(&mut input)?,
            token: String::decode(&mut input)?,
            is_founder: bool::decode(&mut input)?,
            is_removed: bool::decode(&mut input)?,
            known: Membership::decode(&mut input)?,
        };
        input.finish()?;
        Ok(identity)
    }
}

fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside: PathBuf = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> MemberIdentity {
        MemberIdentity {
            cluster: 7,
            member: NodeId(9),
            token: "t".to_owned(),
            is_founder: true,
            is_removed: false,
            known: Membership::of([NodeId(9)]),
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_a_later_write_replaces_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(MemberIdentity::read(directory.path()).unwrap(), None);
        for identity in [identity(), MemberIdentity { is_removed: true, ..identity() }] {
            identity.write(directory.path()).unwrap();
            assert_eq!(MemberIdentity::read(directory.path()).unwrap(), Some(identity));
        }
    }

    #[test]
    fn no_flipped_bit_is_taken_for_an_identity() {
        let good = identity().seal();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(MemberIdentity::unseal(&bad).is_err(), "bit {bit}");
        }
        assert!((0..good.len()).all(|len| MemberIdentity::unseal(&good[..len]).is_err()));
    }

    /// `docs/state-format.md`.
    #[test]
    fn the_bytes_are_the_specified_ones() {
        let mut expected = b"ALTHMEMB\x01".to_vec();
        expected.extend([7u64, 9].iter().flat_map(|number| number.to_le_bytes()));
        expected.extend(b"\x01\0\0\0t\x01\0");
        expected.extend(Membership::of([NodeId(9)]).to_bytes());
        expected.extend(crc32c::crc32c(&expected).to_le_bytes());
        assert_eq!(identity().seal(), expected);
    }
}
