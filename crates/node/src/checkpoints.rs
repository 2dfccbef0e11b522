//! Checkpoints of the state machine: making it durable, sending it to a peer, taking one from a peer.
//!
//! ```text
//!   TakeCheckpoint ──▶ helper thread: engine.persist ──▶ CheckpointDurable
//!   ReadChunk 0 ──▶ a view of now ──▶ helper thread: chunk, chunk, … ──▶ ChunkRead
//!   StageChunk ──▶ <state>/../staged/N (or memory) ──▶ InstallCheckpoint ──▶ Kv::install
//! ```
//!
//! The helper thread does what takes long, so that entries go on being applied beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use consensus::{Event, Request, TransferId};
use kv::{CheckpointWriter, InstallError, Kv};
use storage::{Engine, EngineError};
use types::Slot;

use crate::config::NodeError;
use crate::inputs::{CoreInput, Mailboxes};
use crate::mailbox::Mailbox;
use crate::node::Driven;
use crate::shared::Shared;
use crate::{StateEngine, StateView};

/// The apply thread's side.
pub(crate) struct Checkpoints<P: Driven> {
    helper: Arc<Mailbox<Job>>,
    thread: Option<JoinHandle<()>>,
    /// A checkpoint that is due once this slot is applied.
    due: Option<Slot>,
    /// Transfers that have their view.
    open: BTreeSet<TransferId>,
    staged: Staged,
    mailboxes: Mailboxes<P>,
}

/// What the helper thread does.
enum Job {
    /// Make the engine durable; it holds everything up to this slot.
    Persist { at: Slot },
    /// A transfer begins with this view.
    Open { transfer: TransferId, writer: Box<CheckpointWriter<StateView>> },
    /// Read a chunk.
    Read { transfer: TransferId, index: u64 },
    /// A transfer is over.
    Close { transfer: TransferId },
}

/// Where chunks from a peer are kept until all are there.
pub(crate) enum Staged {
    /// In files of this directory, named by index.
    Files(PathBuf),
    /// In memory.
    Memory(BTreeMap<u64, Bytes>),
}

/// Why a checkpoint could not be handled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointFailure {
    #[error("cannot stage a checkpoint in {path}")]
    Stage {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot install a checkpoint")]
    Install(#[from] InstallError),
    #[error("cannot read the state for a checkpoint")]
    Read(#[from] EngineError),
}

impl<P: Driven> Checkpoints<P> {
    /// Starts the helper thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(
        staged: Staged,
        engine: StateEngine,
        mailboxes: Mailboxes<P>,
        shared: Arc<Shared>,
        path: String,
    ) -> io::Result<Checkpoints<P>> {
        let helper = Arc::new(Mailbox::new(0, 0));
        let worker = Helper {
            inbox: helper.clone(),
            engine,
            writers: BTreeMap::new(),
            core: mailboxes.core.clone(),
            shared,
            path,
        };
        let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(move || worker.run())?;
        Ok(Checkpoints { helper, thread: Some(thread), due: None, open: BTreeSet::new(), staged, mailboxes })
    }

    /// Ends the helper thread.
    pub(crate) fn stop(&mut self) {
        self.helper.close();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and nothing is left that needed the thread.
            thread.join().ok();
        }
    }

    /// Everything up to `slot` is applied.
    pub(crate) fn applied(&mut self, slot: Slot) {
        if self.due.take_if(|due| *due <= slot).is_some() {
            self.helper.post(Job::Persist { at: slot });
        }
    }

    /// Does what the core asks. Returns the answer to an installation that took place.
    ///
    /// # Errors
    /// [`CheckpointFailure`]: the node must end.
    pub(crate) fn event(
        &mut self,
        event: Event,
        kv: &mut Kv<StateEngine>,
    ) -> Result<Option<Request>, CheckpointFailure> {
        match event {
            Event::TakeCheckpoint { at } => {
                self.due = Some(at);
                self.applied(kv.applied().0);
            }
            Event::ReadChunk { transfer, index } => {
                // The first chunk may be asked for again, and must then come from the same view.
                if index == 0 && self.open.insert(transfer) {
                    let writer = Box::new(kv.checkpoint()?);
                    self.helper.post(Job::Open { transfer, writer });
                }
                self.helper.post(Job::Read { transfer, index });
            }
            Event::CloseTransfer { transfer } => {
                self.open.remove(&transfer);
                self.helper.post(Job::Close { transfer });
            }
            Event::StageChunk { transfer, index, chunk, .. } => {
                self.staged.put(index, chunk)?;
                self.answer(Request::ChunkStaged { transfer, index });
            }
            Event::InstallCheckpoint { transfer, meta } => {
                let staged = &self.staged;
                let installed = match kv.install((meta.at, meta.epoch), |index| staged.get(index)) {
                    Ok(()) => true,
                    Err(InstallError::Refused(error)) => {
                        tracing::warn!(at = %meta.at, "a checkpoint from a peer is refused: {error}");
                        false
                    }
                    Err(error) => return Err(error.into()),
                };
                self.staged.clear()?;
                let answer = Request::CheckpointInstalled { transfer, installed };
                if installed {
                    tracing::info!(at = %meta.at, "installed a checkpoint from a peer");
                    return Ok(Some(answer));
                }
                self.answer(answer);
            }
            _ => {}
        }
        Ok(None)
    }

    fn answer(&self, request: Request) {
        self.mailboxes.core.post(CoreInput::Reply(request));
    }
}

