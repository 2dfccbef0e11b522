//! The text form of a schedule: printing and parsing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use storage::{Act, Armed, DiskFault};
use types::{NodeId, Time};

use super::{CrashPoint, Fault, MemberChange, Schedule, Shape, Target, Timed, Weather};

/// Why a text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScheduleError {
    /// Which line, from 1; 0 where only a part of a line was parsed.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

const POINTS: [(CrashPoint, &str); 11] = [
    (CrashPoint::Now, "now"),
    (CrashPoint::Write, "write"),
    (CrashPoint::Disk, "disk"),
    (CrashPoint::Sync, "sync"),
    (CrashPoint::SyncFails, "syncfails"),
    (CrashPoint::Synced, "synced"),
    (CrashPoint::Promised, "promised"),
    (CrashPoint::Send, "send"),
    (CrashPoint::Apply, "apply"),
    (CrashPoint::Checkpoint, "checkpoint"),
    (CrashPoint::Recovery, "recovery"),
];

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# althing weather 1")?;
        writeln!(f, "net {}", self.net)?;
        for Timed { at, lasts, fault } in &self.faults {
            writeln!(f, "at {} for {} {fault}", Span(Duration::from_nanos(at.0)), Span(*lasts))?;
        }
        Ok(())
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Weather { loss_ppm, dup_ppm, delay_min, delay_max } = self;
        write!(f, "loss={loss_ppm}ppm dup={dup_ppm}ppm delay={}..{}", Span(*delay_min), Span(*delay_max))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash { who, point, rot } => {
                write!(f, "crash {who} point={point}")?;
                if *rot > 0 { write!(f, " rot={rot}") } else { Ok(()) }
            }
            Fault::Wipe { who } => write!(f, "wipe {who}"),
            Fault::Disk { who, armed: Armed { act, fault, skip, times } } => {
                write!(f, "disk {who} fault={fault} act={}", act.name())?;
                if *skip > 0 {
                    write!(f, " skip={skip}")?;
                }
                if *times == 1 { Ok(()) } else { write!(f, " times={times}") }
            }
            Fault::Pause { who } => write!(f, "pause {who}"),
            Fault::Cut { shape } => write!(f, "cut {shape}"),
            Fault::Clog { shape } => write!(f, "clog {shape}"),
            Fault::Storm { shape, net } => write!(f, "storm {shape} {net}"),
            Fault::Reset { shape } => write!(f, "reset {shape}"),
            Fault::Poison { who } => write!(f, "poison {who}"),
            Fault::SlowCpu { who, extra } => write!(f, "slowcpu {who} extra={}", Span(*extra)),
            Fault::SlowDisk { who, extra } => write!(f, "slowdisk {who} extra={}", Span(*extra)),
            Fault::SlowApply { who, extra } => write!(f, "slowapply {who} extra={}", Span(*extra)),
            Fault::Suspend { who } => write!(f, "suspend {who}"),
            Fault::Strobe { who, step_ms, every } => {
                write!(f, "strobe {who} step={step_ms} every={}", Span(*every))
            }
            Fault::Clock { who, step_ms } => write!(f, "clock {who} step={step_ms}"),
            Fault::Drift { who, ppm } => write!(f, "drift {who} ppm={ppm}"),
            Fault::Member { who, change } => write!(f, "member {who} do={change}"),
            Fault::Transfer { to } => write!(f, "transfer {to}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(node) => write!(f, "n{}", node.0),
            Target::Leader => f.write_str("leader"),
            Target::Follower => f.write_str("follower"),
            Target::All => f.write_str("all"),
        }
    }
}

const CHANGES: [(MemberChange, &str); 5] = [
    (MemberChange::Add, "add"),
    (MemberChange::AddLearner, "learner"),
    (MemberChange::Promote, "promote"),
    (MemberChange::Remove, "remove"),
    (MemberChange::Describe, "describe"),
];

