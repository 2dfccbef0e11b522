//! What clients ask a state machine to do, in the form in which it is replicated.

use bytes::Bytes;

use crate::{Reader, WallTime, Wire, WireError};

/// One run of one submitter: drawn at random when a node (or a client that keeps its own session) starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

/// One command of one session. Retries carry the same `(session, number)`, and the state machine's
/// session table executes each pair at most once.
///
/// `number` 0 opens the session and has an empty body; a later number of a session that is not open is
/// refused, never executed, so that a command cannot be executed twice by outliving its session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// Whose command this is.
    pub session: SessionId,
    /// Counts the session's commands from 1; 0 opens the session.
    pub number: u64,
    /// Every number below this one has been answered and will not be sent again.
    pub acked_below: u64,
    /// Opaque to consensus; the state machine's own encoding.
    pub body: Bytes,
}

/// The payload of one log entry: commands that were proposed together, and the time they happened at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Batch {
    /// The leader's clock when it created the entry, never less than the entry before: the only time
    /// that a state machine knows.
    pub wall: WallTime,
    /// Executed in this order.
    pub commands: Vec<Command>,
}

impl Command {
    /// Bytes of this command in its wire form.
    pub fn encoded_len(&self) -> usize {
        16 + 8 + 8 + 4 + self.body.len()
    }
}

impl Wire for SessionId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(SessionId(u128::decode(input)?))
    }
}

impl Wire for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        self.session.encode(out);
        self.number.encode(out);
        self.acked_below.encode(out);
        self.body.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Command {
            session: SessionId::decode(input)?,
            number: u64::decode(input)?,
            acked_below: u64::decode(input)?,
            body: Bytes::decode(input)?,
        })
    }
}

impl Wire for Batch {
    fn encode(&self, out: &mut Vec<u8>) {
        self.wall.encode(out);
        self.commands.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Batch { wall: WallTime::decode(input)?, commands: Vec::decode(input)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_len_is_what_encode_writes() {
        let command =
            Command { session: SessionId(7), number: 1, acked_below: 0, body: Bytes::from_static(b"body") };
        assert_eq!(command.to_bytes().len(), command.encoded_len());
        let batch = Batch { wall: WallTime(-3), commands: vec![command.clone(), command] };
        assert_eq!(Batch::from_bytes(batch.to_bytes()), Ok(batch));
    }
}
