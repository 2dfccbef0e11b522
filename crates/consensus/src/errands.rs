//! Requests that are asked once and never repeated: changes of membership and of leadership.
//!
//! Repeating one could do it twice: whoever asked to remove a member, and got no answer, has to look first.

use std::collections::BTreeMap;

use types::{NodeId, Time};

use crate::{Change, Event, Outcome, Request, Role, Token};

/// What to ask once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// As [`Request::Reconfigure`].
    Reconfigure(Vec<Change>),
    /// As [`Request::TransferLeadership`].
    TransferLeadership(Option<NodeId>),
}

/// The errands under way.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    /// Accepted and not asked yet.
    due: Vec<(u64, Errand, Time)>,
    asked: BTreeMap<Token, Asked>,
}

#[derive(Debug)]
struct Asked {
    ticket: u64,
    deadline: Time,
    /// Done as soon as somebody else leads; `None` for any other errand.
    transfer: Option<Option<NodeId>>,
}

impl Errands {
    pub fn is_empty(&self) -> bool {
        self.due.is_empty() && self.asked.is_empty()
    }

    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub fn submit(&mut self, ticket: u64, errand: Errand, deadline: Time) {
        self.due.push((ticket, errand, deadline));
    }

    /// What to ask of the core now.
    pub fn poll(&mut self, mut token: impl FnMut() -> Token) -> Vec<Request> {
        let mut requests = Vec::new();
        for (ticket, errand, deadline) in self.due.drain(..) {
            let token = token();
            let (request, transfer) = match errand {
                Errand::Reconfigure(changes) => (Request::Reconfigure { token, changes }, None),
                Errand::TransferLeadership(to) => (Request::TransferLeadership { token, to }, Some(to)),
            };
            self.asked.insert(token, Asked { ticket, deadline, transfer });
            requests.push(request);
        }
        requests
    }

    /// Takes an event of the core and appends what it decides to `outcomes`.
    pub fn event(&mut self, event: &Event, outcomes: &mut Vec<Outcome>) {
        match event {
            Event::Reconfigured { token, at } => {
                outcomes.extend(
                    self.asked.remove(token).map(|it| Outcome::Done { ticket: it.ticket, at: Some(*at) }),
                );
            }
            Event::Refused { token, refusal } => {
                let refused = |it: Asked| Outcome::Refused { ticket: it.ticket, refusal: *refusal };
                outcomes.extend(self.asked.remove(token).map(refused));
            }
            Event::Leadership { role, leader: Some(leader), .. } if *role != Role::Leader => {
                let is_done = |it: &Asked| it.transfer.is_some_and(|to| to.is_none_or(|to| to == *leader));
                let done = |it: &Asked| Outcome::Done { ticket: it.ticket, at: None };
                self.end(is_done, done, outcomes);
            }
            _ => {}
        }
    }

    /// Gives up what nobody answered.
    pub fn expire(&mut self, now: Time, outcomes: &mut Vec<Outcome>) {
        self.end(|it| now >= it.deadline, |it| Outcome::Unknown { ticket: it.ticket }, outcomes);
    }

    fn end(
        &mut self,
        is_over: impl Fn(&Asked) -> bool,
        outcome: impl Fn(&Asked) -> Outcome,
        outcomes: &mut Vec<Outcome>,
    ) {
        outcomes.extend(self.asked.values().filter(|it| is_over(it)).map(outcome));
        self.asked.retain(|_, it| !is_over(it));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChangeRefusal, Refusal};
    use types::{Epoch, Slot};

    fn asked(errand: Errand) -> Errands {
        let mut errands = Errands::default();
        errands.submit(7, errand, Time(100));
        assert_eq!(errands.poll(|| Token(1)).len(), 1);
        assert!(errands.poll(|| Token(2)).is_empty(), "asked once");
        errands
    }

    fn outcomes(errands: &mut Errands, event: Event) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        errands.event(&event, &mut outcomes);
        outcomes
    }

    #[test]
    fn a_change_ends_with_its_answer_its_refusal_or_its_time() {
        let change = || asked(Errand::Reconfigure(vec![Change::Remove { node: NodeId(3) }]));
        let done = Event::Reconfigured { token: Token(1), at: Slot(9) };
        assert_eq!(outcomes(&mut change(), done), [Outcome::Done { ticket: 7, at: Some(Slot(9)) }]);
        let refusal = Refusal::Change(ChangeRefusal::LastVoter);
        let refused = Event::Refused { token: Token(1), refusal };
        assert_eq!(outcomes(&mut change(), refused), [Outcome::Refused { ticket: 7, refusal }]);
        let (mut errands, mut outcomes) = (change(), Vec::new());
        errands.expire(Time(99), &mut outcomes);
        assert!(outcomes.is_empty());
        errands.expire(Time(100), &mut outcomes);
        assert_eq!(outcomes, [Outcome::Unknown { ticket: 7 }], "it may still happen");
        assert!(errands.is_empty());
    }

    #[test]
    fn a_transfer_is_done_when_the_wanted_node_leads() {
        let follows = |leader| Event::Leadership {
            role: Role::Follower,
            epoch: Epoch::of(2),
            leader: Some(NodeId(leader)),
        };
        let mut errands = asked(Errand::TransferLeadership(Some(NodeId(3))));
        assert_eq!(outcomes(&mut errands, follows(2)), [], "somebody else was faster");
        assert_eq!(outcomes(&mut errands, follows(3)), [Outcome::Done { ticket: 7, at: None }]);
        let mut errands = asked(Errand::TransferLeadership(None));
        assert_eq!(outcomes(&mut errands, follows(2)), [Outcome::Done { ticket: 7, at: None }]);
    }
}
