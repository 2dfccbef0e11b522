//! What the machine can do, so that figures of different machines can be compared: how long a durable write and a
//! round trip over loopback take.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::Context;

const SYNCS: usize = 300;
const ROUND_TRIPS: usize = 5_000;
const BLOCK_BYTES: usize = 4096;

/// What it can do.
pub struct Machine {
    cores: usize,
    sync: Duration,
    round_trip: Duration,
}

/// Measures the machine, where the clusters will keep their data.
pub fn measure() -> anyhow::Result<Machine> {
    Ok(Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        sync: sync_time().context("cannot measure the disk")?,
        round_trip: round_trip_time().context("cannot measure the loopback")?,
    })
}

/// The median time of overwriting 4 KiB of a file in place and making it durable.
fn sync_time() -> anyhow::Result<Duration> {
    let file = tempfile::tempfile()?;
    let block = [7_u8; BLOCK_BYTES];
    let write = |file: &File, number: usize| file.write_all_at(&block, (number * BLOCK_BYTES) as u64);
    (0..SYNCS).try_for_each(|number| write(&file, number))?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        let started = Instant::now();
        write(&file, number)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok(median(times))
}

/// The median time of one byte there and back, both ends asleep in between.
fn round_trip_time() -> anyhow::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        near.write_all(&[1])?;
        near.read_exact(&mut [0])?;
        times.push(started.elapsed());
    }
    drop(near);
    // It ends because its connection has.
    echo.join().ok();
    Ok(median(times))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores; a durable write of 4 KiB takes {} µs, a round trip over loopback {} µs",
            self.cores,
            self.sync.as_micros(),
            self.round_trip.as_micros()
        )
    }
}
