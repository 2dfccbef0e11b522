//! The load itself: clients that each wait for an answer before they ask again, shared out over connections; or,
//! with `--rate`, requests on a timetable. A request that starts late because all clients were busy is measured
//! from when it was due, or a slow server would hide how slow it is.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::http2::{Connection, Event};
use super::workload::Requests;
use super::{BenchArgs, DURATION};
use crate::failure::Failure;

/// How long the last answers are waited for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a lost connection is tried again before the measurement is given up.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// How often the clock is looked at when nothing else happens.
const TICK: Duration = Duration::from_millis(100);
/// A histogram keeps three digits up to this, µs.
const LATENCY_US_MAX: u64 = 120_000_000;

/// What was measured.
pub struct Measured {
    /// Latency of what succeeded, µs.
    pub latency_us: Histogram<u64>,
    /// How many failed.
    pub errors: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// An empty histogram of latencies.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constants that it accepts")
}

/// What all connections share.
struct Shared {
    args: BenchArgs,
    endpoints: Vec<String>,
    started: Instant,
    ends: Option<Instant>,
    /// Requests that may still be started.
    left: Cell<u64>,
    bar: ProgressBar,
}

/// Loads the endpoints and measures.
///
/// # Errors
/// A connection cannot be made, or is lost for good.
pub async fn run(endpoints: &[String], args: &BenchArgs) -> Result<Measured, Failure> {
    let started = Instant::now();
    let shared = Rc::new(Shared {
        args: args.clone(),
        endpoints: endpoints.to_vec(),
        started,
        ends: ends(args, started),
        left: Cell::new(args.total.unwrap_or(u64::MAX)),
        bar: progress_bar(args),
    });
    let mut workers = JoinSet::new();
    for number in 0..args.conns {
        workers.spawn_local(Worker::new(shared.clone(), number).run());
    }
    let mut measured = Measured { latency_us: histogram(), errors: 0, elapsed: Duration::ZERO };
    while let Some(part) = workers.join_next().await {
        let part = part.map_err(Failure::new)??;
        measured.errors += part.errors;
        measured.latency_us.add(&part.latency_us).map_err(Failure::new)?;
    }
    measured.elapsed = started.elapsed();
    shared.bar.finish_and_clear();
    Ok(measured)
}

/// When the measurement ends by the clock.
pub fn ends(args: &BenchArgs, started: Instant) -> Option<Instant> {
    match (args.total, args.seconds) {
        (Some(_), _) => None,
        (None, seconds) => Some(started + seconds.map_or(DURATION, Duration::from_secs)),
    }
}

impl Shared {
    fn is_over(&self, now: Instant) -> bool {
        self.left.get() == 0 || self.ends.is_some_and(|ends| now >= ends)
    }

    fn take_one(&self) {
        self.left.set(self.left.get() - 1);
    }
}

/// One connection and its share of the clients.
struct Worker {
    shared: Rc<Shared>,
    number: usize,
    /// Clients without a request under way.
    idle: usize,
    requests: Requests,
    /// When each request under way was due.
    under_way: HashMap<u32, Instant>,
    /// With `--rate`: when the next request is due, and the time between two.
    timetable: Option<(Instant, Duration)>,
    message: Vec<u8>,
    latency_us: Histogram<u64>,
    errors: u64,
}

impl Worker {
    fn new(shared: Rc<Shared>, number: usize) -> Worker {
        let args = &shared.args;
        let clients = args.clients / args.conns + usize::from(number < args.clients % args.conns);
        let timetable = args.rate.map(|rate| {
            let all = Duration::from_secs(1).div_f64(rate as f64);
            (shared.started + all * number as u32, all * args.conns as u32)
        });
        Worker {
            requests: Requests::new(args, number as u64),
            number,
            idle: clients,
            under_way: HashMap::new(),
            timetable,
            message: Vec::new(),
            latency_us: histogram(),
            errors: 0,
            shared,
        }
    }

