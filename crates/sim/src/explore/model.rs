//! The world as a graph: states, and what can happen in each.
//!
//! Nodes, messages and promises are kept once each and go by number, and what one node does with one input is worked
//! out once: a core is a value that always does the same. A state of the whole world is then a handful of numbers
//! (Holzmann, "State compression in SPIN", 1997, calls this collapsing).
//!
//! A message may be delivered at any time or never, so that losing one needs no transition of its own. For the same
//! reason a delivery that changes nothing is left out: whatever can happen without the message can happen with it.

use consensus::{Role, Token};
use std::collections::BTreeMap;
use types::{Epoch, NodeId, Slot, Wire};

use super::Bounds;
use super::ghost::Ghost;
use super::local::{Local, Seen, Stimulus};
use super::state::{Spent, State, Step};
use super::symmetry::{Images, Permutations};
use super::table::{Table, print, print_bytes};
use crate::options::Options;
use crate::oracle::Broken;
use crate::subject::Subject;

/// A message under way.
#[derive(Debug)]
pub(super) struct Letter<P: Subject> {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) message: P::Message,
}

/// A node, and what is asked of it often.
struct Known<P: Subject> {
    local: Local<P>,
    leads: Option<Epoch>,
    epoch: u64,
    durable: BTreeMap<Slot, u128>,
    has_deadline: bool,
}

/// What a node does with an input.
struct Move {
    next: u32,
    sent: Box<[u32]>,
    seen: Box<[Seen]>,
}

/// Everything that has been met, with its images under other names.
pub(super) struct Model<P: Subject> {
    bounds: Bounds,
    locals: Table<Known<P>>,
    letters: Table<Letter<P>>,
    moves: Table<Move>,
    ghosts: Table<Ghost>,
    permutations: Permutations,
    local_images: Images,
    letter_images: Images,
    ghost_images: Images,
}

impl<P: Subject> Model<P> {
    /// The model and its first state.
    pub(super) fn new(bounds: &Bounds, options: &Options) -> Result<(Model<P>, State), Broken> {
        let permutations = Permutations::of(bounds.nodes);
        let mut model = Model {
            bounds: bounds.clone(),
            locals: Table::new(),
            letters: Table::new(),
            moves: Table::new(),
            ghosts: Table::new(),
            local_images: Images::new(&permutations),
            letter_images: Images::new(&permutations),
            ghost_images: Images::new(&permutations),
            permutations,
        };
        let root = model.root(options)?;
        Ok((model, root))
    }

    fn root(&mut self, options: &Options) -> Result<State, Broken> {
        let mut begun = Vec::new();
        for node in 0..self.bounds.nodes {
            let (local, effects) = Local::new(name(node), &self.bounds, options)?;
            begun.push(self.made(name(node), local, effects));
        }
        let mut state = State::default();
        for (node, made) in (0..).zip(&begun) {
            let images: Vec<&Move> = self.names(node).map(|node| &begun[usize::from(node)]).collect();
            self.note(&images)?;
            state.nodes.push(made.next);
            state.net.extend_from_slice(&made.sent);
        }
        state.net.sort_unstable();
        state.ghost = self.promise(Ghost::default());
        Ok(state)
    }

