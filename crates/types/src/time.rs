//! Time as an input: cores never read a clock.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Add, Sub};
use std::time::Duration;

use crate::{Reader, Wire, WireError};

/// Monotonic nanoseconds since this incarnation of the node started; says nothing to other nodes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// Wall-clock milliseconds since the Unix epoch. Only ever data: a leader stamps it on entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

/// Both clocks of a node at the moment of one input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers: deadlines are compared with it.
    pub mono: Time,
    /// For the timestamp that a leader puts on an entry.
    pub wall: WallTime,
}

impl Time {
    /// How long `self` is after `earlier`; zero if it is not after.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, rhs: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, rhs: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// As an `i128`, which nothing else is hashed as: a [`Fingerprinter`](crate::Fingerprinter) can so tell a moment from
/// a number, and take it relative to now.
impl Hash for Time {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_i128(self.0.into());
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}ms", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl Wire for Time {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Time(u64::decode(input)?))
    }
}

impl Wire for WallTime {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(WallTime(i64::decode(input)?))
    }
}