    async fn run(mut self) -> Result<Measured, Failure> {
        let mut connection = self.connect().await?;
        let mut events = Vec::new();
        loop {
            let now = Instant::now();
            if !self.shared.is_over(now) {
                self.start_requests(&mut connection, now);
            } else if self.under_way.is_empty() || self.give_up(now) {
                break;
            }
            let wake = self.timetable.map_or(now + TICK, |(due, _)| due.min(now + TICK).max(now));
            let exchanged = tokio::select! {
                exchanged = connection.exchange(&mut events) => exchanged,
                () = sleep_until(wake) => Ok(()),
            };
            self.settle(&mut events);
            if let Err(error) = exchanged {
                connection = self.after_loss(&error).await?;
            }
        }
        self.errors += self.under_way.len() as u64;
        Ok(Measured { latency_us: self.latency_us, errors: self.errors, elapsed: Duration::ZERO })
    }

    fn start_requests(&mut self, connection: &mut Connection, now: Instant) {
        while self.idle > 0
            && self.shared.left.get() > 0
            && self.under_way.len() < connection.streams_max() as usize
        {
            let due = match &mut self.timetable {
                None => now,
                Some((due, _)) if *due > now => return,
                Some((due, step)) => std::mem::replace(due, *due + *step),
            };
            let path = self.requests.next(&mut self.message);
            let stream = connection.call(path, &self.message, true);
            self.under_way.insert(stream, due);
            self.idle -= 1;
            self.shared.take_one();
        }
    }

    fn settle(&mut self, events: &mut Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut settled = 0;
        for event in events.drain(..) {
            let Event::Ended { stream, answered } = event else { continue };
            let Some(due) = self.under_way.remove(&stream) else { continue };
            self.idle += 1;
            settled += 1;
            match answered {
                true => self.latency_us.saturating_record(micros(now.duration_since(due))),
                false => self.errors += 1,
            }
        }
        self.shared.bar.inc(settled);
    }

    fn give_up(&self, now: Instant) -> bool {
        self.under_way.values().all(|due| now.duration_since(*due) > DRAIN_TIMEOUT)
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let deadline = Instant::now() + RECONNECT_TIMEOUT;
        let mut attempt = self.number;
        loop {
            let endpoint = &self.shared.endpoints[attempt % self.shared.endpoints.len()];
            let error = match Connection::open(endpoint, false).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                return Err(Failure::new(format_args!("cannot connect to {endpoint}: {error}"))
                    .next("althing status"));
            }
            attempt += 1;
            sleep(RECONNECT_DELAY).await;
        }
    }

    /// What was under way failed: nobody can tell whether it was executed.
    async fn after_loss(&mut self, error: &io::Error) -> Result<Connection, Failure> {
        self.errors += self.under_way.len() as u64;
        self.idle += self.under_way.len();
        self.under_way.clear();
        let text = format!("connection {} lost: {error}", self.number);
        self.shared.bar.suspend(|| eprintln!("warning: {text}"));
        self.connect().await
    }
}

/// Whole microseconds, at least 1: the histogram has no 0.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Shown on a terminal only.
pub fn progress_bar(args: &BenchArgs) -> ProgressBar {
    let bar = match args.total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::no_length(),
    };
    let style = ProgressStyle::with_template("{elapsed:>4} {human_pos} operations, {per_sec} {wide_bar}");
    bar.with_style(style.expect("the template is a constant that it accepts"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Workload, tests::args};

    fn shared(args: BenchArgs) -> Rc<Shared> {
        let started = Instant::now();
        let ends = ends(&args, started);
        let left = Cell::new(args.total.unwrap_or(u64::MAX));
        Rc::new(Shared { args, endpoints: Vec::new(), started, ends, left, bar: ProgressBar::hidden() })
    }

    #[tokio::test]
    async fn clients_are_shared_out_without_loss() {
        let mut args = args(Workload::Put);
        (args.clients, args.conns) = (10, 4);
        let shared = shared(args);
        let clients: Vec<_> = (0..4).map(|number| Worker::new(shared.clone(), number).idle).collect();
        assert_eq!(clients, [3, 3, 2, 2]);
    }

    #[tokio::test]
    async fn a_timetable_spreads_the_rate_over_the_connections() {
        let mut args = args(Workload::Put);
        (args.conns, args.rate) = (4, Some(1000));
        let worker = Worker::new(shared(args), 2);
        let (due, step) = worker.timetable.unwrap();
        assert_eq!(step, Duration::from_millis(4));
        assert_eq!(due - worker.shared.started, Duration::from_millis(2));
    }
}
