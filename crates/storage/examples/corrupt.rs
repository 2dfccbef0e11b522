//! The corruption campaign: harms the files of a closed log in every way, opens it, and looks for a lie.
//!
//! ```sh
//! cargo run --release -p storage --example corrupt -- 100000 [--ledger FILE]
//! ```
//!
//! After each harm, every slot must read as exactly what was written, or be called damaged, or the log must refuse to
//! open. What cannot be told is counted by itself (`docs/storage-format.md`): a last batch of which zeros are left looks as
//! if its write had never happened, and a newest file that is cut short or set back as a whole looks as it did then.
//! Exits with 1 if anything else went unnoticed.

use std::collections::BTreeMap;
use std::process::ExitCode;

use bytes::Bytes;
use campaign::{Begun, Campaign, Cases, Failed, Kind};
use storage::{Disk, DiskFile, Identity, Log, LogOp, LogOptions, Recovery, SimDisk};
use types::{NodeId, Rng, Slot, SlotState};

const IDENTITY: Identity = Identity { cluster: 0xc0, node: NodeId(1) };
const SEGMENT_BYTES: u64 = 12 << 10;
const SECTOR: usize = 512;
/// Harms done to one log before the next is written.
const CASES_PER_LOG: u64 = 200;

type Files = BTreeMap<String, Vec<u8>>;

/// What a log holds: its bounds, its meta record, its records.
#[derive(Clone, Default, PartialEq)]
struct Content {
    first: u64,
    last: u64,
    meta: Option<Bytes>,
    records: BTreeMap<u64, Bytes>,
}

/// A closed log, and what it was before.
struct Subject {
    files: Files,
    /// After each batch: files and content; the last one is the present.
    past: Vec<(Files, Content)>,
    /// Everything that was ever written, by slot.
    ever: BTreeMap<u64, Vec<Bytes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    Flip,
    Noise,
    Zero,
    Page,
    Swap,
    Misdirect,
    Stale,
    StaleFile,
    Truncate,
}

const HARMS: [Harm; 9] = [
    Harm::Flip,
    Harm::Noise,
    Harm::Zero,
    Harm::Page,
    Harm::Swap,
    Harm::Misdirect,
    Harm::Stale,
    Harm::StaleFile,
    Harm::Truncate,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// What was hit is out of use, or had a copy.
    Whole,
    Damaged,
    Refused,
    /// The log is what it was some time before, and nothing in the directory tells.
    Untold,
    Undetected,
}

const VERDICTS: [Verdict; 5] =
    [Verdict::Whole, Verdict::Damaged, Verdict::Refused, Verdict::Untold, Verdict::Undetected];

