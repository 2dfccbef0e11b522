//! Breadth first through the graph, level by level: the first path to a state is a shortest one.

use super::model::Model;
use super::state::{State, Step, print_words};
use super::table::Index;
use super::walk::{Path, retrace};
use super::{Bounds, Explored, Progress};
use crate::options::Options;
use crate::oracle::Broken;
use crate::subject::Subject;

/// The states of one level, one behind the other.
#[derive(Default)]
struct Level {
    words: Vec<u32>,
    /// Where each state ends in `words`, and its number.
    ends: Vec<(usize, u32)>,
}

/// How a state was reached first.
type Origin = (u32, Step);

struct Search<P: Subject> {
    model: Model<P>,
    visited: Index,
    origins: Vec<Origin>,
    transitions: u64,
    depth: u64,
}

/// The state that nothing leads to.
const ROOT: Origin = (0, Step::Timer { node: 0 });

/// Explores everything within `bounds`; see [`super::explore`].
pub(super) fn search<P: Subject>(
    bounds: &Bounds,
    options: &Options,
    watch: &mut dyn FnMut(&Progress) -> bool,
) -> Explored {
    let (model, root) = match Model::<P>::new(bounds, options) {
        Ok(begun) => begun,
        Err(broken) => return Explored::of_nothing(broken),
    };
    let mut level = Level::default();
    let (visited, origins) = (Index::new(), Vec::new());
    let mut search = Search { model, visited, origins, transitions: 0, depth: 0 };
    search.visit(&root, ROOT, &mut level);
    while !level.ends.is_empty() {
        match search.expand(&level, bounds, watch) {
            Ok(next) => level = next,
            Err(Ended::Stopped) => return search.explored(false, None),
            Err(Ended::Broken(origin, broken)) => {
                let steps = search.path_to(origin);
                let (path, retraced) = retrace(&mut search.model, root, &steps);
                return search.explored(false, Some((retraced.unwrap_or(broken), path)));
            }
        }
        search.depth += u64::from(!level.ends.is_empty());
    }
    search.explored(true, None)
}

enum Ended {
    Stopped,
    Broken(Origin, Broken),
}

/// Somebody watches once in so many states.
const WATCH_EVERY: usize = 10_000;

impl<P: Subject> Search<P> {
    fn expand(
        &mut self,
        level: &Level,
        bounds: &Bounds,
        watch: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<Level, Ended> {
        let mut next = Level::default();
        let (mut state, mut steps) = (State::default(), Vec::new());
        let (mut after, mut least, mut spare) = (State::default(), State::default(), State::default());
        let mut begin = 0;
        for (count, (end, number)) in level.ends.iter().enumerate() {
            let is_full = self.origins.len() as u64 >= bounds.states_max;
            if is_full || (count % WATCH_EVERY == 0 && !watch(&self.progress())) {
                return Err(Ended::Stopped);
            }
            state.read(&level.words[begin..*end], bounds.nodes.into());
            begin = *end;
            self.model.steps(&state, &mut steps);
            for step in &steps {
                let origin = (*number, *step);
                match self.model.after(&state, *step, &mut after) {
                    Ok(false) => {}
                    Ok(true) => {
                        self.transitions += 1;
                        self.model.normalise(&after, &mut least, &mut spare);
                        self.visit(&least, origin, &mut next);
                    }
                    Err(broken) => return Err(Ended::Broken(origin, broken)),
                }
            }
        }
        Ok(next)
    }

    /// Puts a state into the next level if it was never met.
    fn visit(&mut self, state: &State, origin: Origin, level: &mut Level) {
        let begin = level.words.len();
        state.write(&mut level.words);
        let number = u32::try_from(self.origins.len()).expect("memory ends before 2^32 states");
        if self.visited.insert(print_words(&level.words[begin..]), number) {
            self.origins.push(origin);
            level.ends.push((level.words.len(), number));
        } else {
            level.words.truncate(begin);
        }
    }

    /// The steps from the root to and including `origin`.
    fn path_to(&self, (mut number, last): Origin) -> Vec<Step> {
        let mut steps = vec![last];
        while number != 0 {
            let (before, step) = self.origins[number as usize];
            steps.push(step);
            number = before;
        }
        steps.reverse();
        steps
    }

    fn progress(&self) -> Progress {
        let (nodes, messages) = self.model.sizes();
        let states = self.origins.len() as u64;
        Progress { states, transitions: self.transitions, depth: self.depth, nodes, messages }
    }

    fn explored(&self, exhausted: bool, violation: Option<(Broken, Path)>) -> Explored {
        Explored { progress: self.progress(), exhausted, violation }
    }
}
