//! Commands become entries.
//!
//! ```text
//!   leader:   propose* ──flush──▶ one entry of everything, encoded once ──▶ log record, messages, Committed
//!   follower: propose* ──flush──▶ Forward ──▶ leader
//! ```
//!
//! There is no positive answer, and a forward that is lost or that finds no leader is lost: the proposer sees its
//! command applied or tries again (contract C8).

use bytes::Bytes;
use consensus::{Dest, Entry, EntryKind, Lane, Out, Refusal, Token};
use types::{Batch, Command, Now, WallTime, Wire, buggify};

use crate::raft::State;
use crate::{Message, Raft, Record};

/// Bytes of a batch besides its commands: the time and the count.
const BATCH_OVERHEAD_BYTES: u64 = 8 + 4;

impl Raft {
    pub(crate) fn on_propose(&mut self, token: Token, commands: Vec<Command>, out: &mut Out<Raft>) {
        let bytes = commands_bytes(&commands);
        match (&self.state, self.leader) {
            (_, None) => self.refuse(token, Refusal::NoLeader, out),
            (State::Leader(_), _) if bytes > self.proposal_credit() => self.refuse(token, Refusal::Busy, out),
            (State::Leader(_), _) if buggify!(self.config.buggify, "raft.propose.busy") => {
                self.refuse(token, Refusal::Busy, out);
            }
            (State::Leader(_), _) => self.collect(commands, bytes),
            _ => self.following.forwards.extend(commands),
        }
    }

    /// A follower's commands; nobody waits for a refusal, so too many are simply dropped.
    pub(crate) fn on_forward(&mut self, commands: Vec<Command>) {
        let bytes = commands_bytes(&commands);
        let is_dropped = buggify!(self.config.buggify, "raft.forward.not_taken");
        if matches!(self.state, State::Leader(_)) && bytes <= self.proposal_credit() && !is_dropped {
            self.collect(commands, bytes);
        }
    }

    fn collect(&mut self, commands: Vec<Command>, bytes: u64) {
        self.proposals_bytes += bytes;
        if self.proposals.is_empty() {
            self.proposals = commands;
        } else {
            self.proposals.extend(commands);
        }
    }

    /// Bytes of commands that may still come in: entries above the applied slot are bounded.
    pub(crate) fn proposal_credit(&self) -> u64 {
        let max = self.config.unapplied_bytes_max;
        match self.state {
            State::Leader(_) => {
                max.saturating_sub(self.log.bytes_above(self.applied)).saturating_sub(self.proposals_bytes)
            }
            _ => max.saturating_sub(commands_bytes(&self.following.forwards)),
        }
    }

    /// Everything proposed since the last flush becomes one entry, or a few if it is much.
    pub(crate) fn append_proposals(&mut self, now: Now) {
        let waits = self.is_handing_over() || buggify!(self.config.buggify, "raft.propose.later");
        if self.proposals.is_empty() || waits {
            return;
        }
        // A state machine's time never goes back, whatever this node's clock did.
        self.wall = self.wall.max(now.wall);
        self.proposals_bytes = 0;
        let one_by_one = buggify!(self.config.buggify, "raft.propose.one_command");
        let bytes_max = if one_by_one { 1 } else { self.config.entry_bytes_max };
        for commands in split(std::mem::take(&mut self.proposals), bytes_max) {
            let entry = Entry { kind: EntryKind::Commands, payload: encode_batch(self.wall, commands) };
            self.append_own(Record { term: self.term, entry });
        }
    }

    pub(crate) fn send_forwards(&mut self, out: &mut Out<Raft>) {
        let Some(leader) = self.leader else { return };
        if self.following.forwards.is_empty() || buggify!(self.config.buggify, "raft.forward.later") {
            return;
        }
        let one_by_one = buggify!(self.config.buggify, "raft.forward.one_command");
        let bytes_max = if one_by_one { 1 } else { self.config.entry_bytes_max };
        for commands in split(std::mem::take(&mut self.following.forwards), bytes_max) {
            if buggify!(self.config.buggify, "raft.forward.twice") {
                let commands = commands.clone();
                self.send_now(Dest::Node(leader), Message::Forward { commands }, Lane::Bulk, out);
            }
            self.send_now(Dest::Node(leader), Message::Forward { commands }, Lane::Bulk, out);
        }
    }
}

fn commands_bytes(commands: &[Command]) -> u64 {
    commands.iter().map(|command| command.encoded_len() as u64).sum()
}

fn encode_batch(wall: WallTime, commands: Vec<Command>) -> Bytes {
    let mut payload = Vec::with_capacity((BATCH_OVERHEAD_BYTES + commands_bytes(&commands)) as usize);
    Batch { wall, commands }.encode(&mut payload);
    Bytes::from(payload)
}

/// Splits commands, in order, into groups of at most `bytes_max`, or of a single command.
fn split(mut commands: Vec<Command>, bytes_max: u64) -> impl Iterator<Item = Vec<Command>> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |command: &&Command| {
            bytes += command.encoded_len() as u64;
            bytes <= bytes_max
        };
        let count = commands.iter().take_while(fits).count().max(1);
        match commands.len() {
            0 => None,
            len if len <= count => Some(std::mem::take(&mut commands)),
            _ => {
                let rest = commands.split_off(count);
                Some(std::mem::replace(&mut commands, rest))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::SessionId;

    #[test]
    fn commands_are_split_by_size_in_order() {
        let command = |len: usize| Command {
            session: SessionId(1),
            number: 1,
            acked_below: 0,
            body: Bytes::from(vec![0; len]),
        };
        let lens = |groups: Vec<Vec<Command>>| -> Vec<Vec<usize>> {
            groups.iter().map(|group| group.iter().map(|it| it.body.len()).collect()).collect()
        };
        let commands = [10, 20, 500, 30, 40].map(command).to_vec();
        let max = 2 * command(0).encoded_len() as u64 + 80;
        assert_eq!(lens(split(commands, max).collect()), [vec![10, 20], vec![500], vec![30, 40]]);
        assert_eq!(split(Vec::new(), max).count(), 0);
    }

    #[test]
    fn a_batch_is_encoded_into_exactly_the_room_that_was_reserved() {
        let command =
            Command { session: SessionId(1), number: 1, acked_below: 0, body: Bytes::from_static(b"x") };
        let commands = vec![command; 3];
        let expected = BATCH_OVERHEAD_BYTES + commands_bytes(&commands);
        assert_eq!(encode_batch(WallTime(5), commands).len() as u64, expected);
    }
}
