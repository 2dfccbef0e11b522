//! The promises that one replica can check of itself; numbers as in the crate's documentation.

use crate::raft::State;
use crate::{Integrity, Raft};

impl Raft {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.log.check().map_err(|error| format!("R8: {error}"))?;
        self.check_order()?;
        self.check_leadership()?;
        self.check_progress()
    }

    /// checkpoint ≤ applied ≤ emitted ≤ commit ≤ last, and durable ≤ last.
    fn check_order(&self) -> Result<(), String> {
        let order = [self.checkpoint, self.applied, self.emitted, self.commit, self.log.last()];
        if !order.is_sorted() {
            return Err(format!("R5: checkpoint, applied, emitted, commit, last are {order:?}"));
        }
        if self.log.base() > self.checkpoint.max(self.applied) {
            return Err(format!("R5: compacted to {:?} above applied {:?}", self.log.base(), self.applied));
        }
        if self.log.cache_first() > self.emitted.next() {
            let first = self.log.cache_first();
            return Err(format!("R5: {:?} is not in memory, only {first:?} on", self.emitted.next()));
        }
        let durable = self.writes.durable_slot();
        if durable > self.log.last() {
            return Err(format!("R3: durable {durable:?} above last {:?}", self.log.last()));
        }
        let verified = self.following.verified;
        let is_leader = matches!(self.state, State::Leader(_));
        if !is_leader && !(self.commit..=self.log.last()).contains(&verified) {
            return Err(format!(
                "R7: verified {verified:?} not in {:?}..={:?}",
                self.commit,
                self.log.last()
            ));
        }
        Ok(())
    }

    fn check_leadership(&self) -> Result<(), String> {
        let me = self.config.id;
        if self.log.last_term() > self.term {
            return Err(format!("R3: log reaches term {}, current is {}", self.log.last_term(), self.term));
        }
        if !matches!(self.state, State::Follower) && self.integrity != Integrity::Intact {
            return Err(format!("R9: {:?} although {:?}", self.role(), self.integrity));
        }
        let has_own_vote = matches!(self.state, State::Candidate(_) | State::Leader(_));
        if has_own_vote && self.vote != Some(me) {
            return Err(format!("R1: {:?} in term {} voted for {:?}", self.role(), self.term, self.vote));
        }
        if matches!(self.state, State::Leader(_)) != (self.leader == Some(me)) {
            return Err(format!("R1: {:?} but the leader is {:?}", self.role(), self.leader));
        }
        Ok(())
    }

    fn check_progress(&self) -> Result<(), String> {
        let State::Leader(leading) = &self.state else { return Ok(()) };
        if self.log.term_at(leading.term_start).is_some_and(|term| term != self.term) {
            return Err(format!("R2: {:?} is not of term {}", leading.term_start, self.term));
        }
        for (peer, progress) in &leading.progress {
            let checked = progress.check(self.log.last(), &self.config);
            checked.map_err(|error| format!("R7: towards {peer:?}: {error}"))?;
        }
        let inherited = leading.commit_inherited.max(self.checkpoint);
        if self.commit > inherited && self.commit < leading.term_start {
            let start = leading.term_start;
            return Err(format!(
                "R4: committed {:?} by counting, own entries begin at {start:?}",
                self.commit
            ));
        }
        Ok(())
    }
}