impl fmt::Display for MemberChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberChange::Replace(old) => write!(f, "replace-n{}", old.0),
            _ => f.write_str(CHANGES.iter().find(|(change, _)| change == self).map_or("", |(_, word)| word)),
        }
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = POINTS.iter().find(|(point, _)| point == self).map_or("now", |(_, word)| word);
        f.write_str(word)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::All => f.write_str("all"),
            Shape::Groups(groups) => f.write_str(&groups.iter().map(node_list).collect::<Vec<_>>().join("|")),
            Shape::OneWay { from, to } => write!(f, "{}>{}", node_list(from), node_list(to)),
            Shape::Around { who, says: true, hears: false } => write!(f, "{who}>"),
            Shape::Around { who, says: false, .. } => write!(f, ">{who}"),
            Shape::Around { who, .. } => write!(f, "{who}"),
        }
    }
}

fn node_list(nodes: &BTreeSet<NodeId>) -> String {
    nodes.iter().map(|node| format!("n{}", node.0)).collect::<Vec<_>>().join(",")
}

/// Nearly three hundred years: the sum of two such times still counts in nanoseconds.
const SPAN_US_MAX: u64 = i64::MAX as u64 / 1000;

/// A duration in microseconds' precision: `12.5ms`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_micros();
        match (us / 1000, us % 1000) {
            (ms, 0) => write!(f, "{ms}ms"),
            (ms, rest) => {
                let digits = format!("{rest:03}");
                write!(f, "{ms}.{}ms", digits.trim_end_matches('0'))
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ScheduleError> {
        let mut schedule = Schedule { net: Weather::FAIR, faults: Vec::new() };
        for (number, line) in (1..).zip(text.lines()) {
            let at_line = |reason| ScheduleError { line: number, reason };
            let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
            match words[..] {
                [] => {}
                ["net", ref parameters @ ..] => schedule.net = weather(parameters).map_err(at_line)?,
                ["at", at, "for", lasts, kind, who, ref parameters @ ..] => {
                    let timed = timed(at, lasts, kind, who, parameters).map_err(at_line)?;
                    schedule.faults.push(timed);
                }
                _ => return Err(at_line("expected `at TIME for TIME KIND TARGET …` or `net …`".into())),
            }
        }
        schedule.faults.sort_by_key(|timed| timed.at);
        Ok(schedule)
    }
}

fn timed(at: &str, lasts: &str, kind: &str, who: &str, parameters: &[&str]) -> Result<Timed, String> {
    let at = Time(0) + span(at)?;
    Ok(Timed { at, lasts: span(lasts)?, fault: fault(kind, who, parameters)? })
}

fn fault(kind: &str, who: &str, parameters: &[&str]) -> Result<Fault, String> {
    if kind == "storm" {
        return Ok(Fault::Storm { shape: shape(who)?, net: weather(parameters)? });
    }
    let mut given = pairs(parameters)?;
    let fault = match kind {
        "crash" => Fault::Crash {
            who: target(who)?,
            point: given.remove("point").map_or(Ok(CrashPoint::Now), crash_point)?,
            rot: given.remove("rot").map_or(Ok(0), number)?,
        },
        "wipe" => Fault::Wipe { who: target(who)? },
        "disk" => Fault::Disk { who: target(who)?, armed: armed(&mut given)? },
        "pause" => Fault::Pause { who: target(who)? },
        "cut" => Fault::Cut { shape: shape(who)? },
        "clog" => Fault::Clog { shape: shape(who)? },
        "reset" => Fault::Reset { shape: shape(who)? },
        "poison" => Fault::Poison { who: target(who)? },
        "slowcpu" => Fault::SlowCpu { who: target(who)?, extra: span(needed(&mut given, "extra")?)? },
        "slowdisk" => Fault::SlowDisk { who: target(who)?, extra: span(needed(&mut given, "extra")?)? },
        "slowapply" => Fault::SlowApply { who: target(who)?, extra: span(needed(&mut given, "extra")?)? },
        "drift" => Fault::Drift { who: target(who)?, ppm: number(needed(&mut given, "ppm")?)? },
        "member" => Fault::Member { who: target(who)?, change: member_change(needed(&mut given, "do")?)? },
        "transfer" => Fault::Transfer { to: target(who)? },
        "suspend" => Fault::Suspend { who: target(who)? },
        "strobe" => Fault::Strobe {
            who: target(who)?,
            step_ms: number(needed(&mut given, "step")?)?,
            every: strobe_span(needed(&mut given, "every")?)?,
        },
        "clock" => Fault::Clock { who: target(who)?, step_ms: number(needed(&mut given, "step")?)? },
        other => return Err(format!("no fault is called `{other}`")),
    };
    match given.keys().next() {
        None => Ok(fault),
        Some(unknown) => Err(format!("`{kind}` has no parameter `{unknown}`")),
    }
}

fn weather(parameters: &[&str]) -> Result<Weather, String> {
    let mut given = pairs(parameters)?;
    let mut net = Weather::FAIR;
    if let Some(loss) = given.remove("loss") {
        net.loss_ppm = share(loss)?;
    }
    if let Some(dup) = given.remove("dup") {
        net.dup_ppm = share(dup)?;
    }
    if let Some(delay) = given.remove("delay") {
        let (min, max) = delay.split_once("..").unwrap_or((delay, delay));
        (net.delay_min, net.delay_max) = (span(min)?, span(max)?);
    }
    match given.keys().next() {
        None => Ok(net),
        Some(unknown) => Err(format!("weather has no parameter `{unknown}`")),
    }
}

fn pairs<'a>(parameters: &[&'a str]) -> Result<BTreeMap<&'a str, &'a str>, String> {
    let pair = |word: &&'a str| word.split_once('=').ok_or_else(|| format!("`{word}` is not NAME=VALUE"));
    parameters.iter().map(pair).collect()
}

