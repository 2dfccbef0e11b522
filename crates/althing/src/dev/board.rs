//! What `althing dev` shows: a table when the cluster serves, then one status line that stays alive. On a terminal
//! the line is redrawn in place; elsewhere a line is printed when something other than the counters changes.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use comfy_table::Cell;

use super::nodes::{Death, Nodes, RESTART_DELAY};
use super::plan::Plan;
use crate::client::{Client, ServerStatus};
use crate::output::{bad, faint, good, table, verdict_cell};

/// How long a node may take to tell how it is doing.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
/// Over how long writes are counted for the rate.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of the cluster and what has been shown of it.
pub struct Board {
    probes: Vec<Client>,
    last: Vec<Option<ServerStatus>>,
    table_shown: bool,
    terminal: bool,
    drawn: String,
    rate: Rate,
}

impl Board {
    /// A board for this cluster, and its opening line.
    pub fn new(plan: &Plan) -> Board {
        let probes: Vec<_> = plan.nodes.iter().map(|node| Client::to(&[node.endpoint()])).collect();
        let board = Board {
            last: vec![None; probes.len()],
            probes,
            table_shown: false,
            terminal: io::stdout().is_terminal(),
            drawn: String::new(),
            rate: Rate::default(),
        };
        print(&format!("starting {}; data and logs are in {}", plan.count(), plan.dir.display()));
        board
    }

    /// Whether the cluster has served and the table been shown.
    pub fn shown(&self) -> bool {
        self.table_shown
    }

    /// Asks every node how it is doing, and shows what changed.
    pub async fn look(&mut self, nodes: &Nodes) {
        let mut asked = tokio::task::JoinSet::new();
        for (index, probe) in self.probes.iter().enumerate().filter(|(index, _)| nodes.pid(*index).is_some())
        {
            let probe = probe.clone();
            asked.spawn_local(
                async move { (index, tokio::time::timeout(STATUS_TIMEOUT, probe.status()).await) },
            );
        }
        let mut found = vec![None; self.probes.len()];
        while let Some(answer) = asked.join_next().await {
            if let Ok((index, Ok(Ok(status)))) = answer {
                found[index] = Some(status);
            }
        }
        self.last = found;
        if let Some(revision) = self.last.iter().flatten().map(|status| status.revision).max() {
            self.rate.count(Instant::now(), revision);
        }
        if self.table_shown {
            self.draw(nodes);
        } else if self.last.iter().all(|status| status.as_ref().is_some_and(|status| status.leader != 0)) {
            self.show_table(nodes);
        }
    }

    /// Prints a line above the status line.
    pub fn say(&mut self, text: &str) {
        self.erase();
        print(text);
    }

    /// Reports a node that died.
    pub fn death(&mut self, nodes: &Nodes, death: &Death, restart: bool) {
        let node = &nodes.plan().nodes[death.index];
        let then = match restart {
            true => format!("starting it again in {} s", RESTART_DELAY.as_secs()),
            false => "leaving it dead".to_owned(),
        };
        let text = format!("{} {}; {then} (log: {})", bad(&node.name), death.how, node.log.display());
        self.say(&text);
    }

    /// Reports a node that was started again.
    pub fn restarted(&mut self, nodes: &Nodes, index: usize) {
        let pid = nodes.pid(index).unwrap_or_default();
        self.say(&format!("{} started again (pid {pid})", nodes.plan().nodes[index].name));
    }