    /// How many different states of nodes there are, and how many messages.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.locals.len(), self.letters.len())
    }

    pub(super) fn local(&self, number: u32) -> &Local<P> {
        &self.locals.get(number).local
    }

    pub(super) fn letter(&self, number: u32) -> &Letter<P> {
        self.letters.get(number)
    }

    pub(super) fn permutations(&self) -> &Permutations {
        &self.permutations
    }

    // ---- what may happen

    /// Everything that may happen in `state`; some of it may turn out to change nothing.
    pub(super) fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        steps.clear();
        for (node, local) in (0u8..).zip(&state.nodes) {
            self.steps_of(node, self.locals.get(*local), state.spent, steps);
        }
        let mut before = None;
        for letter in state.net.iter().copied().filter(|letter| before.replace(*letter) != Some(*letter)) {
            steps.push(Step::Deliver { letter, again: false });
            if state.spent.duplicates < self.bounds.duplicates {
                steps.push(Step::Deliver { letter, again: true });
            }
        }
    }

    fn steps_of(&self, node: u8, known: &Known<P>, spent: Spent, steps: &mut Vec<Step>) {
        let pending = u8::try_from(known.local.pending()).unwrap_or(u8::MAX);
        if pending > 0 {
            steps.push(Step::Durable { node });
        }
        if spent.timers < self.bounds.timers {
            if known.has_deadline {
                steps.push(Step::Timer { node });
            }
            steps.push(Step::Elapse { node });
        }
        if spent.proposals < self.bounds.proposals {
            steps.push(Step::Propose { node });
        }
        if spent.reads < self.bounds.reads {
            steps.push(Step::Read { node });
        }
        if spent.crashes < self.bounds.crashes {
            steps.extend((0..=pending).map(|kept| Step::Crash { node, kept }));
        }
    }

    /// Writes the state after `step` to `next`. Returns false if nothing changes or a bound is passed.
    ///
    /// # Errors
    /// The promise that this step breaks.
    pub(super) fn after(&mut self, state: &State, step: Step, next: &mut State) -> Result<bool, Broken> {
        let node = self.node_of(step);
        let here = state.nodes[usize::from(node)];
        let number = self.make_move(here, step, state.spent)?;
        let made = self.moves.get(number);
        let is_idle = made.next == here && made.sent.is_empty() && made.seen.is_empty();
        if is_idle || self.locals.get(made.next).epoch > self.bounds.terms {
            return Ok(false);
        }
        next.clone_from(state);
        next.spent.spend(step);
        next.nodes[usize::from(node)] = made.next;
        if let Step::Deliver { letter, again: false } = step
            && let Ok(at) = next.net.binary_search(&letter)
        {
            next.net.remove(at);
        }
        next.net.extend_from_slice(&made.sent);
        next.net.sort_unstable();
        next.ghost = self.judge(next, node, number, step)?;
        Ok(true)
    }

    /// The messages that `step` sends from `state`, in order.
    pub(super) fn sent(&mut self, state: &State, step: Step) -> Result<Vec<u32>, Broken> {
        let here = state.nodes[usize::from(self.node_of(step))];
        let number = self.make_move(here, step, state.spent)?;
        Ok(self.moves.get(number).sent.to_vec())
    }

    /// Whose step it is.
    pub(super) fn node_of(&self, step: Step) -> u8 {
        match step {
            Step::Deliver { letter, .. } => index(self.letters.get(letter).to),
            Step::Durable { node }
            | Step::Timer { node }
            | Step::Elapse { node }
            | Step::Propose { node }
            | Step::Read { node }
            | Step::Crash { node, .. } => node,
        }
    }

    // ---- moves of single nodes

    /// What the node `here` does in `step`: looked up, or worked out for this node and all its images.
    fn make_move(&mut self, here: u32, step: Step, spent: Spent) -> Result<u32, Broken> {
        // A second delivery is the same to the node as a first; which proposal it is makes a difference.
        let step = match step {
            Step::Deliver { letter, .. } => Step::Deliver { letter, again: false },
            other => other,
        };
        let counted = match step {
            Step::Propose { .. } => spent.proposals,
            Step::Read { .. } => spent.reads,
            _ => 0,
        };
        if let Some(number) = self.moves.find(print(&(here, step, counted))) {
            return Ok(number);
        }
        let mut orbit = Vec::new();
        for permutation in 0..self.permutations.len() {
            let here = self.local_images.get(here, permutation);
            let step = self.renamed(step, permutation);
            let id = name(self.node_of(step));
            let stimulus = self.stimulus(step, u64::from(counted) + 1);
            let (local, effects) = self.locals.get(here).local.after(stimulus)?;
            orbit.push((print(&(here, step, counted)), self.made(id, local, effects)));
        }
        self.note(&orbit.iter().map(|(_, made)| made).collect::<Vec<_>>())?;
        let numbers: Vec<u32> =
            orbit.into_iter().map(|(print, made)| self.moves.intern(print, || made)).collect();
        Ok(numbers[0])
    }

    fn stimulus(&self, step: Step, number: u64) -> Stimulus<P> {
        match step {
            Step::Deliver { letter, .. } => {
                let Letter { from, message, .. } = self.letters.get(letter);
                Stimulus::Receive(*from, message.clone())
            }
            Step::Durable { .. } => Stimulus::Durable,
            Step::Timer { .. } => Stimulus::Timer,
            Step::Elapse { .. } => Stimulus::Elapse,
            Step::Propose { .. } => Stimulus::Propose(number),
            Step::Read { .. } => Stimulus::Read(Token(READS + number)),
            Step::Crash { kept, .. } => Stimulus::Crash(kept.into()),
        }
    }

    fn made(&mut self, from: NodeId, local: Local<P>, effects: super::local::Effects<P>) -> Move {
        let next = self.locals.intern(local.fingerprint(), || {
            let status = local.status();
            Known {
                leads: (status.role == Role::Leader).then_some(status.epoch),
                epoch: status.epoch.number,
                durable: local.durable(),
                has_deadline: local.has_deadline(),
                local,
            }
        });
        let sent = effects.sent.into_iter().map(|(to, message)| self.post(from, to, message)).collect();
        Move { next, sent, seen: effects.seen.into() }
    }

    fn post(&mut self, from: NodeId, to: NodeId, message: P::Message) -> u32 {
        let print = print(&(from, to, print_bytes(&message.to_bytes())));
        self.letters.intern(print, || Letter { from, to, message })
    }

    // ---- other names

    /// Where the permutations put a node, in their order.
    fn names(&self, node: u8) -> impl Iterator<Item = u8> {
        (0..self.permutations.len()).map(move |permutation| self.permutations.map(permutation, node))
    }

    /// The same step under other names.
    pub(super) fn renamed(&self, step: Step, permutation: usize) -> Step {
        let map = |node| self.permutations.map(permutation, node);
        match step {
            Step::Deliver { letter, again } => {
                Step::Deliver { letter: self.letter_images.get(letter, permutation), again }
            }
            Step::Durable { node } => Step::Durable { node: map(node) },
            Step::Timer { node } => Step::Timer { node: map(node) },
            Step::Elapse { node } => Step::Elapse { node: map(node) },
            Step::Propose { node } => Step::Propose { node: map(node) },
            Step::Read { node } => Step::Read { node: map(node) },
            Step::Crash { node, kept } => Step::Crash { node: map(node), kept },
        }
    }

    /// Notes that what came of these moves are images of each other: the nodes, and to each peer the first message,
    /// the second and so on.
    fn note(&mut self, orbit: &[&Move]) -> Result<(), Broken> {
        let nodes: Vec<u32> = orbit.iter().map(|made| made.next).collect();
        let mut agrees = self.local_images.note(&nodes, &self.permutations);
        for to in 0..self.bounds.nodes {
            let renamed = orbit.iter().zip(self.names(to));
            let sent: Vec<Vec<u32>> = renamed.map(|(made, to)| self.sent_to(made, to)).collect();
            agrees &= sent.iter().all(|letters| letters.len() == sent[0].len());
            if !agrees {
                break;
            }
            for number in 0..sent[0].len() {
                let letters: Vec<u32> = sent.iter().map(|letters| letters[number]).collect();
                agrees &= self.letter_images.note(&letters, &self.permutations);
            }
        }
        match agrees {
            true => Ok(()),
            false => Err(Broken {
                check: "nodes are alike",
                detail: "a node does otherwise under another name".to_owned(),
            }),
        }
    }

    fn sent_to(&self, made: &Move, to: u8) -> Vec<u32> {
        made.sent.iter().copied().filter(|letter| index(self.letters.get(*letter).to) == to).collect()
    }

    /// The same state under the names that make it least; returns which permutation that is.
    pub(super) fn normalise(&self, state: &State, least: &mut State, other: &mut State) -> usize {
        least.clone_from(state);
        let mut chosen = 0;
        for permutation in 1..self.permutations.len() {
            self.rename_nodes(state, permutation, other);
            if other.nodes > least.nodes {
                continue;
            }
            other.net.clear();
            other.net.extend(state.net.iter().map(|letter| self.letter_images.get(*letter, permutation)));
            other.net.sort_unstable();
            other.ghost = self.ghost_images.get(state.ghost, permutation);
            if (&other.nodes, &other.net, other.ghost) < (&least.nodes, &least.net, least.ghost) {
                other.spent = state.spent;
                std::mem::swap(least, other);
                chosen = permutation;
            }
        }
        chosen
    }

    fn rename_nodes(&self, state: &State, permutation: usize, other: &mut State) {
        other.nodes.clone_from(&state.nodes);
        for (node, local) in (0u8..).zip(&state.nodes) {
            let to = usize::from(self.permutations.map(permutation, node));
            other.nodes[to] = self.local_images.get(*local, permutation);
        }
    }

    // ---- promises

    /// Checks what everybody promises, and returns what is promised from now on.
    fn judge(&mut self, next: &State, node: u8, made: u32, step: Step) -> Result<u32, Broken> {
        let made = self.moves.get(made);
        let known = self.locals.get(made.next);
        let before = self.ghosts.get(next.ghost);
        before.is_durable(next.nodes.iter().map(|node| &self.locals.get(*node).durable))?;
        let asks = matches!(step, Step::Read { .. });
        let is_news = known.leads.is_some_and(|epoch| !before.is_led(epoch, name(node)));
        if !asks && !is_news && made.seen.is_empty() {
            return Ok(next.ghost);
        }
        let mut ghost = before.clone();
        if asks {
            ghost.asked(Token(READS + u64::from(next.spent.reads)));
        }
        if let Some(epoch) = known.leads {
            ghost.leads(name(node), epoch, || known.local.log())?;
        }
        made.seen.iter().try_for_each(|seen| ghost.see(name(node), seen))?;
        ghost.is_durable(next.nodes.iter().map(|node| &self.locals.get(*node).durable))?;
        Ok(self.promise(ghost))
    }

    /// The number of these promises.
    fn promise(&mut self, ghost: Ghost) -> u32 {
        if let Some(number) = self.ghosts.find(ghost.fingerprint()) {
            return number;
        }
        let rename = |permutation| ghost.renamed(|id| name(self.permutations.map(permutation, index(id))));
        let images: Vec<Ghost> = (0..self.permutations.len()).map(rename).collect();
        let numbers: Vec<u32> =
            images.into_iter().map(|image| self.ghosts.intern(image.fingerprint(), || image)).collect();
        self.ghost_images.note(&numbers, &self.permutations);
        numbers[0]
    }
}

/// Tokens of reads are above this, those of proposals below.
const READS: u64 = 1_000;

fn name(node: u8) -> NodeId {
    NodeId(u64::from(node) + 1)
}

fn index(id: NodeId) -> u8 {
    u8::try_from(id.0 - 1).expect("a world has less than 256 nodes")
}