fn needed<'a>(given: &mut BTreeMap<&str, &'a str>, name: &str) -> Result<&'a str, String> {
    given.remove(name).ok_or_else(|| format!("`{name}=` is missing"))
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number in range"))
}

/// Parts per million: `400ppm` or `0.04%`.
fn share(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a share such as 400ppm or 0.04%");
    let ppm = match text.strip_suffix('%') {
        Some(percent) => scaled(percent, 4).ok_or_else(wrong)?,
        None => number(text.strip_suffix("ppm").ok_or_else(wrong)?)?,
    };
    u32::try_from(ppm).ok().filter(|ppm| *ppm <= 1_000_000).ok_or_else(wrong)
}

/// A duration: `1.5s`, `20ms`, `7us`.
fn span(text: &str) -> Result<Duration, String> {
    let (digits, decimals) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 3)
    } else if let Some(digits) = text.strip_suffix("us") {
        (digits, 0)
    } else {
        (text.strip_suffix('s').unwrap_or(""), 6)
    };
    let us = scaled(digits, decimals);
    let us = us.ok_or_else(|| format!("`{text}` is not a time such as 1.5s, 20ms or 7us"))?;
    if us > SPAN_US_MAX {
        return Err(format!("`{text}` is longer than any run"));
    }
    Ok(Duration::from_micros(us))
}

/// As `span`; a clock that jumps all the time would leave no time for anything else.
fn strobe_span(text: &str) -> Result<Duration, String> {
    let every = span(text)?;
    if every.is_zero() { Err(format!("`{text}` is no time at all")) } else { Ok(every) }
}

/// A decimal number times ten to the power of `decimals`, without rounding.
fn scaled(text: &str, decimals: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || fraction.len() > decimals || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{fraction:0<decimals$}").parse().ok()
}

fn target(word: &str) -> Result<Target, String> {
    Ok(match word {
        "leader" => Target::Leader,
        "follower" => Target::Follower,
        "all" => Target::All,
        _ => Target::Node(node(word)?),
    })
}

fn node(word: &str) -> Result<NodeId, String> {
    let id = word.strip_prefix('n').and_then(|digits| digits.parse().ok());
    id.map(NodeId).ok_or_else(|| format!("`{word}` is not a node such as n1, nor leader, follower or all"))
}

fn nodes(words: &str) -> Result<BTreeSet<NodeId>, String> {
    words.split(',').map(node).collect()
}

fn member_change(word: &str) -> Result<MemberChange, String> {
    if let Some(old) = word.strip_prefix("replace-") {
        return Ok(MemberChange::Replace(node(old)?));
    }
    let change = CHANGES.iter().find(|(_, name)| *name == word).map(|(change, _)| *change);
    change.ok_or_else(|| format!("no change of membership is called `{word}`"))
}

