//! What a node finds when it starts: its log and its state, on disk or fresh in memory.

use std::path::{Path, PathBuf};

use consensus::{Consensus, Membership, Recovered};
use kv::Kv;
use storage::{Disk, Engine, Identity, Log, LogOptions, Recovery};
use types::{Epoch, Slot, SlotState, Wire};

use crate::checkpoints::Staged;
use crate::config::{Config, StartError, Storage};
use crate::identify::Whose;
use crate::mem_disk::MemDisk;
use crate::member_file::MemberIdentity;
use crate::{RealDisk, StateEngine};

/// The log of a node, wherever it is.
pub(crate) enum AnyLog {
    Real(Log<RealDisk>),
    Memory(Log<MemDisk>),
}

/// Everything that outlives a run of the node.
pub(crate) struct Stores {
    pub(crate) identity: MemberIdentity,
    /// Where the identity is kept, if it is kept.
    pub(crate) member_dir: Option<PathBuf>,
    pub(crate) log: AnyLog,
    pub(crate) recovery: Recovery,
    pub(crate) engine: StateEngine,
    pub(crate) kv: Kv<StateEngine>,
    pub(crate) staged: Staged,
    /// Where the log and the state are, for messages.
    pub(crate) log_path: String,
    pub(crate) state_path: String,
}

/// Segments of an ephemeral log: memory is given back in steps of this many bytes.
const MEMORY_SEGMENT_BYTES: u64 = 4 << 20;

impl Stores {
    /// Opens or creates the stores that `config` names, which are this member's.
    ///
    /// # Errors
    /// [`StartError`], naming the directory.
    pub(crate) fn open(config: &Config, whose: Whose) -> Result<Stores, StartError> {
        match &config.storage {
            Storage::Directory(directory) => Stores::open_directory(config, directory, whose),
            Storage::Ephemeral => Stores::open_memory(config, whose),
        }
    }

    fn open_directory(config: &Config, directory: &Path, whose: Whose) -> Result<Stores, StartError> {
        let Whose { identity, is_written } = whose;
        let member = directory.join("member");
        let (log_path, state_path) = (member.join("log"), member.join("state"));
        // The log's directory is locked first, and tells whose it is: nothing is touched that is not ours.
        let disk = RealDisk::open(&log_path)?;
        if !is_written && !identity.is_founder {
            identity.write(&member)?; // before there is a log that the flags do not explain
        }
        let (log, recovery) = open_log(disk, config.log_segment_bytes, &identity, &log_path)?;
        if !is_written && identity.is_founder {
            identity.write(&member)?; // after the log has turned out to be ours
        }
        let state_text = state_path.display().to_string();
        let state_error = |source| StartError::State { path: state_text.clone(), source };
        let engine = StateEngine::open(&state_path).map_err(|error| state_error(error.into()))?;
        let kv = Kv::open(engine.clone()).map_err(state_error)?;
        // What a killed process left in the system's cache is shown as well, and the log is believed to end above it.
        engine.persist().map_err(|error| state_error(error.into()))?;
        let mut staged = Staged::Files(member.join("staged"));
        staged.clear().map_err(|source| StartError::System {
            what: "to remove what an earlier run had staged",
            source: std::io::Error::other(source),
        })?;
        Ok(Stores {
            identity,
            member_dir: Some(member),
            log: AnyLog::Real(log),
            recovery,
            engine,
            kv,
            staged,
            log_path: log_path.display().to_string(),
            state_path: state_text,
        })
    }

    fn open_memory(config: &Config, whose: Whose) -> Result<Stores, StartError> {
        let identity = whose.identity;
        let path = Path::new("memory");
        let segment_bytes = config.log_segment_bytes.min(MEMORY_SEGMENT_BYTES);
        let (log, recovery) = open_log(MemDisk::default(), segment_bytes, &identity, path)?;
        let engine = StateEngine::memory();
        let kv = Kv::open(engine.clone())
            .map_err(|source| StartError::State { path: path.display().to_string(), source })?;
        Ok(Stores {
            identity,
            member_dir: None,
            log: AnyLog::Memory(log),
            recovery,
            engine,
            kv,
            staged: Staged::Memory(std::collections::BTreeMap::new()),
            log_path: path.display().to_string(),
            state_path: path.display().to_string(),
        })
    }

    /// Tells the operator what the log has to say about its past.
    pub(crate) fn log_report(&self) {
        for fact in &self.recovery.report {
            tracing::warn!(path = self.log_path, "{fact}");
        }
        if self.kv.is_incomplete() {
            tracing::warn!(path = self.state_path, "the state is incomplete and waits for a checkpoint");
        }
    }
}

fn open_log<D: Disk>(
    disk: D,
    segment_bytes: u64,
    identity: &MemberIdentity,
    path: &Path,
) -> Result<(Log<D>, Recovery), StartError> {
    let identity = Identity { cluster: identity.cluster, node: identity.member };
    #[allow(clippy::needless_update, reason = "the simulator's build has one field more")]
    let options = LogOptions { segment_bytes, ..LogOptions::default() };
    Log::open(disk, identity, options)
        .map_err(|source| StartError::Log { path: path.display().to_string(), source })
}

/// Turns what the log holds into what a core recovers from.
///
/// # Errors
/// [`StartError::Record`] if a record is whole but not one of this protocol's.
pub(crate) fn recovered<P: Consensus>(
    recovery: Recovery,
    applied: (Slot, Epoch),
    membership: Membership,
    path: &str,
) -> Result<Recovered<P>, StartError> {
    let refused = |source| StartError::Record { path: path.to_owned(), source };
    let log: Result<Vec<SlotState<P::Record>>, _> = recovery.records.into_iter().map(decode).collect();
    Ok(Recovered {
        meta: decode(recovery.meta).map_err(refused)?,
        first: recovery.first,
        log: log.map_err(refused)?,
        tail_damaged: recovery.tail_damaged,
        applied,
        membership,
    })
}

/// What the state keeps about who takes part; nobody if no entry ever said it.
pub(crate) fn membership(stored: Option<bytes::Bytes>) -> Membership {
    stored.and_then(|bytes| Membership::from_bytes(bytes).ok()).unwrap_or_default()
}

/// Who takes part as far as it is applied, and what members have published about themselves. Nobody while the state
/// waits for a checkpoint.
pub(crate) fn members(kv: &Kv<StateEngine>) -> Result<(Membership, Vec<kv::Member>), kv::ReadError> {
    if kv.is_incomplete() {
        return Ok(Default::default());
    }
    let reader = kv.reader();
    Ok((membership(reader.membership()?), reader.members()?))
}

fn decode<T: Wire>(state: SlotState<bytes::Bytes>) -> Result<SlotState<T>, types::WireError> {
    Ok(match state {
        SlotState::Ok(bytes) => SlotState::Ok(T::from_bytes(bytes)?),
        SlotState::Missing => SlotState::Missing,
        SlotState::Damaged => SlotState::Damaged,
    })
}
