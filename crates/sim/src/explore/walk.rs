//! One path through the graph as text that people read and that runs again.
//!
//! ```text
//!   timer n1
//!   deliver m2          # messages are numbered as they are sent
//!   again m3            # arrives, and a copy of it stays under way
//!   disk n2             # the oldest write becomes durable
//!   elapse n3           # time passes, unnoticed
//!   propose n1
//!   read n2
//!   crash n3 keeps 1    # with its first write under way, but not the others, and starts again
//! ```

use std::fmt;

use super::Bounds;
use super::model::Model;
use super::state::{State, Step};
use crate::options::Options;
use crate::oracle::Broken;
use crate::subject::Subject;

/// A path and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// One step each: `timer n1`.
    pub steps: Vec<String>,
    /// What happens in each step, for people; the promise that the last one breaks is not among it.
    pub story: Vec<String>,
}

/// Why a path cannot be walked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step}, `{text}`: {reason}")]
pub struct PathError {
    /// Which step, from 1.
    pub step: u64,
    /// As it was written.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

struct Walk<'a, P: Subject> {
    model: &'a mut Model<P>,
    state: State,
    /// Messages under way by the order in which they were sent, from 1.
    letters: Vec<(u64, u32)>,
    sent: u64,
}

/// Tells what happens on a path that a search of `model` has found. Each of its steps is one of a state that was
/// normalised: its names have to be taken back, and those in the promise that the last step breaks.
pub(super) fn retrace<P: Subject>(
    model: &mut Model<P>,
    root: State,
    steps: &[Step],
) -> (Path, Option<Broken>) {
    let mut walk = Walk::new(model, root);
    let mut path = Path { steps: Vec::new(), story: Vec::new() };
    let (mut least, mut spare) = (State::default(), State::default());
    let mut permutation = 0;
    for step in steps {
        let back = walk.model.permutations().inverse(permutation);
        let step = walk.model.renamed(*step, back);
        path.steps.push(walk.text(step));
        match walk.take(step) {
            Ok(story) => path.story.push(story),
            Err(broken) => return (path, Some(broken)),
        }
        permutation = walk.model.normalise(&walk.state, &mut least, &mut spare);
    }
    (path, None)
}

/// Walks a path that was written down; returns what happens, and the promise that it breaks.
///
/// # Errors
/// [`PathError`] if a step makes no sense where it stands.
pub(super) fn replay<P: Subject>(
    bounds: &Bounds,
    options: &Options,
    text: &str,
) -> Result<(Path, Option<Broken>), PathError> {
    let mut path = Path { steps: Vec::new(), story: Vec::new() };
    let (mut model, root) = match Model::<P>::new(bounds, options) {
        Ok(begun) => begun,
        Err(broken) => return Ok((path, Some(broken))),
    };
    let mut walk = Walk::new(&mut model, root);
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    for (number, line) in (1..).zip(lines.filter(|line| !line.is_empty())) {
        let wrong = |reason| PathError { step: number, text: line.to_owned(), reason };
        let step = walk.parse(line).map_err(wrong)?;
        path.steps.push(line.to_owned());
        match walk.take(step) {
            Ok(story) => path.story.push(story),
            Err(broken) => return Ok((path, Some(broken))),
        }
    }
    Ok((path, None))
}

impl<'a, P: Subject> Walk<'a, P> {
    fn new(model: &'a mut Model<P>, root: State) -> Walk<'a, P> {
        let letters: Vec<(u64, u32)> = (1..).zip(root.net.iter().copied()).collect();
        let sent = letters.len() as u64;
        Walk { model, state: root, letters, sent }
    }

    /// Takes a step and tells what came of it.
    fn take(&mut self, step: Step) -> Result<String, Broken> {
        let node = self.model.node_of(step);
        let sent = self.model.sent(&self.state, step)?;
        let mut story = String::new();
        if let Step::Deliver { letter, again } = step {
            let from = self.model.letter(letter).from.0;
            story = format!("{:?} from n{from}; ", self.model.letter(letter).message);
            let at = self.letters.iter().position(|(_, known)| *known == letter);
            if let Some(at) = at.filter(|_| !again) {
                self.letters.remove(at);
            }
        }
        // A step that changes nothing, or leads out of the bounds, may be on a path that a person wrote.
        let mut after = State::default();
        if self.model.after(&self.state, step, &mut after)? {
            self.state = after;
        }
        let status = self.model.local(self.state.nodes[usize::from(node)]).status();
        story.push_str(&format!(
            "n{} is {:?} in {:?}, log to {}, durable {}, committed {}",
            node + 1,
            status.role,
            status.epoch,
            status.last,
            status.durable,
            status.committed
        ));
        for letter in sent {
            self.sent += 1;
            self.letters.push((self.sent, letter));
            let known = self.model.letter(letter);
            story.push_str(&format!("\n      m{} to n{}: {:?}", self.sent, known.to.0, known.message));
        }
        Ok(story)
    }

    fn text(&self, step: Step) -> String {
        let who = format!("n{}", self.model.node_of(step) + 1);
        match step {
            Step::Deliver { letter, again } => {
                let number =
                    self.letters.iter().find(|(_, known)| *known == letter).map_or(0, |found| found.0);
                format!("{} m{number}", if again { "again" } else { "deliver" })
            }
            Step::Durable { .. } => format!("disk {who}"),
            Step::Timer { .. } => format!("timer {who}"),
            Step::Elapse { .. } => format!("elapse {who}"),
            Step::Propose { .. } => format!("propose {who}"),
            Step::Read { .. } => format!("read {who}"),
            Step::Crash { kept, .. } => format!("crash {who} keeps {kept}"),
        }
    }

    fn parse(&self, line: &str) -> Result<Step, &'static str> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let step = match words[..] {
            ["deliver", letter] => Step::Deliver { letter: self.letter(letter)?, again: false },
            ["again", letter] => Step::Deliver { letter: self.letter(letter)?, again: true },
            ["disk", node] => Step::Durable { node: self.node(node)? },
            ["timer", node] => Step::Timer { node: self.node(node)? },
            ["elapse", node] => Step::Elapse { node: self.node(node)? },
            ["propose", node] => Step::Propose { node: self.node(node)? },
            ["read", node] => Step::Read { node: self.node(node)? },
            ["crash", node, "keeps", kept] => {
                let kept = kept.parse().map_err(|_| "`keeps` takes a number of writes")?;
                Step::Crash { node: self.node(node)?, kept }
            }
            _ => return Err("no such step"),
        };
        Ok(step)
    }

    fn letter(&self, word: &str) -> Result<u32, &'static str> {
        let number: u64 = word.strip_prefix('m').and_then(|digits| digits.parse().ok()).unwrap_or_default();
        let found = self.letters.iter().find(|(known, _)| *known == number);
        found.map(|(_, letter)| *letter).ok_or("no such message is under way")
    }

    fn node(&self, word: &str) -> Result<u8, &'static str> {
        let number: Option<u8> = word.strip_prefix('n').and_then(|digits| digits.parse().ok());
        let inside = number.filter(|number| (1..=self.state.nodes.len()).contains(&usize::from(*number)));
        inside.map(|number| number - 1).ok_or("no such node")
    }
}

/// A line a step, with what happened behind it.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            let story = self.story.get(number).map_or("", String::as_str);
            writeln!(f, "{:>4}  {step:<16}  {story}", number + 1)?;
        }
        Ok(())
    }
}