    fn show_table(&mut self, nodes: &Nodes) {
        let mut rows = table(&["node", "clients", "peers", "pid", "state", "log"]);
        for (index, node) in nodes.plan().nodes.iter().enumerate() {
            let leads = self.last[index].as_ref().is_some_and(|status| status.leader == status.member);
            rows.add_row([
                Cell::new(&node.name),
                Cell::new(node.endpoint()),
                Cell::new(format_args!("127.0.0.1:{}", node.peer_port)),
                Cell::new(nodes.pid(index).unwrap_or_default()),
                verdict_cell(if leads { "ready, leads" } else { "ready" }, true),
                Cell::new(node.log.display()),
            ]);
        }
        let endpoints = nodes.plan().endpoints();
        let althing = std::env::args().next().unwrap_or_else(|| "althing".to_owned());
        print(&format!("\n{rows}\n\nTry, in another terminal:"));
        print(&format!("  export ALTHING_ENDPOINTS={endpoints}"));
        print(&format!("  {althing} put greeting hello"));
        print(&format!("  {althing} watch greeting"));
        print(&format!("  {althing} lock deploy -- echo the lock is held\n"));
        print(&faint("Ctrl-C stops the cluster."));
        self.table_shown = true;
    }

    fn draw(&mut self, nodes: &Nodes) {
        let steady = self.steady_part(nodes);
        if self.terminal {
            let text = format!("{steady} · {}", self.counters());
            print_raw(&format!("\r\x1b[2K{text}"));
            self.drawn = text;
        } else if steady != self.drawn {
            print(&format!("{steady} · {}", self.counters()));
            self.drawn = steady;
        }
    }

    /// What is worth a new line where lines cannot be redrawn: who leads, and who is up.
    fn steady_part(&self, nodes: &Nodes) -> String {
        let names = nodes.plan().nodes.iter().map(|node| &node.name);
        let best = self.last.iter().flatten().max_by_key(|status| status.term);
        let leader = best.and_then(|best| self.last.iter().flatten().position(|s| s.member == best.leader));
        let leads = match (best, leader) {
            (Some(best), Some(_)) => {
                let index =
                    self.last.iter().position(|s| s.as_ref().is_some_and(|s| s.member == best.leader));
                let name = index.map_or("?", |index| &nodes.plan().nodes[index].name);
                format!("{name} leads term {}", best.term)
            }
            (Some(best), None) => format!("{} since term {}", bad("no leader"), best.term),
            (None, _) => bad("no node answers"),
        };
        let states = names.enumerate().map(|(index, name)| match (nodes.pid(index), &self.last[index]) {
            (None, _) => bad(format_args!("{name} dead")),
            (Some(_), None) => bad(format_args!("{name} starting")),
            (Some(_), Some(_)) => good(format_args!("{name} up")),
        });
        format!("{leads} · {}", states.collect::<Vec<_>>().join(" "))
    }

    fn counters(&self) -> String {
        format!("revision {} · {} writes/s", self.rate.revision, self.rate.per_second)
    }

    fn erase(&mut self) {
        if self.terminal && !self.drawn.is_empty() {
            print_raw("\r\x1b[2K");
        }
    }
}

/// Revisions a second, counted over whole intervals.
#[derive(Default)]
struct Rate {
    revision: i64,
    per_second: i64,
    since: Option<(Instant, i64)>,
}

impl Rate {
    fn count(&mut self, now: Instant, revision: i64) {
        self.revision = revision;
        let Some((since, from)) = self.since else {
            self.since = Some((now, revision));
            return;
        };
        let elapsed = now.duration_since(since);
        if elapsed >= RATE_INTERVAL {
            self.per_second = ((revision - from) as f64 / elapsed.as_secs_f64()).round() as i64;
            self.since = Some((now, revision));
        }
    }
}

fn print(text: &str) {
    print_raw(&format!("{text}\n"));
}

/// Whoever closed our output no longer looks; the cluster runs on until it is told to stop.
fn print_raw(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        eprintln!("warning: cannot write to standard output: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_revisions_over_the_time_they_took() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.count(start, 100);
        rate.count(start + Duration::from_millis(500), 900);
        assert_eq!(rate.per_second, 0);
        rate.count(start + Duration::from_secs(2), 1100);
        assert_eq!((rate.per_second, rate.revision), (500, 1100));
    }
}
