//! The thread around a core that does as it is told: what the thread asks of it, and when.

use consensus::{
    Capabilities, Consensus, FaultModel, Input, Protocol, Recovered, Status, SubmitterConfig, WriteSeq,
};
use types::{Command, Fingerprinter, NodeId, SessionId, WallTime};

use super::*;
use crate::StateEngine;
use crate::mailbox::Mailbox;
use crate::member_file::MemberIdentity;
use crate::peers::{Hello, LinkNews, Purpose, Roster};
use crate::shared::Clock;

/// A core that leads and follows as its messages say: an odd epoch is its own.
#[derive(Clone, Debug)]
struct Told {
    epoch: u64,
    /// What was proposed to it, by the epoch that it was in.
    asked: Vec<(u64, Command)>,
}

impl Told {
    fn role(&self) -> Role {
        if self.epoch % 2 == 1 { Role::Leader } else { Role::Follower }
    }
}

impl Protocol for Told {
    type Config = ();
    type Message = u64;
    type Meta = u64;
    type Record = u64;
    type Request = Request;
    type Event = Event;

    fn recover((): (), _: u64, _: Recovered<Told>, _: Now, _: &mut Out<Told>) -> Told {
        Told { epoch: 0, asked: Vec::new() }
    }

    fn step(&mut self, _: Now, input: Input<Told>, out: &mut Out<Told>) {
        match input {
            Input::Recv { message, .. } => {
                self.epoch = message;
                let leader = if self.role() == Role::Leader { NodeId(1) } else { NodeId(2) };
                let event =
                    Event::Leadership { role: self.role(), epoch: Epoch::of(message), leader: Some(leader) };
                out.actions.push(Action::Event { event, after: WriteSeq::NONE });
            }
            Input::Request(Request::Propose { commands, .. }) => {
                self.asked.extend(commands.into_iter().map(|command| (self.epoch, command)));
            }
            _ => {}
        }
    }

    fn flush(&mut self, _: Now, _: &mut Out<Told>) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn digest(&self, _: &mut Fingerprinter) {}

    fn check_invariants(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Consensus for Told {
    const CAPABILITIES: Capabilities =
        Capabilities { fault: FaultModel::Crash, reads: &[], reconfigure: &[] };

    fn status(&self) -> Status {
        Status {
            role: self.role(),
            epoch: Epoch::of(self.epoch),
            leader: None,
            first: Slot(1),
            last: Slot(0),
            durable: Slot(0),
            committed: Slot(0),
            applied: Slot(0),
            checkpoint: Slot(0),
            membership: Membership::default(),
        }
    }

    fn credit(&self) -> u64 {
        0
    }
}

struct NoNews;

impl LinkNews for NoNews {
    fn lost(&self, _: NodeId) {}
    fn removed(&self) {}
}

const REVOKE: &[u8] = b"revoke";

fn at(ms: u64) -> Now {
    Now { mono: Time(ms * 1_000_000), wall: WallTime(0) }
}

/// The thread of a member without peers, which does nothing by itself.
fn thread() -> CoreThread<Told> {
    let engine = StateEngine::memory();
    let kv = kv::Kv::open(engine.clone()).expect("an empty state");
    let identity = MemberIdentity {
        cluster: 1,
        member: NodeId(1),
        token: String::new(),
        is_founder: true,
        is_removed: false,
        known: Membership::default(),
    };
    let core = Told { epoch: 0, asked: Vec::new() };
    let shared = Arc::new(Shared::new(identity, None, Clock::start(), engine, &kv, core.status()));
    let me = Hello {
        purpose: Purpose::Talk(consensus::Lane::Control),
        protocol: 0,
        cluster: 1,
        from: NodeId(1),
        to: NodeId(1),
        incarnation: 1,
    };
    let roster = Roster::new(NodeId(1), &Membership::default());
    let peers = Arc::new(Peers::new(me, Bytes::new(), roster, shared.clone(), Arc::new(NoNews)));
    let mut thread = CoreThread::new(CoreStart {
        core,
        out: Out::default(),
        submitter: Submitter::new(SessionId(1), SubmitterConfig::default()),
        outbox: Outbox::new(peers.clone()),
        peers,
        mailboxes: Mailboxes {
            core: Arc::new(Mailbox::new(1, 1)),
            disk: Arc::new(Mailbox::new(1, 1)),
            apply: Arc::new(Mailbox::new(1, 1)),
        },
        shared,
        publication: Bytes::new(),
    });
    thread.publish_at = None;
    thread
}

/// The core hears that this epoch has begun.
fn hears_of(epoch: u64) -> CoreInput<Told> {
    CoreInput::Recv { from: NodeId(2), message: epoch }
}

/// The lessor of `epoch` says that a lease has run out.
fn revoke(epoch: u64) -> CoreInput<Told> {
    CoreInput::Client(ClientInput::Write {
        body: Bytes::from_static(REVOKE),
        timeout: Duration::from_secs(3),
        reply: WriteReply::Revoke(Epoch::of(epoch)),
    })
}

impl CoreThread<Told> {
    fn batch(&mut self, ms: u64, inputs: impl IntoIterator<Item = CoreInput<Told>>) {
        for input in inputs {
            self.input(at(ms), input);
        }
        self.timers(at(ms));
        self.settle(at(ms));
    }

    /// The epochs in which the core was asked for the revoke.
    fn asked_in(&self) -> Vec<u64> {
        let asked = self.core.asked.iter();
        asked.filter(|(_, command)| command.body == REVOKE).map(|(epoch, _)| *epoch).collect()
    }
}

#[test]
fn a_leader_asks_for_what_its_lessor_wants_revoked_until_it_is_done() {
    let mut thread = thread();
    thread.batch(0, [hears_of(1)]);
    thread.batch(1, [revoke(1)]);
    assert_eq!(thread.asked_in(), [1]);
    thread.batch(1_000, []);
    assert_eq!(thread.asked_in(), [1, 1], "no answer: once more");
}

/// T5: in one batch the core learns that it was deposed, and the thread that a lease has run out. The new leader may
/// have renewed it.
#[test]
fn a_revoke_is_not_passed_on_by_a_deposed_leader() {
    for reversed in [false, true] {
        let mut thread = thread();
        thread.batch(0, [hears_of(1)]);
        let mut inputs = [hears_of(2), revoke(1)];
        if reversed {
            inputs.reverse();
        }
        thread.batch(1, inputs);
        // The lessor has not heard of it yet.
        thread.batch(2, [revoke(1)]);
        thread.batch(1_000, []);
        assert_eq!(thread.asked_in(), [0; 0], "reversed: {reversed}");
        assert!(!thread.waiters.has_revokes());
    }
}

/// T5: what the lessor wanted before this node was deposed, and led again.
#[test]
fn a_revoke_of_an_earlier_leadership_is_not_asked_for() {
    let mut thread = thread();
    thread.batch(0, [hears_of(1)]);
    thread.batch(1, [hears_of(2)]);
    thread.batch(2, [hears_of(3)]);
    thread.batch(3, [revoke(1)]);
    assert_eq!(thread.asked_in(), [0; 0]);
    thread.batch(4, [revoke(3)]);
    assert_eq!(thread.asked_in(), [3]);
}

/// T5: nothing came of the first attempt, and the second is due just when the core is deposed.
#[test]
fn a_revoke_is_not_tried_elsewhere() {
    let mut thread = thread();
    thread.batch(0, [hears_of(1)]);
    thread.batch(1, [revoke(1)]);
    thread.batch(1_000, [hears_of(2)]);
    thread.batch(2_000, []);
    assert_eq!(thread.asked_in(), [1]);
}