impl Staged {
    fn put(&mut self, index: u64, chunk: Bytes) -> Result<(), CheckpointFailure> {
        if index == 0 {
            self.clear()?;
        }
        match self {
            Staged::Memory(chunks) => {
                chunks.insert(index, chunk);
                Ok(())
            }
            Staged::Files(directory) => fs::create_dir_all(&directory)
                .and_then(|()| fs::write(directory.join(index.to_string()), &chunk))
                .map_err(|source| stage_failure(directory, source)),
        }
    }

    fn get(&self, index: u64) -> Option<Bytes> {
        match self {
            Staged::Memory(chunks) => chunks.get(&index).cloned(),
            Staged::Files(directory) => fs::read(directory.join(index.to_string())).ok().map(Bytes::from),
        }
    }

    /// Throws everything away that is staged; also what an earlier run left behind.
    pub(crate) fn clear(&mut self) -> Result<(), CheckpointFailure> {
        match self {
            Staged::Memory(chunks) => chunks.clear(),
            Staged::Files(directory) => match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(stage_failure(directory, error));
                }
                _ => {}
            },
        }
        Ok(())
    }
}

fn stage_failure(directory: &std::path::Path, source: io::Error) -> CheckpointFailure {
    CheckpointFailure::Stage { path: directory.display().to_string(), source }
}

/// The helper thread's state.
struct Helper<P: Driven> {
    inbox: Arc<Mailbox<Job>>,
    engine: StateEngine,
    writers: BTreeMap<TransferId, CheckpointWriter<StateView>>,
    core: Arc<Mailbox<CoreInput<P>>>,
    shared: Arc<Shared>,
    path: String,
}

impl<P: Driven> Helper<P> {
    fn run(mut self) {
        let mut jobs = Vec::new();
        while self.inbox.take(&mut jobs, None) {
            for job in jobs.drain(..) {
                if let Err(error) = self.job(job) {
                    self.shared.fail(NodeError::State { path: self.path.clone(), reason: error.to_string() });
                    return;
                }
            }
        }
    }

    fn job(&mut self, job: Job) -> Result<(), EngineError> {
        let answer = match job {
            Job::Persist { at } => {
                self.engine.persist()?;
                Request::CheckpointDurable { at }
            }
            Job::Open { transfer, writer } => {
                self.writers.insert(transfer, *writer);
                return Ok(());
            }
            Job::Close { transfer } => {
                self.writers.remove(&transfer);
                return Ok(());
            }
            Job::Read { transfer, index } => self.read(transfer, index)?,
        };
        self.core.post(CoreInput::Reply(answer));
        Ok(())
    }

    fn read(&mut self, transfer: TransferId, index: u64) -> Result<Request, EngineError> {
        let Some(writer) = self.writers.get_mut(&transfer) else {
            return Ok(Request::ChunkLost { transfer });
        };
        let (at, epoch) = writer.at();
        let membership = crate::stores::membership(writer.membership()?);
        Ok(match writer.chunk(index)? {
            Some((chunk, last)) => Request::ChunkRead { transfer, at, epoch, membership, index, chunk, last },
            None => Request::ChunkLost { transfer },
        })
    }
}