fn armed(given: &mut BTreeMap<&str, &str>) -> Result<Armed, String> {
    let fault: DiskFault = needed(given, "fault")?.parse().map_err(|error| format!("{error}"))?;
    let word = needed(given, "act")?;
    let act = Act::ALL.into_iter().find(|act| act.name() == word);
    let act = act.ok_or_else(|| format!("nothing that is asked of a disk is called `{word}`"))?;
    if !fault.fits(act) {
        return Err(format!("a `{word}` does not meet `{fault}`"));
    }
    let skip = given.remove("skip").map_or(Ok(0), number)?;
    let times = given.remove("times").map_or(Ok(1), number)?;
    Ok(Armed { act, fault, skip, times })
}

fn crash_point(word: &str) -> Result<CrashPoint, String> {
    let point = POINTS.iter().find(|(_, name)| *name == word).map(|(point, _)| *point);
    point.ok_or_else(|| format!("no crash point is called `{word}`"))
}

fn shape(text: &str) -> Result<Shape, String> {
    if text == "all" {
        return Ok(Shape::All);
    }
    if text.contains('|') {
        return Ok(Shape::Groups(text.split('|').map(nodes).collect::<Result<_, _>>()?));
    }
    Ok(match text.split_once('>') {
        None => Shape::Around { who: target(text)?, says: true, hears: true },
        Some((who, "")) => Shape::Around { who: target(who)?, says: true, hears: false },
        Some(("", who)) => Shape::Around { who: target(who)?, says: false, hears: true },
        Some((from, to)) => Shape::OneWay { from: nodes(from)?, to: nodes(to)? },
    })
}

impl FromStr for Shape {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Shape, ScheduleError> {
        shape(text).map_err(|reason| ScheduleError { line: 0, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Setup;

    #[test]
    fn every_generated_schedule_parses_back_to_itself() {
        for seed in 0..200 {
            let setup = Setup::draw(seed, None);
            let schedule = super::super::generate(seed, &setup);
            assert_eq!(schedule.to_string().parse(), Ok(schedule), "seed {seed}");
        }
    }

    #[test]
    fn a_person_may_write_it_more_freely() {
        let schedule: Schedule = "
            net loss=1.5% delay=1ms..20ms   # fair otherwise
            at 1s for 500ms cut leader>
            at 20ms for 0.25s crash n2 rot=3
        "
        .parse()
        .unwrap();
        assert_eq!((schedule.net.loss_ppm, schedule.net.dup_ppm), (15_000, 0));
        assert_eq!(schedule.faults[0].fault.to_string(), "crash n2 point=now rot=3", "sorted by time");
        assert_eq!(schedule.end(), Time(1_500_000_000));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, reason) in [
            ("at 1s crash n1", "expected `at TIME for TIME KIND TARGET …` or `net …`"),
            ("at 1s for 1s crahs n1", "no fault is called `crahs`"),
            ("at 1 for 1s crash n1", "`1` is not a time such as 1.5s, 20ms or 7us"),
            ("at 9999999999s for 1s crash n1", "`9999999999s` is longer than any run"),
            ("at 1s for 1s crash x", "`x` is not a node such as n1, nor leader, follower or all"),
            ("at 1s for 1s crash n1 point=dawn", "no crash point is called `dawn`"),
            ("at 1s for 1s pause n1 rot=1", "`pause` has no parameter `rot`"),
            ("at 1s for 1s disk n1 fault=torn act=read", "a `read` does not meet `torn`"),
            ("at 1s for 1s slowdisk n1", "`extra=` is missing"),
            ("at 1s for 1s member n4 do=marry", "no change of membership is called `marry`"),
            ("net loss=200%", "`200%` is not a share such as 400ppm or 0.04%"),
            ("net loss", "`loss` is not NAME=VALUE"),
        ] {
            let error = format!("\n{text}").parse::<Schedule>().unwrap_err();
            assert_eq!(error, ScheduleError { line: 2, reason: reason.into() });
        }
    }
}