fn main() -> ExitCode {
    let begun = Begun::now();
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let ledger = campaign::taken_from(&mut words);
    let cases: u64 = words.first().and_then(|count| count.parse().ok()).unwrap_or(10_000);
    let mut table = Table::new();
    let mut undetected = Vec::new();
    for log in 0..cases.div_ceil(CASES_PER_LOG) {
        let subject = Subject::write(log);
        for case in 0..CASES_PER_LOG {
            let mut rng = Rng::keyed(log, &[2, case]);
            let harm = *rng.pick(&HARMS).unwrap_or(&Harm::Flip);
            let mut files = subject.files.clone();
            let Some(part) = hurt(&mut files, harm, &subject, &mut rng) else { continue };
            let verdict = judge(&files, harm, &subject);
            *table.entry((harm, part)).or_default().entry(verdict).or_default() += 1;
            if verdict == Verdict::Undetected {
                println!("undetected: {harm:?} of a {part} sector, log {log}, case {case}");
                undetected.push(format!("log {log}, case {case}"));
            }
        }
    }
    print(&table);
    let is_good = undetected.is_empty();
    if let Some(path) = ledger {
        ledger_line(&begun, &table, undetected).append(&path).expect("the ledger can be written");
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Table = BTreeMap<(Harm, &'static str), BTreeMap<Verdict, u64>>;

fn ledger_line(begun: &Begun, table: &Table, undetected: Vec<String>) -> Campaign {
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    for ((harm, _), verdicts) in table {
        *faults.entry(format!("log-{harm:?}").to_lowercase()).or_default() += verdicts.values().sum::<u64>();
    }
    let failed = |case| Failed {
        case,
        promise: "no lie about what was written".to_owned(),
        replay: "cargo run --release -p storage --example corrupt".to_owned(),
        closed: None,
    };
    Campaign {
        cases: Cases { from: 0, count: faults.values().sum() },
        faults,
        failures: undetected.into_iter().map(failed).collect(),
        promises: vec!["no lie about what was written".to_owned()],
        ..Campaign::ended(Kind::Corruption, begun)
    }
}

impl Subject {
    fn write(seed: u64) -> Subject {
        let mut rng = Rng::keyed(seed, &[1]);
        let disk = SimDisk::default();
        let (mut log, _) = open(&disk).expect("a healthy log opens");
        let mut content = Content { first: 1, ..Content::default() };
        let (mut past, mut ever) = (vec![(files_of(&disk), content.clone())], BTreeMap::new());
        for _ in 0..rng.between(2, 30) {
            let ops = ops(&mut rng, &content);
            for op in &ops {
                content.apply(op);
                if let LogOp::Put(slot, record) = op {
                    ever.entry(slot.0).or_insert_with(Vec::new).push(record.clone());
                }
            }
            log.append(&ops).and_then(|()| log.sync()).expect("a healthy disk writes");
            past.push((files_of(&disk), content.clone()));
        }
        Subject { files: files_of(&disk), past, ever }
    }

    fn present(&self) -> &Content {
        &self.past[self.past.len() - 1].1
    }

    fn before_last(&self) -> &Content {
        &self.past[self.past.len() - 2].1
    }
}

impl Content {
    fn apply(&mut self, op: &LogOp) {
        match op {
            LogOp::SetMeta(meta) => self.meta = Some(meta.clone()),
            LogOp::Put(slot, record) => {
                self.records.insert(slot.0, record.clone());
                self.last = self.last.max(slot.0);
            }
            LogOp::TruncateFrom(slot) => self.last = self.last.min(slot.0.max(self.first) - 1),
            LogOp::CompactTo(slot) => {
                self.first = self.first.max(slot.0 + 1);
                self.last = self.last.max(slot.0);
            }
            LogOp::ResetTo { at } => {
                self.records.clear();
                (self.first, self.last) = (at.0 + 1, at.0);
            }
        }
        self.records.retain(|slot, _| self.first <= *slot && *slot <= self.last);
    }

    /// What recovery found, if it calls nothing damaged.
    fn of(found: &Recovery) -> Option<Content> {
        let first = found.first.0;
        let last = first + found.records.len() as u64 - 1;
        let meta = match &found.meta {
            SlotState::Ok(meta) => Some(meta.clone()),
            SlotState::Missing => None,
            SlotState::Damaged => return None,
        };
        let mut records = BTreeMap::new();
        for (slot, record) in (first..).zip(&found.records) {
            let SlotState::Ok(record) = record else { return None };
            records.insert(slot, record.clone());
        }
        (!found.tail_damaged).then_some(Content { first, last, meta, records })
    }
}

impl Harm {
    /// Whether it sets a whole file back.
    fn is_of_file(self) -> bool {
        matches!(self, Harm::Truncate | Harm::StaleFile)
    }
}

fn ops(rng: &mut Rng, content: &Content) -> Vec<LogOp> {
    let (mut last, mut ops) = (content.last, Vec::new());
    for _ in 0..rng.between(1, 3) {
        match rng.below(14) {
            0 => ops.push(LogOp::SetMeta(record(rng, 60))),
            1 if last > content.first && ops.is_empty() => {
                last = rng.between(content.first, last);
                ops.push(LogOp::TruncateFrom(Slot(last)));
                last -= 1;
            }
            2 if last > content.first && ops.is_empty() => {
                ops.push(LogOp::CompactTo(Slot(rng.between(content.first, last - 1))));
            }
            kind => {
                last += 1;
                ops.push(LogOp::Put(Slot(last), record(rng, if kind == 3 { 4000 } else { 500 })));
            }
        }
    }
    ops
}

fn record(rng: &mut Rng, len_max: u64) -> Bytes {
    let words = rng.below(len_max) / 8 + 1;
    (0..words).flat_map(|_| rng.next_u64().to_le_bytes()).collect()
}

fn open(disk: &SimDisk) -> Option<(Log<SimDisk>, Recovery)> {
    Log::open(disk.clone(), IDENTITY, LogOptions::with_segment_bytes(SEGMENT_BYTES)).ok()
}

fn files_of(disk: &SimDisk) -> Files {
    disk.names().into_iter().filter_map(|name| Some((name.clone(), disk.content(&name)?))).collect()
}

fn disk_of(files: &Files) -> SimDisk {
    let disk = SimDisk::default();
    for (name, bytes) in files {
        let mut file = disk.create(name).expect("the disk is empty");
        file.write_at(0, bytes).and_then(|()| file.sync()).expect("a healthy disk writes");
    }
    disk.sync_dir().expect("a healthy disk syncs");
    disk
}

/// Does the harm; returns the part that the first sector harmed was of, or nothing if nothing has changed.
fn hurt(files: &mut Files, harm: Harm, subject: &Subject, rng: &mut Rng) -> Option<&'static str> {
    let names: Vec<String> = files.keys().cloned().collect();
    let name = rng.pick(&names)?;
    let other_name = rng.pick(&names)?;
    let (_, older) = rng.pick(&subject.past).map(|(files, content)| (content, files))?;
    let other_sector = {
        let bytes = files.get(other_name)?;
        let at = rng.below(used(bytes) as u64) as usize;
        bytes[at * SECTOR..(at + 1) * SECTOR].to_vec()
    };
    let bytes = files.get_mut(name)?;
    let before = bytes.clone();
    let at = rng.below(used(bytes) as u64) as usize;
    let part = part(&bytes[at * SECTOR..]);
    let sector = at * SECTOR..(at + 1) * SECTOR;
    let noise = |len: usize, rng: &mut Rng| -> Vec<u8> { (0..len).map(|_| rng.next_u64() as u8).collect() };
    match harm {
        Harm::Flip => bytes[at * SECTOR + rng.below(SECTOR as u64) as usize] ^= 1 << rng.below(8),
        Harm::Noise => bytes[sector].copy_from_slice(&noise(SECTOR, rng)),
        Harm::Zero => bytes[sector].fill(0),
        Harm::Page => {
            let from = at / 8 * 8 * SECTOR;
            let to = (from + 8 * SECTOR).min(bytes.len());
            let noise = noise(to - from, rng);
            bytes[from..to].copy_from_slice(&noise);
        }
        Harm::Swap => {
            let other = rng.below(used(bytes) as u64) as usize;
            let kept = bytes[sector.clone()].to_vec();
            bytes.copy_within(other * SECTOR..(other + 1) * SECTOR, at * SECTOR);
            bytes[other * SECTOR..(other + 1) * SECTOR].copy_from_slice(&kept);
        }
        Harm::Misdirect => bytes[sector].copy_from_slice(&other_sector),
        Harm::Stale => bytes[sector.clone()].copy_from_slice(older.get(name)?.get(sector)?),
        Harm::StaleFile => *bytes = older.get(name)?.clone(),
        Harm::Truncate => bytes.truncate(rng.below(bytes.len() as u64) as usize),
    }
    (*bytes != before).then_some(part)
}

/// Sectors up to the last one that is not zero.
fn used(bytes: &[u8]) -> usize {
    let used = bytes.chunks(SECTOR).rposition(|sector| sector.iter().any(|byte| *byte != 0));
    used.map_or(1, |last| last + 1)
}

fn part(sector: &[u8]) -> &'static str {
    match sector.first() {
        Some(1) => "header",
        Some(2) => "head",
        Some(3) => "data",
        Some(4) => "tail",
        _ => "zero",
    }
}

fn judge(files: &Files, harm: Harm, subject: &Subject) -> Verdict {
    let Some((_, found)) = open(&disk_of(files)) else { return Verdict::Refused };
    for (slot, record) in (found.first.0..).zip(&found.records) {
        let SlotState::Ok(record) = record else { continue };
        let right = subject.present().records.get(&slot);
        let was_written = subject.ever.get(&slot).is_some_and(|ever| ever.contains(record));
        let is_back_in_time = was_written && (right.is_none() || harm.is_of_file());
        if right != Some(record) && !is_back_in_time && !is_untold(&found, harm, subject) {
            return Verdict::Undetected;
        }
    }
    match Content::of(&found) {
        None => Verdict::Damaged,
        Some(content) if content == *subject.present() => Verdict::Whole,
        Some(_) if is_untold(&found, harm, subject) => Verdict::Untold,
        Some(_) => Verdict::Undetected,
    }
}

/// Whether the log is what it was once: before the last batch, after a harm that can leave zeros in its place; at any
/// time, after one that sets the newest file back as a whole.
fn is_untold(found: &Recovery, harm: Harm, subject: &Subject) -> bool {
    let content = Content::of(found);
    match harm {
        Harm::Flip | Harm::Noise | Harm::Page => false,
        _ if harm.is_of_file() => subject.past.iter().any(|(_, past)| content.as_ref() == Some(past)),
        _ => content.as_ref() == Some(subject.before_last()),
    }
}

fn print(table: &Table) {
    let heads = VERDICTS.map(|verdict| format!("{:>11}", format!("{verdict:?}"))).concat();
    println!("{:<12}{:<8}{heads}", "harm", "part");
    let mut sums = [0; VERDICTS.len()];
    for ((harm, part), verdicts) in table {
        let counts = VERDICTS.map(|verdict| verdicts.get(&verdict).copied().unwrap_or(0));
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        println!(
            "{:<12}{part:<8}{}",
            format!("{harm:?}"),
            counts.map(|count| format!("{count:>11}")).concat()
        );
    }
    println!("{:<20}{}", "all", sums.map(|count| format!("{count:>11}")).concat());
}
