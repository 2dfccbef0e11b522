//! Where frames from peers go: messages and questions to the core, answers to whoever asked, introductions to the links.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::Lane;
use types::{NodeId, Wire};

use crate::audit;
use crate::inputs::{CoreInput, LeaseAsk, LeaseReply};
use crate::mailbox::Mailbox;
use crate::node::Driven;
use crate::peers::{Deliver, Frame, FrameError, Peers, answer_frame};
use crate::questions::Questions;
use crate::shared::Shared;

/// Takes frames on the threads of the connections they came by.
pub(crate) struct Intake<P: Driven> {
    core: Arc<Mailbox<CoreInput<P>>>,
    peers: Arc<Peers>,
    questions: Arc<Questions>,
    shared: Arc<Shared>,
}

/// How long a question from a peer may wait for the read round that confirms our leadership. The peer asks again
/// by then.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);

impl<P: Driven> Intake<P> {
    pub(crate) fn new(
        core: Arc<Mailbox<CoreInput<P>>>,
        peers: Arc<Peers>,
        questions: Arc<Questions>,
        shared: Arc<Shared>,
    ) -> Intake<P> {
        Intake { core, peers, questions, shared }
    }

    fn question(from: NodeId, id: u64, body: Bytes) -> Result<CoreInput<P>, FrameError> {
        Ok(CoreInput::Asked(LeaseAsk {
            question: Wire::from_bytes(body)?,
            timeout: QUESTION_TIMEOUT,
            reply: LeaseReply::Peer { to: from, id },
        }))
    }
}

impl<P: Driven> Deliver for Intake<P> {
    fn connected(&self, from: NodeId) {
        self.peers.peer_is_back(from);
    }

    fn deliver(
        &self,
        from: NodeId,
        lane: Lane,
        frames: &mut Vec<Frame>,
        bytes: u64,
    ) -> Result<(), FrameError> {
        let mut inputs = Vec::with_capacity(frames.len());
        for frame in frames.drain(..) {
            match frame {
                Frame::Protocol(message) => {
                    let message = P::Message::from_bytes(message)?;
                    inputs.push(CoreInput::Recv { from, message });
                }
                Frame::Question { id, body } if body == audit::QUESTION => {
                    self.peers.send_control(from, answer_frame(id, &self.shared.digests.answer()));
                }
                Frame::Question { id, body } => inputs.push(Self::question(from, id, body)?),
                Frame::Answer { id, body } => self.questions.answered(id, body),
                Frame::Introduction(urls) => self.peers.introduce(from, urls),
            }
        }
        if !inputs.is_empty() {
            self.core.post_when_room(lane, inputs, bytes);
        }
        Ok(())
    }
}
